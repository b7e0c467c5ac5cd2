//! What an optimiser keeps of one weight, and how the weight moves.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use super::OptimConfig;
use super::adafactor::{AdafactorMoments, AdafactorStep};
use crate::device;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, matrix};
use crate::ops::{self, AdamWStep, BLOCK, BlockCodes, MomentSign};
use crate::workers::Workers;

/// What is kept of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateLayout {
    /// First and second moment of every number.
    Moments,
    /// The same as 8-bit codes.
    Codes,
    /// Second moment of every row and column.
    RowAndColumn,
    /// Second moment of every number of a vector.
    Column,
}

/// A named array of a weight's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatePart {
    /// Its name, which a saved state puts before the weight's.
    pub(crate) name: &'static str,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    bytes_per_number: usize,
}

impl StatePart {
    /// Bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.bytes_per_number
    }
}

impl StateLayout {
    /// The arrays kept of a weight of this shape.
    pub(super) fn parts(self, shape: &[usize]) -> Vec<StatePart> {
        let columns = shape.last().copied().unwrap_or(1);
        let numbers: usize = shape.iter().product();
        let blocks = vec![numbers.div_ceil(BLOCK)];
        let part = |name, shape: &[usize], bytes_per_number| StatePart {
            name,
            shape: shape.to_vec(),
            bytes_per_number,
        };
        match self {
            Self::Moments => vec![part("first", shape, 4), part("second", shape, 4)],
            Self::Codes => vec![
                part("first_codes", shape, 1),
                part("first_maxima", &blocks, 4),
                part("second_codes", shape, 1),
                part("second_maxima", &blocks, 4),
            ],
            Self::RowAndColumn => vec![
                part("row", &[numbers / columns.max(1)], 4),
                part("column", &[columns], 4),
            ],
            Self::Column => vec![part("column", &[columns], 4)],
        }
    }
}

/// The state of one weight.
#[derive(Clone, Debug)]
pub(super) enum WeightState {
    /// AdamW's moments beside the weight.
    Moments([Tensor<2>; 2]),
    /// AdamW's moments in the host's memory, of a weight on another device.
    Offloaded([Vec<f32>; 2]),
    /// AdamW's moments as codes in the host's memory.
    Codes([BlockCodes; 2]),
    /// Adafactor's second moments.
    Adafactor(AdafactorMoments),
}

/// What a step does to a weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightStep<'a> {
    pub(super) config: &'a OptimConfig,
    /// The step's number, counted from 1.
    pub(super) number: usize,
    pub(super) lr: f64,
    /// Factor on the gradient.
    pub(super) scale: f64,
    /// Factor on the weight.
    pub(super) decay: f64,
}

impl WeightState {
    /// The state before the first step.
    pub(super) fn new(config: &OptimConfig, shape: &[usize], device: &Device) -> Self {
        let numbers: usize = shape.iter().product();
        let columns = shape.last().copied().unwrap_or(1);
        let zeros = |shape: [usize; 2]| Tensor::zeros(shape, device);
        let dims = [numbers / columns.max(1), columns];
        match config.layout(shape) {
            StateLayout::Moments if is_offloaded(config, device) => {
                Self::Offloaded([vec![0.0; numbers], vec![0.0; numbers]])
            }
            StateLayout::Moments => Self::Moments([zeros(dims), zeros(dims)]),
            StateLayout::Codes => Self::Codes([
                BlockCodes::zeros(numbers, MomentSign::Either),
                BlockCodes::zeros(numbers, MomentSign::Positive),
            ]),
            layout => Self::Adafactor(AdafactorMoments {
                row: (layout == StateLayout::RowAndColumn).then(|| zeros([dims[0], 1])),
                column: zeros([1, columns]),
            }),
        }
    }

    /// The state of the weight `name` that the checkpoint in `folder` holds.
    ///
    /// # Errors
    /// Names the array that is missing or broken.
    pub(super) fn load(
        config: &OptimConfig,
        name: &str,
        shape: &[usize],
        device: &Device,
        (folder, checkpoint): (&Path, &Checkpoint),
    ) -> Result<Self> {
        let layout = config.layout(shape);
        let parts = layout.parts(shape);
        let read = |index: usize| -> Result<Vec<f32>> {
            let part: &StatePart = &parts[index];
            let name = format!("{}.{name}", part.name);
            Ok(checkpoint.tensor(&name, &part.shape)?.to_f32())
        };
        let codes = |index: usize, sign: MomentSign| -> Result<BlockCodes> {
            let broken = || {
                let name = format!("{}.{name}", parts[index].name);
                Error::tensor(
                    folder,
                    name,
                    "holds no codes, expected whole numbers up to 255",
                )
            };
            let codes = codes_of(&read(index)?).ok_or_else(broken)?;
            BlockCodes::from_parts(codes, read(index + 1)?, sign).ok_or_else(broken)
        };
        let moment = |index| Ok(matrix(read(index)?, shape, device));
        Ok(match layout {
            StateLayout::Moments if is_offloaded(config, device) => {
                Self::Offloaded([read(0)?, read(1)?])
            }
            StateLayout::Moments => Self::Moments([moment(0)?, moment(1)?]),
            StateLayout::Codes => Self::Codes([
                codes(0, MomentSign::Either)?,
                codes(2, MomentSign::Positive)?,
            ]),
            StateLayout::RowAndColumn => Self::Adafactor(AdafactorMoments {
                row: Some(matrix(read(0)?, &[parts[0].shape[0], 1], device)),
                column: matrix(read(1)?, &parts[1].shape, device),
            }),
            StateLayout::Column => Self::Adafactor(AdafactorMoments {
                row: None,
                column: matrix(read(0)?, &parts[0].shape, device),
            }),
        })
    }

    /// The array called `part`, row-major.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When the state has no such array.
    pub(super) fn values(&self, part: &str) -> Result<Vec<f32>> {
        let read = |tensor: &Tensor<2>| ops::read_floats(tensor.clone());
        let as_floats = |codes: &BlockCodes| codes.codes().iter().map(|c| f32::from(*c)).collect();
        match (self, part) {
            (Self::Moments([first, _]), "first") => read(first),
            (Self::Moments([_, second]), "second") => read(second),
            (Self::Offloaded([first, _]), "first") => Ok(first.clone()),
            (Self::Offloaded([_, second]), "second") => Ok(second.clone()),
            (Self::Codes([first, _]), "first_codes") => Ok(as_floats(first)),
            (Self::Codes([_, second]), "second_codes") => Ok(as_floats(second)),
            (Self::Codes([first, _]), "first_maxima") => Ok(first.maxima().to_vec()),
            (Self::Codes([_, second]), "second_maxima") => Ok(second.maxima().to_vec()),
            (Self::Adafactor(moments), "column") => read(&moments.column),
            (Self::Adafactor(AdafactorMoments { row: Some(row), .. }), "row") => read(row),
            _ => panic!("a state without `{part}` was asked for it"),
        }
    }

    /// Moves the weight and updates the state. `weight` holds the only handle to it that the caller
    /// has.
    ///
    /// # Errors
    /// When the device failed.
    pub(super) fn step(
        &mut self,
        weight: Tensor<2>,
        gradient: Tensor<2>,
        step: WeightStep<'_>,
        workers: &Workers,
    ) -> Result<Tensor<2>> {
        let adamw = step.adamw();
        match self {
            Self::Moments(moments) => {
                let held = std::mem::replace(moments, placeholders(&weight));
                let stepped = ops::adamw_step(weight, gradient, held, adamw, workers)?;
                let [weight, first, second] = stepped;
                *moments = [first, second];
                Ok(weight)
            }
            Self::Offloaded(moments) => step_offloaded(weight, gradient, moments, adamw, workers),
            Self::Codes([first, second]) => {
                ops::adamw_8bit_step(weight, gradient, [first, second], adamw, workers)
            }
            Self::Adafactor(moments) => moments.step(weight, gradient, step.adafactor(), workers),
        }
    }
}

impl WeightStep<'_> {
    fn adamw(&self) -> AdamWStep {
        let config = self.config;
        config.adamw(self.number, self.scale, self.decay, self.lr)
    }

    fn adafactor(&self) -> AdafactorStep {
        AdafactorStep::new(self.number, self.scale, self.decay, self.lr)
    }
}

/// AdamW's step with moments that visit the weight's device.
fn step_offloaded(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    moments: &mut [Vec<f32>; 2],
    step: AdamWStep,
    workers: &Workers,
) -> Result<Tensor<2>> {
    let (shape, device) = (weight.dims(), weight.device());
    let visiting = std::mem::take(moments).map(|values| ops::floats(values, shape, &device));
    let [weight, first, second] = ops::adamw_step(weight, gradient, visiting, step, workers)?;
    *moments = [ops::read_floats(first)?, ops::read_floats(second)?];
    Ok(weight)
}

/// Tensors that stand in while the moments are away.
fn placeholders(weight: &Tensor<2>) -> [Tensor<2>; 2] {
    [0, 1].map(|_| Tensor::empty([1, 1], &weight.device()))
}

fn is_offloaded(config: &OptimConfig, device: &Device) -> bool {
    config.offload && !device::is_cpu(device)
}

fn codes_of(values: &[f32]) -> Option<Vec<u8>> {
    let code = |value: &f32| (*value as u8 as f32 == *value).then_some(*value as u8);
    values.iter().map(code).collect()
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn offloaded_moments_step_like_those_beside_the_weight() {
        let (device, mut rng) = (Device::flex(), Seed::new(9).rng());
        let config = OptimConfig::default();
        let mut random = || ops::normal_floats([4, 6], 1.0, &mut rng, &device);
        let start = random();
        let mut states = [
            WeightState::new(&config, &[4, 6], &device),
            WeightState::Offloaded([vec![0.0; 24], vec![0.0; 24]]),
        ];
        let mut weights = [start.clone(), start];
        for number in 1..=3 {
            let gradient = random();
            for (weight, state) in weights.iter_mut().zip(&mut states) {
                let step = WeightStep {
                    config: &config,
                    number,
                    lr: 0.1,
                    scale: 1.0,
                    decay: 1.0,
                };
                let workers = Workers::new(1);
                *weight = state
                    .step(weight.clone(), gradient.clone(), step, &workers)
                    .unwrap();
            }
        }
        let [beside, offloaded] = weights.map(|weight| ops::read_floats(weight).unwrap());
        assert_eq!(beside, offloaded);
        for part in ["first", "second"] {
            let [beside, offloaded] = [0, 1].map(|index| states[index].values(part).unwrap());
            assert_eq!(beside, offloaded);
        }
    }

    #[test]
    fn only_whole_numbers_of_a_byte_are_codes() {
        assert_eq!(codes_of(&[0.0, 255.0, 7.0]), Some(vec![0, 255, 7]));
        for broken in [-1.0, 256.0, 0.5, f32::NAN, f32::INFINITY] {
            assert_eq!(codes_of(&[broken]), None);
        }
    }
}
