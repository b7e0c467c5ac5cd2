//! Problems from JSON Lines files, judged by exact match.

use std::collections::HashSet;
use std::path::PathBuf;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Split, Task};
use crate::data::{EpochCache, EpochOrder, Problem, ProblemFormat};
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Settings of [`Jsonl`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlConfig {
    /// The problems to train on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// The held-out problems; none of them may be among those to train on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// The fields that both files have.
    pub format: ProblemFormat,
    /// Seed of the order in which problems are trained on.
    pub seed: u64,
}

/// Problems read from files.
#[derive(Debug)]
pub struct Jsonl {
    train: Problems,
    test: Problems,
}

/// The problems of one split and the order they come in.
#[derive(Debug, Default)]
struct Problems {
    items: Vec<Problem>,
    order: Option<EpochCache>,
}

impl Jsonl {
    /// Reads the files.
    ///
    /// # Errors
    /// When neither file is named, one is broken, or a held-out prompt is also trained on.
    pub fn new(config: &JsonlConfig) -> Result<Self> {
        if config.train.is_none() && config.test.is_none() {
            return Err(Error::setting(
                "task",
                "names no file, expected `train` or `test`",
            ));
        }
        let read = |path: &Option<PathBuf>| match path {
            Some(path) => config.format.read(path),
            None => Ok(Vec::new()),
        };
        let (train, test) = (read(&config.train)?, read(&config.test)?);
        if let (Some(path), Some(line)) = (&config.test, first_shared(&train, &test)) {
            let problem = "this prompt is also among those to train on";
            return Err(Error::line(path, line, problem));
        }
        let seed = Seed::new(config.seed).named("jsonl");
        Ok(Self {
            train: Problems {
                order: EpochOrder::new(train.len(), seed).map(EpochCache::new),
                items: train,
            },
            test: Problems {
                order: None,
                items: test,
            },
        })
    }
}

impl Task for Jsonl {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    /// Problem `index` in the shuffled order of its epoch; held-out problems come as in the file.
    ///
    /// # Panics
    /// When the split has no file: [`Task::size`] says so.
    fn problem(&self, split: Split, index: u64) -> Problem {
        let problems = match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        };
        let place = match &problems.order {
            Some(order) => order.index(index),
            None => index as usize % problems.items.len(),
        };
        problems.items[place].clone()
    }

    fn size(&self, split: Split) -> Option<usize> {
        Some(match split {
            Split::Train => self.train.items.len(),
            Split::Test => self.test.items.len(),
        })
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        problem.is_answered_by(answer).ok_or_else(|| Error::Reward {
            reward: "accuracy".into(),
            problem: "the problem has no reference answer".into(),
        })
    }

    fn trace(&self, _: &Problem, _: &mut dyn Rng) -> Result<String> {
        let problem = "a file of problems has no traces to pretrain on; use a generated task";
        Err(Error::setting("task", problem))
    }
}

/// Place, counted from 1, of the first held-out problem whose prompt is trained on.
fn first_shared(train: &[Problem], test: &[Problem]) -> Option<usize> {
    let key = |problem: &Problem| serde_json::to_string(&problem.prompt).unwrap_or_default();
    let trained: HashSet<String> = train.iter().map(key).collect();
    let shared = test
        .iter()
        .position(|problem| trained.contains(&key(problem)));
    shared.map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &std::path::Path, name: &str, lines: &[&str]) -> Option<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        Some(path)
    }

    const LINES: [&str; 3] = [
        r#"{"prompt": "1+1", "answer": "2"}"#,
        r#"{"prompt": "1+2", "answer": "3"}"#,
        r#"{"prompt": "1+3", "answer": "4"}"#,
    ];

    #[test]
    fn an_epoch_asks_every_problem_once() {
        let folder = tempfile::tempdir().unwrap();
        let train = write(folder.path(), "train.jsonl", &LINES);
        let task = Jsonl::new(&JsonlConfig {
            train,
            ..JsonlConfig::default()
        });
        let task = task.unwrap();
        let mut asked: Vec<String> = (3..6)
            .map(|index| task.problem(Split::Train, index).answer.to_string())
            .collect();
        asked.sort();
        assert_eq!(asked, ["\"2\"", "\"3\"", "\"4\""]);
        assert!(task.verify(&task.train.items[0], " 2 ").unwrap());
    }

    #[test]
    fn format_names_the_fields_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [r#"{"question": "6*7?", "answer": "6*7=42\n#### 42"}"#];
        let path = write(folder.path(), "test.jsonl", &lines).unwrap();
        let text = format!("format = \"gsm8k\"\ntest = {path:?}");
        let config: JsonlConfig = toml::from_str(&text).unwrap();
        let task = Jsonl::new(&config).unwrap();
        let problem = task.problem(Split::Test, 0);
        assert!(task.verify(&problem, "42").unwrap());
        assert!(!task.verify(&problem, "6*7=42").unwrap());
        assert_eq!(JsonlConfig::default().format, ProblemFormat::Emberl);
        let error = toml::from_str::<JsonlConfig>("format = \"csv\"").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected one of `emberl`, `gsm8k`"),
            "{error}"
        );
    }

    #[test]
    fn a_held_out_prompt_that_is_trained_on_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = JsonlConfig {
            train: write(folder.path(), "train.jsonl", &LINES[..2]),
            test: write(folder.path(), "test.jsonl", &LINES[1..]),
            ..JsonlConfig::default()
        };
        let message = Jsonl::new(&config).unwrap_err().to_string();
        assert!(message.contains("test.jsonl:1:"), "{message}");
    }
}
