//! An adapter: the tensors that change the linear layers of a decoder.

use std::sync::Arc;

use burn::tensor::Tensor;
use rand_distr::{Distribution, Uniform};

use super::config::{LoraConfig, prefixed};
use super::layout::{AdapterLayout, check_names};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::decoder::Decoder;
use crate::model::folder::matrix;
use crate::model::parameters::{Index, ParameterLayout};
use crate::ops;
use crate::seed::Seed;

/// A low-rank adapter for one shape of decoder.
///
/// Cloning shares the tensors.
#[derive(Clone, Debug)]
pub struct Adapter {
    config: Arc<LoraConfig>,
    layout: Arc<AdapterLayout>,
    tensors: Vec<Tensor<2>>,
}

/// The update of one linear layer.
pub(in crate::model) struct Update<'a> {
    /// `[r, in]`.
    a: &'a Tensor<2>,
    /// `[out, r]`.
    b: &'a Tensor<2>,
    scale: f64,
}

impl Adapter {
    /// A new adapter for `decoder`, which changes nothing yet: `B` is zero, `A` uniform within
    /// `±1 / √in`, as PEFT begins.
    ///
    /// # Errors
    /// When a setting (named `lora.…`) is out of range or means what `decoder` does not have.
    pub fn fresh(config: &LoraConfig, decoder: &Decoder, seed: Seed) -> Result<Self> {
        let layout = Self::layout_of(config, &decoder.layout)?;
        let device = decoder.device();
        let fresh = |(index, (name, shape)): (usize, (&String, &Vec<usize>))| {
            let count = shape.iter().product();
            let values = match index % 2 {
                0 => uniform(shape[1], count, seed.named(name)),
                _ => vec![0.0; count],
            };
            matrix(values, shape, &device)
        };
        let named = layout.names.iter().zip(&layout.shapes);
        let tensors = named.enumerate().map(fresh).collect();
        Ok(Self::new(config.clone(), layout, tensors))
    }

    /// Names and shapes of the tensors that [`Adapter::fresh`] makes for a model of this shape.
    ///
    /// # Errors
    /// As [`Adapter::fresh`].
    pub fn names_and_shapes(
        config: &LoraConfig,
        model: &ModelConfig,
    ) -> Result<(Vec<String>, Vec<Vec<usize>>)> {
        let layout = Self::layout_of(config, &ParameterLayout::new(model))?;
        Ok((layout.names, layout.shapes))
    }

    fn layout_of(config: &LoraConfig, base: &ParameterLayout) -> Result<AdapterLayout> {
        check_names(config, base)
            .and_then(|()| AdapterLayout::new(config, base))
            .map_err(|error| prefixed(error, "lora"))
    }

    pub(super) fn new(config: LoraConfig, layout: AdapterLayout, tensors: Vec<Tensor<2>>) -> Self {
        Self {
            config: Arc::new(config),
            layout: Arc::new(layout),
            tensors,
        }
    }

    /// The settings it was made by.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// `A` `[r, in]` and `B` `[out, r]` of each adapted layer in turn, layers in the model's order.
    pub fn tensors(&self) -> &[Tensor<2>] {
        &self.tensors
    }

    /// The tensors, to be changed in place.
    pub(in crate::model) fn tensors_mut(&mut self) -> &mut [Tensor<2>] {
        &mut self.tensors
    }

    /// Names of the tensors, as PEFT's files spell them.
    pub fn names(&self) -> &[String] {
        &self.layout.names
    }

    /// Shapes of the tensors.
    pub fn shapes(&self) -> &[Vec<usize>] {
        &self.layout.shapes
    }

    /// The same adapter with other tensors.
    ///
    /// # Panics
    /// When there are not as many.
    pub(in crate::model) fn with_tensors(&self, tensors: Vec<Tensor<2>>) -> Self {
        assert_eq!(tensors.len(), self.tensors.len(), "one tensor a name");
        Self {
            tensors,
            ..self.clone()
        }
    }

    /// Where a block's tensors stand.
    pub(in crate::model) fn block_range(&self, block: usize) -> std::ops::Range<usize> {
        self.layout.block_ranges[block].clone()
    }

    /// The update of the linear layer whose weight is the model's parameter `weight`, if it is
    /// adapted.
    pub(in crate::model) fn update_of(&self, weight: Index) -> Option<Update<'_>> {
        let pair = self.layout.pair_of(weight)?;
        Some(Update {
            a: &self.tensors[2 * pair],
            b: &self.tensors[2 * pair + 1],
            scale: self.layout.pairs[pair].scale,
        })
    }

    /// Checks that the adapter was made for models shaped like `decoder`.
    ///
    /// # Errors
    /// Names the first tensor that does not fit.
    pub(super) fn check_fits(&self, decoder: &Decoder) -> Result<()> {
        let blocks = self.layout.block_ranges.len();
        let weights = self.layout.pairs.iter().map(|pair| pair.weight);
        for (index, weight) in weights.enumerate() {
            let name = &self.layout.names[2 * index];
            let [outputs, inputs] = match decoder.parameters.get(weight) {
                Some(weight) if blocks == decoder.block_count() => weight.dims(),
                _ => [0, 0],
            };
            let fits = self.layout.shapes[2 * index][1] == inputs
                && self.layout.shapes[2 * index + 1][0] == outputs
                && name.contains(decoder.layout.module_path(weight));
            if !fits {
                let problem = format!("adapter tensor `{name}` does not fit the decoder");
                return Err(Error::Model { problem });
            }
        }
        Ok(())
    }
}

impl Update<'_> {
    /// What the update adds to the layer's output: `s (x Aᵀ) Bᵀ`, in the type of the states.
    ///
    /// # Shapes
    /// `[N, in]` to `[N, out]`.
    pub(in crate::model) fn apply(&self, states: Tensor<2>) -> Tensor<2> {
        let inner = ops::linear(states, self.a.clone()) * self.scale;
        ops::linear(inner, self.b.clone())
    }

    /// What the update adds to the layer's weight: `s B A`, `[out, in]`.
    pub(super) fn matrix(&self) -> Tensor<2> {
        self.b.clone().matmul(self.a.clone()) * self.scale
    }
}

/// Kaiming's uniform distribution with `a = √5`, which comes down to `±1 / √in`.
fn uniform(inputs: usize, count: usize, seed: Seed) -> Vec<f32> {
    let bound = 1.0 / (inputs as f32).sqrt();
    let range = Uniform::new_inclusive(-bound, bound).expect("a bound above zero");
    range.sample_iter(seed.rng()).take(count).collect()
}
