//! The problems of a stage that makes completions, as far as memory depends on them.

use std::collections::HashSet;

use super::Rollouts;
use crate::data::{PromptTemplate, reads_stage};
use crate::error::Result;
use crate::generation::SamplingParams;
use crate::rollout::{EvalConfig, PROBLEMS_AT_ONCE};
use crate::tasks::{Split, Task, TaskConfig};
use crate::tokenizer::Tokenizer;

/// Problems of a task whose prompts are measured.
const PROMPTS_MEASURED: usize = 512;

/// Said of problems that another stage makes.
const UNSEEN_PROMPTS: &str = "the problems are made by another stage: foretold for prompts that \
                              leave room for `max_completion_tokens`";

/// Lengths of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::train) struct PromptTokens {
    /// Tokens of the shortest.
    pub shortest: usize,
    /// Tokens of the longest.
    pub longest: usize,
}

impl PromptTokens {
    /// Those of the first problems that `task` trains on.
    ///
    /// # Errors
    /// When a prompt cannot be encoded.
    pub(in crate::train) fn measure(
        task: &dyn Task,
        template: PromptTemplate,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let count = task.size(Split::Train).unwrap_or(PROMPTS_MEASURED);
        let mut lengths = HashSet::new();
        for index in 0..count.min(PROMPTS_MEASURED) as u64 {
            let problem = task.problem(Split::Train, index);
            lengths.insert(template.encode(tokenizer, &problem.prompt)?.len());
        }
        Ok(Self {
            shortest: lengths.iter().copied().min().unwrap_or(1).max(1),
            longest: lengths.iter().copied().max().unwrap_or(1).max(1),
        })
    }
}

/// What is known of the problems of a stage before the run.
pub(super) struct Asked {
    /// Lengths of the prompts.
    pub prompts: PromptTokens,
    /// Held-out problems, if they end.
    pub held_out: Option<usize>,
    /// What could not be looked at and what was taken in its place.
    pub notes: Vec<String>,
}

impl Asked {
    /// Measures the task's prompts; those that another stage makes are taken to leave just room for
    /// a completion in `positions`.
    ///
    /// # Errors
    /// When the task cannot be made or a prompt cannot be encoded.
    pub(super) fn of(
        task: &TaskConfig,
        template: PromptTemplate,
        sampling: &SamplingParams,
        positions: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        if reads_stage(task) {
            let room = positions.saturating_sub(sampling.max_completion_tokens);
            return Ok(Self {
                prompts: PromptTokens {
                    shortest: 1,
                    longest: room.max(1),
                },
                held_out: None,
                notes: vec![UNSEEN_PROMPTS.to_owned()],
            });
        }
        let task = task.build()?;
        Ok(Self {
            prompts: PromptTokens::measure(task.as_ref(), template, tokenizer)?,
            held_out: task.size(Split::Test),
            notes: Vec::new(),
        })
    }

    /// `rows` completions, `group` of each problem.
    pub(super) fn rollouts(
        &self,
        rows: usize,
        group: usize,
        sampling: &SamplingParams,
        positions: usize,
    ) -> Rollouts {
        Rollouts {
            rows,
            group,
            prompt_tokens: self.prompts.longest,
            completion_tokens: sampling.max_completion_tokens.min(positions),
        }
    }

    /// The completions of a call of the engine while a model is evaluated; a worked example is taken
    /// to be as long as the longest prompt and completion.
    pub(super) fn evaluation(&self, eval: &EvalConfig, positions: usize) -> Rollouts {
        let held_out = self.held_out.unwrap_or(eval.problems);
        let problems = held_out.min(eval.problems).min(PROBLEMS_AT_ONCE);
        let rows = problems * eval.samples;
        let rollouts = self.rollouts(rows, eval.samples, &eval.sampling, positions);
        let example = rollouts.prompt_tokens + rollouts.completion_tokens;
        let longest = rollouts.prompt_tokens + eval.most_shots() * example;
        Rollouts {
            // What does not fit into the model's positions is refused when it is asked.
            prompt_tokens: match eval.most_shots() {
                0 => rollouts.prompt_tokens,
                _ => longest.min(positions),
            },
            ..rollouts
        }
    }
}
