//! Advantage estimators: what a completion's rewards are compared with, and how far that reaches.
//!
//! With `r_i` the weighted sum of a completion's rewards, `n` its group's completions that have one:
//!
//! | kind | advantage | as in |
//! |---|---|---|
//! | `group` | `r_i` normalized in its group ([`group_advantages`](super::group_advantages)) | GRPO, arXiv:2402.03300; TRL's `GRPOTrainer` |
//! | `leave_one_out` | `r_i` - mean of the others `= (r_i - mean) · n / (n - 1)` | RLOO, arXiv:2402.14740; TRL's `RLOOTrainer` |
//! | `reinforce_plus_plus` | return of each token, whitened over the batch | REINFORCE++, arXiv:2501.03262; verl |
//! | `reinforce_plus_plus_baseline` | `r_i - mean` on each token, whitened over the batch | the same paper's second form; verl |
//!
//! KL in the reward: `reinforce_plus_plus` takes each token's penalty where it falls, the others
//! subtract the sum over the completion from `r_i` before any mean, as TRL's RLOO and verl do. With
//! [`RewardAggregation::NormalizeThenSum`] it is subtracted from the sum of the normalized rewards.
//! OpenRLHF differs: it takes token penalties after the baselines of `leave_one_out` and
//! `reinforce_plus_plus_baseline`, and whitens with variance over n. A completion without rewards has
//! advantage 0 and is left out of every mean.

use serde::{Deserialize, Serialize};

use super::advantage::{
    check, normalize, normalize_batch, normalize_by, penalized_sums, weighted_sums,
};
use super::{Advantages, RewardAggregation, RewardScale, returns, token_rewards, whiten};
use crate::error::{Error, Result};

/// How advantages come from rewards; the file's head has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdvantageEstimator {
    /// Against the group's mean (GRPO).
    Group {
        /// What divides the centred reward.
        #[serde(default)]
        scale_rewards: RewardScale,
        /// How several rewards become one.
        #[serde(default)]
        aggregation: RewardAggregation,
    },
    /// Against the mean of the group's other completions (RLOO).
    LeaveOneOut {
        /// Shifts and scales the batch's advantages to mean 0 and standard deviation 1, with n - 1 and
        /// 1e-4 added to it, as TRL's setting of that name.
        #[serde(default)]
        normalize_advantages: bool,
    },
    /// Against the batch (REINFORCE++); groups have no say.
    ReinforcePlusPlus {
        /// What a reward is worth one token earlier, 0 to 1. The paper takes 1.
        #[serde(default = "one")]
        gamma: f64,
    },
    /// Against the group's mean, then the batch (REINFORCE++-baseline).
    ReinforcePlusPlusBaseline {},
}

impl Default for AdvantageEstimator {
    fn default() -> Self {
        Self::Group {
            scale_rewards: RewardScale::default(),
            aggregation: RewardAggregation::default(),
        }
    }
}

fn one() -> f64 {
    1.0
}

/// What a batch of completions earned; groups stand one after the other.
#[derive(Clone, Copy, Debug)]
pub struct AdvantageInput<'a> {
    /// `rewards[completion][reward]`; a reward of `None` is missing from its completion's sum.
    pub rewards: &'a [Vec<Option<f64>>],
    /// Factor of each reward.
    pub weights: &'a [f64],
    /// Completions of one problem.
    pub group_size: usize,
    /// `masks[completion][token]`: which tokens count.
    pub masks: &'a [Vec<bool>],
    /// `kl_penalties[completion][token]`, or nothing at all
    /// ([`KlPenalty::penalties`](super::KlPenalty::penalties)).
    pub kl_penalties: &'a [Vec<f32>],
}

/// Advantages of every token and what the rewards were like.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenAdvantages {
    /// `tokens[completion][token]`. Where a completion has one advantage all its tokens have it, else
    /// tokens that do not count have 0.
    pub tokens: Vec<Vec<f32>>,
    /// One advantage for each completion, the mean of its tokens that count where they differ, and
    /// statistics of the rewards. These are before KL; the fraction without spread is after it.
    pub completions: Advantages,
}

impl AdvantageEstimator {
    /// Checks the ranges; `key` names the table in the message.
    ///
    /// # Errors
    /// When gamma is out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        match *self {
            Self::ReinforcePlusPlus { gamma } if !(0.0..=1.0).contains(&gamma) => {
                let problem = format!("is {gamma}, expected 0 to 1");
                Err(Error::setting(format!("{key}.gamma"), problem))
            }
            _ => Ok(()),
        }
    }

    /// How several rewards become one.
    pub fn aggregation(&self) -> RewardAggregation {
        match *self {
            Self::Group { aggregation, .. } => aggregation,
            _ => RewardAggregation::SumThenNormalize,
        }
    }

    /// The advantages of a batch, computed in f64.
    ///
    /// # Panics
    /// When the completions are no whole number of groups, a row is not as long as `weights`, a reward
    /// is not finite, or masks and penalties do not fit the completions and each other.
    pub fn estimate(&self, input: &AdvantageInput<'_>) -> TokenAdvantages {
        input.check();
        match *self {
            Self::Group {
                scale_rewards,
                aggregation,
            } => input.group(scale_rewards, aggregation),
            Self::LeaveOneOut {
                normalize_advantages,
            } => input.leave_one_out(normalize_advantages),
            Self::ReinforcePlusPlus { gamma } => input.reinforce_plus_plus(gamma),
            Self::ReinforcePlusPlusBaseline {} => input.reinforce_plus_plus_baseline(),
        }
    }
}

impl AdvantageInput<'_> {
    fn check(&self) {
        check(self.rewards, self.weights, self.group_size);
        let (found, expected) = (self.masks.len(), self.rewards.len());
        assert!(
            found == expected,
            "{found} masks for {expected} completions"
        );
        if self.kl_penalties.is_empty() {
            return;
        }
        let found: Vec<usize> = self.kl_penalties.iter().map(Vec::len).collect();
        let expected: Vec<usize> = self.masks.iter().map(Vec::len).collect();
        assert!(
            found == expected,
            "KL penalties of {found:?} tokens for masks of {expected:?} tokens"
        );
    }

    fn group(&self, scale: RewardScale, aggregation: RewardAggregation) -> TokenAdvantages {
        let (rewards, weights, penalties) = (self.rewards, self.weights, self.penalties());
        let (values, zero_std_fraction) = normalize_by(
            scale,
            aggregation,
            rewards,
            weights,
            self.group_size,
            &penalties,
        );
        self.spread(&values, zero_std_fraction)
    }

    fn leave_one_out(&self, normalize_advantages: bool) -> TokenAdvantages {
        let (centred, zero_std_fraction) = self.centred();
        let mut values = Vec::with_capacity(centred.len());
        for group in centred.chunks(self.group_size) {
            let known = group.iter().flatten().count() as f64;
            // A completion without siblings has nothing to be compared with.
            let value = |centred: f64| (known > 1.0).then(|| centred * known / (known - 1.0));
            values.extend(group.iter().map(|centred| value((*centred)?)));
        }
        if normalize_advantages {
            (values, _) = normalize_batch(&values);
        }
        self.spread(&values, zero_std_fraction)
    }

    fn reinforce_plus_plus(&self, gamma: f64) -> TokenAdvantages {
        // The penalties are in the tokens' rewards, so not in the sums.
        let sums = weighted_sums(self.rewards, self.weights);
        let token_returns = |(index, sum): (usize, &Option<f64>)| {
            let mask = &self.masks[index];
            let penalties = self.kl_penalties.get(index).map_or(&[][..], Vec::as_slice);
            let rewards = token_rewards(sum.unwrap_or(0.0), penalties, mask);
            returns(&rewards, gamma, mask)
        };
        let tokens = sums.iter().enumerate().map(token_returns).collect();
        self.whitened(tokens, self.centred().1)
    }

    fn reinforce_plus_plus_baseline(&self) -> TokenAdvantages {
        let (centred, zero_std_fraction) = self.centred();
        let rows = centred.iter().zip(self.masks);
        let tokens = rows.map(|(value, mask)| vec![value.unwrap_or(0.0) as f32; mask.len()]);
        self.whitened(tokens.collect(), zero_std_fraction)
    }

    /// The KL penalty of each completion, summed over its tokens that count; nothing without KL.
    fn penalties(&self) -> Vec<f64> {
        let rows = self.kl_penalties.iter().zip(self.masks);
        let penalty = |(penalties, mask): (&Vec<f32>, &Vec<bool>)| {
            let counting = penalties.iter().zip(mask).filter(|(_, counts)| **counts);
            counting.map(|(penalty, _)| f64::from(*penalty)).sum()
        };
        rows.map(penalty).collect()
    }

    /// The rewards after KL less their group's mean, and the fraction in groups without spread.
    fn centred(&self) -> (Vec<Option<f64>>, f64) {
        let sums = penalized_sums(self.rewards, self.weights, &self.penalties());
        normalize(&sums, self.group_size, RewardScale::None)
    }

    /// Gives every token its completion's advantage.
    fn spread(&self, values: &[Option<f64>], zero_std_fraction: f64) -> TokenAdvantages {
        let completions = Advantages::new(self.rewards, self.weights, values, zero_std_fraction);
        let rows = completions.values.iter().zip(self.masks);
        TokenAdvantages {
            tokens: rows.map(|(value, mask)| vec![*value; mask.len()]).collect(),
            completions,
        }
    }

    /// Whitens the tokens that count of the completions that have a reward.
    fn whitened(&self, mut tokens: Vec<Vec<f32>>, zero_std_fraction: f64) -> TokenAdvantages {
        let mut masks = self.masks.to_vec();
        for (mask, rewards) in masks.iter_mut().zip(self.rewards) {
            if rewards.iter().all(Option::is_none) {
                mask.fill(false);
            }
        }
        whiten(&mut tokens, &masks);
        // Tokens that do not count are 0, so the sum over all is that over those that do.
        let mean = |(row, mask): (&Vec<f32>, &Vec<bool>)| {
            let count = mask.iter().filter(|counts| **counts).count();
            let sum: f64 = row.iter().map(|value| f64::from(*value)).sum();
            (count > 0).then(|| sum / count as f64)
        };
        let values: Vec<_> = tokens.iter().zip(&masks).map(mean).collect();
        TokenAdvantages {
            completions: Advantages::new(self.rewards, self.weights, &values, zero_std_fraction),
            tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::group_advantages;

    const LEAVE_ONE_OUT: AdvantageEstimator = AdvantageEstimator::LeaveOneOut {
        normalize_advantages: false,
    };
    const REINFORCE: AdvantageEstimator = AdvantageEstimator::ReinforcePlusPlus { gamma: 1.0 };
    const BASELINE: AdvantageEstimator = AdvantageEstimator::ReinforcePlusPlusBaseline {};

    /// The advantages of one reward each; `masks` in letters, `x` where a token counts.
    fn estimate(
        estimator: AdvantageEstimator,
        rewards: &[Option<f64>],
        group_size: usize,
        masks: &[&str],
        kl_penalties: &[Vec<f32>],
    ) -> TokenAdvantages {
        let rewards: Vec<_> = rewards.iter().map(|reward| vec![*reward]).collect();
        let mask = |mask: &&str| mask.chars().map(|letter| letter == 'x').collect();
        let masks: Vec<Vec<bool>> = masks.iter().map(mask).collect();
        estimator.estimate(&AdvantageInput {
            rewards: &rewards,
            weights: &[1.0],
            group_size,
            masks: &masks,
            kl_penalties,
        })
    }

    fn assert_close(found: &TokenAdvantages, expected: &[&[f64]]) {
        let found_lengths: Vec<usize> = found.tokens.iter().map(Vec::len).collect();
        let expected_lengths: Vec<usize> = expected.iter().map(|row| row.len()).collect();
        assert_eq!(found_lengths, expected_lengths);
        for (found, expected) in found
            .tokens
            .iter()
            .flatten()
            .zip(expected.iter().copied().flatten())
        {
            let difference = (f64::from(*found) - expected).abs();
            assert!(difference < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn group_gives_all_tokens_their_completions_group_advantage() {
        let rows: Vec<_> = [0.0, 2.0, 5.0, 6.0]
            .map(|r| vec![Some(r), Some(-r / 3.0)])
            .into();
        let masks = vec![vec![true, false, true]; 4];
        for scale in [RewardScale::Group, RewardScale::Batch, RewardScale::None] {
            for aggregation in [
                RewardAggregation::SumThenNormalize,
                RewardAggregation::NormalizeThenSum,
            ] {
                let weights = [1.0, 0.5];
                let plain = group_advantages(&rows, &weights, 2, scale, aggregation);
                let estimator = AdvantageEstimator::Group {
                    scale_rewards: scale,
                    aggregation,
                };
                let found = estimator.estimate(&AdvantageInput {
                    rewards: &rows,
                    weights: &weights,
                    group_size: 2,
                    masks: &masks,
                    kl_penalties: &[],
                });
                assert_eq!(found.completions, plain);
                let spread: Vec<_> = plain.values.iter().map(|value| vec![*value; 3]).collect();
                assert_eq!(found.tokens, spread);
            }
        }
    }

    #[test]
    fn leave_one_out_compares_with_the_mean_of_the_others() {
        // Means of the others 4, 3.5 and 1.5.
        let rewards = [Some(1.0), Some(2.0), Some(6.0)];
        let found = estimate(LEAVE_ONE_OUT, &rewards, 3, &["xx", "x", "x"], &[]);
        assert_close(&found, &[&[-3.0, -3.0], &[-1.5], &[4.5]]);
        assert_eq!(found.completions.total.mean, Some(3.0));
    }

    #[test]
    fn leave_one_out_normalizes_over_the_batch() {
        // Advantages ∓3, ∓1 and, without siblings, none: mean 0, squares 9 + 9 + 1 + 1 over 3.
        let estimator = AdvantageEstimator::LeaveOneOut {
            normalize_advantages: true,
        };
        let rewards = [Some(0.0), Some(3.0), Some(7.0), Some(8.0), Some(9.0), None];
        let found = estimate(estimator, &rewards, 2, &["x"; 6], &[]);
        let unit = 1.0 / ((20.0_f64 / 3.0).sqrt() + 1e-4);
        let expected = [-3.0, 3.0, -1.0, 1.0, 0.0, 0.0].map(|a| a * unit);
        let expected: Vec<&[f64]> = expected.iter().map(std::slice::from_ref).collect();
        assert_close(&found, &expected);
    }

    #[test]
    fn completion_without_rewards_has_no_sibling_in_it() {
        let rewards = [Some(1.0), None, Some(3.0)];
        let found = estimate(LEAVE_ONE_OUT, &rewards, 3, &["x", "xx", "x"], &[]);
        assert_close(&found, &[&[-2.0], &[0.0, 0.0], &[2.0]]);
        // Whitened: returns 1, 1, 3 of three tokens, mean 5/3, squares 8/3 over 2: deviation 2/√3.
        let found = estimate(REINFORCE, &rewards, 3, &["xx", "xx", "x"], &[]);
        let unit = 3_f64.sqrt() / 2.0;
        let (low, high) = (-2.0 / 3.0 * unit, 4.0 / 3.0 * unit);
        assert_close(&found, &[&[low, low], &[0.0, 0.0], &[high]]);
    }

    #[test]
    fn kl_of_a_completion_is_subtracted_from_its_reward() {
        // Penalties 0.5 + 0.25 of the tokens that count and -1: rewards 0.25 and 2.
        let penalties = [vec![0.5, 9.0, 0.25], vec![-1.0]];
        let masks = ["x-x", "x"];
        let rewards = [Some(1.0), Some(1.0)];
        let found = estimate(LEAVE_ONE_OUT, &rewards, 2, &masks, &penalties);
        assert_close(&found, &[&[-1.75, -1.75, -1.75], &[1.75]]);
        assert_eq!(found.completions.total.mean, Some(1.0));
        // Mean 1.125, deviation 1.75 / √2: normalized to ∓1/√2.
        let found = estimate(
            AdvantageEstimator::default(),
            &rewards,
            2,
            &masks,
            &penalties,
        );
        let std = 1.75 / 2_f64.sqrt() + 1e-4;
        assert_close(&found, &[&[-0.875 / std; 3], &[0.875 / std]]);
        // Centred ∓0.875 on tokens 2 and 1: mean -0.875 / 3, deviation 0.875 · 2 / √3.
        let found = estimate(BASELINE, &rewards, 2, &masks, &penalties);
        let unit = 3_f64.sqrt() / 2.0;
        assert_close(
            &found,
            &[
                &[-2.0 / 3.0 * unit, 0.0, -2.0 / 3.0 * unit],
                &[4.0 / 3.0 * unit],
            ],
        );
    }

    #[test]
    fn kl_is_subtracted_from_the_sum_of_normalized_rewards() {
        // Normalized ∓1/√2 up to the floor; less -0.1 and 0.1 their spread is 1/√2 - 0.1 about 0.
        let estimator = AdvantageEstimator::Group {
            scale_rewards: RewardScale::Group,
            aggregation: RewardAggregation::NormalizeThenSum,
        };
        let rewards = [Some(0.0), Some(50.0)];
        let penalties = [vec![-0.1], vec![0.1]];
        let found = estimate(estimator, &rewards, 2, &["x", "x"], &penalties);
        let half = 25.0 / (1250_f64.sqrt() + 1e-4) - 0.1;
        let expected = half / (half * 2_f64.sqrt() + 1e-4);
        assert_close(&found, &[&[-expected], &[expected]]);
    }

    #[test]
    fn reinforce_plus_plus_whitens_token_returns_over_the_batch() {
        // Token rewards -0.5, 2 - 0.5 and 1: returns 1, 1.5 and 1; mean 7/6, squares 1/36 + 1/9 + 1/36
        // = 1/6 over 2: deviation 1/√12.
        let rewards = [Some(2.0), Some(1.0)];
        let penalties = [vec![0.5, 0.5], vec![0.0]];
        let found = estimate(REINFORCE, &rewards, 1, &["xx", "x"], &penalties);
        let unit = 12_f64.sqrt();
        assert_close(&found, &[&[-unit / 6.0, unit / 3.0], &[-unit / 6.0]]);
        let mean = f64::from(found.completions.values[0]);
        assert!((mean - unit / 12.0).abs() < 1e-5, "{mean}");
    }

    #[test]
    fn reinforce_plus_plus_discounts_by_gamma() {
        // Returns 1, 2 and 3, whitened to -1, 0 and 1.
        let estimator = AdvantageEstimator::ReinforcePlusPlus { gamma: 0.5 };
        let rewards = [Some(2.0), Some(3.0)];
        let found = estimate(estimator, &rewards, 1, &["xx", "x"], &[]);
        assert_close(&found, &[&[-1.0, 0.0], &[1.0]]);
    }

    #[test]
    fn reinforce_plus_plus_baseline_centres_by_group_first() {
        // Centred -1, 1, 0, 0, the last masked out: mean 0, squares 2 over 2.
        let rewards = [Some(0.0), Some(2.0), Some(5.0), Some(5.0)];
        let masks = ["x", "x", "x", "-"];
        let found = estimate(BASELINE, &rewards, 2, &masks, &[]);
        assert_close(&found, &[&[-1.0], &[1.0], &[0.0], &[0.0]]);
        assert_eq!(found.completions.zero_std_fraction, 0.5);
        // Without the baseline the groups differ: 0, 2, 5 have mean 7/3 and variance 19/3.
        let found = estimate(REINFORCE, &rewards, 2, &masks, &[]);
        let unit = (19.0_f64 / 3.0).sqrt().recip();
        let expected = [-7.0 / 3.0 * unit, -unit / 3.0, 8.0 / 3.0 * unit];
        let expected: Vec<&[f64]> = expected
            .iter()
            .chain(&[0.0])
            .map(std::slice::from_ref)
            .collect();
        assert_close(&found, &expected);
    }

    #[test]
    fn equal_rewards_and_empty_batches_teach_nothing() {
        for estimator in [
            AdvantageEstimator::default(),
            LEAVE_ONE_OUT,
            REINFORCE,
            BASELINE,
        ] {
            let found = estimate(estimator, &[Some(0.1); 3], 3, &["xx", "", "x-"], &[]);
            assert_eq!(found.tokens, [vec![0.0; 2], vec![], vec![0.0; 2]]);
            assert_eq!(found.completions.zero_std_fraction, 1.0);
            let found = estimate(estimator, &[], 3, &[], &[]);
            assert!(found.tokens.is_empty());
        }
    }

    #[test]
    fn recipe_names_the_kind_and_its_settings() {
        let parse = |text: &str| toml::from_str::<AdvantageEstimator>(text);
        assert_eq!(parse("kind = \"group\""), Ok(AdvantageEstimator::default()));
        assert_eq!(parse("kind = \"leave_one_out\""), Ok(LEAVE_ONE_OUT));
        assert_eq!(parse("kind = \"reinforce_plus_plus\""), Ok(REINFORCE));
        assert_eq!(
            parse("kind = \"reinforce_plus_plus_baseline\""),
            Ok(BASELINE)
        );
        assert!(parse("kind = \"leave_one_out\"\ngamma = 1").is_err());
        assert!(parse("kind = \"reinforce_plus_plus_baseline\"\ngamma = 1").is_err());
        let estimator = AdvantageEstimator::ReinforcePlusPlus { gamma: 2.0 };
        let message = estimator.validate("estimator").unwrap_err().to_string();
        assert_eq!(message, "`estimator.gamma`: is 2, expected 0 to 1");
    }

    #[test]
    #[should_panic(expected = "KL penalties of [1] tokens for masks of [2] tokens")]
    fn penalties_of_other_tokens_are_our_bug() {
        estimate(REINFORCE, &[Some(1.0)], 1, &["xx"], &[vec![0.0]]);
    }
}
