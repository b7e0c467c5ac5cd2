//! The surrogate of `vespo`: sequences weigh by a gamma-shaped function of their importance weight.
//!
//! A token loses `−φ A log π` with `φ = e^(λ + k log w − λ w)` held constant, which is 1 at `w = 1`
//! and fades on both sides (VESPO, arXiv:2602.10693). `log w` sums `Δ` over the sequence's tokens,
//! and with a sampler's correction also that factor's logarithm; `(k, λ)` depend on the sign of `A`.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::config::{NOT_NEGATIVE, check, is_not_negative};
use super::ratio::Ratios;
use super::surrogate::Surrogate;
use crate::error::Result;
use crate::train::LossInput;

/// Bound of `|Δ|` of one token and of `log w`, nats.
const MAX_LOG_WEIGHT: f64 = 20.0;
/// Lower bound of `log w`: `log 1e-8`.
const MIN_LOG_WEIGHT: f64 = -18.420_680_743_952_367;
/// Lower bound of `λ`.
const MIN_LAMBDA: f64 = 1e-4;

/// Shape of `vespo`'s weight (arXiv:2602.10693).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VespoConfig {
    /// Power `k` where the advantage is not negative: how fast small importance weights fade. TRL
    /// takes 2.
    pub k_positive: f64,
    /// Decay `λ` where the advantage is not negative: how fast large importance weights fade. TRL
    /// takes 3.
    pub lambda_positive: f64,
    /// `k` where the advantage is negative. TRL takes 3.
    pub k_negative: f64,
    /// `λ` where the advantage is negative. TRL takes 2.
    pub lambda_negative: f64,
}

impl Default for VespoConfig {
    fn default() -> Self {
        Self {
            k_positive: 2.0,
            lambda_positive: 3.0,
            k_negative: 3.0,
            lambda_negative: 2.0,
        }
    }
}

impl VespoConfig {
    pub(super) fn validate(&self, key: &str) -> Result<()> {
        let rule = |name, value| (name, is_not_negative(value), NOT_NEGATIVE);
        check(
            key,
            &[
                rule("k_positive", self.k_positive),
                rule("lambda_positive", self.lambda_positive),
                rule("k_negative", self.k_negative),
                rule("lambda_negative", self.lambda_negative),
            ],
        )
    }

    pub(super) fn surrogate(
        &self,
        input: &LossInput,
        ratios: &Ratios,
        advantages: &Tensor<2>,
    ) -> Surrogate {
        let advantages = advantages.clone().inner();
        let weights = self.weights(log_weights(input, ratios), &advantages);
        Surrogate {
            token_loss: (input.logprobs() * (weights.clone() * advantages)).neg(),
            watched: vec![("vespo_weight", weights)],
        }
    }

    /// `φ` of each token, `[B, C]`, of `log w`, `[B, 1]`; 0 where it is not finite.
    fn weights(&self, log_weights: Tensor<2>, advantages: &Tensor<2>) -> Tensor<2> {
        let negative = advantages.clone().lower_elem(0.0);
        let by_sign = |positive: f64, otherwise: f64| {
            let all = advantages.full_like(positive);
            all.mask_fill(negative.clone(), otherwise)
        };
        let k = by_sign(self.k_positive, self.k_negative);
        let lambda = by_sign(
            self.lambda_positive.max(MIN_LAMBDA),
            self.lambda_negative.max(MIN_LAMBDA),
        );
        let weights = log_weights.clone().exp();
        let weights = (lambda.clone() + k * log_weights - lambda * weights).exp();
        let broken = weights.clone().is_finite().bool_not();
        weights.mask_fill(broken, 0.0)
    }
}

/// `log w` of each sequence, `[B, 1]`, without gradient.
fn log_weights(input: &LossInput, ratios: &Ratios) -> Tensor<2> {
    let mask = input.mask.clone().inner();
    let changes = ratios.log_ratios.clone().inner();
    let changes = changes.clamp(-MAX_LOG_WEIGHT, MAX_LOG_WEIGHT) * mask.clone();
    let mut sums = changes.sum_dim(1);
    if let Some(factors) = &input.sampler_ratio {
        let factors = factors.clone().inner();
        // A cell that holds no token holds no factor either: 0, and not 1 as an uncorrected token.
        let empty = mask.lower_equal_elem(0.0);
        let empty = empty.bool_and(factors.clone().lower_equal_elem(0.0));
        let logs = factors.mask_fill(empty, 1.0).log();
        sums = sums + logs.clamp(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT).sum_dim(1);
    }
    sums.clamp(MIN_LOG_WEIGHT, MAX_LOG_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops;

    fn weights(log_weight: f32, advantages: [f32; 2]) -> Vec<f32> {
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        let log_weights = ops::floats(vec![log_weight], [1, 1], &device);
        let advantages = ops::floats(advantages.to_vec(), [1, 2], &device);
        let weights = VespoConfig::default().weights(log_weights, &advantages);
        ops::read_floats(weights).unwrap()
    }

    #[test]
    fn weight_is_one_where_the_policy_has_not_moved() {
        assert_eq!(weights(0.0, [1.0, -1.0]), [1.0, 1.0]);
    }

    #[test]
    fn weight_depends_on_the_sign_of_the_advantage_and_zero_counts_as_positive() {
        // w = 2: e^(3 + 2 log 2 − 6) = 4 e^−3 and e^(2 + 3 log 2 − 4) = 8 e^−2.
        let [zero, negative] = weights(2.0_f32.ln(), [0.0, -1.0])[..] else {
            panic!("two tokens have two weights");
        };
        assert!((zero - 4.0 * (-3.0_f32).exp()).abs() < 1e-6, "{zero}");
        assert!(
            (negative - 8.0 * (-2.0_f32).exp()).abs() < 1e-6,
            "{negative}"
        );
    }
}
