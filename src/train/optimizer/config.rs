//! Settings of the optimiser.

use serde::{Deserialize, Serialize};

use super::state::StateLayout;
use crate::error::{Error, Result};
use crate::ops;
use crate::train::Schedule;

/// Weights of fewer numbers keep full moments under `adamw_8bit`, as in bitsandbytes.
const SMALLEST_CODED: usize = 4096;

/// How a weight moves along its gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimKind {
    /// AdamW (arXiv:1711.05101): two running means a weight, 8 bytes a number.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// AdamW with its means as block-wise 8-bit codes in the host's memory (arXiv:2110.02861):
    /// about 2 bytes a number. Weights of fewer than 4096 numbers keep full means.
    #[serde(rename = "adamw_8bit")]
    AdamW8bit,
    /// Adafactor (arXiv:1804.04235, algorithm 4) at the given rate, without a first moment: one
    /// number a row and one a column of a matrix. Clips each weight's update to a root mean square
    /// of 1.
    Adafactor,
}

/// Settings of the optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// `adamw`, `adamw_8bit` or `adafactor`.
    pub kind: OptimKind,
    /// Keeps AdamW's running means in the host's memory; they visit the device weight by weight. On
    /// the CPU, whose memory is the host's, this changes nothing.
    pub offload: bool,
    /// Peak learning rate. R1-Zero takes 3e-6 at 671 billion weights; small models want more.
    pub lr: f64,
    /// How the rate goes over the stage.
    pub schedule: Schedule,
    /// Steps of linear warm-up from 0.
    pub warmup_steps: usize,
    /// Where a falling schedule ends, as a share of `lr`, in [0, 1].
    pub final_lr_share: f64,
    /// Decay of the running mean of gradients, in [0, 1); AdamW only.
    pub beta1: f64,
    /// Decay of the running mean of squared gradients, in [0, 1); AdamW only.
    pub beta2: f64,
    /// Added to the root of the second mean; AdamW only.
    pub epsilon: f64,
    /// Decoupled decay of matrices; norm weights and biases do not decay.
    pub weight_decay: f64,
    /// Longest gradient, in the Euclidean norm over all weights; 0 does not clip.
    pub max_grad_norm: f64,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            kind: OptimKind::AdamW,
            offload: false,
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
    /// Names the first value out of range or without meaning for the kind of optimiser.
    pub fn validate(&self, key: &str) -> Result<()> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let decay = |value: f64| (0.0..1.0).contains(&value);
        let at_least_zero = |value: f64| value.is_finite() && value >= 0.0;
        let (zero_up, below_one) = ("must be 0 or more", "must be in [0, 1)");
        let checks = [
            ("lr", at_least_zero(self.lr), zero_up),
            (
                "final_lr_share",
                share(self.final_lr_share),
                "must be in [0, 1]",
            ),
            ("beta1", decay(self.beta1), below_one),
            ("beta2", decay(self.beta2), below_one),
            (
                "epsilon",
                self.epsilon.is_finite() && self.epsilon as f32 > 0.0,
                "must be above 0",
            ),
            ("weight_decay", at_least_zero(self.weight_decay), zero_up),
            ("max_grad_norm", at_least_zero(self.max_grad_norm), zero_up),
        ];
        let mut checks = checks.into_iter().chain(self.meanings());
        match checks.find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(Error::setting(format!("{key}.{field}"), problem)),
            None => Ok(()),
        }
    }

    /// Settings, whether each means something to the kind of optimiser, and what to do if not.
    fn meanings(&self) -> [(&'static str, bool, &'static str); 4] {
        let default = Self::default();
        let is_adam = self.kind != OptimKind::Adafactor;
        let unused = "means nothing to `adafactor`, leave it out";
        let offload = match self.kind {
            OptimKind::Adafactor => "means nothing to `adafactor`, whose state is small",
            _ => "means nothing to `adamw_8bit`, whose codes are in the host's memory",
        };
        [
            (
                "offload",
                !self.offload || self.kind == OptimKind::AdamW,
                offload,
            ),
            ("beta1", is_adam || self.beta1 == default.beta1, unused),
            ("beta2", is_adam || self.beta2 == default.beta2, unused),
            (
                "epsilon",
                is_adam || self.epsilon == default.epsilon,
                unused,
            ),
        ]
    }

    /// Learning rate of step `step`, counted from 0, of `steps`.
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        let share = self
            .schedule
            .share(step, steps, self.warmup_steps, self.final_lr_share);
        self.lr * share
    }

    /// Bytes of the optimiser's state over weights of these shapes, wherever it is kept.
    pub fn state_bytes(&self, shapes: &[Vec<usize>]) -> usize {
        let parts = shapes
            .iter()
            .flat_map(|shape| self.layout(shape).parts(shape));
        parts.map(|part| part.bytes()).sum()
    }

    /// Whether the state of large weights is kept in the host's memory on every device.
    pub fn keeps_state_on_host(&self) -> bool {
        self.offload || self.kind == OptimKind::AdamW8bit
    }

    /// What is kept of a weight of this shape.
    pub(super) fn layout(&self, shape: &[usize]) -> StateLayout {
        let numbers: usize = shape.iter().product();
        match self.kind {
            OptimKind::AdamW8bit if numbers >= SMALLEST_CODED => StateLayout::Codes,
            OptimKind::AdamW | OptimKind::AdamW8bit => StateLayout::Moments,
            OptimKind::Adafactor if shape.len() > 1 => StateLayout::RowAndColumn,
            OptimKind::Adafactor => StateLayout::Column,
        }
    }

    /// The numbers of AdamW's step number `step`, counted from 1, at rate `lr`.
    pub(super) fn adamw(&self, step: usize, scale: f64, decay: f64, lr: f64) -> ops::AdamWStep {
        let correction = |beta: f64| 1.0 - beta.powi(step as i32);
        ops::AdamWStep {
            gradient_scale: scale,
            decay,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            rate: lr / correction(self.beta1),
            root_scale: correction(self.beta2).sqrt(),
        }
    }
}

impl OptimKind {
    /// The name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::AdamW8bit => "adamw_8bit",
            Self::Adafactor => "adafactor",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_kind(kind: OptimKind) -> OptimConfig {
        OptimConfig {
            kind,
            ..OptimConfig::default()
        }
    }

    #[test]
    fn kinds_are_read_by_the_names_they_give() {
        for kind in [OptimKind::AdamW, OptimKind::AdamW8bit, OptimKind::Adafactor] {
            let text = format!("kind = \"{}\"", kind.name());
            let config: OptimConfig = toml::from_str(&text).unwrap();
            assert_eq!(config, of_kind(kind));
            config.validate("optim").unwrap();
        }
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        for (text, key) in [
            ("kind = 'adamw_8bit'\noffload = true", "optim.offload"),
            ("kind = 'adafactor'\noffload = true", "optim.offload"),
            ("kind = 'adafactor'\nbeta1 = 0.8", "optim.beta1"),
            ("kind = 'adafactor'\nbeta2 = 0.8", "optim.beta2"),
            ("kind = 'adafactor'\nepsilon = 1e-6", "optim.epsilon"),
            ("beta1 = 1.0", "optim.beta1"),
        ] {
            let config: OptimConfig = toml::from_str(text).unwrap();
            let message = config.validate("optim").unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
        let offloaded: OptimConfig = toml::from_str("offload = true").unwrap();
        offloaded.validate("optim").unwrap();
    }

    #[test]
    fn bytes_of_the_state_follow_from_the_shapes() {
        // A matrix of 100 x 50 = 5000 numbers in 20 blocks, and a vector of 50.
        let shapes = [vec![100, 50], vec![50]];
        let bytes = |kind| of_kind(kind).state_bytes(&shapes);
        assert_eq!(bytes(OptimKind::AdamW), 8 * 5050);
        assert_eq!(bytes(OptimKind::AdamW8bit), 2 * (5000 + 20 * 4) + 8 * 50);
        assert_eq!(bytes(OptimKind::Adafactor), 4 * (100 + 50) + 4 * 50);
    }
}
