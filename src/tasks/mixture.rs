//! Mixture: problems of several tasks, each a fixed share of the whole.
//!
//! [`turns`] says whose turn it is; a part's problems come in its own task's order, none left out. A mixture has
//! no end: a part that is through begins anew.

mod turns;

use rand::Rng;
use serde::{Deserialize, Serialize};

use self::turns::Turns;
use super::{Split, Task, TaskConfig};
use crate::data::{LabelledCompletion, Problem, RatedPreference};
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Settings of [`Mixture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureConfig {
    /// The parts.
    pub parts: Vec<MixturePart>,
    /// Seed of the order in which parts take turns.
    #[serde(default)]
    pub seed: u64,
}

/// One task of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixturePart {
    /// What its problems are tagged with, for rewards that are for some parts only and for results part by
    /// part.
    pub name: String,
    /// Its share of the problems, as a ratio to the sum of all shares.
    pub share: f64,
    /// Where its problems come from; any task but a mixture.
    pub task: TaskConfig,
}

/// Several tasks as one.
pub struct Mixture {
    parts: Vec<Part>,
    /// None where no part has problems.
    train: Option<Turns>,
    test: Option<Turns>,
}

struct Part {
    name: String,
    share: f64,
    task: Box<dyn Task>,
}

impl Mixture {
    /// Builds the parts.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn new(config: &MixtureConfig) -> Result<Self> {
        config.validate()?;
        let build = |part: &MixturePart| {
            let task = part.task.build();
            let task = task.map_err(|error| error.inside(&format!("{}.", key(part, "task"))))?;
            Ok(Part {
                name: part.name.clone(),
                share: part.share,
                task,
            })
        };
        let parts = config.parts.iter().map(build).collect::<Result<Vec<_>>>()?;
        let seed = Seed::new(config.seed).named("mixture");
        Ok(Self {
            train: turns(&parts, Split::Train, seed.named("train")),
            test: turns(&parts, Split::Test, seed.named("test")),
            parts,
        })
    }

    fn turns(&self, split: Split) -> Option<&Turns> {
        match split {
            Split::Train => self.train.as_ref(),
            Split::Test => self.test.as_ref(),
        }
    }

    /// The part that `problem` is tagged with.
    fn part(&self, problem: &Problem) -> Result<&Part> {
        let name = problem.part.as_deref().unwrap_or_default();
        let part = self.parts.iter().find(|part| part.name == name);
        part.ok_or_else(|| Error::Reward {
            reward: "mixture".into(),
            problem: format!("a problem's part is `{name}`, which the mixture has not"),
        })
    }
}

impl Task for Mixture {
    fn name(&self) -> &'static str {
        "mixture"
    }

    /// The next problem of the part whose turn it is, its level named after the part.
    ///
    /// # Panics
    /// When no part has problems on this side: [`Task::size`] says so.
    fn problem(&self, split: Split, index: u64) -> Problem {
        let turns = self.turns(split).expect("a side that has problems");
        let turn = turns.turn(index);
        let part = &self.parts[turn.part];
        let problem = part.task.problem(split, turn.rank);
        Problem {
            level: problem.level.map(|level| format!("{}/{level}", part.name)),
            part: Some(part.name.clone()),
            ..problem
        }
    }

    fn size(&self, split: Split) -> Option<usize> {
        match self.turns(split) {
            Some(_) => None,
            None => Some(0),
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        self.part(problem)?.task.verify(problem, answer)
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        self.part(problem)?.task.trace(problem, rng)
    }

    fn preference(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<Option<RatedPreference>> {
        self.part(problem)?.task.preference(problem, rng)
    }

    fn labelled(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<Option<LabelledCompletion>> {
        self.part(problem)?.task.labelled(problem, rng)
    }
}

impl MixtureConfig {
    fn validate(&self) -> Result<()> {
        if self.parts.is_empty() {
            return Err(Error::setting(
                "task.parts",
                "no parts, expected at least one",
            ));
        }
        for (index, part) in self.parts.iter().enumerate() {
            if !(part.share.is_finite() && part.share > 0.0) {
                return Err(Error::setting(key(part, "share"), "must be above 0"));
            }
            let same = |other: &MixturePart| other.name == part.name;
            if part.name.is_empty() || self.parts[..index].iter().any(same) {
                let problem = "must be a name that no other part has";
                return Err(Error::setting(key(part, "name"), problem));
            }
            if matches!(part.task, TaskConfig::Mixture(_)) {
                let problem = "is a mixture itself, give its parts here";
                return Err(Error::setting(key(part, "task"), problem));
            }
        }
        Ok(())
    }
}

fn key(part: &MixturePart, setting: &str) -> String {
    format!("task.parts.{}.{setting}", part.name)
}

/// The turns of the parts that have problems on this side; none when no part has.
fn turns(parts: &[Part], split: Split, seed: Seed) -> Option<Turns> {
    let share = |part: &Part| match part.task.size(split) {
        Some(0) => 0.0,
        _ => part.share,
    };
    let shares: Vec<f64> = parts.iter().map(share).collect();
    let has_problems = shares.iter().any(|share| *share > 0.0);
    has_problems.then(|| Turns::new(&shares, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        seed = 4
        parts = [
            { name = "sums", share = 3, task = { kind = "arithmetic" } },
            { name = "numbers", share = 1, task = { kind = "countdown", levels = [1] } },
        ]"#;

    fn mixture(text: &str) -> Result<Mixture> {
        Mixture::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn problems_are_tagged_and_judged_by_their_part() {
        let task = mixture(TWO).unwrap();
        let mut rng = Seed::new(1).rng();
        let mut sums = 0;
        for index in 0..200 {
            let problem = task.problem(Split::Train, index);
            assert_eq!(problem, task.problem(Split::Train, index));
            let part = problem.part.clone().unwrap();
            assert!(
                problem
                    .level
                    .as_ref()
                    .unwrap()
                    .starts_with(&format!("{part}/"))
            );
            sums += usize::from(part == "sums");
            if part == "sums" {
                let value = problem.answer["value"].to_string();
                assert!(task.verify(&problem, &value).unwrap());
            }
            assert!(!task.verify(&problem, "no").unwrap());
            task.trace(&problem, &mut rng).unwrap();
        }
        assert_eq!(sums, 150);
        assert_eq!(task.size(Split::Test), None);
        let mut foreign = task.problem(Split::Train, 0);
        foreign.part = None;
        assert!(task.verify(&foreign, "1").is_err());
    }

    #[test]
    fn only_parts_with_annotators_have_preferences_and_labels() {
        let text = TWO.replace("kind = \"arithmetic\"", "kind = \"notes\"");
        let task = mixture(&text).unwrap();
        let mut rng = Seed::new(1).rng();
        for index in 0..40 {
            let problem = task.problem(Split::Train, index);
            let is_note = problem.part.as_deref() == Some("sums");
            let preference = task.preference(&problem, &mut rng).unwrap();
            let labelled = task.labelled(&problem, &mut rng).unwrap();
            assert_eq!(
                (preference.is_some(), labelled.is_some()),
                (is_note, is_note)
            );
        }
    }

    #[test]
    fn a_part_without_held_out_problems_leaves_them_to_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        let lines =
            "{\"prompt\": \"hi\", \"answer\": null}\n{\"prompt\": \"ho\", \"answer\": null}";
        std::fs::write(&path, lines).unwrap();
        let text = format!(
            "parts = [{{ name = \"sums\", share = 0.9, task = {{ kind = \"arithmetic\" }} }},\n\
             {{ name = \"general\", share = 0.1, task = {{ kind = \"jsonl\", train = {path:?} }} }}]"
        );
        let task = mixture(&text).unwrap();
        for index in 0..200 {
            let problem = task.problem(Split::Test, index);
            assert_eq!(problem.part.as_deref(), Some("sums"));
        }
        let general = (0..100).map(|index| task.problem(Split::Train, index));
        let general: Vec<_> = general
            .filter(|problem| problem.part.as_deref() == Some("general"))
            .map(|problem| problem.prompt.text().into_owned())
            .collect();
        // Ten turns of two problems, each epoch with both.
        assert_eq!(general.len(), 10);
        assert!(general.chunks(2).all(|epoch| epoch[0] != epoch[1]));
        let held_out = format!(
            "parts = [{{ name = \"general\", share = 1, \
             task = {{ kind = \"jsonl\", train = {path:?} }} }}]"
        );
        assert_eq!(mixture(&held_out).unwrap().size(Split::Test), Some(0));
    }

    #[test]
    fn settings_that_are_wrong_are_named() {
        let part = |name: &str, share: &str, task: &str| {
            format!("{{ name = \"{name}\", share = {share}, task = {{ {task} }} }}")
        };
        let sums = part("a", "1.0", "kind = \"arithmetic\"");
        for (parts, key) in [
            (String::new(), "task.parts"),
            (format!("{sums}, {sums}"), "task.parts.a.name"),
            (
                part("a", "0.0", "kind = \"arithmetic\""),
                "task.parts.a.share",
            ),
            (
                format!("{sums}, {}", part("b", "-1.0", "kind = \"arithmetic\"")),
                "share",
            ),
            (
                part("a", "1.0", &format!("kind = \"mixture\", parts = [{sums}]")),
                "task.parts.a.task",
            ),
            (
                part("a", "1.0", "kind = \"arithmetic\", digits = 0"),
                "task.parts.a.task.",
            ),
        ] {
            let message = mixture(&format!("parts = [{parts}]"))
                .err()
                .unwrap()
                .to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
