//! The optimiser: from gradients to weights, with as little memory as its kind allows.
//!
//! Weights are stepped one after the other, each by all workers, so that what a step holds beside
//! weights, gradients and state is at most as large as one weight.

mod adafactor;
mod config;
mod gradient_norm;
mod state;

pub use config::{OptimConfig, OptimKind};
pub(crate) use state::StatePart;

use std::path::Path;

use burn::tensor::{Device, Tensor};

use self::gradient_norm::gradient_norm;
use self::state::{WeightState, WeightStep};
use crate::error::{Error, Result};
use crate::model::{Checkpoint, Decoder};
use crate::workers::Workers;

/// Added to the gradient's norm before the clip divides by it, as torch does.
const CLIP_EPSILON: f64 = 1e-6;

/// An optimiser and its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimConfig,
    steps: usize,
    shapes: Vec<Vec<usize>>,
    states: Vec<WeightState>,
}

impl Optimizer {
    /// An optimiser before its first step, for weights of these shapes as Hugging Face stores them.
    pub fn new(config: OptimConfig, shapes: &[Vec<usize>], device: &Device) -> Self {
        let states = shapes.iter().map(|s| WeightState::new(&config, s, device));
        Self {
            states: states.collect(),
            config,
            steps: 0,
            shapes: shapes.to_vec(),
        }
    }

    /// An optimiser after `steps` steps whose state over the weights of `decoder` is in `folder`.
    ///
    /// # Errors
    /// Names the array that is missing or broken.
    pub(super) fn load(
        config: OptimConfig,
        steps: usize,
        folder: &Path,
        decoder: &Decoder,
        device: &Device,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let shapes = decoder.trainable_shapes().to_vec();
        let named = decoder.trainable_names().iter().zip(&shapes);
        let states = named.map(|(name, shape)| {
            WeightState::load(&config, name, shape, device, (folder, &checkpoint))
        });
        Ok(Self {
            states: states.collect::<Result<_>>()?,
            config,
            steps,
            shapes,
        })
    }

    /// The settings.
    pub fn config(&self) -> &OptimConfig {
        &self.config
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The arrays kept of the weight at place `index`.
    pub(super) fn parts(&self, index: usize) -> Vec<StatePart> {
        let shape = &self.shapes[index];
        self.config.layout(shape).parts(shape)
    }

    /// The numbers of one of them, row-major.
    ///
    /// # Errors
    /// When the device failed.
    pub(super) fn values(&self, index: usize, part: &StatePart) -> Result<Vec<f32>> {
        self.states[index].values(part.name)
    }

    /// Clips the gradients, takes a step at rate `lr` and returns the norm before clipping.
    ///
    /// Weights and state are changed in their own memory where no other handle shares it. After an
    /// error the optimiser and the weights cannot be used any more.
    ///
    /// # Errors
    /// When the device failed, or before anything has changed when a gradient is not a number.
    ///
    /// # Panics
    /// When there is not one weight and one gradient a shape.
    pub fn step(
        &mut self,
        weights: &mut [Tensor<2>],
        mut gradients: Vec<Tensor<2>>,
        lr: f64,
        workers: &Workers,
    ) -> Result<f64> {
        assert_eq!(weights.len(), self.states.len(), "one weight a shape");
        assert_eq!(gradients.len(), self.states.len(), "one gradient a shape");
        let norm = gradient_norm(&mut gradients, workers)?;
        if !norm.is_finite() {
            let problem = format!(
                "the gradient of optimiser step {} is not a number; training diverged and wants a \
                 lower learning rate, or the loss met a value out of range",
                self.steps + 1
            );
            return Err(Error::Model { problem });
        }
        self.steps += 1;
        let limit = self.config.max_grad_norm;
        let scale = match limit > 0.0 {
            true => (limit / (norm + CLIP_EPSILON)).min(1.0),
            false => 1.0,
        };
        let states = self.states.iter_mut().zip(&self.shapes);
        for ((weight, gradient), (state, shape)) in weights.iter_mut().zip(gradients).zip(states) {
            let decays = shape.len() > 1;
            let step = WeightStep {
                config: &self.config,
                number: self.steps,
                lr,
                scale,
                decay: 1.0 - f64::from(u8::from(decays)) * lr * self.config.weight_decay,
            };
            let placeholder = Tensor::empty([1, 1], &weight.device());
            let held = std::mem::replace(weight, placeholder);
            *weight = state.step(held, gradient, step, workers)?;
        }
        Ok(norm)
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;
    use crate::ops;
    use crate::seed::Seed;

    const SHAPE: [usize; 2] = [64, 128];

    /// Trains `X W = Y` for 300 steps and gives the weights and the mean squared error.
    fn regression(kind: OptimKind, workers: usize) -> (Vec<f32>, f64) {
        let (device, mut rng) = (Device::flex(), Seed::new(13).rng());
        let mut normal = |shape| ops::normal_floats(shape, 1.0, &mut rng, &device);
        let inputs = normal([256, SHAPE[0]]);
        let targets = inputs.clone().matmul(normal(SHAPE)) + normal([256, SHAPE[1]]) * 0.1;
        let config = OptimConfig {
            kind,
            ..OptimConfig::default()
        };
        let mut optimizer = Optimizer::new(config, &[SHAPE.to_vec()], &device);
        let mut weights = [Tensor::zeros(SHAPE, &device)];
        let workers = Workers::new(workers);
        let error = |weight: &Tensor<2>| inputs.clone().matmul(weight.clone()) - targets.clone();
        for step in 0..300 {
            let gradient = inputs.clone().transpose().matmul(error(&weights[0])) / 256.0;
            let rate = 0.05 * (1.0 - f64::from(step) / 300.0);
            let norm = optimizer.step(&mut weights, vec![gradient], rate, &workers);
            assert!(norm.unwrap().is_finite());
        }
        let loss: f32 = error(&weights[0]).square().mean().into_scalar();
        let [weight] = weights;
        (ops::read_floats(weight).unwrap(), f64::from(loss))
    }

    #[test]
    fn every_kind_solves_a_regression() {
        // The noise leaves 0.01 · (256 − 64) / 256 = 0.0075; the start has 64.
        let (_, full) = regression(OptimKind::AdamW, 1);
        let (_, coded) = regression(OptimKind::AdamW8bit, 1);
        let (_, factored) = regression(OptimKind::Adafactor, 1);
        assert!(full < 0.01, "{full}");
        assert!((coded - full).abs() < 0.05 * full, "{coded}, not {full}");
        assert!(factored < 0.01, "{factored}");
    }

    #[test]
    fn a_run_repeats_and_does_not_depend_on_the_number_of_workers() {
        for kind in [OptimKind::AdamW8bit, OptimKind::Adafactor] {
            let (weights, _) = regression(kind, 1);
            assert!(weights == regression(kind, 1).0);
            assert!(weights == regression(kind, 3).0);
        }
    }

    #[test]
    fn a_long_gradient_is_clipped_and_only_matrices_decay() {
        let device = Device::flex();
        let config = OptimConfig {
            weight_decay: 0.5,
            max_grad_norm: 0.5,
            ..OptimConfig::default()
        };
        let mut optimizer = Optimizer::new(config, &[vec![1, 1], vec![1]], &device);
        let mut weights = [2.0, 2.0].map(|value| Tensor::full([1, 1], value, &device));
        let gradients = [3.0, 4.0].map(|value| Tensor::full([1, 1], value, &device));
        let workers = Workers::new(1);
        let norm = optimizer.step(&mut weights, gradients.to_vec(), 0.1, &workers);
        assert_eq!(norm.unwrap(), 5.0);
        // Adam's first step is the rate; the matrix decays by 0.1 · 0.5 · 2 = 0.1 before it.
        let [matrix, vector] = weights.map(|weight| weight.into_scalar::<f32>());
        assert!((matrix - 1.8).abs() < 1e-6 && (vector - 1.9).abs() < 1e-6);
        // A tenth of the gradient counts, of which the first moment takes a tenth.
        let [first] = [optimizer.states[0].values("first").unwrap()];
        assert!((first[0] - 0.03).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let device = Device::flex();
        let config = OptimConfig::default();
        let mut optimizer = Optimizer::new(config, &[vec![1, 2]], &device);
        let mut weights = [ops::floats(vec![1.0, 2.0], [1, 2], &device)];
        let gradient = ops::floats(vec![0.5, f32::NAN], [1, 2], &device);
        let workers = Workers::new(1);
        let stepped = optimizer.step(&mut weights, vec![gradient], 0.1, &workers);
        let message = stepped.unwrap_err().to_string();
        assert!(message.contains("is not a number"), "{message}");
        let [weight] = weights;
        assert_eq!(ops::read_floats(weight).unwrap(), [1.0, 2.0]);
        assert_eq!(optimizer.steps(), 0);
    }
}
