//! KL in the reward: what a completion pays for leaving the reference model, token by token.
//!
//! With `d = log π - log π_ref` of a sampled token, the estimators of KL(π ‖ π_ref) are k1 = d,
//! k2 = d² / 2 and k3 = exp(-d) - 1 + d (Schulman, "Approximating KL divergence", 2020). Log π is the
//! policy's that sampled, so the penalty is a constant and carries no gradient. The exponent of k3 is
//! at most 20, which keeps it finite and touches no token that was really sampled.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A KL penalty that is part of the reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlPenalty {
    /// Factor of the penalty, at least 0. TRL's RLOO takes 0.05, verl 0.001.
    pub coef: f64,
    /// How KL is estimated. TRL's RLOO and verl take `k1`.
    #[serde(default)]
    pub estimator: KlEstimator,
}

/// An estimator of KL from one sample (<http://joschu.net/blog/kl-approx.html>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// The log-ratio: without bias, of either sign. As a loss it needs the importance correction:
    /// without it its expected gradient is 0.
    #[default]
    K1,
    /// Half its square: biased, little variance; as a loss its gradient is that of the divergence.
    K2,
    /// Without bias and never negative.
    K3,
}

impl KlPenalty {
    /// Checks the range; `key` names the table in the message.
    ///
    /// # Errors
    /// When the factor is negative or not finite.
    pub fn validate(&self, key: &str) -> Result<()> {
        if self.coef.is_finite() && self.coef >= 0.0 {
            return Ok(());
        }
        let problem = format!("is {}, must be 0 or more", self.coef);
        Err(Error::setting(format!("{key}.coef"), problem))
    }

    /// What each token pays: `coef` times its estimate of KL, to be subtracted from its reward.
    ///
    /// # Panics
    /// When the two have not as many tokens.
    pub fn penalties(&self, logprobs: &[f32], ref_logprobs: &[f32]) -> Vec<f32> {
        let (found, expected) = (ref_logprobs.len(), logprobs.len());
        assert!(
            found == expected,
            "{found} reference log-probabilities for {expected} tokens"
        );
        let pairs = logprobs.iter().zip(ref_logprobs);
        pairs
            .map(|(&logprob, &reference)| {
                let log_ratio = f64::from(logprob) - f64::from(reference);
                (self.coef * self.estimator.estimate(log_ratio)) as f32
            })
            .collect()
    }
}

impl KlEstimator {
    /// The estimate from a sampled token's `log π - log π_ref`.
    pub fn estimate(self, log_ratio: f64) -> f64 {
        match self {
            Self::K1 => log_ratio,
            Self::K2 => log_ratio * log_ratio / 2.0,
            Self::K3 => {
                let exponent = (-log_ratio).min(MOST_EXPONENT);
                exponent.exp_m1() + log_ratio
            }
        }
    }
}

/// Bound of an exponent.
const MOST_EXPONENT: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn penalty(estimator: KlEstimator, logprob: f32, reference: f32) -> f64 {
        let penalty = KlPenalty {
            coef: 0.5,
            estimator,
        };
        f64::from(penalty.penalties(&[logprob], &[reference])[0])
    }

    #[test]
    fn estimators_are_schulmans() {
        // d = -1 - -3 = 2: k1 2, k2 4 / 2, k3 e⁻² - 1 + 2 = 1.135335; halved.
        assert!((penalty(KlEstimator::K1, -1.0, -3.0) - 1.0).abs() < 1e-7);
        assert!((penalty(KlEstimator::K2, -1.0, -3.0) - 1.0).abs() < 1e-7);
        assert!((penalty(KlEstimator::K3, -1.0, -3.0) - 0.567_667_6).abs() < 1e-6);
        // d = -2: k3 e² - 1 - 2 = 4.389056.
        assert!((penalty(KlEstimator::K1, -3.0, -1.0) + 1.0).abs() < 1e-7);
        assert!((penalty(KlEstimator::K3, -3.0, -1.0) - 2.194_528).abs() < 1e-6);
    }

    #[test]
    fn token_that_the_policy_all_but_excludes_has_a_finite_penalty() {
        assert!(penalty(KlEstimator::K3, -900.0, 0.0).is_finite());
    }

    #[test]
    fn coefficient_below_0_is_refused() {
        let penalty = KlPenalty {
            coef: -0.1,
            estimator: KlEstimator::K1,
        };
        let message = penalty.validate("kl_in_reward").unwrap_err().to_string();
        assert_eq!(message, "`kl_in_reward.coef`: is -0.1, must be 0 or more");
    }
}
