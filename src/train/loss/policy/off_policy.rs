//! Off-policy sequence masking: bad completions that the policy has left far behind teach nothing
//! (DeepSeek-V3.2, arXiv:2512.02556, eq. 9).

use burn::tensor::Tensor;

use super::ratio::{Ratios, masked_mean};
use crate::train::LossInput;

/// 0 for the tokens with negative advantage of sequences whose mean log-probability fell by more
/// than `threshold` since they were sampled, else 1; `[B, C]`.
///
/// A token whose log-probability the sampler did not give (NaN) counts as not moved.
pub(super) fn mask(
    input: &LossInput,
    ratios: &Ratios,
    advantages: &Tensor<2>,
    threshold: f64,
) -> Tensor<2> {
    let sampler = input.sampler_logprobs.as_ref();
    let sampler = sampler.unwrap_or(&ratios.old_logprobs).clone().inner();
    let fall = sampler - input.logprobs().inner();
    let unknown = fall.clone().is_nan();
    let fall = masked_mean(fall.mask_fill(unknown, 0.0), &input.mask.clone().inner());
    let fell = fall.greater_elem(threshold).expand(advantages.shape());
    let negative = advantages.clone().inner().lower_elem(0.0);
    fell.bool_and(negative).bool_not().float()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops;
    use crate::train::loss::RatioLevel;
    use crate::train::{LossTotals, Predictions, StepTotals};

    #[test]
    fn a_token_unknown_to_the_sampler_does_not_drop_its_sequence() {
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        let grid = |values: [f32; 4]| ops::floats(values.to_vec(), [2, 2], &device);
        let logprobs = grid([-1.0, -1.0, -1.0, -1.0]);
        let input = LossInput {
            predictions: Predictions::Tokens {
                logprobs: logprobs.clone(),
                entropies: logprobs.clone(),
            },
            mask: grid([1.0; 4]),
            advantages: None,
            old_logprobs: None,
            ref_logprobs: None,
            // Mean falls of (0.1 + 0) / 2 and (0.1 + 0.3) / 2.
            sampler_logprobs: Some(grid([-0.9, f32::NAN, -0.9, -0.7])),
            old_values: None,
            returns: None,
            sampler_ratio: None,
            entropy_mask: None,
            totals: LossTotals {
                step: StepTotals {
                    micro_batches: 1,
                    sequences: 2,
                    tokens: 4.0,
                },
                tokens: 4,
                entropy_tokens: 4,
            },
        };
        let ratios = Ratios::of(&input, RatioLevel::Token);
        let kept = mask(&input, &ratios, &grid([-1.0; 4]), 0.1);
        assert_eq!(ops::read_floats(kept).unwrap(), [1.0, 1.0, 0.0, 0.0]);
    }
}
