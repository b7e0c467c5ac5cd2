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

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops;
    use crate::train::{LossTotals, Predictions, StepTotals};

    /// Loss and gradient for values 1 and 3, returns 2 and 0, values of 0.9 and 1 at the rollout.
    fn loss(clip: Option<f64>) -> (f32, Vec<f32>) {
        let device = Device::flex();
        let grid = |values: [f32; 2]| ops::floats(values.to_vec(), [1, 2], &device);
        let leaf: Tensor<2> = grid([1.0, 3.0]).autodiff().require_grad();
        let step = StepTotals {
            micro_batches: 1,
            sequences: 1,
            tokens: 2.0,
        };
        let output = ValueLoss { clip }.loss(&LossInput {
            predictions: Predictions::Values(leaf.clone()),
            mask: grid([1.0, 1.0]),
            advantages: None,
            old_logprobs: None,
            ref_logprobs: None,
            sampler_logprobs: None,
            returns: Some(grid([2.0, 0.0])),
            old_values: Some(grid([0.9, 1.0])),
            sampler_ratio: None,
            entropy_mask: None,
            totals: LossTotals {
                step,
                tokens: 2,
                entropy_tokens: 2,
            },
        });
        let value = ops::read_floats(output.loss.clone().inner()).unwrap()[0];
        let gradient = leaf.grad(&output.loss.backward()).unwrap();
        (value, ops::read_floats(gradient).unwrap())
    }

    #[test]
    fn unclipped_it_is_half_the_mean_square() {
        // ½ (1 + 9) / 2, with gradients (V − R) / 2.
        assert_eq!(loss(None), (2.5, vec![-0.5, 1.5]));
    }

    #[test]
    fn the_worse_of_the_clipped_and_the_free_value_counts() {
        // The first moved by 0.1 and is free: 1. The second would be 1.2 clipped, whose square of
        // 1.44 is less than 9.
        assert_eq!(loss(Some(0.2)), (2.5, vec![-0.5, 1.5]));
        // The first is held at 0.95: 1.05² = 1.1025, without gradient.
        let (value, gradients) = loss(Some(0.05));
        assert!((value - 0.25 * (1.1025 + 9.0)).abs() < 1e-6);
        assert_eq!(gradients, [0.0, 1.5]);
    }
}
