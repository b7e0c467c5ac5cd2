//! What a loss sees and gives.

use burn::tensor::Tensor;

use super::TrainingSample;

/// Tensors of a slice of a micro-batch.
///
/// # Shapes
/// All `[B, C]`, zero where a sample has no token.
#[derive(Clone, Debug)]
pub struct LossInput {
    /// What the model says of each token.
    pub predictions: Predictions,
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
    /// What a score should be before each token: a critic's return, what a text is worth.
    pub returns: Option<Tensor<2>>,
    /// What it said before this step's updates.
    pub old_values: Option<Tensor<2>>,
    /// Factor on each token's policy loss that corrects for the sampler's distribution, see
    /// [`super::SamplerCorrection`].
    pub sampler_ratio: Option<Tensor<2>>,
    /// 1 where a token's entropy is among the highest, else 0; none keeps all tokens.
    pub entropy_mask: Option<Tensor<2>>,
    /// Counts that the loss divides by.
    pub totals: LossTotals,
}

/// What a model says of each token: leaves of the autodiff graph.
///
/// # Shapes
/// All `[B, C]`, zero where a sample has no token.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few at a time, and a tensor's handle is that large"
)]
pub enum Predictions {
    /// A language model's.
    Tokens {
        /// Log-probabilities of the tokens, nats.
        logprobs: Tensor<2>,
        /// Entropies of the distributions they were chosen from, nats.
        entropies: Tensor<2>,
    },
    /// A model's with one score instead of a vocabulary: the value of the state before each token.
    Values(Tensor<2>),
}

impl LossInput {
    /// Log-probabilities under the policy, nats.
    ///
    /// # Panics
    /// When the model is no language model.
    pub fn logprobs(&self) -> Tensor<2> {
        self.tokens().0.clone()
    }

    /// Entropies of the policy's distributions, nats.
    ///
    /// # Panics
    /// When the model is no language model.
    pub fn entropies(&self) -> Tensor<2> {
        self.tokens().1.clone()
    }

    /// Values of the states before each token.
    ///
    /// # Panics
    /// When the model is a language model.
    pub fn values(&self) -> Tensor<2> {
        match &self.predictions {
            Predictions::Values(values) => values.clone(),
            Predictions::Tokens { .. } => panic!("a loss of values needs a model with a score"),
        }
    }

    fn tokens(&self) -> (&Tensor<2>, &Tensor<2>) {
        match &self.predictions {
            Predictions::Tokens {
                logprobs,
                entropies,
            } => (logprobs, entropies),
            Predictions::Values(_) => panic!("a loss of tokens needs a language model"),
        }
    }
}

/// Counts of a whole optimiser step, taken outside the tensors, so that the losses of its
/// micro-batches add up to the loss of one big batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTotals {
    /// Micro-batches.
    pub micro_batches: usize,
    /// Sequences.
    pub sequences: usize,
    /// Tokens that count.
    pub tokens: f64,
}

impl StepTotals {
    /// The counts of a step on these micro-batches.
    pub fn of<S: AsRef<[TrainingSample]>>(micro_batches: &[S]) -> Self {
        let samples = || micro_batches.iter().flat_map(AsRef::as_ref);
        let tokens: usize = samples().map(TrainingSample::trained_tokens).sum();
        Self {
            micro_batches: micro_batches.len(),
            sequences: samples().count(),
            tokens: tokens as f64,
        }
    }
}

/// Counts that a loss divides by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTotals {
    /// Of the optimiser step.
    pub step: StepTotals,
    /// Tokens that count in the whole micro-batch.
    pub tokens: usize,
    /// Tokens of the whole micro-batch that the entropy mask keeps.
    pub entropy_tokens: usize,
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

    /// Neighbouring samples whose loss cannot be taken apart: 2 for pairs.
    fn samples_together(&self) -> usize {
        1
    }

    /// Divides the logits before probabilities are taken.
    fn temperature(&self) -> f64 {
        1.0
    }
}
