//! What a loss sees and gives.

use burn::tensor::Tensor;

/// Tensors of a slice of a micro-batch.
///
/// # Shapes
/// All `[B, C]`, zero where a sample has no token.
#[derive(Clone, Debug)]
pub struct LossInput {
    /// Log-probabilities under the policy, a leaf of the autodiff graph.
    pub logprobs: Tensor<2>,
    /// Entropies of the policy's distributions, a leaf of the autodiff graph.
    pub entropies: Tensor<2>,
    /// 1 where a token counts, else 0.
    pub mask: Tensor<2>,
    /// Advantages.
    pub advantages: Option<Tensor<2>>,
    /// Log-probabilities before this step's updates; none means the policy's own, without gradient.
    pub old_logprobs: Option<Tensor<2>>,
    /// Log-probabilities under the reference.
    pub ref_logprobs: Option<Tensor<2>>,
    /// Log-probabilities of the sampler.
    pub sampler_logprobs: Option<Tensor<2>>,
    /// Factor on each token's policy loss that corrects for the sampler's distribution.
    pub sampler_ratio: Option<Tensor<2>>,
    /// 1 where a token's entropy is among the highest, else 0; none keeps all tokens.
    pub entropy_mask: Option<Tensor<2>>,
    /// Counts that the loss divides by.
    pub totals: LossTotals,
}

/// Counts taken outside the tensors, so that the loss of slices adds up to the loss of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTotals {
    /// Sequences of the whole micro-batch.
    pub sequences: usize,
    /// Tokens that count in the whole micro-batch.
    pub tokens: usize,
    /// Tokens of the whole micro-batch that the entropy mask keeps.
    pub entropy_tokens: usize,
    /// Micro-batches of the optimiser step.
    pub micro_batches: usize,
    /// Tokens that count in all micro-batches of the optimiser step.
    pub step_tokens: f64,
}

/// A loss and what is worth logging of it.
#[derive(Clone, Debug)]
pub struct LossOutput {
    /// The loss, `[1]`: this slice's share of the step's loss.
    pub loss: Tensor<1>,
    /// Sums over counting tokens, `[1]` each, without gradient; logged divided by the tokens.
    pub sums: Vec<(&'static str, Tensor<1>)>,
}

/// A training objective over the log-probabilities of chosen tokens.
pub trait Objective: Sync {
    /// The loss of a slice.
    fn loss(&self, input: &LossInput) -> LossOutput;

    /// Share of tokens, by entropy from the top, that the policy loss acts on; 1 is all.
    fn top_entropy_share(&self) -> f64 {
        1.0
    }

    /// Divides the logits before probabilities are taken.
    fn temperature(&self) -> f64 {
        1.0
    }
}
