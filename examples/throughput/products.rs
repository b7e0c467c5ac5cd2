//! The matrix products of one layer and of a tile of the vocabulary, each way: this crate's beside Burn's.

use std::fmt;

use anyhow::{Context, Result};
use burn::backend::Dispatch;
use burn::tensor::{Distribution, FloatDType, Tensor};
use emberl::ops::{LinearBackend, linear, matmul_f32};
use emberl::precision::Precision;
use serde::Serialize;

use crate::Bench;

/// Products between two waits for the device.
const REPEATED: usize = 8;
/// Entries of the vocabulary's tile.
const TILE: usize = 2048;

/// Which product of a linear map `y = x Wᵀ`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// `x Wᵀ`.
    Forward,
    /// `g W`, with the gradient `g` of `y`.
    States,
    /// `gᵀ x`, as `f32`.
    Weight,
}

/// What was measured of one product, in 10¹² additions and multiplications a second.
#[derive(Debug, Serialize)]
pub struct Speeds {
    map: &'static str,
    way: Way,
    precision: Precision,
    /// Rows, places summed over and columns.
    sizes: [usize; 3],
    ours: f64,
    burn: f64,
    /// Largest gap between the two products, as a share of the largest number of Burn's.
    gap: f64,
}

/// A linear map of `tokens` states.
struct Map {
    name: &'static str,
    tokens: usize,
    inputs: usize,
    outputs: usize,
    /// Whether all results are `f32`, as a vocabulary's are.
    is_f32: bool,
}

impl Bench {
    /// The products of a layer of the model, with so many tokens.
    pub fn products(&self, tokens: usize) -> Result<Vec<Speeds>> {
        let config = &self.config;
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let key = config.num_key_value_heads * config.head_dim;
        let query = config.num_attention_heads * config.head_dim;
        let map = |name, inputs, outputs| Map {
            name,
            tokens,
            inputs,
            outputs,
            is_f32: name == "vocabulary",
        };
        let maps = [
            map("q_proj", hidden, query),
            map("k_proj", hidden, key),
            map("up_proj", hidden, inner),
            map("down_proj", inner, hidden),
            map("vocabulary", hidden, TILE),
        ];
        let ways = [Way::Forward, Way::States, Way::Weight];
        let pairs = maps.iter().flat_map(|map| ways.map(|way| (map, way)));
        pairs.map(|(map, way)| self.speeds(map, way)).collect()
    }

    fn speeds(&self, map: &Map, way: Way) -> Result<Speeds> {
        let dtype = match self.precision {
            Precision::F16 => FloatDType::F16,
            Precision::Bf16 => FloatDType::BF16,
            Precision::F32 | Precision::Auto => FloatDType::F32,
        };
        let random = |shape: [usize; 2]| {
            Tensor::<2>::random(shape, Distribution::Default, &self.device).cast(dtype)
        };
        let (n, i, o) = (map.tokens, map.inputs, map.outputs);
        let (states, weight, gradient) = (random([n, i]), random([o, i]), random([n, o]));
        let (sizes, a, b) = match way {
            Way::Forward => ([n, i, o], states.clone(), weight.clone().transpose()),
            Way::States => ([n, o, i], gradient.clone(), weight.clone()),
            Way::Weight => ([o, n, i], gradient.clone().transpose(), states.clone()),
        };
        let ours = || match way {
            Way::Weight => {
                let (gradient, states) = (gradient.clone(), states.clone());
                let (gradient, states) = (gradient.into_dispatch(), states.into_dispatch());
                Tensor::from_dispatch(Dispatch::weight_gradient(gradient, states))
            }
            _ if map.is_f32 => matmul_f32(a.clone(), b.clone()),
            Way::Forward | Way::States => linear(a.clone(), b.clone().transpose()),
        };
        let by_burn = || a.clone().matmul(b.clone());
        let largest = |tensor: Tensor<2>| -> f64 { tensor.abs().max().into_scalar::<f32>().into() };
        let reference = by_burn().cast(FloatDType::F32);
        let gap = ours().cast(FloatDType::F32) - reference.clone();
        let operations = 2.0 * sizes.map(|size| size as f64).iter().product::<f64>();
        Ok(Speeds {
            map: map.name,
            way,
            precision: self.precision,
            sizes,
            ours: operations / self.seconds(ours)? / 1e12,
            burn: operations / self.seconds(by_burn)? / 1e12,
            gap: largest(gap) / largest(reference),
        })
    }

    /// Median seconds of one product.
    fn seconds(&self, product: impl Fn() -> Tensor<2>) -> Result<f64> {
        let mut last = None;
        let timing = self.time(|| {
            (0..REPEATED).for_each(|_| last = Some(product()));
            Ok(())
        })?;
        last.context("nothing was multiplied")?;
        Ok(timing.seconds / REPEATED as f64)
    }
}

impl fmt::Display for Speeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = format!("{:?}", self.way).to_lowercase();
        let sizes = self.sizes.map(|size| size.to_string()).join("x");
        let (name, precision) = (self.map, self.precision.name());
        write!(f, "{name:10} {way:7} {precision:4} {sizes:15}")?;
        write!(f, " {:7.2} TFLOP/s, ", self.ours)?;
        write!(f, "Burn's {:7.2}, apart by {:.1e}", self.burn, self.gap)
    }
}
