//! The loss of a critic: squared distance to the return, clipped around the value at the rollout.
//!
//! A token loses `½ max((V − R)², (clip(V, V_old ± ε) − R)²)` (PPO as in arXiv:2005.12729; TRL's
//! `cliprange_value`), the mean over the step's tokens is taken.

use burn::tensor::Tensor;

use crate::train::{LossInput, LossOutput, Objective};

/// The objective of a critic.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValueLoss {
    /// How far a value may move before its loss stops falling; none does not clip.
    pub clip: Option<f64>,
}

impl Objective for ValueLoss {
    fn loss(&self, input: &LossInput) -> LossOutput {
        let returns = input.returns.clone().expect("a critic learns returns");
        let values = input.values();
        let square = |values: Tensor<2>| (values - returns.clone()).square();
        let unclipped = square(values.clone());
        let loss = match (self.clip, &input.old_values) {
            (Some(clip), Some(old)) => {
                let moved = values.clone() - old.clone();
                let clipped = square(old.clone() + moved.clamp(-clip, clip));
                unclipped.clone().max_pair(clipped)
            }
            _ => unclipped.clone(),
        };
        let sum = |values: Tensor<2>| (values.inner() * input.mask.clone().inner()).sum();
        let tokens = input.totals.step.tokens.max(1.0);
        LossOutput {
            loss: (loss * input.mask.clone()).sum() * 0.5 / tokens,
            sums: vec![
                ("value", sum(values)),
                ("value_error", sum(unclipped)),
                ("return", sum(returns)),
            ],
        }
    }
}
