//! Curriculum by running pass rate: problems that the policy solves half of the time come most often.
//!
//! A group of n completions teaches most when about half of them are right: the variance of a right
//! answer at pass rate `p` is `p · (1 - p)`. A candidate of a bucket with running rate `p` is taken
//! with probability `max(floor, 4 · p · (1 - p))`, one of a bucket never seen always. A bucket is a
//! problem's level, or the problem itself where it has none. Every draw is derived from the
//! candidate's index, so with the rates and the next index restored a run goes on as if never stopped.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{PassRates, RolloutGroup};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Settings of [`Curriculum`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurriculumConfig {
    /// Share of a running pass rate that stays when a group is observed, 0 up to but not 1.
    pub decay: f64,
    /// Least probability that a candidate is taken, 0 to 1.
    pub floor: f64,
    /// Candidates looked at for one place; the last is taken anyway. At least 1.
    pub max_candidates: usize,
    /// Name of the reward that says whether a completion solves its problem.
    pub reward: String,
    /// Unweighted score of that reward from which a completion counts as right.
    pub solved_at: f64,
}

impl Default for CurriculumConfig {
    fn default() -> Self {
        Self {
            decay: 0.9,
            floor: 0.1,
            max_candidates: 8,
            reward: "accuracy".into(),
            solved_at: 1.0,
        }
    }
}

impl CurriculumConfig {
    /// Checks the ranges; `key` names the table in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let refuse = |name: &str, problem: String| {
            let key = format!("{key}.{name}");
            Err(Error::setting(key, problem))
        };
        if !(0.0..1.0).contains(&self.decay) {
            return refuse("decay", format!("is {}, expected 0 to below 1", self.decay));
        }
        if !(0.0..=1.0).contains(&self.floor) {
            return refuse("floor", format!("is {}, expected 0 to 1", self.floor));
        }
        if self.max_candidates == 0 {
            return refuse("max_candidates", "is 0, must be at least 1".into());
        }
        if !self.solved_at.is_finite() {
            return refuse("solved_at", format!("{} is not finite", self.solved_at));
        }
        Ok(())
    }
}

/// Chooses problems by how often problems like them are solved.
#[derive(Clone, Debug, PartialEq)]
pub struct Curriculum {
    config: CurriculumConfig,
    pass_rates: PassRates,
}

/// Problems chosen from a stream of candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Picked {
    /// The chosen problems, in the stream's order.
    pub problems: Vec<Problem>,
    /// Their indices in the stream.
    pub indices: Vec<u64>,
    /// Index of the first candidate not looked at.
    pub next: u64,
}

impl Curriculum {
    /// A curriculum that goes on from `pass_rates`: none at first, a saved state's later.
    pub fn new(config: CurriculumConfig, pass_rates: PassRates) -> Self {
        Self { config, pass_rates }
    }

    /// The state to save.
    pub fn pass_rates(&self) -> &PassRates {
        &self.pass_rates
    }

    /// Takes the share of right completions of `group` into its bucket's rate. Completions that the
    /// reward does not apply to are left out; a group of nothing else changes nothing.
    ///
    /// # Errors
    /// When a completion was not graded by the reward that the settings name.
    pub fn observe(&mut self, group: &RolloutGroup) -> Result<()> {
        let mut graded = 0;
        let mut solved = 0;
        for rollout in &group.rollouts {
            let parts = &rollout.graded.parts;
            let part = parts.iter().find(|part| part.name == self.config.reward);
            let Some(part) = part else {
                let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
                let (name, names) = (&self.config.reward, names.join("`, `"));
                let problem = format!("no reward is called `{name}`, expected one of `{names}`");
                return Err(Error::setting("curriculum.reward", problem));
            };
            if let Some(score) = part.score {
                graded += 1;
                solved += usize::from(score >= self.config.solved_at);
            }
        }
        if graded > 0 {
            let share = solved as f64 / graded as f64;
            let bucket = bucket(&group.problem);
            self.pass_rates.observe(bucket, share, self.config.decay);
        }
        Ok(())
    }

    /// Whether a candidate of `bucket` is taken; `draw` is evenly distributed in 0..1.
    pub fn accepts(&self, bucket: &str, draw: f64) -> bool {
        let probability = self
            .pass_rates
            .get(bucket)
            .map_or(1.0, |rate| self.config.floor.max(4.0 * rate * (1.0 - rate)));
        draw < probability
    }

    /// Chooses `count` problems from the stream that starts at index `first`; candidate `i` is
    /// `problem(i)` and its draw comes from `seed.child(i)`.
    pub fn pick(
        &self,
        first: u64,
        count: usize,
        seed: Seed,
        problem: impl Fn(u64) -> Problem,
    ) -> Picked {
        let mut picked = Picked {
            problems: Vec::with_capacity(count),
            indices: Vec::with_capacity(count),
            next: first,
        };
        for _ in 0..count {
            let mut looked_at = 0;
            let (index, candidate) = loop {
                let index = picked.next;
                let candidate = problem(index);
                picked.next += 1;
                looked_at += 1;
                let draw = seed.child(index).rng().random();
                let is_last = looked_at >= self.config.max_candidates;
                if is_last || self.accepts(&bucket(&candidate), draw) {
                    break (index, candidate);
                }
            };
            picked.indices.push(index);
            picked.problems.push(candidate);
        }
        picked
    }
}

/// The bucket of `problem`: its level, or the hash of its prompt where it has none.
fn bucket(problem: &Problem) -> String {
    match &problem.level {
        Some(level) => format!("level {level}"),
        None => {
            let prompt = serde_json::to_string(&problem.prompt);
            let prompt = prompt.expect("a prompt is texts alone");
            format!("problem {:016x}", Seed::new(0).named(&prompt).value())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::Prompt;
    use crate::generation::{Completion, FinishReason};
    use crate::rewards::{Graded, GradedPart};
    use crate::rollout::Rollout;

    fn problem(prompt: &str, level: Option<&str>) -> Problem {
        Problem {
            prompt: Prompt::Text(prompt.into()),
            answer: Value::Null,
            level: level.map(str::to_string),
            language: None,
            part: None,
        }
    }

    fn group(problem: Problem, scores: &[Option<f64>]) -> RolloutGroup {
        let rollout = |&score: &Option<f64>| Rollout {
            completion: Completion {
                ids: Vec::new(),
                logprobs: Vec::new(),
                finish: FinishReason::Stop,
            },
            text: String::new(),
            graded: Graded {
                parts: vec![GradedPart {
                    name: "accuracy".into(),
                    score,
                }],
                ..Graded::default()
            },
        };
        RolloutGroup {
            problem,
            prompt: Vec::new(),
            rollouts: scores.iter().map(rollout).collect(),
        }
    }

    /// A curriculum that has seen level `hard` at rate 0, `even` at 0.5, `some` at 0.25.
    fn seen() -> Curriculum {
        let mut curriculum = Curriculum::new(CurriculumConfig::default(), PassRates::default());
        for (level, right) in [("hard", 0), ("some", 1), ("even", 2)] {
            let scores: Vec<_> = (0..4)
                .map(|i| Some(f64::from(u8::from(i < right))))
                .collect();
            let group = group(problem("?", Some(level)), &scores);
            curriculum.observe(&group).unwrap();
        }
        curriculum
    }

    #[test]
    fn probability_is_highest_at_a_rate_of_one_half() {
        let curriculum = seen();
        assert!(curriculum.accepts("level even", 0.999_999));
        // 4 · 0.25 · 0.75 = 0.75
        assert!(curriculum.accepts("level some", 0.749));
        assert!(!curriculum.accepts("level some", 0.75));
        // The floor of 0.1.
        assert!(curriculum.accepts("level hard", 0.099));
        assert!(!curriculum.accepts("level hard", 0.1));
        assert!(curriculum.accepts("level new", 0.999_999));
    }

    #[test]
    fn completions_that_the_reward_does_not_apply_to_are_left_out() {
        let mut curriculum = Curriculum::new(CurriculumConfig::default(), PassRates::default());
        let scores = [None, Some(1.0), None, Some(0.0)];
        let observed = group(problem("?", Some("a")), &scores);
        curriculum.observe(&observed).unwrap();
        assert_eq!(curriculum.pass_rates().get("level a"), Some(0.5));
        let nothing = group(problem("?", Some("b")), &[None]);
        curriculum.observe(&nothing).unwrap();
        assert_eq!(curriculum.pass_rates().get("level b"), None);
    }

    #[test]
    fn reward_that_no_completion_has_is_named() {
        let config = CurriculumConfig {
            reward: "right".into(),
            ..CurriculumConfig::default()
        };
        let mut curriculum = Curriculum::new(config, PassRates::default());
        let group = group(problem("?", None), &[Some(1.0)]);
        let message = curriculum.observe(&group).unwrap_err().to_string();
        let expected = "no reward is called `right`, expected one of `accuracy`";
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn problem_without_a_level_is_its_own_bucket() {
        let (one, other) = (problem("1+1=", None), problem("1+2=", None));
        assert_eq!(bucket(&one), bucket(&problem("1+1=", None)));
        assert_ne!(bucket(&one), bucket(&other));
        assert_eq!(bucket(&problem("1+1=", Some("3"))), "level 3");
    }

    #[test]
    fn picked_problems_repeat_and_go_on_where_they_ended() {
        let curriculum = seen();
        let stream = |index: u64| {
            let level = ["hard", "some"][index as usize % 2];
            problem(&index.to_string(), Some(level))
        };
        let seed = Seed::new(7);
        let whole = curriculum.pick(0, 200, seed, stream);
        assert_eq!(whole, curriculum.pick(0, 200, seed, stream));
        let first = curriculum.pick(0, 80, seed, stream);
        let second = curriculum.pick(first.next, 120, seed, stream);
        assert_eq!(whole.indices, [first.indices, second.indices].concat());
        assert_eq!(whole.next, second.next);
        assert_ne!(
            whole.indices,
            curriculum.pick(0, 200, Seed::new(8), stream).indices
        );
        assert!(whole.indices.is_sorted_by(|a, b| a < b) && whole.indices[199] < whole.next);
        for (problem, index) in whole.problems.iter().zip(&whole.indices) {
            assert_eq!(*problem, stream(*index));
        }
        // Accepted with 0.75 and 0.1: about 15 in 17.
        let some = whole.indices.iter().filter(|index| *index % 2 == 1).count();
        assert!((160..190).contains(&some), "{some}");
    }

    #[test]
    fn last_candidate_is_taken_anyway() {
        let mut curriculum = seen();
        curriculum.config.floor = 0.0;
        let stream = |index: u64| problem(&index.to_string(), Some("hard"));
        let picked = curriculum.pick(5, 2, Seed::new(1), stream);
        // Candidates 5 to 12 and 13 to 20.
        assert_eq!(picked.indices, [12, 20]);
        assert_eq!(picked.next, 21);
    }

    #[test]
    fn setting_out_of_range_is_named() {
        let config = CurriculumConfig {
            decay: 1.0,
            ..CurriculumConfig::default()
        };
        let message = config.validate("curriculum").unwrap_err().to_string();
        assert_eq!(message, "`curriculum.decay`: is 1, expected 0 to below 1");
        let config = CurriculumConfig {
            max_candidates: 0,
            ..CurriculumConfig::default()
        };
        let message = config.validate("curriculum").unwrap_err().to_string();
        assert!(message.contains("`curriculum.max_candidates`"), "{message}");
    }
}
