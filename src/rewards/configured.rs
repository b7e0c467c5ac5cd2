//! One reward of a recipe: its kind, and the problems and steps that it counts for.
//!
//! DeepSeek-R1's last phase (arXiv:2501.12948, section 3.2.3, eq. 8 to 10) grades reasoning by rules and
//! general requests by reward models, and these only in the last 400 of its 1,700 steps: longer, and they
//! are hacked. A reward with `parts` does not apply to problems of other parts, one with `from_step` to no
//! problem before that step.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

use super::{AnswerSource, Attempt, Reward, RewardContext, RewardKind};
use crate::error::{Error, Result};
use crate::tasks::TaskConfig;

/// The keys that are taken out before a reward's own settings are read.
const NAME: &str = "name";
const PARTS: &str = "parts";
const FROM_STEP: &str = "from_step";

/// One reward of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewardConfig {
    /// The reward and its settings.
    #[serde(flatten)]
    pub kind: RewardKind,
    /// Its name in metrics, samples and settings, so that there can be several of a kind: letters, digits,
    /// `-` and `_`. Unset is the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Parts of a `mixture` whose problems the reward is for; empty is all problems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// The step of training, from 1, from which on the reward counts; 0 is from the start. Before it the
    /// reward is not computed.
    #[serde(skip_serializing_if = "is_zero")]
    pub from_step: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl RewardConfig {
    /// The name in metrics, samples and settings.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name())
    }

    /// Factor in the sum of rewards.
    pub fn weight(&self) -> f64 {
        self.kind.weight()
    }

    /// Where the answer stands that this reward judges right or wrong, if it does.
    pub fn answer_source(&self) -> Option<AnswerSource> {
        self.kind.answer_source()
    }

    /// Builds the reward with what `context` has for it.
    ///
    /// # Errors
    /// When a setting is out of range; the message names its key.
    pub fn build(&self, context: &RewardContext<'_>) -> Result<Box<dyn Reward>> {
        let name = self.name();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            let problem = "must be of letters, digits, `-` and `_`";
            return Err(Error::setting(format!("rewards.{name}.{NAME}"), problem));
        }
        let reward = self.kind.build(name, context)?;
        Ok(match self.parts.is_empty() {
            true => reward,
            false => Box::new(OfParts {
                reward,
                parts: self.parts.clone(),
            }),
        })
    }

    /// Checks that `task` has the parts that the reward is for.
    ///
    /// # Errors
    /// Names the first part that it has not.
    pub fn validate_parts(&self, task: &TaskConfig) -> Result<()> {
        let Some(known) = task.parts() else {
            return Ok(());
        };
        let unknown = self
            .parts
            .iter()
            .find(|part| !known.contains(&part.as_str()));
        let Some(unknown) = unknown else {
            return Ok(());
        };
        let expected = match known.is_empty() {
            true => "only a `mixture` has parts".to_owned(),
            false => format!("expected of `{}`", known.join("`, `")),
        };
        let problem = format!("the task has no part `{unknown}`, {expected}");
        Err(Error::setting(format!("rewards.{PARTS}"), problem))
    }

    /// Checks that the reward counts at some of a stage's `steps`; a stage that does not train has none.
    ///
    /// # Errors
    /// When it counts from a later step on.
    pub fn validate_steps(&self, steps: Option<usize>) -> Result<()> {
        let from_step = self.from_step;
        let problem = match steps {
            Some(steps) if from_step > steps => format!("is {from_step}, expected 0 to {steps}"),
            None if from_step > 0 => "means nothing in a stage that does not train".into(),
            _ => return Ok(()),
        };
        let key = format!("rewards.{}.{FROM_STEP}", self.name());
        Err(Error::setting(key, problem))
    }
}

impl<'de> Deserialize<'de> for RewardConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut settings = Table::deserialize(deserializer)?;
        let message = |error: toml::de::Error| D::Error::custom(error.message());
        let name = settings.remove(NAME).map(String::deserialize);
        let parts = match settings.remove(PARTS) {
            Some(parts) => parts_of(parts).map_err(D::Error::custom)?,
            None => Vec::new(),
        };
        let from_step = settings.remove(FROM_STEP).map(usize::deserialize);
        let kind = RewardKind::deserialize(Value::Table(settings));
        let kind = kind.map_err(|error| D::Error::custom(with_own_keys(error.message())))?;
        Ok(Self {
            kind,
            name: name.transpose().map_err(message)?,
            parts,
            from_step: from_step.transpose().map_err(message)?.unwrap_or(0),
        })
    }
}

fn parts_of(value: Value) -> Result<Vec<String>, String> {
    let parts = Vec::<String>::deserialize(value).map_err(|error| error.message().to_owned())?;
    match parts.is_empty() {
        true => Err("no parts, expected some or no such key".to_owned()),
        false => Ok(parts),
    }
}

/// Serde's `message` with the keys that it was not shown among those that are expected.
fn with_own_keys(message: &str) -> String {
    match message.starts_with("unknown field ") && message.contains(", expected ") {
        true => format!("{message}, `{NAME}`, `{PARTS}`, `{FROM_STEP}`"),
        false => message.to_owned(),
    }
}

/// A reward for the problems of some parts.
struct OfParts {
    reward: Box<dyn Reward>,
    parts: Vec<String>,
}

impl OfParts {
    fn applies(&self, attempt: &Attempt<'_>) -> bool {
        let part = attempt.problem.part.as_ref();
        part.is_some_and(|part| self.parts.contains(part))
    }
}

impl Reward for OfParts {
    fn name(&self) -> &str {
        self.reward.name()
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        match self.applies(attempt) {
            true => self.reward.score(attempt),
            false => Ok(None),
        }
    }

    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        let mut groups = self.score_groups(&[attempts]);
        groups.pop().unwrap_or_default()
    }

    fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
        // A group is of one problem.
        let applies = |group: &[Attempt<'_>]| group.first().is_some_and(|it| self.applies(it));
        let own: Vec<_> = groups.iter().copied().filter(|it| applies(it)).collect();
        let mut scores = self.reward.score_groups(&own).into_iter();
        let scores_of = |group: &&[Attempt<'_>]| match applies(group) {
            true => scores.next().unwrap_or_default(),
            false => group.iter().map(|_| Ok(None)).collect(),
        };
        groups.iter().map(scores_of).collect()
    }

    fn needs_device(&self) -> bool {
        self.reward.needs_device()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::{Problem, Prompt};
    use crate::rewards::Rubric;

    fn config(text: &str) -> Result<RewardConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_reward_applies_to_the_problems_of_its_parts_only() {
        let configs = [
            "kind = \"accuracy\"\nanswer = \"anywhere\"\nparts = [\"sums\"]",
            "kind = \"format\"",
            "kind = \"length\"\nanswer = \"anywhere\"\nparts = [\"sums\", \"general\"]",
        ]
        .map(|text| config(text).unwrap());
        let rubric = Rubric::build(&configs, &RewardContext::default()).unwrap();
        assert_eq!(rubric.names(), ["accuracy", "format", "length"]);
        let scores = |part: Option<&str>| {
            let problem = Problem {
                prompt: Prompt::Text("1+1=?".into()),
                answer: json!("2"),
                level: None,
                language: None,
                part: part.map(str::to_owned),
            };
            let attempt = Attempt {
                problem: &problem,
                completion: "<answer>2</answer>",
                token_ids: &[1, 2],
                finished: true,
            };
            let graded = rubric.grade_group(&[attempt, attempt]).remove(0);
            assert!(graded.errors.is_empty());
            let applies = graded.parts.iter().map(|part| part.score.is_some());
            applies.collect::<Vec<_>>()
        };
        assert_eq!(scores(Some("sums")), [true, true, true]);
        assert_eq!(scores(Some("general")), [false, true, true]);
        assert_eq!(scores(None), [false, true, false]);
    }

    #[test]
    fn parts_are_read_and_written_beside_the_settings_and_unknown_keys_refused() {
        let text = "kind = \"format\"\nweight = 0.5\nstyle = \"think\"\nparts = [\"a\"]\n";
        let read = config(text).unwrap();
        assert_eq!(read.parts, ["a"]);
        assert_eq!(toml::to_string(&read).unwrap(), text);
        assert_eq!(config(&toml::to_string(&read).unwrap()).unwrap(), read);
        let message = |text: &str| config(text).unwrap_err().message().to_owned();
        assert_eq!(
            message("kind = \"format\"\npart = [\"a\"]"),
            "unknown field `part`, expected `weight` or `style`, `name`, `parts`, `from_step`"
        );
        assert!(message("kind = \"format\"\nparts = []").starts_with("no parts"));
        assert!(message("kind = \"format\"\nparts = \"a\"").starts_with("invalid type"));
    }

    #[test]
    fn rewards_of_one_kind_go_by_their_names() {
        let two = |second: &str| {
            let second = format!("kind = \"format\"\nstyle = \"think\"\n{second}");
            let configs = [
                config("kind = \"format\"").unwrap(),
                config(&second).unwrap(),
            ];
            let rubric = Rubric::build(&configs, &RewardContext::default());
            rubric
                .map(|rubric| rubric.names().join(" "))
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            two("name = \"closed-think\"").unwrap(),
            "format closed-think"
        );
        assert_eq!(
            two("").unwrap_err(),
            "`rewards.format`: there are two rewards of this name, give one of them another by `name`"
        );
        assert_eq!(
            two("name = \"../a\"").unwrap_err(),
            "`rewards.../a.name`: must be of letters, digits, `-` and `_`"
        );
        assert!(two("name = \"\"").is_err());
    }

    #[test]
    fn a_reward_that_counts_late_leaves_its_problems_the_other_rewards() {
        let configs = [
            "kind = \"format\"",
            "kind = \"tag_count\"\nparts = [\"general\"]\nfrom_step = 1301",
        ]
        .map(|text| config(text).unwrap());
        let rubric = Rubric::build(&configs, &RewardContext::default()).unwrap();
        let problem = Problem {
            prompt: Prompt::Text("?".into()),
            answer: serde_json::Value::Null,
            level: None,
            language: None,
            part: Some("general".into()),
        };
        let attempt = Attempt {
            problem: &problem,
            completion: "hello",
            token_ids: &[1],
            finished: true,
        };
        let scores = |step| rubric.at_step(step).grade(&attempt).scores();
        assert_eq!(scores(1300), [Some(0.0), None]);
        assert_eq!(scores(1301), [Some(0.0), Some(0.0)]);
        assert_eq!(rubric.grade(&attempt).scores(), [Some(0.0), Some(0.0)]);
    }

    #[test]
    fn the_step_from_which_a_reward_counts_is_one_of_the_stage() {
        let read = config("kind = \"format\"\nname = \"tidy\"\nfrom_step = 5").unwrap();
        assert_eq!(config(&toml::to_string(&read).unwrap()).unwrap(), read);
        let problem = |steps| read.validate_steps(steps).unwrap_err().to_string();
        assert!(read.validate_steps(Some(5)).is_ok());
        assert_eq!(
            problem(Some(4)),
            "`rewards.tidy.from_step`: is 5, expected 0 to 4"
        );
        assert_eq!(
            problem(None),
            "`rewards.tidy.from_step`: means nothing in a stage that does not train"
        );
        assert!(
            config("kind = \"format\"")
                .unwrap()
                .validate_steps(None)
                .is_ok()
        );
        for text in ["from_step = -1", "from_step = \"late\"", "name = 3"] {
            assert!(
                config(&format!("kind = \"format\"\n{text}")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_part_that_the_task_has_not_is_refused() {
        let reward = config("kind = \"format\"\nparts = [\"genral\"]").unwrap();
        let validate = |task: &str| {
            let task: TaskConfig = toml::from_str(task).unwrap();
            reward
                .validate_parts(&task)
                .map_err(|error| error.to_string())
        };
        let mixture = "kind = \"mixture\"\n\
            parts = [{ name = \"general\", share = 1, task = { kind = \"arithmetic\" } }]";
        assert_eq!(
            validate(mixture).unwrap_err(),
            "`rewards.parts`: the task has no part `genral`, expected of `general`"
        );
        assert!(validate("kind = \"arithmetic\"").is_err());
        // Lines of a file say their part themselves.
        assert!(validate("kind = \"jsonl\"\ntrain = \"a.jsonl\"").is_ok());
    }
}
