//! Log-probabilities of chosen tokens from hidden states and the output head, forward and backward,
//! in chunks of tokens.
//!
//! With logits `z = h Eᵀ / τ`: `log p_y = z_y − logsumexp(z)` and entropy `H = −Σ p log p`. Backward:
//! `dz = g (1_y − p) − g_H p (log p + H)`, `dh = dz E / τ`, `dE = dzᵀ h / τ`. No `[N, V]` tensor
//! outlives its chunk, unless all tokens fit in one: then its distributions are kept for the
//! backward pass instead of being computed again.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// Most values a chunk's `[tokens, V]` tensor may hold: 64 MiB of f32.
const CHUNK_VALUES: usize = 1 << 24;

/// Log-probabilities of chosen tokens.
///
/// # Shapes
/// All `[N]`; log-probabilities and entropies in nats.
#[derive(Clone, Debug)]
pub struct TokenLogprobs {
    /// Log-probability of each chosen token.
    pub logprobs: Tensor<1>,
    /// Entropy of the distribution each was chosen from.
    pub entropies: Tensor<1>,
    /// Distributions over the whole vocabulary, when all tokens were one chunk.
    all: Option<Distributions>,
}

/// Distributions over the vocabulary, `[tokens, V]` each.
#[derive(Clone, Debug)]
struct Distributions {
    log_p: Tensor<2>,
    p: Tensor<2>,
}

/// Gradients of a loss with respect to what [`token_logprobs`] read.
#[derive(Clone, Debug)]
pub struct HeadGradients {
    /// `[N, E]`.
    pub hidden: Tensor<2>,
    /// `[V, E]`.
    pub head: Tensor<2>,
}

/// Log-probability of `targets` and entropy at each position, without autodiff.
///
/// # Shapes
/// `hidden` `[N, E]`, `head` `[V, E]`, `targets` `[N]`.
pub fn token_logprobs(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
) -> TokenLogprobs {
    let mut logprobs = Vec::new();
    let mut entropies = Vec::new();
    let mut all = None;
    let chunks = chunks(hidden, head);
    let single = chunks.len() == 1;
    for (start, tokens) in chunks {
        let states = hidden.clone().narrow(0, start, tokens);
        let distributions = Distributions::new(states, head, temperature);
        let chosen = targets.clone().narrow(0, start, tokens).unsqueeze_dim(1);
        logprobs.push(distributions.log_p.clone().gather(1, chosen).squeeze_dim(1));
        entropies.push(distributions.entropies());
        all = single.then_some(distributions);
    }
    TokenLogprobs {
        logprobs: Tensor::cat(logprobs, 0),
        entropies: Tensor::cat(entropies, 0),
        all,
    }
}

/// Gradients with respect to hidden states and head, given those with respect to the
/// log-probabilities and, if the loss has them, the entropies.
///
/// # Shapes
/// `logprob_gradients` and `entropy_gradients` `[N]`; the rest as in [`token_logprobs`], whose
/// result is `forward`.
pub fn head_gradients(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
    forward: &TokenLogprobs,
    logprob_gradients: &Tensor<1>,
    entropy_gradients: Option<&Tensor<1>>,
) -> HeadGradients {
    let mut hidden_gradients = Vec::new();
    let mut head_gradient: Option<Tensor<2>> = None;
    for (start, tokens) in chunks(hidden, head) {
        let part = |tensor: &Tensor<1>| tensor.clone().narrow(0, start, tokens).unsqueeze_dim(1);
        let states = hidden.clone().narrow(0, start, tokens);
        let Distributions { log_p, p } = match &forward.all {
            Some(all) => all.clone(),
            None => Distributions::new(states.clone(), head, temperature),
        };
        let gradient: Tensor<2> = part(logprob_gradients);
        let mut logit_gradients = p.clone() * gradient.clone().neg();
        if let Some(entropy_gradients) = entropy_gradients {
            let entropy: Tensor<2> = part(&forward.entropies);
            logit_gradients = logit_gradients - p * (log_p + entropy) * part(entropy_gradients);
        }
        let chosen = targets.clone().narrow(0, start, tokens).unsqueeze_dim(1);
        let logit_gradients =
            logit_gradients.scatter(1, chosen, gradient, IndexingUpdateOp::Add) / temperature;
        hidden_gradients.push(logit_gradients.clone().matmul(head.clone()));
        let part = logit_gradients.transpose().matmul(states);
        head_gradient = Some(match head_gradient {
            Some(sum) => sum + part,
            None => part,
        });
    }
    HeadGradients {
        hidden: Tensor::cat(hidden_gradients, 0),
        head: head_gradient.unwrap_or_else(|| head.zeros_like()),
    }
}

impl Distributions {
    fn new(states: Tensor<2>, head: &Tensor<2>, temperature: f64) -> Self {
        let logits = states.matmul(head.clone().transpose());
        let logits = if temperature == 1.0 {
            logits
        } else {
            logits / temperature
        };
        // One exponential serves both.
        let shifted = logits.clone() - logits.max_dim(1);
        let weights = shifted.clone().exp();
        let sums = weights.clone().sum_dim(1);
        Self {
            p: weights / sums.clone(),
            log_p: shifted - sums.log(),
        }
    }

    fn entropies(&self) -> Tensor<1> {
        let sums = (self.p.clone() * self.log_p.clone()).sum_dim(1);
        sums.neg().squeeze_dim(1)
    }
}

/// Starts and lengths of the chunks of `N` tokens.
fn chunks(hidden: &Tensor<2>, head: &Tensor<2>) -> Vec<(usize, usize)> {
    let [n, _] = hidden.dims();
    let [v, _] = head.dims();
    let size = (CHUNK_VALUES / v).max(1);
    (0..n)
        .step_by(size)
        .map(|start| (start, size.min(n - start)))
        .collect()
}
