//! Dynamic sampling: groups whose completions all earn the same are dropped and others asked for
//! (DAPO, arXiv:2503.14476, eq. 11).
//!
//! As in verl's `filter_groups`, rewards are compared as graded: before any KL penalty.

use serde::{Deserialize, Serialize};

use super::RewardAggregation;
use super::advantage::{column, weighted_sums};
use crate::error::{Error, Result};

/// Settings of dynamic sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicSampling {
    /// Most rounds of rollouts a step may take to fill its groups, the first included; at least 1.
    /// verl's recipe takes 10.
    pub max_rounds: usize,
}

impl Default for DynamicSampling {
    fn default() -> Self {
        Self { max_rounds: 10 }
    }
}

impl DynamicSampling {
    /// Checks the range; `key` names the table in the message.
    ///
    /// # Errors
    /// When there is no round.
    pub fn validate(&self, key: &str) -> Result<()> {
        if self.max_rounds == 0 {
            let problem = "is 0, must be at least 1";
            return Err(Error::setting(format!("{key}.max_rounds"), problem));
        }
        Ok(())
    }
}

/// Whether one group of `rewards[completion][reward]` teaches anything: some completion earns more
/// than another.
///
/// Completions without rewards are passed over; a group of fewer than two others teaches nothing.
/// Where each reward is normalized by itself it is enough that one of them differs.
pub fn teaches(
    rewards: &[Vec<Option<f64>>],
    weights: &[f64],
    aggregation: RewardAggregation,
) -> bool {
    match aggregation {
        RewardAggregation::SumThenNormalize => differ(&weighted_sums(rewards, weights)),
        RewardAggregation::NormalizeThenSum => weights
            .iter()
            .enumerate()
            .any(|(part, weight)| *weight != 0.0 && differ(&column(rewards, part))),
    }
}

/// Rewards that differ by no more than this are equal.
const EQUAL: f64 = 1e-8;

fn differ(rewards: &[Option<f64>]) -> bool {
    let known = || rewards.iter().copied().flatten();
    let most = known().fold(f64::NEG_INFINITY, f64::max);
    let least = known().fold(f64::INFINITY, f64::min);
    most - least > EQUAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn teach(rewards: &[Option<f64>]) -> bool {
        let rows: Vec<_> = rewards.iter().map(|reward| vec![*reward]).collect();
        teaches(&rows, &[1.0], RewardAggregation::SumThenNormalize)
    }

    #[test]
    fn group_of_equal_rewards_teaches_nothing() {
        assert!(!teach(&[Some(1.0), Some(1.0)]));
        assert!(!teach(&[Some(1.0), Some(1.0 + 1e-9)]));
        assert!(teach(&[Some(1.0), Some(1.0 + 1e-6)]));
        assert!(teach(&[Some(0.0), Some(0.0), Some(1.0)]));
    }

    #[test]
    fn completions_without_rewards_are_passed_over() {
        assert!(!teach(&[]));
        assert!(!teach(&[None, None]));
        assert!(!teach(&[None, Some(1.0), None]));
        assert!(!teach(&[Some(1.0), None, Some(1.0)]));
        assert!(teach(&[Some(1.0), None, Some(0.0)]));
    }

    #[test]
    fn parts_that_cancel_teach_only_where_each_is_normalized() {
        let rows = [vec![Some(1.0), Some(0.0)], vec![Some(0.0), Some(1.0)]];
        let (sum, each) = (
            RewardAggregation::SumThenNormalize,
            RewardAggregation::NormalizeThenSum,
        );
        assert!(!teaches(&rows, &[1.0, 1.0], sum));
        assert!(teaches(&rows, &[1.0, 1.0], each));
        assert!(teaches(&rows, &[1.0, 0.0], sum));
        assert!(!teaches(&rows, &[0.0, 0.0], each));
    }

    #[test]
    fn no_rounds_are_refused() {
        let message = DynamicSampling { max_rounds: 0 }.validate("dynamic_sampling");
        let message = message.unwrap_err().to_string();
        assert_eq!(
            message,
            "`dynamic_sampling.max_rounds`: is 0, must be at least 1"
        );
    }
}
