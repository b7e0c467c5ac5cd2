//! Length: among the completions of one problem a right one earns by being short, a wrong one pays for
//! being long.
//!
//! `λ = 0.5 − (length − shortest) / (longest − shortest)` over the group; a right completion gets `λ`, a
//! wrong one `min(0, λ)`, all get 0 when none is longer than another (Kimi k1.5, arXiv:2501.12599, section
//! 2.3.3, in tokens; open-r1's `len` is the same in characters).

use serde::{Deserialize, Serialize};

use super::{Accuracy, AnswerSource, Attempt, LengthUnit, Reward};
use crate::error::Result;

/// Settings of [`Length`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthConfig {
    /// Factor in the sum of rewards. Kimi k1.5 leaves the reward out at first and then adds it with a
    /// constant factor that is not given.
    #[serde(default = "one")]
    pub weight: f64,
    /// What length is counted in.
    #[serde(default)]
    pub unit: LengthUnit,
    /// Where the answer stands in the completion.
    #[serde(default)]
    pub answer: AnswerSource,
    /// What a problem without a reference gives.
    #[serde(default)]
    pub unjudged: Unjudged,
}

/// What a problem without a reference gives, where right and wrong cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unjudged {
    /// No score.
    #[default]
    Skip,
    /// The score of a right completion, as open-r1.
    AsRight,
}

/// The length reward, -0.5 to 0.5.
#[derive(Clone)]
pub struct Length {
    accuracy: Accuracy,
    unit: LengthUnit,
    unjudged: Unjudged,
}

impl Length {
    /// The reward of these settings; `accuracy` tells right from wrong.
    pub fn new(config: &LengthConfig, accuracy: Accuracy) -> Self {
        Self {
            accuracy,
            unit: config.unit,
            unjudged: config.unjudged,
        }
    }

    fn is_right(&self, attempt: &Attempt<'_>) -> Result<Option<bool>> {
        let verdict = self.accuracy.score(attempt)?.map(|score| score > 0.0);
        Ok(verdict.or(match self.unjudged {
            Unjudged::Skip => None,
            Unjudged::AsRight => Some(true),
        }))
    }
}

impl Reward for Length {
    fn name(&self) -> &str {
        "length"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let verdict = self.is_right(attempt)?;
        Ok(verdict.map(|_| 0.0))
    }

    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        let lengths: Vec<usize> = attempts.iter().map(|a| self.unit.of(a)).collect();
        let shortest = lengths.iter().copied().min().unwrap_or(0);
        let spread = lengths.iter().copied().max().unwrap_or(0) - shortest;
        let lambda = |length: usize| match spread {
            0 => 0.0,
            _ => 0.5 - (length - shortest) as f64 / spread as f64,
        };
        let scored = attempts.iter().zip(lengths).map(|(attempt, length)| {
            let verdict = self.is_right(attempt)?;
            Ok(verdict.map(|is_right| match is_right {
                true => lambda(length),
                false => lambda(length).min(0.0),
            }))
        });
        scored.collect()
    }
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::data::{Problem, Prompt};

    /// Scores completions, each with its length in tokens, as one group.
    fn scores(settings: &str, answer: Value, group: &[(&str, usize)]) -> Vec<Option<f64>> {
        let config: LengthConfig = toml::from_str(settings).unwrap();
        let reward = Length::new(&config, Accuracy::new(AnswerSource::Text, None));
        let problem = Problem {
            prompt: Prompt::Text("?".into()),
            answer,
            level: None,
            language: None,
            part: None,
        };
        let ids = [0; 100];
        let attempts: Vec<Attempt<'_>> = group
            .iter()
            .map(|&(completion, length)| Attempt {
                problem: &problem,
                completion,
                token_ids: &ids[..length],
                finished: true,
            })
            .collect();
        let scores = reward.score_group(&attempts).into_iter();
        scores.map(Result::unwrap).collect()
    }

    #[test]
    fn short_and_right_earns_long_and_wrong_pays() {
        // Lengths 10 to 50: λ = 0.5 − (length − 10) / 40.
        let group = [("7", 10), ("8", 20), ("7", 30), ("7", 40), ("8", 50)];
        let expected = [0.5, 0.0, 0.0, -0.25, -0.5].map(Some);
        assert_eq!(scores("", json!("7"), &group), expected);
    }

    #[test]
    fn group_of_one_length_scores_0() {
        let group = [("7", 10), ("8", 10)];
        assert_eq!(scores("", json!("7"), &group), [Some(0.0); 2]);
        assert_eq!(scores("", json!("7"), &[("7", 10)]), [Some(0.0)]);
        assert_eq!(scores("", json!("7"), &[]), []);
    }

    #[test]
    fn length_is_in_characters_if_asked_for() {
        let group = [("π≈3", 90), ("3.14159", 10)];
        let found = scores("unit = \"characters\"", json!("π≈3"), &group);
        assert_eq!(found, [Some(0.5), Some(-0.5)]);
    }

    #[test]
    fn problem_without_reference_gives_nothing_or_counts_as_right() {
        let group = [("a", 1), ("b", 3)];
        assert_eq!(scores("", Value::Null, &group), [None, None]);
        let found = scores("unjudged = \"as_right\"", Value::Null, &group);
        assert_eq!(found, [Some(0.5), Some(-0.5)]);
    }
}
