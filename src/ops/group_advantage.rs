//! Group-relative advantages of a batch of rewards, on the device.
//!
//! `A_gi = (r_gi − mean_i r_gi) / (σ + 1e-4)` (GRPO, arXiv:2402.03300): σ is the standard deviation
//! with n − 1 of the group or of the whole batch, or nothing divides (Dr. GRPO, arXiv:2503.20783). A
//! reward that is NaN is missing: it counts nowhere and its advantage is 0. As in
//! `rollout::group_advantages`, but in f32. No gradient flows.

#[cfg(feature = "wgpu")]
mod wgsl;

use burn::tensor::Tensor;

use super::shader;

/// What divides the centred rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvantageDivisor {
    /// Standard deviation of the group, plus 1e-4.
    GroupStd,
    /// Standard deviation of the whole batch, plus 1e-4.
    BatchStd,
    /// Nothing.
    None,
}

/// Added to a standard deviation before it divides.
const STD_FLOOR: f64 = 1e-4;

/// One advantage a reward.
///
/// # Shapes
/// `rewards` `[groups, group_size]`, `f32`, without autodiff; returns the same.
pub fn group_advantage(rewards: Tensor<2>, divisor: AdvantageDivisor) -> Tensor<2> {
    let is_empty = rewards.dims().contains(&0);
    if is_empty || !shader::compiles_wgsl(&rewards.device()) {
        return group_advantage_reference(rewards, divisor);
    }
    shaded(rewards, divisor)
}

/// The same from plain tensor functions: what every device must agree with.
///
/// # Shapes
/// As [`group_advantage`].
pub fn group_advantage_reference(rewards: Tensor<2>, divisor: AdvantageDivisor) -> Tensor<2> {
    let [groups, group_size] = rewards.dims();
    if groups == 0 || group_size == 0 {
        return rewards;
    }
    let missing = rewards.clone().is_nan();
    let present = missing.clone().bool_not().float();
    let rewards = rewards.mask_fill(missing, f32::MAX);
    let (centred, deviation) = moments(rewards.clone(), present.clone());
    match divisor {
        AdvantageDivisor::GroupStd => centred / (deviation + STD_FLOOR),
        AdvantageDivisor::BatchStd => {
            let flat = |tensor: Tensor<2>| tensor.reshape([1, groups * group_size]);
            let (_, deviation) = moments(flat(rewards), flat(present));
            centred / (deviation + STD_FLOOR)
        }
        AdvantageDivisor::None => centred,
    }
}

/// The present rewards less each row's mean, 0 elsewhere, and each row's standard deviation; rewards
/// that are not present are the largest number.
///
/// Means are taken of rewards less the least of their row, so that equal rewards come to 0 exactly.
fn moments(rewards: Tensor<2>, present: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let count = present.clone().sum_dim(1);
    let least = rewards.clone().min_dim(1);
    let rewards = (rewards - least) * present.clone();
    let mean = rewards.clone().sum_dim(1) / count.clone().clamp_min(1.0);
    let centred = (rewards - mean) * present;
    let squares = centred.clone().square().sum_dim(1);
    let deviation = (squares / (count - 1.0).clamp_min(1.0)).sqrt();
    (centred, deviation)
}

#[cfg(feature = "wgpu")]
fn shaded(rewards: Tensor<2>, divisor: AdvantageDivisor) -> Tensor<2> {
    use burn::backend::Dispatch;

    use self::wgsl::GroupAdvantageBackend;

    Tensor::from_dispatch(Dispatch::group_advantage(rewards.into_dispatch(), divisor))
}

#[cfg(not(feature = "wgpu"))]
fn shaded(rewards: Tensor<2>, divisor: AdvantageDivisor) -> Tensor<2> {
    group_advantage_reference(rewards, divisor)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops::{floats, read_floats};

    fn advantages(rewards: &[f32], groups: usize, divisor: AdvantageDivisor) -> Vec<f32> {
        let shape = [groups, rewards.len() / groups];
        let rewards = floats(rewards.to_vec(), shape, &Device::flex());
        read_floats(group_advantage(rewards, divisor)).unwrap()
    }

    #[test]
    fn missing_reward_counts_nowhere() {
        // Mean 2, deviations -1, 1: variance 2 / 1.
        let found = advantages(&[1.0, f32::NAN, 3.0], 1, AdvantageDivisor::GroupStd);
        let expected = 1.0 / (2.0_f32.sqrt() + 1e-4);
        assert!((found[2] - expected).abs() < 1e-6, "{found:?}");
        assert_eq!((found[0], found[1]), (-found[2], 0.0));
    }

    #[test]
    fn batch_std_spans_groups_but_means_do_not() {
        // Means 1 and 5; over the batch mean 3, squares 9 + 1 + 1 + 9 = 20 over 3.
        let found = advantages(&[0.0, 2.0, 4.0, 6.0], 2, AdvantageDivisor::BatchStd);
        let divisor = (20.0_f32 / 3.0).sqrt() + 1e-4;
        for (found, centred) in found.iter().zip([-1.0, 1.0, -1.0, 1.0]) {
            assert!((found - centred / divisor).abs() < 1e-6);
        }
    }

    #[test]
    fn lone_and_equal_rewards_give_zeros() {
        for divisor in [
            AdvantageDivisor::GroupStd,
            AdvantageDivisor::BatchStd,
            AdvantageDivisor::None,
        ] {
            assert_eq!(advantages(&[3.5], 1, divisor), [0.0]);
            assert_eq!(advantages(&[1.0, 1.0, 1.0], 1, divisor), [0.0; 3]);
            assert_eq!(advantages(&[f32::NAN; 2], 1, divisor), [0.0; 2]);
        }
    }
}
