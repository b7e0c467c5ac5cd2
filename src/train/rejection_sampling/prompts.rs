//! The problems of a `sample` stage: the first that are new and in no test.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::SampleConfig;
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::rollout::TestPrompts;
use crate::tasks::{Split, Task};

/// Draws for each problem wanted, after which a generated task is taken to have no more.
const MOST_DRAWS: usize = 50;

/// What is asked.
pub(super) struct Prompts {
    /// The problems, in order.
    pub problems: Vec<Asked>,
    /// What became of those that were drawn.
    pub counts: PromptCounts,
}

/// A problem and its number in the task's stream.
pub(super) struct Asked {
    pub index: u64,
    pub problem: Problem,
}

/// What became of the problems that were drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PromptCounts {
    /// Asked.
    pub asked: usize,
    /// Drawn before.
    pub repeated: usize,
    /// Share words with a test.
    pub contaminated: usize,
}

impl Prompts {
    /// Draws from the training side of `task`; `key` names the stage in the message.
    ///
    /// # Errors
    /// When a test file is broken or no problem is left.
    pub(super) fn draw(config: &SampleConfig, task: &dyn Task, key: &str) -> Result<Self> {
        let tests = TestPrompts::read(&config.decontaminate, task)
            .map_err(|error| error.inside(&format!("{key}.decontaminate.")))?;
        let draws = match task.size(Split::Train) {
            Some(size) => size,
            None => config.prompts.saturating_mul(MOST_DRAWS),
        };
        let mut drawn = HashSet::new();
        let mut counts = PromptCounts::default();
        let mut problems = Vec::new();
        for index in 0..draws as u64 {
            if problems.len() == config.prompts {
                break;
            }
            let problem = task.problem(Split::Train, index);
            if !drawn.insert(serde_json::to_string(&problem.prompt).ok()) {
                counts.repeated += 1;
            } else if tests.share_words_with(&problem.prompt) {
                counts.contaminated += 1;
            } else {
                problems.push(Asked { index, problem });
            }
        }
        counts.asked = problems.len();
        match problems.is_empty() {
            true => Err(Error::setting(key, no_problems(counts))),
            false => Ok(Self { problems, counts }),
        }
    }
}

fn no_problems(counts: PromptCounts) -> String {
    match counts.contaminated {
        0 => "the task has no problems to train on, name a file of them as `train`".to_owned(),
        many => format!("all {many} problems share words with tests, see `decontaminate`"),
    }
}
