//! Tasks: seeded generators of problems with exact verifiers.

mod arithmetic;
mod bilingual;
#[cfg(test)]
mod checks;
mod countdown;
mod expression;
mod grid_path;
mod json_extraction;
mod jsonl;
mod knights_and_knaves;
mod levels;
mod linear_equations;
mod mixture;
mod modular_arithmetic;
mod notes;
mod question;
mod rational;
mod recorded;
mod sequence;
mod split;
mod strict_json;
mod tool_use;
mod traces;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::data::{LabelledCompletion, Problem, RatedPreference};
use crate::error::Result;

pub use arithmetic::{Arithmetic, ArithmeticConfig};
pub use bilingual::{Bilingual, BilingualConfig, BilingualTraces, Language};
pub use countdown::{Countdown, CountdownConfig, CountdownTraces, Level};
pub use expression::{Expression, Operator};
pub use grid_path::{GridPath, GridPathConfig};
pub use json_extraction::{JsonExtraction, JsonExtractionConfig};
pub use jsonl::{Jsonl, JsonlConfig};
pub use knights_and_knaves::{KnightsAndKnaves, KnightsAndKnavesConfig};
pub use linear_equations::{LinearEquations, LinearEquationsConfig};
pub use mixture::{Mixture, MixtureConfig, MixturePart};
pub use modular_arithmetic::{ModularArithmetic, ModularArithmeticConfig};
pub use notes::{Notes, NotesAnnotators, NotesConfig, NotesTraces};
pub use question::Wording;
pub use sequence::{Sequence, SequenceConfig, SequenceOperation};
pub use split::Split;
pub use tool_use::{ToolUse, ToolUseConfig};
pub use traces::Traces;

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

    /// Two traces for `problem`, compared as the task's annotators do it; none where it has none.
    ///
    /// # Errors
    /// When `problem` is not one of this task's.
    fn preference(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<Option<RatedPreference>> {
        let _ = (problem, rng);
        Ok(None)
    }

    /// A trace for `problem`, labelled as good or not by the task's annotators; none where it has
    /// none.
    ///
    /// # Errors
    /// When `problem` is not one of this task's.
    fn labelled(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<Option<LabelledCompletion>> {
        let _ = (problem, rng);
        Ok(None)
    }
}

/// Which task a recipe asks for, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskConfig {
    /// Reach a target from given numbers.
    Countdown(CountdownConfig),
    /// Work out a sum.
    Arithmetic(ArithmeticConfig),
    /// Solve linear equations.
    LinearEquations(LinearEquationsConfig),
    /// Work out a remainder.
    ModularArithmetic(ModularArithmeticConfig),
    /// Find out who lies.
    KnightsAndKnaves(KnightsAndKnavesConfig),
    /// Sort or turn a list around, or find the next term.
    Sequence(SequenceConfig),
    /// Find a way past walls.
    GridPath(GridPathConfig),
    /// Fill an object with what a text says.
    JsonExtraction(JsonExtractionConfig),
    /// Choose a function and its arguments.
    ToolUse(ToolUseConfig),
    /// Work out a sum told in English or in Chinese words.
    Bilingual(BilingualConfig),
    /// Write a note that annotators compare and label.
    Notes(NotesConfig),
    /// Problems from JSON Lines files.
    Jsonl(JsonlConfig),
    /// Problems of several tasks, each a fixed share.
    Mixture(MixtureConfig),
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
            Self::LinearEquations(config) => Box::new(LinearEquations::new(config.clone())?),
            Self::ModularArithmetic(config) => Box::new(ModularArithmetic::new(config.clone())?),
            Self::KnightsAndKnaves(config) => Box::new(KnightsAndKnaves::new(config.clone())?),
            Self::Sequence(config) => Box::new(Sequence::new(config.clone())?),
            Self::GridPath(config) => Box::new(GridPath::new(config.clone())?),
            Self::JsonExtraction(config) => Box::new(JsonExtraction::new(config.clone())?),
            Self::ToolUse(config) => Box::new(ToolUse::new(config.clone())?),
            Self::Bilingual(config) => Box::new(Bilingual::new(config.clone())?),
            Self::Notes(config) => Box::new(Notes::new(config.clone())?),
            Self::Jsonl(config) => Box::new(Jsonl::new(config)?),
            Self::Mixture(config) => Box::new(Mixture::new(config)?),
        })
    }

    /// What its problems are tagged with as their part; none where their file says it.
    pub fn parts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Mixture(config) => {
                let parts = config.parts.iter();
                Some(parts.map(|part| part.name.as_str()).collect())
            }
            Self::Jsonl(_) => None,
            _ => Some(Vec::new()),
        }
    }
}

/// The generated tasks, as recipes name them.
#[cfg(test)]
pub(crate) const GENERATED: [&str; 11] = [
    "countdown",
    "arithmetic",
    "linear_equations",
    "modular_arithmetic",
    "knights_and_knaves",
    "sequence",
    "grid_path",
    "json_extraction",
    "tool_use",
    "bilingual",
    "notes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generated_task_makes_plain_prompts_and_varied_traces_by_default() {
        for name in GENERATED {
            let config: TaskConfig = toml::from_str(&format!("kind = \"{name}\"")).unwrap();
            let task = config.build().unwrap();
            let mut rng = crate::seed::Seed::new(1).rng();
            let mut tagged = 0;
            for index in 0..300 {
                let problem = task.problem(Split::Train, index);
                assert!(checks::prompt_of(&problem).ends_with('\n'));
                assert!(problem.level.is_some());
                let trace = task.trace(&problem, &mut rng).unwrap();
                tagged += usize::from(trace.starts_with("<think>\n"));
            }
            assert!((100..280).contains(&tagged), "{name}: {tagged} of 300");
        }
    }

    #[test]
    fn config_names_the_task_by_kind_and_refuses_unknown_keys() {
        let config: TaskConfig =
            toml::from_str("kind = \"countdown\"\nlevels = [2]").expect("a config");
        assert_eq!(config.build().expect("a task").name(), "countdown");
        for name in GENERATED {
            let config: TaskConfig = toml::from_str(&format!("kind = \"{name}\"")).unwrap();
            assert_eq!(config.build().unwrap().name(), name);
        }
        let error = toml::from_str::<TaskConfig>("kind = \"countdown\"\nlevel = [2]");
        let message = error.expect_err("an unknown key").to_string();
        assert!(message.contains("unknown field `level`"), "{message}");
    }
}
