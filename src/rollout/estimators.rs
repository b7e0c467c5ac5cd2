//! What samples say about a model: pass@1, pass@k, cons@k and how sure that is.

use std::collections::HashMap;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::seed::Seed;

/// Draws of a bootstrap.
const RESAMPLES: usize = 2000;

/// An estimate with its 95% confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean over problems.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// The mean of one value in 0..=1 per problem, with the Wilson score interval (Wilson, 1927) of
    /// that many trials; `None` without problems.
    ///
    /// A problem is the trial, not a sample: samples of one problem depend on each other. Where the
    /// values lie between 0 and 1, as means of samples do, they spread less than yes and no, so the
    /// interval is rather too wide than too narrow. Unlike mean ± 1.96 standard errors it stays in
    /// 0..=1 and has a width when all values are 0 or 1.
    pub fn over_problems(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let p = values.iter().sum::<f64>() / n;
        let z2 = Z_95 * Z_95;
        let shrink = 1.0 + z2 / n;
        let centre = (p + z2 / (2.0 * n)) / shrink;
        // p · (1 - p) can fall below 0 by rounding.
        let variance = (p * (1.0 - p)).max(0.0) / n + z2 / (4.0 * n * n);
        let half_width = Z_95 * variance.sqrt() / shrink;
        Some(Self {
            value: p,
            low: (centre - half_width).max(0.0).min(p),
            high: (centre + half_width).min(1.0).max(p),
        })
    }

    /// The mean of one value per problem, with the percentile interval of the means of problems drawn
    /// with replacement (Efron, 1979), which asks nothing of how the values are spread; `None` without
    /// problems.
    ///
    /// The draws come from `seed`. Problems that are all alike leave the interval no width.
    pub fn bootstrap(values: &[f64], seed: Seed) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len();
        let mut rng = seed.rng();
        let mut drawn_mean = || {
            let drawn = (0..n).map(|_| values[rng.random_range(0..n)]);
            drawn.sum::<f64>() / n as f64
        };
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| drawn_mean()).collect();
        means.sort_by(f64::total_cmp);
        let outside = RESAMPLES * 25 / 1000;
        let value = values.iter().sum::<f64>() / n as f64;
        Some(Self {
            value,
            low: means[outside].min(value),
            high: means[RESAMPLES - 1 - outside].max(value),
        })
    }

    /// The ends of the interval.
    pub fn interval(&self) -> [f64; 2] {
        [self.low, self.high]
    }
}

/// pass@1 of one problem: the fraction of its samples that are right; `None` without samples.
pub fn pass_at_1(sample_count: usize, right_count: usize) -> Option<f64> {
    pass_at_k(sample_count, right_count, 1)
}

/// pass@k of one problem without bias: the chance that of `k` samples drawn from the
/// `sample_count` at least one is among the `right_count` right ones; `None` unless `1 <= k <= sample_count`
/// and `right_count <= sample_count`.
///
/// `1 - C(n - c, k) / C(n, k)`, computed as a product (Chen et al., 2021, arXiv:2107.03374, eq. 1).
pub fn pass_at_k(sample_count: usize, right_count: usize, k: usize) -> Option<f64> {
    if k == 0 || k > sample_count || right_count > sample_count {
        return None;
    }
    let wrong_count = sample_count - right_count;
    if wrong_count < k {
        return Some(1.0);
    }
    let all_wrong: f64 = (wrong_count + 1..=sample_count)
        .map(|i| 1.0 - k as f64 / i as f64)
        .product();
    Some(1.0 - all_wrong)
}

/// The answer that most samples of one problem give, to be judged for cons@k; `None` when no sample
/// gives one.
///
/// Answers that differ in white space only are one, spelled as its first sample has it. Samples
/// without an answer have no vote. Of answers with equally many votes the one given first wins.
pub fn majority<'a>(answers: &[Option<&'a str>]) -> Option<&'a str> {
    let mut votes: Vec<(&str, usize)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for answer in answers.iter().copied().flatten() {
        let key = answer.split_whitespace().collect();
        let place = *places.entry(key).or_insert(votes.len());
        match votes.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => votes.push((answer, 1)),
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max()?;
    let winner = votes.into_iter().find(|(_, count)| *count == most);
    winner.map(|(answer, _)| answer)
}

/// The 97.5% quantile of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    #[test]
    fn pass_at_1_is_the_fraction_of_right_samples() {
        assert_close(pass_at_1(16, 4), 0.25);
        assert_eq!(pass_at_1(4, 0), Some(0.0));
        assert_eq!(pass_at_1(4, 4), Some(1.0));
        assert_eq!(pass_at_1(0, 0), None);
    }

    #[test]
    fn pass_at_k_is_one_minus_the_chance_of_drawing_only_wrong_samples() {
        // n 5, c 2, k 2: 1 - C(3, 2) / C(5, 2) = 1 - 3 / 10.
        assert_close(pass_at_k(5, 2, 2), 0.7);
        // n 4, c 1, k 3: 1 - C(3, 3) / C(4, 3) = 1 - 1 / 4.
        assert_close(pass_at_k(4, 1, 3), 0.75);
        assert_eq!(pass_at_k(5, 3, 3), Some(1.0));
        assert_eq!(pass_at_k(5, 0, 5), Some(0.0));
    }

    #[test]
    fn pass_at_k_of_many_samples_does_not_overflow() {
        // Half of the samples right: nearly 1 - 2^-k.
        assert_close(pass_at_k(100_000, 50_000, 4), 1.0 - 1.0 / 16.0);
    }

    #[test]
    fn pass_at_k_needs_k_samples() {
        assert_eq!(pass_at_k(4, 2, 5), None);
        assert_eq!(pass_at_k(4, 2, 0), None);
        assert_eq!(pass_at_k(4, 5, 1), None);
    }

    #[test]
    fn majority_is_the_answer_given_most_often() {
        let answers = [Some("1"), Some("2"), None, None, None, Some("2")];
        assert_eq!(majority(&answers), Some("2"));
    }

    #[test]
    fn of_tied_answers_the_first_given_wins() {
        let answers = [None, Some("b"), Some("a"), Some("a"), Some("b")];
        assert_eq!(majority(&answers), Some("b"));
    }

    #[test]
    fn answers_that_differ_in_white_space_vote_together() {
        let answers = [Some("7"), Some("3 + 4"), Some("3+4")];
        assert_eq!(majority(&answers), Some("3 + 4"));
    }

    #[test]
    fn samples_without_answers_have_no_majority() {
        assert_eq!(majority(&[None, None]), None);
        assert_eq!(majority(&[]), None);
    }

    #[test]
    fn interval_of_two_in_four_is_wilsons() {
        // z² = 3.8415; half width 1.96 / 1.9604 · √(0.25 / 4 + 3.8415 / 64) = 0.3500.
        let estimate = Estimate::over_problems(&[0.0, 1.0, 0.0, 1.0]).unwrap();
        assert_eq!(estimate.value, 0.5);
        assert_close(Some(estimate.low), 0.1500);
        assert_close(Some(estimate.high), 0.8500);
    }

    #[test]
    fn interval_of_ten_in_ten_has_a_width() {
        // Lower end 1 / (1 + z² / 10) = 1 / 1.38415.
        let estimate = Estimate::over_problems(&[1.0; 10]).unwrap();
        assert_close(Some(estimate.low), 0.7225);
        assert_eq!((estimate.value, estimate.high), (1.0, 1.0));
    }

    #[test]
    fn interval_narrows_with_the_number_of_problems() {
        let width = |count| {
            let estimate = Estimate::over_problems(&vec![0.3; count]).unwrap();
            estimate.high - estimate.low
        };
        assert!(width(100) < width(25) / 1.9);
    }

    #[test]
    fn no_problems_have_no_estimate() {
        assert_eq!(Estimate::over_problems(&[]), None);
        assert_eq!(Estimate::bootstrap(&[], Seed::new(1)), None);
    }

    #[test]
    fn bootstrap_of_many_problems_is_nearly_the_normal_interval() {
        // Half of 400 right: 0.5 ± 1.96 · √(0.25 / 400), 0.451 to 0.549.
        let values: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let estimate = Estimate::bootstrap(&values, Seed::new(3)).unwrap();
        assert_eq!(estimate.value, 0.5);
        assert!((estimate.low - 0.451).abs() < 0.01, "{estimate:?}");
        assert!((estimate.high - 0.549).abs() < 0.01, "{estimate:?}");
        assert_eq!(Estimate::bootstrap(&values, Seed::new(3)), Some(estimate));
    }

    #[test]
    fn bootstrap_of_two_problems_reaches_from_one_to_the_other() {
        // Both draws are the same problem in one of four resamples each.
        let estimate = Estimate::bootstrap(&[0.0, 1.0], Seed::new(3)).unwrap();
        assert_eq!(estimate.interval(), [0.0, 1.0]);
        let alike = Estimate::bootstrap(&[0.5; 3], Seed::new(3)).unwrap();
        assert_eq!((alike.value, alike.interval()), (0.5, [0.5; 2]));
    }
}
