//! A rubric: named, weighted rewards and their sum.

use serde::{Deserialize, Serialize};

use super::{Attempt, Reward};
use crate::error::{Error, Result};

/// Weighted rewards with distinct names.
#[derive(Default)]
pub struct Rubric {
    parts: Vec<Part>,
}

struct Part {
    weight: f64,
    reward: Box<dyn Reward>,
}

/// What one completion earned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graded {
    /// Weighted sum of the parts that apply; `None` when none does or one failed.
    #[serde(with = "crate::exact")]
    pub total: Option<f64>,
    /// Every part's score, in the rubric's order.
    pub parts: Vec<GradedPart>,
    /// One message for each part that failed by itself; its score is `None`.
    pub errors: Vec<String>,
}

/// What one completion earned by one reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradedPart {
    /// The reward's name.
    pub name: String,
    /// The unweighted score; `None` when the reward does not apply or failed.
    #[serde(with = "crate::exact")]
    pub score: Option<f64>,
}

impl Graded {
    /// The row of scores that advantages are computed from.
    ///
    /// After a failure every entry is `None`, which leaves the completion out of its group: beside
    /// other scores a missing one would weigh as much as a reward of 0.
    pub fn scores(&self) -> Vec<Option<f64>> {
        let is_whole = self.errors.is_empty();
        self.parts
            .iter()
            .map(|part| part.score.filter(|_| is_whole))
            .collect()
    }
}

impl Rubric {
    /// Adds `reward` with `weight`.
    ///
    /// # Errors
    /// When the weight is not finite or a reward of that name is there already.
    pub fn with(mut self, weight: f64, reward: impl Reward + 'static) -> Result<Self> {
        self.push(weight, Box::new(reward))?;
        Ok(self)
    }

    /// The rewards' names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.parts.iter().map(|part| part.reward.name()).collect()
    }

    /// The rewards' weights, in order.
    pub fn weights(&self) -> Vec<f64> {
        self.parts.iter().map(|part| part.weight).collect()
    }

    /// Scores `attempt` by every reward; a reward that fails or is not finite leaves an error, never a 0.
    pub fn grade(&self, attempt: &Attempt<'_>) -> Graded {
        let mut graded = Graded::default();
        let mut total = None;
        for part in &self.parts {
            let score = part.score(attempt).unwrap_or_else(|error| {
                graded.errors.push(error.to_string());
                None
            });
            if let Some(score) = score {
                total = Some(total.unwrap_or(0.0) + part.weight * score);
            }
            graded.parts.push(GradedPart {
                name: part.reward.name().to_string(),
                score,
            });
        }
        graded.total = total.filter(|_| graded.errors.is_empty());
        graded
    }

    pub(super) fn push(&mut self, weight: f64, reward: Box<dyn Reward>) -> Result<()> {
        let name = reward.name();
        if !weight.is_finite() {
            let problem = format!("weight {weight} is not finite");
            return Err(Error::setting(format!("rewards.{name}.weight"), problem));
        }
        if self.names().contains(&name) {
            let problem = "named twice, expected rewards of distinct names";
            return Err(Error::setting(format!("rewards.{name}"), problem));
        }
        self.parts.push(Part { weight, reward });
        Ok(())
    }
}

impl Part {
    /// The reward's score, its failure under its own name.
    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        match self.reward.score(attempt) {
            Ok(Some(score)) if !score.is_finite() => {
                Err(self.failure(format!("score {score} is not finite")))
            }
            Err(error @ Error::Reward { .. }) => Err(error),
            Err(error) => Err(self.failure(error.to_string())),
            Ok(score) => Ok(score),
        }
    }

    fn failure(&self, problem: String) -> Error {
        Error::Reward {
            reward: self.reward.name().to_string(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::{Problem, Prompt};

    /// Gives what it was made with; `Err` fails.
    struct Fixed(&'static str, Result<Option<f64>, &'static str>);

    impl Reward for Fixed {
        fn name(&self) -> &str {
            self.0
        }

        fn score(&self, _: &Attempt<'_>) -> Result<Option<f64>> {
            self.1.map_err(|problem| Error::setting("timeout", problem))
        }
    }

    fn grade(parts: Vec<(f64, Fixed)>) -> Graded {
        let mut rubric = Rubric::default();
        for (weight, reward) in parts {
            rubric = rubric.with(weight, reward).unwrap();
        }
        rubric.grade(&Attempt {
            problem: &Problem {
                prompt: Prompt::Text("?".into()),
                answer: Value::Null,
                level: None,
                language: None,
            },
            completion: "!",
            token_count: 1,
            finished: true,
        })
    }

    #[test]
    fn total_is_the_weighted_sum_of_the_parts() {
        // 1 · 1 + 0.2 · 0.5 = 1.1
        let graded = grade(vec![
            (1.0, Fixed("accuracy", Ok(Some(1.0)))),
            (0.2, Fixed("format", Ok(Some(0.5)))),
        ]);
        assert_eq!(graded.total, Some(1.1));
        assert_eq!(graded.scores(), [Some(1.0), Some(0.5)]);
        assert_eq!(graded.parts[1].name, "format");
        assert!(graded.errors.is_empty());
    }

    #[test]
    fn part_that_does_not_apply_is_left_out_of_the_sum() {
        let none = || Fixed("accuracy", Ok(None));
        let graded = grade(vec![(1.0, none()), (0.5, Fixed("format", Ok(Some(1.0))))]);
        assert_eq!(graded.total, Some(0.5));
        assert_eq!(graded.scores(), [None, Some(1.0)]);
        assert_eq!(grade(vec![(1.0, none())]).total, None);
    }

    #[test]
    fn failed_part_leaves_an_error_and_no_total() {
        let graded = grade(vec![
            (1.0, Fixed("accuracy", Err("too short"))),
            (1.0, Fixed("format", Ok(Some(1.0)))),
        ]);
        assert_eq!(graded.total, None);
        assert_eq!(graded.scores(), [None, None]);
        assert_eq!(graded.parts[1].score, Some(1.0));
        assert_eq!(graded.errors, ["reward `accuracy`: `timeout`: too short"]);
    }

    #[test]
    fn score_that_is_not_finite_is_a_failure() {
        let graded = grade(vec![(1.0, Fixed("length", Ok(Some(f64::NAN))))]);
        assert_eq!(graded.parts[0].score, None);
        assert_eq!(graded.errors, ["reward `length`: score NaN is not finite"]);
    }

    #[test]
    fn two_rewards_of_one_name_are_refused() {
        let rubric = Rubric::default().with(1.0, Fixed("a", Ok(None))).unwrap();
        let error = rubric.with(1.0, Fixed("a", Ok(None))).err().unwrap();
        assert_eq!(
            error.to_string(),
            "`rewards.a`: named twice, expected rewards of distinct names"
        );
    }

    #[test]
    fn weight_that_is_not_finite_is_refused() {
        let error = Rubric::default()
            .with(f64::INFINITY, Fixed("a", Ok(None)))
            .err();
        assert!(error.unwrap().to_string().contains("weight inf"));
    }
}
