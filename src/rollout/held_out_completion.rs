//! What a model wrote to a held-out problem, as a run keeps it.

use serde::{Deserialize, Serialize};

use super::RolloutGroup;
use crate::data::{Problem, Prompt};
use crate::generation::FinishReason;
use crate::rewards::Attempt;

/// One completion of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOutCompletion {
    /// Place of the problem among those that were asked, from 0.
    pub problem: usize,
    /// Which completion of the problem it is, from 0.
    pub sample: usize,
    /// Worked examples before the question.
    pub shots: usize,
    /// The part of a mixture that the problem belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What was asked, without the worked examples.
    pub prompt: Prompt,
    /// What the model wrote, special tokens left out.
    pub completion: String,
    /// Its tokens, the one that ended it included.
    pub ids: Vec<u32>,
    /// Whether the model ended it itself; false when it was cut off.
    pub finished: bool,
    /// Whether the answer is right; none of a problem without a reference.
    pub right: Option<bool>,
}

impl HeldOutCompletion {
    /// The completions of the problem at `place`, asked without worked examples, with the verdict of
    /// each.
    pub(super) fn of_group(
        place: usize,
        group: RolloutGroup,
        right: Vec<Option<bool>>,
    ) -> impl Iterator<Item = Self> {
        let Problem { prompt, part, .. } = group.problem;
        let rollouts = group.rollouts.into_iter().zip(right).enumerate();
        rollouts.map(move |(sample, (rollout, right))| Self {
            problem: place,
            sample,
            shots: 0,
            part: part.clone(),
            prompt: prompt.clone(),
            finished: rollout.completion.finish == FinishReason::Stop,
            completion: rollout.text,
            ids: rollout.completion.ids,
            right,
        })
    }

    /// The completion as rewards see it, an answer to `problem`.
    pub fn attempt<'a>(&'a self, problem: &'a Problem) -> Attempt<'a> {
        Attempt {
            problem,
            completion: &self.completion,
            token_ids: &self.ids,
            finished: self.finished,
        }
    }
}
