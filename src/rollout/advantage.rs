//! Group-relative advantages: how much better a completion did than its siblings.
//!
//! `A_i = (r_i - mean(r)) / (std(r) + 1e-4)` over the completions of one prompt (GRPO, arXiv:2402.03300),
//! std with n - 1 and the floor as in TRL; Dr. GRPO (arXiv:2503.20783) drops the division. A completion
//! that no reward applies to is left out of mean and std and gets advantage 0. Computed in f64.

use serde::{Deserialize, Serialize};

/// What divides the centred reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardScale {
    /// Standard deviation of the group.
    #[default]
    Group,
    /// Standard deviation of the whole batch.
    Batch,
    /// Nothing: mean baseline only.
    None,
}

/// How several rewards become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardAggregation {
    /// The weighted sum is normalized.
    #[default]
    SumThenNormalize,
    /// Each reward is normalized in its group, the weighted sum of these over the batch (GDPO,
    /// arXiv:2601.05242); [`RewardScale`] has no say.
    NormalizeThenSum,
}

/// Advantages of a batch and what its rewards were like.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// One advantage per completion, in order.
    pub values: Vec<f32>,
    /// Mean and spread of the weighted sums of rewards.
    pub total: RewardStats,
    /// Mean and spread of each reward, unweighted, in order.
    pub parts: Vec<RewardStats>,
    /// Fraction of completions whose reward is divided by a standard deviation of 0: they teach
    /// nothing. Under [`RewardScale::None`], those in a group of equal rewards.
    pub zero_std_fraction: f64,
}

/// Mean and spread of a batch's rewards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardStats {
    /// Mean over the completions with a reward; `None` when there are none.
    pub mean: Option<f64>,
    /// Standard deviation with n - 1; `None` for fewer than two rewards.
    pub std: Option<f64>,
}

/// The advantages of `rewards[completion][reward]`, groups of `group_size` standing one after the other.
///
/// A reward of `None` is missing from its completion's sum.
///
/// # Panics
/// When the completions are no whole number of groups, a row is not as long as `weights`, or a reward
/// is not finite.
pub fn group_advantages(
    rewards: &[Vec<Option<f64>>],
    weights: &[f64],
    group_size: usize,
    scale: RewardScale,
    aggregation: RewardAggregation,
) -> Advantages {
    check(rewards, weights, group_size);
    let (values, zero_std_fraction) =
        normalize_by(scale, aggregation, rewards, weights, group_size, &[]);
    Advantages::new(rewards, weights, &values, zero_std_fraction)
}

impl Advantages {
    /// Advantages of `rewards`, 0 where there is none.
    pub(super) fn new(
        rewards: &[Vec<Option<f64>>],
        weights: &[f64],
        values: &[Option<f64>],
        zero_std_fraction: f64,
    ) -> Self {
        Self {
            values: values.iter().map(|a| a.unwrap_or(0.0) as f32).collect(),
            total: RewardStats::of(&weighted_sums(rewards, weights)),
            parts: (0..weights.len())
                .map(|part| RewardStats::of(&column(rewards, part)))
                .collect(),
            zero_std_fraction,
        }
    }
}

impl RewardStats {
    /// Of the rewards that are there.
    pub fn of(rewards: &[Option<f64>]) -> Self {
        let known: Vec<f64> = rewards.iter().copied().flatten().collect();
        let mean = mean(&known);
        let std = mean.and_then(|mean| standard_deviation(&known, mean));
        Self { mean, std }
    }
}

/// Added to a standard deviation before it divides.
const STD_FLOOR: f64 = 1e-4;

/// A standard deviation up to this counts as 0.
const ZERO_STD: f64 = 1e-8;

/// Panics unless the rewards are whole groups of finite rows as long as `weights`.
pub(super) fn check(rewards: &[Vec<Option<f64>>], weights: &[f64], group_size: usize) {
    let count = rewards.len();
    assert!(
        group_size > 0 && count.is_multiple_of(group_size),
        "{count} completions are no whole number of groups of {group_size}"
    );
    for (index, row) in rewards.iter().enumerate() {
        let (found, expected) = (row.len(), weights.len());
        assert!(
            found == expected,
            "completion {index} has {found} rewards for {expected} weights"
        );
        let is_finite = row.iter().flatten().all(|reward| reward.is_finite());
        assert!(
            is_finite,
            "completion {index} has a reward that is not finite: {row:?}"
        );
    }
}

/// The weighted sums of `rewards` normalized as the two settings say, and the fraction of them whose
/// standard deviation is 0; `penalties`, one per completion or none, are subtracted from the sums.
pub(super) fn normalize_by(
    scale: RewardScale,
    aggregation: RewardAggregation,
    rewards: &[Vec<Option<f64>>],
    weights: &[f64],
    group_size: usize,
    penalties: &[f64],
) -> (Vec<Option<f64>>, f64) {
    match aggregation {
        RewardAggregation::SumThenNormalize => {
            let sums = penalized_sums(rewards, weights, penalties);
            normalize(&sums, group_size, scale)
        }
        RewardAggregation::NormalizeThenSum => {
            let normalized = normalize_columns(rewards, group_size);
            normalize_batch(&penalized_sums(&normalized, weights, penalties))
        }
    }
}

/// The centred and divided rewards, and the fraction of them whose standard deviation is 0.
pub(super) fn normalize(
    rewards: &[Option<f64>],
    group_size: usize,
    scale: RewardScale,
) -> (Vec<Option<f64>>, f64) {
    let batch = RewardStats::of(rewards);
    let mut normalized = Vec::with_capacity(rewards.len());
    let mut zero_std_count = 0;
    for group in rewards.chunks(group_size) {
        let RewardStats { mean, std } = RewardStats::of(group);
        let std = match scale {
            RewardScale::Group | RewardScale::None => std,
            RewardScale::Batch => batch.std,
        };
        let divisor = match scale {
            RewardScale::Group | RewardScale::Batch => std.unwrap_or(0.0) + STD_FLOOR,
            RewardScale::None => 1.0,
        };
        let centred = |reward: &Option<f64>| Some((*reward)? - mean?);
        normalized.extend(group.iter().map(|reward| Some(centred(reward)? / divisor)));
        if std.is_some_and(|std| std <= ZERO_STD) {
            zero_std_count += group.len();
        }
    }
    let zero_std_fraction = zero_std_count as f64 / rewards.len().max(1) as f64;
    (normalized, zero_std_fraction)
}

/// The rewards normalized over all of them, and the fraction whose standard deviation is 0.
pub(super) fn normalize_batch(rewards: &[Option<f64>]) -> (Vec<Option<f64>>, f64) {
    normalize(rewards, rewards.len().max(1), RewardScale::Group)
}

/// Each reward normalized in its group.
fn normalize_columns(rewards: &[Vec<Option<f64>>], group_size: usize) -> Vec<Vec<Option<f64>>> {
    let mut normalized = rewards.to_vec();
    let part_count = rewards.first().map_or(0, Vec::len);
    for part in 0..part_count {
        let (values, _) = normalize(&column(rewards, part), group_size, RewardScale::Group);
        for (row, value) in normalized.iter_mut().zip(values) {
            row[part] = value;
        }
    }
    normalized
}

pub(super) fn column(rewards: &[Vec<Option<f64>>], part: usize) -> Vec<Option<f64>> {
    rewards.iter().map(|row| row[part]).collect()
}

/// `Σ_k w_k · r_k` of every row over the rewards it has; `None` for a row without any.
pub(super) fn weighted_sums(rewards: &[Vec<Option<f64>>], weights: &[f64]) -> Vec<Option<f64>> {
    let weighted_sum = |row: &Vec<Option<f64>>| {
        let products = row.iter().zip(weights);
        products
            .filter_map(|(reward, weight)| Some((*reward)? * weight))
            .reduce(|sum, product| sum + product)
    };
    rewards.iter().map(weighted_sum).collect()
}

/// The weighted sums of `rewards` less `penalties`, one per completion or none.
pub(super) fn penalized_sums(
    rewards: &[Vec<Option<f64>>],
    weights: &[f64],
    penalties: &[f64],
) -> Vec<Option<f64>> {
    let mut sums = weighted_sums(rewards, weights);
    for (sum, penalty) in sums.iter_mut().zip(penalties) {
        *sum = sum.map(|sum| sum - penalty);
    }
    sums
}

/// The mean, taken about the first value so that equal values deviate by exactly 0.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    let deviations: f64 = values.iter().map(|value| value - first).sum();
    Some(first + deviations / values.len() as f64)
}

/// The standard deviation with n - 1; `None` for fewer than two values.
pub(super) fn standard_deviation(values: &[f64], mean: f64) -> Option<f64> {
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advantages(
        rewards: &[Option<f64>],
        group_size: usize,
        scale: RewardScale,
        aggregation: RewardAggregation,
    ) -> Advantages {
        let rows: Vec<_> = rewards.iter().map(|reward| vec![*reward]).collect();
        group_advantages(&rows, &[1.0], group_size, scale, aggregation)
    }

    fn by_group(rewards: &[Option<f64>], group_size: usize) -> Advantages {
        let (scale, aggregation) = Default::default();
        advantages(rewards, group_size, scale, aggregation)
    }

    fn assert_close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn group_of_equal_rewards_has_zero_advantage() {
        let all = by_group(&[Some(0.1); 3], 3);
        assert_eq!(all.values, [0.0; 3]);
        assert_eq!(all.zero_std_fraction, 1.0);
    }

    #[test]
    fn group_scale_divides_by_the_groups_deviation() {
        // Mean 1, squares 1 + 1 over n - 1 = 1: std √2.
        let all = by_group(&[Some(0.0), Some(2.0), Some(5.0), Some(5.0)], 2);
        let expected = 1.0 / (2_f64.sqrt() + 1e-4);
        assert_close(&all.values, &[-expected, expected, 0.0, 0.0]);
        assert_eq!(all.zero_std_fraction, 0.5);
        assert_eq!(all.total.mean, Some(3.0));
    }

    #[test]
    fn batch_scale_centres_by_group_and_divides_by_the_batch() {
        // Mean of all 3, squares 9 + 1 + 4 + 4 = 18 over 3: std √6; group means 1 and 5.
        let rewards = [Some(0.0), Some(2.0), Some(5.0), Some(5.0)];
        let all = advantages(&rewards, 2, RewardScale::Batch, Default::default());
        let expected = 1.0 / (6_f64.sqrt() + 1e-4);
        assert_close(&all.values, &[-expected, expected, 0.0, 0.0]);
        assert_eq!(all.zero_std_fraction, 0.0);
    }

    #[test]
    fn no_scale_only_centres() {
        let rewards = [Some(0.0), Some(2.0), Some(5.0), Some(5.0)];
        let all = advantages(&rewards, 2, RewardScale::None, Default::default());
        assert_close(&all.values, &[-1.0, 1.0, 0.0, 0.0]);
        assert_eq!(all.zero_std_fraction, 0.5);
    }

    #[test]
    fn completion_without_rewards_is_left_out() {
        // Mean and std are those of 0 and 2.
        let all = by_group(&[Some(0.0), None, Some(2.0)], 3);
        let expected = 1.0 / (2_f64.sqrt() + 1e-4);
        assert_close(&all.values, &[-expected, 0.0, expected]);
        assert_eq!(all.total.mean, Some(1.0));
    }

    #[test]
    fn group_without_rewards_has_zero_advantage() {
        let all = by_group(&[None, None], 2);
        assert_eq!(all.values, [0.0, 0.0]);
        assert_eq!(
            all.total,
            RewardStats {
                mean: None,
                std: None
            }
        );
        assert_eq!(all.zero_std_fraction, 0.0);
    }

    #[test]
    fn missing_reward_counts_nothing_in_its_completions_sum() {
        // Sums 1 · 2 + 0.5 · 2 = 3 and 0.5 · 2 = 1.
        let rows = [vec![Some(2.0), Some(2.0)], vec![None, Some(2.0)]];
        let (scale, aggregation) = (RewardScale::None, Default::default());
        let all = group_advantages(&rows, &[1.0, 0.5], 2, scale, aggregation);
        assert_close(&all.values, &[1.0, -1.0]);
        assert_eq!(all.parts[0].mean, Some(2.0));
        assert_eq!(all.parts[0].std, None);
    }

    #[test]
    fn normalized_rewards_weigh_the_same_whatever_their_range() {
        // Each column normalizes to ∓1/√2, so with equal weights the opposite columns cancel.
        let rows = [vec![Some(0.0), Some(1000.0)], vec![Some(100.0), Some(0.0)]];
        let aggregation = RewardAggregation::NormalizeThenSum;
        let all = group_advantages(&rows, &[1.0, 1.0], 2, RewardScale::Group, aggregation);
        assert!(all.values.iter().all(|advantage| advantage.abs() < 0.02));
        let aggregation = RewardAggregation::SumThenNormalize;
        let all = group_advantages(&rows, &[1.0, 1.0], 2, RewardScale::Group, aggregation);
        assert!(all.values[0] > 0.7);
    }

    #[test]
    fn empty_batch_has_no_advantages() {
        for aggregation in [
            RewardAggregation::SumThenNormalize,
            RewardAggregation::NormalizeThenSum,
        ] {
            let all = advantages(&[], 4, RewardScale::Group, aggregation);
            assert!(all.values.is_empty());
            assert_eq!(all.zero_std_fraction, 0.0);
        }
    }

    #[test]
    #[should_panic(expected = "3 completions are no whole number of groups of 2")]
    fn broken_group_is_our_bug() {
        by_group(&[None; 3], 2);
    }
}
