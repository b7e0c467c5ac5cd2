//! The importance ratio: how much likelier a token is now than when the step began.
//!
//! By token `ρ = e^Δ` (PPO, arXiv:1707.06347); by sequence `ρ = e^mean(Δ)`, one for all tokens
//! (GSPO, arXiv:2507.18071).

use burn::tensor::Tensor;

use super::RatioLevel;
use crate::train::LossInput;

/// Bound of a log-ratio before its exponential is taken: `e^20` is far outside every clip, and no
/// infinity meets an advantage of 0.
pub(super) const MOST_LOG_RATIO: f64 = 20.0;

/// How the policy moved since the step began.
///
/// # Shapes
/// All `[B, C]`.
pub(super) struct Ratios {
    /// `log π_old`, without gradient.
    pub old_logprobs: Tensor<2>,
    /// `Δ = log π − log π_old` of each token, whatever the level.
    pub log_ratios: Tensor<2>,
    /// `ρ` of each token or of its sequence.
    pub ratios: Tensor<2>,
}

impl Ratios {
    /// The ratios of `input`; all 1, but with gradient, when it has no old log-probabilities.
    pub(super) fn of(input: &LossInput, level: RatioLevel) -> Self {
        let old_logprobs = match &input.old_logprobs {
            Some(old) => old.clone(),
            None => input.logprobs().detach(),
        };
        let log_ratios = input.logprobs() - old_logprobs.clone();
        let ratios = match level {
            RatioLevel::Token => bounded(log_ratios.clone()).exp(),
            RatioLevel::Sequence => {
                let mean = masked_mean(log_ratios.clone(), &input.mask);
                bounded(mean).exp().expand(log_ratios.shape())
            }
        };
        Self {
            old_logprobs,
            log_ratios,
            ratios,
        }
    }
}

/// Log-ratios within their bound.
pub(super) fn bounded(log_ratios: Tensor<2>) -> Tensor<2> {
    log_ratios.clamp(-MOST_LOG_RATIO, MOST_LOG_RATIO)
}

/// Mean over each row's counting tokens, `[B, 1]`.
pub(super) fn masked_mean(values: Tensor<2>, mask: &Tensor<2>) -> Tensor<2> {
    (values * mask.clone()).sum_dim(1) / mask.clone().sum_dim(1).clamp_min(1.0)
}
