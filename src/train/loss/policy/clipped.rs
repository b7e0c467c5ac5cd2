//! The clipped surrogate of `grpo`, `bnpo`, `dr_grpo`, `dapo` and `luspo`.
//!
//! A token loses `−min(min(ρ, δ) A, clip(ρ, 1 − ε_low, 1 + ε_high) A)` (PPO, arXiv:1707.06347; GRPO,
//! arXiv:2402.03300, eq. 3; `δ` from arXiv:2505.07291); with dual clip `c`, never more than `−c A`
//! where `A < 0` (arXiv:1912.09729).

use burn::tensor::Tensor;

use super::PolicyLossConfig;
use super::ratio::Ratios;
use super::surrogate::Surrogate;

/// Bounds of the ratio.
pub(super) struct Clip {
    low: f64,
    high: f64,
    delta: Option<f64>,
    dual: Option<f64>,
}

impl Clip {
    pub(super) fn of(config: &PolicyLossConfig) -> Self {
        Self {
            low: 1.0 - config.clip_low,
            high: 1.0 + config.clip_high(),
            delta: config.clip_delta,
            dual: config.clip_dual,
        }
    }

    pub(super) fn surrogate(&self, ratios: &Ratios, advantages: &Tensor<2>) -> Surrogate {
        let ratios = ratios.ratios.clone();
        let capped = match self.delta {
            Some(delta) => ratios.clone().clamp_max(delta),
            None => ratios.clone(),
        };
        let clipped = ratios.clamp(self.low, self.high) * advantages.clone();
        let unclipped = capped.clone() * advantages.clone();
        let mut token_loss = unclipped.min_pair(clipped).neg();
        let mut watched = self.held(capped, advantages).to_vec();
        if let Some(dual) = self.dual {
            let most = most_loss(advantages, dual);
            let held = token_loss.clone().inner().greater(most.clone()).float();
            watched.push(("clip_dual", held));
            token_loss = token_loss.min_pair(most);
        }
        Surrogate {
            token_loss,
            watched,
        }
    }

    /// 1 where the lower, and where the upper clip holds a token.
    fn held(&self, capped: Tensor<2>, advantages: &Tensor<2>) -> [(&'static str, Tensor<2>); 2] {
        let ratios = capped.inner();
        let advantages = advantages.clone().inner();
        let low = ratios.clone().lower_elem(self.low);
        let low = low.bool_and(advantages.clone().lower_elem(0.0));
        let high = ratios.greater_elem(self.high);
        let high = high.bool_and(advantages.greater_elem(0.0));
        [("clip_low", low.float()), ("clip_high", high.float())]
    }
}

/// `−c A` where `A < 0`, elsewhere no bound.
fn most_loss(advantages: &Tensor<2>, dual: f64) -> Tensor<2> {
    let advantages = advantages.clone().inner();
    let unbounded = advantages.clone().greater_equal_elem(0.0);
    (advantages * -dual).mask_fill(unbounded, f32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops;

    fn grid(values: [f32; 4]) -> Tensor<2> {
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        ops::floats(values.to_vec(), [1, 4], &device)
    }

    fn read(values: Tensor<2>) -> Vec<f32> {
        ops::read_floats(values).unwrap()
    }

    #[test]
    fn dual_clip_bounds_the_loss_and_stops_the_gradient_of_negative_advantages_only() {
        let clip = Clip {
            low: 0.8,
            high: 1.2,
            delta: None,
            dual: Some(3.0),
        };
        let leaf = grid([5.0, 2.0, 5.0, 0.5]).autodiff().require_grad();
        let ratios = Ratios {
            old_logprobs: grid([0.0; 4]),
            log_ratios: grid([0.0; 4]),
            ratios: leaf.clone(),
        };
        let Surrogate {
            token_loss,
            watched,
        } = clip.surrogate(&ratios, &grid([-0.5, -0.5, 0.5, -0.5]));
        // ρ = 5, A = −½: −min(−2.5, −0.6) = 2.5, held at 3 · ½ = 1.5.
        // ρ = 2, A = −½: −min(−1.0, −0.6) = 1.0, under the bound of 1.5.
        // ρ = 5, A = ½: −min(2.5, 0.6) = −0.6, by the ordinary clip.
        // ρ = ½, A = −½: −min(−0.25, −0.4) = 0.4, by the ordinary clip.
        let gradients = token_loss.clone().sum().backward();
        assert_eq!(read(token_loss.inner()), [1.5, 1.0, -0.6, 0.4]);
        let gradient = leaf.grad(&gradients).unwrap();
        assert_eq!(read(gradient), [0.0, 0.5, 0.0, 0.0]);
        let held = |name: &str| {
            let watched = watched.iter().find(|(found, _)| *found == name);
            read(watched.unwrap().1.clone())
        };
        assert_eq!(held("clip_dual"), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(held("clip_low"), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(held("clip_high"), [0.0, 0.0, 1.0, 0.0]);
    }
}
