//! Tasks: seeded generators of problems with exact verifiers.

mod arithmetic;
mod countdown;
mod expression;
mod jsonl;
mod question;
mod split;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::error::Result;

pub use arithmetic::{Arithmetic, ArithmeticConfig};
pub use countdown::{Countdown, CountdownConfig, CountdownTraces, Level};
pub use expression::{Expression, Operator};
pub use jsonl::{Jsonl, JsonlConfig};
pub use question::Wording;
pub use split::Split;

/// A source of problems and the judge of their answers.
pub trait Task: Send + Sync {
    /// The task's name as recipes spell it.
    fn name(&self) -> &'static str;

    /// Problem number `index` of `split`: the same for the same task settings and seed.
    fn problem(&self, split: Split, index: u64) -> Problem;

    /// Problems of `split`, after which they repeat; `None` when they do not end.
    fn size(&self, split: Split) -> Option<usize> {
        let _ = split;
        None
    }

    /// Whether `answer`, as the model wrote it, solves `problem`.
    ///
    /// # Errors
    /// When `problem` is not one of this task's: a failure of the verifier, never of the answer.
    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool>;

    /// A completion for `problem` such as a base model's pretraining data holds: reasoning of
    /// varied quality, right or wrong.
    ///
    /// # Errors
    /// When `problem` is not one of this task's.
    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String>;
}

/// Which task a recipe asks for, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskConfig {
    /// Reach a target from given numbers.
    Countdown(CountdownConfig),
    /// Work out a sum.
    Arithmetic(ArithmeticConfig),
    /// Problems from JSON Lines files.
    Jsonl(JsonlConfig),
}

impl TaskConfig {
    /// Builds the task.
    ///
    /// # Errors
    /// When a setting is out of range; the message names its key.
    pub fn build(&self) -> Result<Box<dyn Task>> {
        Ok(match self {
            Self::Countdown(config) => Box::new(Countdown::new(config.clone())?),
            Self::Arithmetic(config) => Box::new(Arithmetic::new(config.clone())?),
            Self::Jsonl(config) => Box::new(Jsonl::new(config)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_names_the_task_by_kind_and_refuses_unknown_keys() {
        let config: TaskConfig =
            toml::from_str("kind = \"countdown\"\nlevels = [2]").expect("a config");
        assert_eq!(config.build().expect("a task").name(), "countdown");
        let error = toml::from_str::<TaskConfig>("kind = \"countdown\"\nlevel = [2]");
        let message = error.expect_err("an unknown key").to_string();
        assert!(message.contains("unknown field `level`"), "{message}");
    }
}
