//! Estimates of the divergence from the reference, from one token's log-probabilities.
//!
//! With `d = log π_ref − log π`: `k1 = −d`, `k2 = d² / 2`, `k3 = e^d − d − 1`
//! (<http://joschu.net/blog/kl-approx.html>; GRPO takes k3, arXiv:2402.03300, eq. 4).

use burn::tensor::Tensor;

use super::ratio::bounded;
use crate::rollout::KlEstimator;

/// The estimate of each token's divergence, in the shape of `logprobs`.
pub(super) fn estimate(
    estimator: KlEstimator,
    logprobs: Tensor<2>,
    ref_logprobs: Tensor<2>,
) -> Tensor<2> {
    match estimator {
        KlEstimator::K1 => logprobs - ref_logprobs,
        KlEstimator::K2 => (logprobs - ref_logprobs).square() * 0.5,
        KlEstimator::K3 => {
            let gap = ref_logprobs - logprobs;
            bounded(gap.clone()).exp() - gap - 1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops;

    /// Values and gradients at `log π = −1.5` and `−2.25` with `log π_ref = −2`.
    fn estimates(estimator: KlEstimator) -> [Vec<f32>; 2] {
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        let grid = |values: [f32; 2]| ops::floats(values.to_vec(), [1, 2], &device);
        let leaf: Tensor<2> = grid([-1.5, -2.25]).autodiff().require_grad();
        let estimate = super::estimate(estimator, leaf.clone(), grid([-2.0, -2.0]));
        let gradients = estimate.clone().sum().backward();
        [estimate.inner(), leaf.grad(&gradients).unwrap()].map(|t| ops::read_floats(t).unwrap())
    }

    #[test]
    fn k1_is_the_difference_and_k2_half_its_square() {
        // Differences of ½ and −¼.
        let [values, gradients] = estimates(KlEstimator::K1);
        assert_eq!(values, [0.5, -0.25]);
        assert_eq!(gradients, [1.0, 1.0]);
        let [values, gradients] = estimates(KlEstimator::K2);
        assert_eq!(values, [0.125, 0.03125]);
        assert_eq!(gradients, [0.5, -0.25]);
    }

    #[test]
    fn k3_is_positive_on_both_sides_with_the_gradient_of_one_minus_the_ratio() {
        let [values, gradients] = estimates(KlEstimator::K3);
        let gaps = [-0.5_f32, 0.25];
        for ((value, gradient), gap) in values.iter().zip(gradients).zip(gaps) {
            assert!((value - (gap.exp() - gap - 1.0)).abs() < 1e-6, "{value}");
            assert!((gradient - (1.0 - gap.exp())).abs() < 1e-6, "{gradient}");
        }
    }
}
