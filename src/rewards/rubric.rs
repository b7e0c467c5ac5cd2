//! A rubric: named, weighted rewards and their sum.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Attempt, Reward};
use crate::error::{Error, Result};

/// Weighted rewards with distinct names.
#[derive(Default)]
pub struct Rubric {
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    name: String,
    weight: f64,
    /// The first step, from 1, at which the reward counts; 0 is from the start.
    from_step: usize,
    /// Whether it counts.
    counts: bool,
    reward: Arc<dyn Reward>,
}

/// One reward's scores of one problem's completions.
type Scores = Vec<Result<Option<f64>>>;

/// What the rewards that need no device give the completions of one problem.
#[derive(Debug, Default)]
pub(crate) struct HostScores {
    /// Each reward's, in the rubric's order; empty for one that needs a device.
    of_parts: Vec<Scores>,
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

    /// Notes what `part` gave and adds it to the total.
    fn add(&mut self, part: &Part, score: Result<Option<f64>>) {
        let score = score.unwrap_or_else(|error| {
            self.errors.push(error.to_string());
            None
        });
        if let Some(score) = score {
            self.total = Some(self.total.unwrap_or(0.0) + part.weight * score);
        }
        self.parts.push(GradedPart {
            name: part.name.clone(),
            score,
        });
    }

    /// Without a total if a part failed.
    fn settled(mut self) -> Self {
        self.total = self.total.filter(|_| self.errors.is_empty());
        self
    }
}

impl Rubric {
    /// Adds `reward` with `weight`.
    ///
    /// # Errors
    /// When the weight is not finite or a reward of that name is there already.
    pub fn with(mut self, weight: f64, reward: impl Reward + 'static) -> Result<Self> {
        let name = reward.name().to_owned();
        self.push(&name, weight, 0, Box::new(reward))?;
        Ok(self)
    }

    /// The rewards' names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.parts.iter().map(|part| part.name.as_str()).collect()
    }

    /// The rewards' weights, in order.
    pub fn weights(&self) -> Vec<f64> {
        self.parts.iter().map(|part| part.weight).collect()
    }

    /// The rubric at a step of training, from 1: rewards that count later are not asked and do not apply.
    /// Apart from steps all rewards count.
    pub fn at_step(&self, step: usize) -> Self {
        let at_step = |part: &Part| Part {
            counts: step >= part.from_step,
            ..part.clone()
        };
        Self {
            parts: self.parts.iter().map(at_step).collect(),
        }
    }

    /// How many rewards count at a step of training, from 1.
    pub fn counting(&self, step: usize) -> usize {
        let parts = self.parts.iter();
        parts.filter(|part| step >= part.from_step).count()
    }

    /// Scores `attempt` by every reward, as a group of one; see [`Rubric::grade_group`].
    pub fn grade(&self, attempt: &Attempt<'_>) -> Graded {
        let mut group = self.grade_group(std::slice::from_ref(attempt));
        group.pop().unwrap_or_default()
    }

    /// Scores all completions of one problem by every reward, in order; a reward that fails or is not
    /// finite leaves an error, never a 0.
    pub fn grade_group(&self, attempts: &[Attempt<'_>]) -> Vec<Graded> {
        self.grade_groups(&[attempts]).pop().unwrap_or_default()
    }

    /// Scores the completions of several problems as [`Rubric::grade_group`] does, each reward for all
    /// of them at once.
    pub fn grade_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Graded>> {
        self.grade_with(groups, self.host_scores(groups))
    }

    /// What the rewards that need no device give the completions of several problems.
    pub(crate) fn host_scores(&self, groups: &[&[Attempt<'_>]]) -> Vec<HostScores> {
        let mut all: Vec<HostScores> = groups.iter().map(|_| HostScores::default()).collect();
        for part in &self.parts {
            let scores = match part.reward.needs_device() {
                true => groups.iter().map(|_| Scores::new()).collect(),
                false => part.scores(groups),
            };
            for (group, scores) in all.iter_mut().zip(scores) {
                group.of_parts.push(scores);
            }
        }
        all
    }

    /// Scores the completions of several problems by the rewards that need a device, each for all of them
    /// at once; `host` has the scores of the others.
    ///
    /// # Panics
    /// When `host` is not from this rubric's [`Rubric::host_scores`].
    pub(crate) fn grade_with(
        &self,
        groups: &[&[Attempt<'_>]],
        mut host: Vec<HostScores>,
    ) -> Vec<Vec<Graded>> {
        let empty = |group: &&[Attempt<'_>]| vec![Graded::default(); group.len()];
        let mut all: Vec<Vec<Graded>> = groups.iter().map(empty).collect();
        for (index, part) in self.parts.iter().enumerate() {
            let of_part = |group: &mut HostScores| std::mem::take(&mut group.of_parts[index]);
            let scores = match part.reward.needs_device() {
                true => part.scores(groups),
                false => host.iter_mut().map(of_part).collect(),
            };
            for (group, scores) in all.iter_mut().zip(scores) {
                for (graded, score) in group.iter_mut().zip(scores) {
                    graded.add(part, score);
                }
            }
        }
        let settled = |group: Vec<Graded>| group.into_iter().map(Graded::settled).collect();
        all.into_iter().map(settled).collect()
    }

    /// Adds `reward` as `name`, which counts from step `from_step` on.
    pub(super) fn push(
        &mut self,
        name: &str,
        weight: f64,
        from_step: usize,
        reward: Box<dyn Reward>,
    ) -> Result<()> {
        if !weight.is_finite() {
            let problem = format!("weight {weight} is not finite");
            return Err(Error::setting(format!("rewards.{name}.weight"), problem));
        }
        if self.names().contains(&name) {
            let problem = "there are two rewards of this name, give one of them another by `name`";
            return Err(Error::setting(format!("rewards.{name}"), problem));
        }
        self.parts.push(Part {
            name: name.to_owned(),
            weight,
            from_step,
            counts: true,
            reward: Arc::from(reward),
        });
        Ok(())
    }
}

impl Part {
    /// The reward's score of each attempt, its failures under its own name.
    fn scores(&self, groups: &[&[Attempt<'_>]]) -> Vec<Scores> {
        if !self.counts {
            let none = |group: &&[Attempt<'_>]| group.iter().map(|_| Ok(None)).collect();
            return groups.iter().map(none).collect();
        }
        let mut scores = self.reward.score_groups(groups).into_iter();
        let of_group =
            |group: &&[Attempt<'_>]| self.of_group(group, scores.next().unwrap_or_default());
        groups.iter().map(of_group).collect()
    }

    /// The scores of one group, if there are as many as attempts.
    fn of_group(&self, attempts: &[Attempt<'_>], scores: Scores) -> Scores {
        if scores.len() == attempts.len() {
            return scores
                .into_iter()
                .map(|score| self.checked(score))
                .collect();
        }
        let problem = format!(
            "gave {} scores for {} completions",
            scores.len(),
            attempts.len()
        );
        let failures = attempts.iter().map(|_| Err(self.failure(problem.clone())));
        failures.collect()
    }

    fn checked(&self, score: Result<Option<f64>>) -> Result<Option<f64>> {
        match score {
            Ok(Some(score)) if !score.is_finite() => {
                Err(self.failure(format!("score {score} is not finite")))
            }
            Err(Error::Reward { problem, .. }) => Err(self.failure(problem)),
            Err(error) => Err(self.failure(error.to_string())),
            Ok(score) => Ok(score),
        }
    }

    fn failure(&self, problem: String) -> Error {
        Error::Reward {
            reward: self.name.clone(),
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
        rubric.grade(&attempt(&problem(), "!"))
    }

    fn problem() -> Problem {
        Problem {
            prompt: Prompt::Text("?".into()),
            answer: Value::Null,
            level: None,
            language: None,
            part: None,
        }
    }

    fn attempt<'a>(problem: &'a Problem, completion: &'a str) -> Attempt<'a> {
        Attempt {
            problem,
            completion,
            token_ids: &[0],
            finished: true,
        }
    }

    /// A completion's bytes above the mean of its group; fails for an empty one, and forgets the last
    /// of a group of four.
    struct AboveMean;

    impl Reward for AboveMean {
        fn name(&self) -> &str {
            "above_mean"
        }

        fn score(&self, _: &Attempt<'_>) -> Result<Option<f64>> {
            Ok(Some(0.0))
        }

        fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
            let bytes = |attempt: &Attempt<'_>| attempt.completion.len() as f64;
            let mean = attempts.iter().map(bytes).sum::<f64>() / attempts.len() as f64;
            let scores = attempts.iter().map(|attempt| match bytes(attempt) {
                0.0 => Err(Error::setting("timeout", "too short")),
                bytes => Ok(Some(bytes - mean)),
            });
            scores
                .take(if attempts.len() == 4 { 3 } else { 9 })
                .collect()
        }
    }

    fn above_mean(completions: &[&str]) -> Vec<Graded> {
        let problem = problem();
        let attempts: Vec<Attempt<'_>> = completions
            .iter()
            .map(|completion| attempt(&problem, completion))
            .collect();
        let rubric = Rubric::default()
            .with(0.5, AboveMean)
            .and_then(|rubric| rubric.with(1.0, Fixed("format", Ok(Some(1.0)))));
        rubric.unwrap().grade_group(&attempts)
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
    fn a_reward_is_not_asked_before_its_step_and_does_not_apply() {
        // `late` fails whenever it is asked.
        let mut rubric = Rubric::default()
            .with(1.0, Fixed("format", Ok(Some(1.0))))
            .unwrap();
        let late = Box::new(Fixed("late", Err("asked")));
        rubric.push("late", 1.0, 3, late).unwrap();
        let grade = |rubric: Rubric| rubric.grade(&attempt(&problem(), "!"));
        assert_eq!((rubric.counting(2), rubric.counting(3)), (1, 2));
        let before = grade(rubric.at_step(2));
        assert_eq!((before.total, before.errors.len()), (Some(1.0), 0));
        assert_eq!(before.scores(), [Some(1.0), None]);
        assert_eq!(before.parts[1].name, "late");
        for counted in [rubric.at_step(3), rubric.at_step(2).at_step(4), rubric] {
            assert_eq!(grade(counted).errors, ["reward `late`: `timeout`: asked"]);
        }
    }

    #[test]
    fn before_every_reward_counts_a_completion_has_no_total() {
        let mut rubric = Rubric::default();
        let late = Box::new(Fixed("late", Ok(Some(1.0))));
        rubric.push("late", 1.0, 2, late).unwrap();
        let graded = rubric.at_step(1).grade(&attempt(&problem(), "!"));
        assert_eq!((graded.total, graded.scores()), (None, vec![None]));
        assert!(graded.errors.is_empty());
    }

    #[test]
    fn two_rewards_of_one_name_are_refused() {
        let rubric = Rubric::default().with(1.0, Fixed("a", Ok(None))).unwrap();
        let error = rubric.with(1.0, Fixed("a", Ok(None))).err().unwrap();
        assert_eq!(
            error.to_string(),
            "`rewards.a`: there are two rewards of this name, give one of them another by `name`"
        );
    }

    #[test]
    fn weight_that_is_not_finite_is_refused() {
        let error = Rubric::default()
            .with(f64::INFINITY, Fixed("a", Ok(None)))
            .err();
        assert!(error.unwrap().to_string().contains("weight inf"));
    }

    #[test]
    fn group_is_scored_together_and_in_order() {
        // Mean of 1, 2 and 6 bytes: 3; totals 0.5 · (bytes − 3) + 1.
        let totals: Vec<_> = above_mean(&["1", "22", "666666"])
            .iter()
            .map(|graded| graded.total)
            .collect();
        assert_eq!(totals, [Some(0.0), Some(0.5), Some(2.5)]);
    }

    #[test]
    fn failure_for_one_completion_leaves_its_siblings_graded() {
        let group = above_mean(&["", "22"]);
        assert_eq!(group[0].total, None);
        assert_eq!(
            group[0].errors,
            ["reward `above_mean`: `timeout`: too short"]
        );
        assert_eq!(group[1].total, Some(1.5));
    }

    #[test]
    fn reward_that_forgets_a_completion_fails_for_all() {
        for graded in above_mean(&["1", "1", "1", "1"]) {
            let message = "reward `above_mean`: gave 3 scores for 4 completions";
            assert_eq!(graded.errors, [message]);
            assert_eq!(graded.scores(), [None, None]);
        }
    }
}
