//! The surrogate of `sapo`: a smooth gate in the place of the clip.
//!
//! A token loses `−A σ(τ (ρ − 1)) 4 / τ`, whose gradient is the policy gradient's at `ρ = 1` and
//! fades away from it, the faster the larger `τ` (SAPO, arXiv:2511.20347).

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::config::{POSITIVE, check, is_positive};
use super::ratio::Ratios;
use super::surrogate::Surrogate;
use crate::error::Result;

/// Temperatures `τ` of `sapo`'s gate (arXiv:2511.20347).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SapoConfig {
    /// Of tokens with positive advantage, above 0. TRL takes 1.
    pub positive: f64,
    /// Of all others, above 0. TRL takes 1.05.
    pub negative: f64,
}

impl Default for SapoConfig {
    fn default() -> Self {
        Self {
            positive: 1.0,
            negative: 1.05,
        }
    }
}

impl SapoConfig {
    pub(super) fn validate(&self, key: &str) -> Result<()> {
        check(
            key,
            &[
                ("positive", is_positive(self.positive), POSITIVE),
                ("negative", is_positive(self.negative), POSITIVE),
            ],
        )
    }

    pub(super) fn surrogate(&self, ratios: &Ratios, advantages: &Tensor<2>) -> Surrogate {
        let advantages = advantages.clone().inner();
        let positive = advantages.clone().greater_elem(0.0);
        let temperatures = advantages.full_like(self.negative);
        let temperatures = temperatures.mask_fill(positive, self.positive);
        let gate = activation::sigmoid((ratios.ratios.clone() - 1.0) * temperatures.clone());
        Surrogate {
            token_loss: (gate * 4.0 / temperatures * advantages).neg(),
            watched: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops;

    #[test]
    fn gradient_is_the_policy_gradients_where_the_policy_has_not_moved() {
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        let grid = |values: [f32; 2]| ops::floats(values.to_vec(), [1, 2], &device);
        let leaf = grid([1.0, 1.0]).autodiff().require_grad();
        let ratios = Ratios {
            old_logprobs: grid([0.0; 2]),
            log_ratios: grid([0.0; 2]),
            ratios: leaf.clone(),
        };
        let config = SapoConfig {
            positive: 2.0,
            negative: 4.0,
        };
        let Surrogate { token_loss, .. } = config.surrogate(&ratios, &grid([0.5, -0.25]));
        // σ(0) 4 / τ is 1 for τ = 2 and ½ for τ = 4; the slope σ'(0) τ 4 / τ is 1 for both.
        let gradients = token_loss.clone().sum().backward();
        assert_eq!(ops::read_floats(token_loss.inner()).unwrap(), [-0.5, 0.125]);
        let gradient = leaf.grad(&gradients).unwrap();
        assert_eq!(ops::read_floats(gradient).unwrap(), [-0.5, 0.25]);
    }
}
