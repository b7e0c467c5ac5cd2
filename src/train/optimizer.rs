//! AdamW with decoupled weight decay (arXiv:1711.05101), in torch's order of operations.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::error::{Error, Result};

/// Settings of the optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Peak learning rate. R1-Zero takes 3e-6 at 671 billion weights; small models want more.
    pub lr: f64,
    /// How the rate goes over the stage.
    pub schedule: Schedule,
    /// Steps of linear warm-up from 0.
    pub warmup_steps: usize,
    /// Where a falling schedule ends, as a share of `lr`, in [0, 1].
    pub final_lr_share: f64,
    /// Decay of the running mean of gradients, in [0, 1).
    pub beta1: f64,
    /// Decay of the running mean of squared gradients, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second mean.
    pub epsilon: f64,
    /// Decoupled decay of matrices; norm weights and biases do not decay.
    pub weight_decay: f64,
    /// Longest gradient, in the Euclidean norm over all weights; 0 does not clip.
    pub max_grad_norm: f64,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 1e-6,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            final_lr_share: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
        }
    }
}

impl OptimConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let at_least_zero = |value: f64| value.is_finite() && value >= 0.0;
        let checks = [
            ("lr", at_least_zero(self.lr), "must be 0 or more"),
            (
                "final_lr_share",
                share(self.final_lr_share),
                "must be in [0, 1]",
            ),
            (
                "beta1",
                share(self.beta1) && self.beta1 < 1.0,
                "must be in [0, 1)",
            ),
            (
                "beta2",
                share(self.beta2) && self.beta2 < 1.0,
                "must be in [0, 1)",
            ),
            ("epsilon", at_least_zero(self.epsilon), "must be 0 or more"),
            (
                "weight_decay",
                at_least_zero(self.weight_decay),
                "must be 0 or more",
            ),
            (
                "max_grad_norm",
                at_least_zero(self.max_grad_norm),
                "must be 0 or more",
            ),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(Error::setting(format!("{key}.{field}"), problem)),
            None => Ok(()),
        }
    }

    /// Learning rate of step `step`, counted from 0, of `steps`.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let share = self
            .schedule
            .share(step, steps, self.warmup_steps, self.final_lr_share);
        self.lr * share
    }
}

/// The optimiser's state: two running means a weight and the number of steps taken.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Steps taken.
    pub steps: usize,
    /// Running means of gradients.
    pub first: Vec<Tensor<2>>,
    /// Running means of squared gradients.
    pub second: Vec<Tensor<2>>,
}

/// One weight with all that its update reads and writes.
pub(super) struct Update {
    pub weight: Tensor<2>,
    pub gradient: Tensor<2>,
    pub first: Tensor<2>,
    pub second: Tensor<2>,
    /// Whether the weight decays.
    pub decays: bool,
}

impl AdamW {
    /// The state before the first step.
    pub fn new(weights: &[Tensor<2>]) -> Self {
        let zeros = || weights.iter().map(Tensor::zeros_like).collect();
        Self {
            steps: 0,
            first: zeros(),
            second: zeros(),
        }
    }
}

impl Update {
    /// The weight and means after step number `step`, counted from 1, at rate `lr`.
    pub(super) fn apply(self, config: &OptimConfig, lr: f64, step: usize) -> [Tensor<2>; 3] {
        let (beta1, beta2) = (config.beta1, config.beta2);
        let correction1 = 1.0 - beta1.powi(step as i32);
        let correction2 = 1.0 - beta2.powi(step as i32);
        let weight = match self.decays && config.weight_decay > 0.0 {
            true => self.weight * (1.0 - lr * config.weight_decay),
            false => self.weight,
        };
        let first = self.first * beta1 + self.gradient.clone() * (1.0 - beta1);
        let second = self.second * beta2 + self.gradient.square() * (1.0 - beta2);
        let root = second.clone().sqrt() / correction2.sqrt() + config.epsilon;
        let weight = weight - first.clone() / root * (lr / correction1);
        [weight, first, second]
    }
}
