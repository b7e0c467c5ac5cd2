//! One sequence to train on, as host data.

use serde::{Deserialize, Serialize};

/// A sequence with what its loss needs.
///
/// Positions of a sequence are split in the prompt, which is only read, and the completion, whose
/// tokens may be trained on. All vectors but `ids` have one value a completion token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingSample {
    /// Prompt and completion.
    pub ids: Vec<u32>,
    /// Tokens of the prompt, at least one: the first token of a text has no prediction.
    pub prompt_tokens: usize,
    /// Whether each completion token counts in the loss.
    pub loss_mask: Vec<bool>,
    /// Advantage of each completion token; empty where the objective has none.
    #[serde(with = "crate::exact")]
    pub advantages: Vec<f32>,
    /// Log-probabilities under the policy before this step's updates, nats; empty means "as now".
    #[serde(with = "crate::exact")]
    pub old_logprobs: Vec<f32>,
    /// Log-probabilities under the frozen reference, nats; empty without one.
    #[serde(with = "crate::exact")]
    pub ref_logprobs: Vec<f32>,
    /// Log-probabilities under which the completion was sampled, nats; empty when not sampled.
    #[serde(with = "crate::exact")]
    pub sampler_logprobs: Vec<f32>,
    /// What a score should be before each token: a critic's return, what a text is worth to a reward
    /// model; empty without one.
    #[serde(with = "crate::exact")]
    pub returns: Vec<f32>,
    /// What the critic said before each token; empty without one.
    #[serde(with = "crate::exact")]
    pub old_values: Vec<f32>,
    /// Factors on the policy loss that correct for the sampler; empty without correction.
    #[serde(with = "crate::exact")]
    pub sampler_ratio: Vec<f32>,
}

impl TrainingSample {
    /// A sample whose completion is trained on whole.
    pub fn new(prompt: &[u32], completion: &[u32]) -> Self {
        Self {
            ids: [prompt, completion].concat(),
            prompt_tokens: prompt.len(),
            loss_mask: vec![true; completion.len()],
            ..Self::default()
        }
    }

    /// Tokens of the completion.
    pub fn completion_tokens(&self) -> usize {
        self.ids.len() - self.prompt_tokens
    }

    /// Completion tokens that count in the loss.
    pub fn trained_tokens(&self) -> usize {
        self.loss_mask.iter().filter(|counts| **counts).count()
    }
}

/// How the samples of one optimiser step are cut into micro-batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Sequences whose activations are in memory together; 0 takes all of a step.
    pub micro_batch: usize,
    /// Keeps only each block's input for the backward pass and runs the block again there
    /// (arXiv:1604.06174): a fraction of the memory, about a third more time.
    pub checkpointing: bool,
}

impl Batching {
    /// Cuts `samples` in micro-batches, in order.
    pub fn split<'a>(&self, samples: &'a [TrainingSample]) -> Vec<&'a [TrainingSample]> {
        let size = match self.micro_batch {
            0 => samples.len().max(1),
            size => size,
        };
        samples.chunks(size).collect()
    }
}
