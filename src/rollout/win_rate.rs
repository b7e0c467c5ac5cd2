//! Win rates: how often one model's answer to a held-out problem scores above another's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Estimate;
use crate::rewards::{Graded, GradedPart, RewardConfig};
use crate::seed::Seed;

/// Scores that differ by no more than this share of the larger one, or of 1, are a tie: texts that are
/// alike differ by rounding when a reward model reads them in other company.
const TIE: f64 = 1e-5;

/// Two models of a run whose held-out completions are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WinRateConfig {
    /// Its name in files and tables; unset is made of the stages and the part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model whose wins are counted: a stage's or another, named as by `from`.
    pub stage: String,
    /// The model that it is compared with, named likewise.
    pub against: String,
    /// The part of a `mixture` whose held-out problems are counted; unset is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What scores the completions of both; without any the task judges them right or wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardConfig>,
}

impl WinRateConfig {
    /// The given name, else `STAGE-against-OTHER`, with `-PART` if only a part is counted.
    pub fn name(&self) -> String {
        let made = || {
            let part = self.part.iter().map(|part| format!("-{part}"));
            let part: String = part.collect();
            format!("{}-against-{}{part}", self.stage, self.against)
        };
        self.name.clone().unwrap_or_else(made)
    }

    /// The names of both models, the one whose wins are counted first.
    pub fn sides(&self) -> [&str; 2] {
        [&self.stage, &self.against]
    }
}

/// How often one model's completions scored above another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// The comparison's name.
    pub name: String,
    /// The stage whose model's wins are counted.
    pub stage: String,
    /// The stage whose model it was compared with.
    pub against: String,
    /// The part of the problems; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Problems with at least one pair of completions that could be compared.
    pub problems: usize,
    /// Pairs in which the completion of `stage` scored more.
    pub wins: usize,
    /// Pairs of equal scores.
    pub ties: usize,
    /// Pairs in which the completion of `against` scored more.
    pub losses: usize,
    /// Pairs of which one completion has no score: no reward applied, or one failed.
    pub unscored: usize,
    /// Completions of both models that a reward failed on.
    pub failed: usize,
    /// A win as 1, a tie as a half, a loss as 0, averaged over a problem's pairs and then over problems;
    /// none without pairs.
    pub win_rate: Option<f64>,
    /// The ends of its 95 % interval, by bootstrap over problems.
    pub interval: Option<[f64; 2]>,
    /// The weighted sum of the rewards.
    pub score: MeanScores,
    /// Each reward by itself, unweighted.
    pub rewards: BTreeMap<String, MeanScores>,
}

/// What both models' completions scored, averaged over those that have the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanScores {
    /// The model whose wins are counted; none without a score.
    pub stage: Option<f64>,
    /// The other; none without a score.
    pub against: Option<f64>,
}

impl WinRate {
    /// Compares sample by sample what the completions of both models scored, problem by problem in the
    /// same order; the bootstrap draws from `seed`.
    pub fn count(
        config: &WinRateConfig,
        stage: &[Vec<Graded>],
        against: &[Vec<Graded>],
        seed: Seed,
    ) -> Self {
        let mut counts = Counts::default();
        for (own, other) in stage.iter().zip(against) {
            counts.add(own, other);
        }
        let estimate = Estimate::bootstrap(&counts.of_problems, seed);
        let both = || stage.iter().chain(against).flatten();
        let means = |score: &dyn Fn(&Graded) -> Option<f64>| MeanScores {
            stage: mean(stage.iter().flatten().filter_map(score)),
            against: mean(against.iter().flatten().filter_map(score)),
        };
        let parts = both().next().map_or(&[][..], |graded| &graded.parts);
        let of_part = |(place, part): (usize, &GradedPart)| {
            let score = move |graded: &Graded| graded.parts.get(place)?.score;
            (part.name.clone(), means(&score))
        };
        Self {
            name: config.name(),
            stage: config.stage.clone(),
            against: config.against.clone(),
            part: config.part.clone(),
            problems: counts.of_problems.len(),
            wins: counts.wins,
            ties: counts.ties,
            losses: counts.losses,
            unscored: counts.unscored,
            failed: both().filter(|graded| !graded.errors.is_empty()).count(),
            win_rate: estimate.map(|estimate| estimate.value),
            interval: estimate.map(|estimate| estimate.interval()),
            score: means(&|graded| graded.total),
            rewards: parts.iter().enumerate().map(of_part).collect(),
        }
    }
}

/// Pairs so far.
#[derive(Default)]
struct Counts {
    wins: usize,
    ties: usize,
    losses: usize,
    unscored: usize,
    /// The mean over a problem's pairs.
    of_problems: Vec<f64>,
}

impl Counts {
    /// Adds the completions of one problem.
    fn add(&mut self, own: &[Graded], other: &[Graded]) {
        let mut points = Vec::with_capacity(own.len());
        for (own, other) in own.iter().zip(other) {
            match own.total.zip(other.total) {
                Some((own, other)) => points.push(self.compare(own, other)),
                None => self.unscored += 1,
            }
        }
        self.of_problems.extend(mean(points.into_iter()));
    }

    /// What the pair is worth.
    fn compare(&mut self, own: f64, other: f64) -> f64 {
        let margin = TIE * own.abs().max(other.abs()).max(1.0);
        let gap = own - other;
        let (count, worth) = if gap > margin {
            (&mut self.wins, 1.0)
        } else if gap < -margin {
            (&mut self.losses, 0.0)
        } else {
            (&mut self.ties, 0.5)
        };
        *count += 1;
        worth
    }
}

/// The mean; none of no values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &str) -> WinRateConfig {
        toml::from_str(&format!("stage = \"new\"\nagainst = \"old\"\n{settings}")).unwrap()
    }

    /// Completions of one problem, by one reward of weight 2.
    fn group<const N: usize>(scores: [Option<f64>; N]) -> Vec<Graded> {
        let graded = |score: Option<f64>| Graded {
            total: score.map(|score| 2.0 * score),
            parts: vec![GradedPart {
                name: "helpful".into(),
                score,
            }],
            errors: Vec::new(),
        };
        scores.map(graded).to_vec()
    }

    fn count(own: &[Vec<Graded>], other: &[Vec<Graded>]) -> WinRate {
        WinRate::count(&config(""), own, other, Seed::new(1))
    }

    #[test]
    fn pairs_are_counted_by_problem_and_sample() {
        let own = [
            group([Some(3.0), Some(1.0), Some(2.0)]),
            group([Some(0.0), Some(0.0), None]),
            group([None, None, Some(9.0)]),
        ];
        let other = [
            group([Some(1.0), Some(1.0), Some(4.0)]),
            group([Some(1.0), Some(-1.0), Some(1.0)]),
            group([Some(1.0), Some(1.0), None]),
        ];
        let found = count(&own, &other);
        let counts = (found.wins, found.ties, found.losses, found.unscored);
        // A win, a tie and a loss; a loss, a win and none; nothing to compare.
        assert_eq!(counts, (2, 1, 2, 4));
        // (1 + 0.5 + 0) / 3 and (0 + 1) / 2, the third problem left out.
        assert_eq!((found.problems, found.win_rate), (2, Some(0.5)));
        assert_eq!(found.interval, Some([0.5; 2]));
        // (3 + 1 + 2 + 0 + 0 + 9) / 6 and (1 + 1 + 4 + 1 - 1 + 1 + 1 + 1) / 8, by weight 2.
        let of = |stage, against| MeanScores {
            stage: Some(stage),
            against: Some(against),
        };
        assert_eq!(found.score, of(5.0, 2.25));
        let rewards = BTreeMap::from([("helpful".to_owned(), of(2.5, 1.125))]);
        assert_eq!(found.rewards, rewards);
    }

    #[test]
    fn a_problem_weighs_as_much_as_another_however_many_pairs_it_has() {
        let own = [group([Some(1.0), Some(1.0)]), group([Some(0.0), None])];
        let other = [group([Some(0.0), Some(0.0)]), group([Some(1.0), Some(1.0)])];
        let found = count(&own, &other);
        // 1 and 0; of the three pairs two are won.
        assert_eq!((found.win_rate, found.wins), (Some(0.5), 2));
        assert_eq!(found.interval, Some([0.0, 1.0]));
    }

    #[test]
    fn scores_that_differ_by_rounding_are_a_tie() {
        let own = [group([Some(100.000_1), Some(0.1 + 0.2), Some(100.01)])];
        let other = [group([Some(100.0), Some(0.3), Some(100.0)])];
        let found = count(&own, &other);
        assert_eq!((found.wins, found.ties, found.losses), (1, 2, 0));
    }

    #[test]
    fn failures_are_counted_and_without_pairs_there_is_no_rate() {
        let failed = Graded {
            errors: vec!["reward `helpful`: no model".into()],
            ..Graded::default()
        };
        let found = count(&[vec![failed]], &[group([Some(1.0)])]);
        assert_eq!((found.failed, found.unscored, found.problems), (1, 1, 0));
        assert_eq!((found.win_rate, found.interval), (None, None));
        let nothing = count(&[], &[]);
        assert_eq!((nothing.win_rate, nothing.score.stage), (None, None));
        let written = serde_json::to_string(&nothing).unwrap();
        assert_eq!(serde_json::from_str::<WinRate>(&written).unwrap(), nothing);
    }

    #[test]
    fn a_comparison_without_a_name_is_called_by_its_models_and_part() {
        assert_eq!(config("").name(), "new-against-old");
        assert_eq!(config("part = \"notes\"").name(), "new-against-old-notes");
        assert_eq!(config("name = \"rule\"").name(), "rule");
    }
}
