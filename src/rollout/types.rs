//! The records of a rollout.

use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::generation::{Completion, FinishReason};
use crate::rewards::Graded;

/// The completions of one problem.
#[derive(Clone, Debug)]
pub struct RolloutGroup {
    /// What was asked.
    pub problem: Problem,
    /// The prompt as the model read it.
    pub prompt: Vec<u32>,
    /// One for each sample.
    pub rollouts: Vec<Rollout>,
}

/// One completion and what it earned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// What the model wrote.
    pub completion: Completion,
    /// The same as text, special tokens left out.
    pub text: String,
    /// What it earned.
    pub graded: Graded,
}

impl Rollout {
    /// Tokens of the completion.
    pub fn tokens(&self) -> usize {
        self.completion.ids.len()
    }

    /// Whether the completion ran out of tokens.
    pub fn is_truncated(&self) -> bool {
        self.completion.finish == FinishReason::Length
    }
}
