//! What a device computes against what the CPU computes: the model, the losses, an optimiser step and
//! the operations with shaders.

mod losses;
mod model;
mod operations;

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::device::{self, DeviceSpec};
use crate::error::Result as EmberlResult;
use crate::model::{Decoder, Family, ModelConfig};
use crate::precision::Precision;
use crate::seed::Seed;
use crate::workers::Workers;

/// How one result on a device compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Finding {
    /// What was computed.
    pub check: String,
    /// The number type it was computed in.
    pub dtype: String,
    /// Largest difference to the CPU, over the largest number; none when one is no number.
    pub difference: Option<f64>,
    /// What it may be.
    pub tolerance: f64,
    /// Why there is no result.
    pub problem: Option<String>,
}

/// Where something is computed.
struct Place {
    device: Device,
    workers: Workers,
    decoder: Decoder,
}

/// The CPU on one thread and the device that is held against it.
struct Pair {
    reference: Place,
    other: Place,
    exactness: Exactness,
}

/// How exactly a device computes.
struct Exactness {
    /// The number type of matrix products, as users know it.
    dtype: String,
    /// What logits may differ by.
    tolerance: f64,
}

/// Seed of everything that is drawn here.
const SEED: u64 = 20_250_122;

/// What results without matrix products may differ by.
const ELEMENTWISE: f64 = 1e-4;

/// Factor on the tolerance of gradients and of what follows from them: they are sums of what cancels.
const GRADIENT_SLACK: f64 = 10.0;

/// The largest tolerance: a result of noise or zeros differs by 1.
const LOOSEST: f64 = 0.3;

/// Runs all checks on the device, the model's in the precision that is asked for, else in `f32` and in
/// what the device computes in by itself; `report` hears of each as it is done.
///
/// # Errors
/// When the model cannot be loaded, a device cannot be opened or does not compute in the precision, or
/// what `report` fails with.
pub(super) fn run(
    spec: &DeviceSpec,
    precision: Option<Precision>,
    model: Option<&Path>,
    report: &mut dyn FnMut(Finding) -> Result<()>,
) -> Result<()> {
    let mut pair = Pair::open(spec, model)?;
    let own = precision.unwrap_or_default().on(&pair.other.device)?;
    let precisions = match (precision, own) {
        (None, Precision::Bf16 | Precision::F16) => vec![Precision::F32, own],
        _ => vec![own],
    };
    for precision in precisions {
        pair.other.decoder = pair.other.decoder.with_precision(precision)?;
        pair.exactness = Exactness::of(spec, precision);
        for finding in model::measure(&pair) {
            report(finding)?;
        }
    }
    for finding in losses::measure(&pair) {
        report(finding)?;
    }
    for finding in operations::measure(&pair) {
        report(finding)?;
    }
    Ok(())
}

impl Finding {
    /// Whether there is a difference and it is small enough.
    pub(super) fn passes(&self) -> bool {
        let is_close = |difference| difference <= self.tolerance;
        self.problem.is_none() && self.difference.is_some_and(is_close)
    }
}

impl Pair {
    fn open(spec: &DeviceSpec, model: Option<&Path>) -> Result<Self> {
        let device = device::open(spec)?;
        let reference = Place {
            workers: Workers::new(1),
            ..Place::new(device::open(&DeviceSpec::Cpu)?, model)?
        };
        Ok(Self {
            exactness: Exactness::of(spec, Precision::F32),
            reference,
            other: Place::new(device, model)?,
        })
    }

    /// Holds lists of numbers of the two places against each other.
    fn compare(
        &self,
        check: impl Into<String>,
        exactness: &Exactness,
        compute: impl Fn(&Place) -> EmberlResult<Vec<Vec<f32>>>,
    ) -> Finding {
        let results =
            compute(&self.reference).and_then(|expected| Ok([compute(&self.other)?, expected]));
        self.judge(check, exactness, results)
    }

    /// Holds lists of numbers that were found against those that were expected.
    fn judge(
        &self,
        check: impl Into<String>,
        exactness: &Exactness,
        results: EmberlResult<[Vec<Vec<f32>>; 2]>,
    ) -> Finding {
        let (difference, problem) = match results {
            Ok([found, expected]) => (largest_difference(&found, &expected), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Finding {
            check: check.into(),
            dtype: exactness.dtype.clone(),
            difference,
            tolerance: exactness.tolerance,
            problem,
        }
    }
}

impl Place {
    fn new(device: Device, model: Option<&Path>) -> Result<Self> {
        let decoder = match model {
            Some(folder) => Decoder::load(folder, &device)?,
            None => Decoder::random(small_model(), 0.3, Seed::new(SEED), &device),
        };
        Ok(Self {
            workers: Workers::suited_to(&device),
            device,
            decoder,
        })
    }
}

impl Exactness {
    /// That of a model in this precision on this device.
    fn of(spec: &DeviceSpec, precision: Precision) -> Self {
        let (dtype, tolerance) = match (precision, spec) {
            (Precision::Bf16, _) => ("bf16", 6e-2),
            (Precision::F16, _) => ("f16", 1e-2),
            // Burn's CUDA matrix products round their factors to 11 significant bits.
            (_, DeviceSpec::Cuda(_)) => ("tf32", 1e-2),
            _ => ("f32", 1e-4),
        };
        Self {
            dtype: dtype.into(),
            tolerance,
        }
    }

    /// That of what has no matrix products, in `f32`.
    fn elementwise() -> Self {
        Self {
            dtype: "f32".into(),
            tolerance: ELEMENTWISE,
        }
    }

    /// That of gradients.
    fn of_gradients(&self) -> Self {
        Self {
            dtype: self.dtype.clone(),
            tolerance: (self.tolerance * GRADIENT_SLACK).min(LOOSEST),
        }
    }
}

/// The largest difference of numbers at the same place, relative to the largest expected number of
/// their list; none when a number is missing or is none.
fn largest_difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> Option<f64> {
    let lengths = |lists: &[Vec<f32>]| lists.iter().map(Vec::len).collect::<Vec<_>>();
    if lengths(found) != lengths(expected) {
        return None;
    }
    let mut largest = 0.0_f64;
    for (found, expected) in found.iter().zip(expected) {
        let scale = expected
            .iter()
            .fold(f32::MIN_POSITIVE, |scale, number| scale.max(number.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let difference = f64::from(found - expected).abs() / f64::from(scale);
            if difference.is_nan() {
                return None;
            }
            largest = largest.max(difference);
        }
    }
    Some(largest)
}

/// A model that is checked in a moment: grouped heads, biases, odd widths beside such as matrix units
/// take and decoding splits.
fn small_model() -> ModelConfig {
    let mut config = ModelConfig::of_family(Family::Qwen2);
    config.vocab_size = 61;
    config.hidden_size = 32;
    config.intermediate_size = 384;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.head_dim = 6;
    config.max_position_embeddings = 64;
    config.tie_word_embeddings = true;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_relative_to_the_largest_number_of_its_list() {
        let found = [vec![1.0, -4.0], vec![0.1]];
        let expected = [vec![1.5, -4.0], vec![0.1]];
        assert_eq!(largest_difference(&found, &expected), Some(0.125));
    }

    #[test]
    fn what_is_no_number_or_missing_has_no_difference() {
        let expected = [vec![1.0, 2.0]];
        assert_eq!(largest_difference(&[vec![1.0, f32::NAN]], &expected), None);
        assert_eq!(largest_difference(&[vec![1.0]], &expected), None);
    }

    #[test]
    fn small_model_is_a_valid_one() {
        small_model().validate().unwrap();
    }
}
