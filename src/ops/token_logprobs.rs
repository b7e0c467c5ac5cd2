//! Log-probabilities of chosen tokens from hidden states and the output head, forward and backward,
//! in tiles of the vocabulary.
//!
//! With logits `z = h Eᵀ / τ`: `log p_y = z_y − logsumexp(z)` and entropy `H = −Σ p log p`. Backward:
//! `dz = g (1_y − p) − g_H p (log p + H)`, `dh = dz E / τ`, `dE = dzᵀ h / τ`. Sums over the vocabulary
//! run along the tiles with a moving maximum (online softmax, arXiv:1805.02867). No `[N, V]` tensor
//! outlives its tile, unless the vocabulary is one tile: then its distributions are kept for the
//! backward pass instead of being computed again.
//!
//! Hidden states and head may be halves: logits, distributions and sums of gradients are `f32`, and
//! `dz` is rounded for its two products.

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

use super::{GradientScale, matmul_f32};
use crate::device;

/// Most values a `[N, tile]` tensor may hold on the CPU: 64 MiB of f32.
pub const TILE_VALUES: usize = 1 << 24;

/// The same on a GPU, where a tile should be a few large kernels: 128 MiB of f32. Three such tensors,
/// the rounded head of 152 thousand entries 896 wide and a tile's `dz` come to 0.7 GB.
pub const GPU_TILE_VALUES: usize = 1 << 25;

/// Entries of a tile on a GPU are a multiple of this, so that its rows are read in whole vectors.
const TILE_UNIT: usize = 64;

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
    kept: Kept,
}

/// What the backward pass takes over from the forward pass.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few at a time, and a tensor's handle is that large"
)]
enum Kept {
    /// The distributions themselves, `[N, V]`.
    Distributions { log_p: Tensor<2>, p: Tensor<2> },
    /// Logarithms of their normalisers, `[N, 1]`.
    Normalizers(Tensor<2>),
}

/// Gradients of a loss with respect to what [`token_logprobs`] gave.
///
/// # Shapes
/// All `[N]`.
#[derive(Clone, Debug)]
pub struct TokenGradients {
    /// With respect to the log-probabilities.
    pub logprobs: Tensor<1>,
    /// With respect to the entropies; none when the loss does not have them.
    pub entropies: Option<Tensor<1>>,
}

/// Where the gradient of the head goes.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few at a time, and a tensor's handle is that large"
)]
pub enum HeadSum {
    /// Nowhere: it is not computed.
    Frozen,
    /// Into a new tensor.
    Empty,
    /// On top of this one, `[V, E]`.
    Of(Tensor<2>),
}

/// Gradients of a loss with respect to what [`token_logprobs`] read, `f32` whatever that was.
#[derive(Clone, Debug)]
pub struct HeadGradients {
    /// `[N, E]`.
    pub hidden: Tensor<2>,
    /// `[V, E]`; none when the head is frozen.
    pub head: Option<Tensor<2>>,
}

/// Log-probability of `targets` and entropy at each position, without autodiff.
///
/// # Shapes
/// `hidden` `[N, E]` and `head` `[V, E]` of one type, `targets` `[N]`.
pub fn token_logprobs(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
) -> TokenLogprobs {
    let tiles = tiles(hidden, head);
    if tiles.len() == 1 {
        return whole_vocabulary(logits(hidden, head, temperature), targets);
    }
    let mut sums: Option<TileSums> = None;
    let mut chosen: Option<Tensor<2>> = None;
    for tile in tiles {
        let logits = logits(hidden, &tile.of(head), temperature);
        let (places, inside) = tile.places(targets);
        let scores = logits.clone().gather(1, places) * inside;
        chosen = Some(match chosen {
            Some(sum) => sum + scores,
            None => scores,
        });
        sums = Some(TileSums::add(sums, logits));
    }
    let (sums, chosen) = sums
        .zip(chosen)
        .expect("a vocabulary has at least one tile");
    let log_sum = sums.weights.clone().log();
    let normalizers = sums.max + log_sum.clone();
    TokenLogprobs {
        logprobs: (chosen - normalizers.clone()).squeeze_dim(1),
        entropies: (log_sum - sums.products / sums.weights).squeeze_dim(1),
        kept: Kept::Normalizers(normalizers),
    }
}

/// Gradients with respect to hidden states and head, from those with respect to the tokens.
///
/// # Shapes
/// As in [`token_logprobs`], whose result is `forward`.
pub fn head_gradients(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
    forward: &TokenLogprobs,
    gradients: &TokenGradients,
    head_sum: HeadSum,
) -> HeadGradients {
    let tiles = tiles(hidden, head);
    let is_whole = tiles.len() == 1;
    let mut head_sum = match head_sum {
        HeadSum::Frozen => None,
        HeadSum::Empty if is_whole => Some(None),
        HeadSum::Empty => Some(Some(Tensor::zeros(
            head.dims(),
            (&head.device(), DType::F32),
        ))),
        HeadSum::Of(sum) => Some(Some(sum)),
    };
    let scale = gradients.scale(hidden.dtype());
    let mut hidden_gradient: Option<Tensor<2>> = None;
    for tile in tiles {
        let weights = tile.of(head);
        let (log_p, p) = forward.distributions(hidden, &weights, temperature);
        let logit_gradients = logit_gradients(log_p, p, forward, gradients, tile.places(targets));
        let logit_gradients = scale.scale(scaled(logit_gradients, temperature));
        let logit_gradients = logit_gradients.cast(hidden.dtype());
        if let Some(sum) = &mut head_sum {
            let part = matmul_f32(logit_gradients.clone().transpose(), hidden.clone());
            let part = scale.unscale(part);
            *sum = Some(match sum.take() {
                Some(sum) => tile.add(sum, part),
                None => part,
            });
        }
        let part = matmul_f32(logit_gradients, weights);
        hidden_gradient = Some(match hidden_gradient {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let hidden_gradient = hidden_gradient.expect("a vocabulary has at least one tile");
    HeadGradients {
        hidden: scale.unscale(hidden_gradient),
        head: head_sum.flatten(),
    }
}

impl TokenGradients {
    /// The factor on gradients of logits in `dtype`.
    fn scale(&self, dtype: DType) -> GradientScale {
        let all = match &self.entropies {
            Some(entropies) => Tensor::cat(vec![self.logprobs.clone(), entropies.clone()], 0),
            None => self.logprobs.clone(),
        };
        GradientScale::of(&all, dtype)
    }
}

impl TokenLogprobs {
    /// Log-probabilities and probabilities of a tile of the vocabulary, `[N, tile]` each.
    fn distributions(
        &self,
        hidden: &Tensor<2>,
        weights: &Tensor<2>,
        temperature: f64,
    ) -> (Tensor<2>, Tensor<2>) {
        match &self.kept {
            Kept::Distributions { log_p, p } => (log_p.clone(), p.clone()),
            Kept::Normalizers(normalizers) => {
                let log_p = logits(hidden, weights, temperature) - normalizers.clone();
                (log_p.clone(), log_p.exp())
            }
        }
    }
}

fn whole_vocabulary(logits: Tensor<2>, targets: &Tensor<1, Int>) -> TokenLogprobs {
    // One exponential serves both.
    let shifted = logits.clone() - logits.max_dim(1);
    let weights = shifted.clone().exp();
    let sums = weights.clone().sum_dim(1);
    let p = weights / sums.clone();
    let log_p = shifted - sums.log();
    let entropies = (p.clone() * log_p.clone()).sum_dim(1);
    let chosen = targets.clone().unsqueeze_dim(1);
    TokenLogprobs {
        logprobs: log_p.clone().gather(1, chosen).squeeze_dim(1),
        entropies: entropies.neg().squeeze_dim(1),
        kept: Kept::Distributions { log_p, p },
    }
}

/// `dz` of a tile, before the temperature divides it.
fn logit_gradients(
    log_p: Tensor<2>,
    p: Tensor<2>,
    forward: &TokenLogprobs,
    gradients: &TokenGradients,
    (places, inside): (Tensor<2, Int>, Tensor<2>),
) -> Tensor<2> {
    let column = |tensor: &Tensor<1>| tensor.clone().unsqueeze_dim::<2>(1);
    let gradient = column(&gradients.logprobs);
    let mut all = p.clone() * gradient.clone().neg();
    if let Some(entropy_gradients) = &gradients.entropies {
        let weighted = p * (log_p + column(&forward.entropies));
        all = all - weighted * column(entropy_gradients);
    }
    all.scatter(1, places, gradient * inside, IndexingUpdateOp::Add)
}

fn logits(hidden: &Tensor<2>, weights: &Tensor<2>, temperature: f64) -> Tensor<2> {
    let logits = matmul_f32(hidden.clone(), weights.clone().transpose());
    scaled(logits, temperature)
}

fn scaled(tensor: Tensor<2>, temperature: f64) -> Tensor<2> {
    match temperature == 1.0 {
        true => tensor,
        false => tensor / temperature,
    }
}

/// Sums over the tiles seen so far, `[N, 1]` each, relative to the largest logit seen.
struct TileSums {
    max: Tensor<2>,
    /// `Σ e^(z − max)`.
    weights: Tensor<2>,
    /// `Σ e^(z − max) (z − max)`.
    products: Tensor<2>,
}

impl TileSums {
    fn add(before: Option<Self>, logits: Tensor<2>) -> Self {
        let own = logits.clone().max_dim(1);
        let max = match &before {
            Some(before) => before.max.clone().max_pair(own),
            None => own,
        };
        let shifted = logits - max.clone();
        let exponentials = shifted.clone().exp();
        let products = (exponentials.clone() * shifted).sum_dim(1);
        let weights = exponentials.sum_dim(1);
        match before {
            None => Self {
                max,
                weights,
                products,
            },
            Some(before) => {
                let shift = before.max - max.clone();
                let decay = shift.clone().exp();
                let moved = before.products + shift * before.weights.clone();
                Self {
                    max,
                    products: products + decay.clone() * moved,
                    weights: weights + decay * before.weights,
                }
            }
        }
    }
}

/// Neighbouring entries of the vocabulary.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    entries: usize,
    is_whole: bool,
}

impl Tile {
    /// The tile's rows of the head.
    fn of(self, head: &Tensor<2>) -> Tensor<2> {
        head.clone().narrow(0, self.start, self.entries)
    }

    /// Where each target stands in the tile, and 1 if it does, else 0; `[N, 1]` each.
    fn places(self, targets: &Tensor<1, Int>) -> (Tensor<2, Int>, Tensor<2>) {
        let places: Tensor<2, Int> = targets.clone().unsqueeze_dim(1);
        if self.is_whole {
            let inside = places.ones_like().float();
            return (places, inside);
        }
        let places = places - self.start as i32;
        let last = self.entries as i32 - 1;
        let before = places.clone().lower_elem(0);
        let outside = places.clone().greater_elem(last).bool_or(before);
        (places.clamp(0, last), outside.bool_not().float())
    }

    /// Adds to the tile's rows of `sum`, in place where nobody else holds it.
    fn add(self, sum: Tensor<2>, part: Tensor<2>) -> Tensor<2> {
        if self.is_whole {
            return sum + part;
        }
        let [_, width] = part.dims();
        let rows = self.of(&sum) + part;
        sum.slice_assign([self.start..self.start + self.entries, 0..width], rows)
    }
}

/// The tiles of the vocabulary for `N` tokens.
fn tiles(hidden: &Tensor<2>, head: &Tensor<2>) -> Vec<Tile> {
    let [n, _] = hidden.dims();
    let [v, _] = head.dims();
    let size = tile_entries(n, v, device::is_cpu(&head.device()));
    (0..v)
        .step_by(size)
        .map(|start| Tile {
            start,
            entries: size.min(v - start),
            is_whole: size >= v,
        })
        .collect()
}

/// Entries of a tile of `vocabulary` for `tokens` tokens; on a GPU all tiles are about as large, so
/// that one kernel is tuned for them.
fn tile_entries(tokens: usize, vocabulary: usize, is_cpu: bool) -> usize {
    let most = |values: usize| (values / tokens.max(1)).clamp(1, vocabulary.max(1));
    if is_cpu {
        return most(TILE_VALUES);
    }
    let tiles = vocabulary.div_ceil(most(GPU_TILE_VALUES)).max(1);
    vocabulary.div_ceil(tiles).next_multiple_of(TILE_UNIT)
}
