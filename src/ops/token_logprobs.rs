//! Log-probabilities of chosen tokens from hidden states and the output head, forward and backward,
//! in tiles of the vocabulary.
//!
//! With logits `z = h Eᵀ / τ`: `log p_y = z_y − logsumexp(z)` and entropy `H = −Σ p log p`. Backward:
//! `dz = g (1_y − p) − g_H p (log p + H)`, `dh = dz E / τ`, `dE = dzᵀ h / τ`. Sums over the vocabulary
//! run along the tiles with a moving maximum (online softmax, arXiv:1805.02867). No `[N, V]` tensor
//! outlives its tile, unless the vocabulary is one tile: then its distributions are kept for the
//! backward pass instead of being computed again.
//!
//! On GPUs a tile is one product and one kernel forward, and three products and one kernel backward.
//!
//! Hidden states and head may be halves: logits, distributions and sums of gradients are `f32`, and
//! `dz` is rounded for its two products.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
mod tile;

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

pub use self::tile::{GPU_TILE_VALUES, TILE_VALUES};

use self::tile::{Tile, tiles};
use super::{GradientScale, matmul_f32};
use crate::device;

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
    if has_kernels(hidden) {
        return by_kernels(hidden, head, targets, temperature, &tiles);
    }
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
    let mut head_sum = match head_sum {
        HeadSum::Frozen => None,
        HeadSum::Empty if tiles.len() == 1 => Some(None),
        HeadSum::Empty => Some(Some(Tensor::zeros(
            head.dims(),
            (&head.device(), DType::F32),
        ))),
        HeadSum::Of(sum) => Some(Some(sum)),
    };
    let scale = gradients.scale(hidden.dtype());
    let gradients = TokenGradients {
        logprobs: scale.scale(gradients.logprobs.clone()),
        entropies: gradients.entropies.clone().map(|g| scale.scale(g)),
    };
    let way_back = WayBack {
        hidden,
        targets,
        temperature,
        forward,
        gradients: &gradients,
    };
    let mut hidden_gradient: Option<Tensor<2>> = None;
    for tile in tiles {
        let weights = tile.of(head);
        let logit_gradients = match has_kernels(hidden) {
            true => way_back.by_kernel(tile, &weights),
            false => way_back.by_tensors(tile, &weights),
        };
        if let Some(sum) = &mut head_sum {
            let part = matmul_f32(logit_gradients.clone().transpose(), hidden.clone());
            let part = scale.unscale(part);
            *sum = Some(match sum.take() {
                Some(so_far) => tile.add(so_far, part),
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

/// What the gradients of all tiles are made from.
struct WayBack<'a> {
    hidden: &'a Tensor<2>,
    targets: &'a Tensor<1, Int>,
    temperature: f64,
    forward: &'a TokenLogprobs,
    gradients: &'a TokenGradients,
}

impl WayBack<'_> {
    /// Gradients of a tile's products, in the type of the hidden states.
    fn by_tensors(&self, tile: Tile, weights: &Tensor<2>) -> Tensor<2> {
        let forward = self.forward;
        let (log_p, p) = forward.distributions(self.hidden, weights, self.temperature);
        let gradient = column(&self.gradients.logprobs);
        let mut all = p.clone() * gradient.clone().neg();
        if let Some(entropy_gradients) = &self.gradients.entropies {
            let weighted = p * (log_p + column(&forward.entropies));
            all = all - weighted * column(entropy_gradients);
        }
        let (places, inside) = tile.places(self.targets);
        let all = all.scatter(1, places, gradient * inside, IndexingUpdateOp::Add);
        scaled(all, self.temperature).cast(self.hidden.dtype())
    }

    /// The same from one kernel.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn by_kernel(&self, tile: Tile, weights: &Tensor<2>) -> Tensor<2> {
        let Kept::Normalizers(normalizers) = &self.forward.kept else {
            unreachable!("a kernel forward keeps normalisers");
        };
        let gradients = self.gradients;
        let entropies = match &gradients.entropies {
            Some(entropies) => entropies.clone(),
            None => gradients.logprobs.zeros_like(),
        };
        let tokens = Tensor::cat(
            vec![
                normalizers.clone(),
                scaled(column(&gradients.logprobs), self.temperature),
                scaled(column(&entropies), self.temperature),
                column(&self.forward.entropies),
            ],
            1,
        );
        let logits = matmul_f32(self.hidden.clone(), weights.clone().transpose());
        let place = tile.place(self.temperature);
        cube::tile_gradients(logits, tokens, self.targets, place, self.hidden.dtype())
    }

    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    fn by_kernel(&self, tile: Tile, weights: &Tensor<2>) -> Tensor<2> {
        self.by_tensors(tile, weights)
    }
}

/// Whether tiles go through kernels.
fn has_kernels(hidden: &Tensor<2>) -> bool {
    cfg!(any(feature = "wgpu", feature = "cuda")) && !device::is_cpu(&hidden.device())
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn by_kernels(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Tensor<1, Int>,
    temperature: f64,
    tiles: &[Tile],
) -> TokenLogprobs {
    let [tokens, _] = hidden.dims();
    let mut sums = cube::no_sums(tokens, &hidden.device());
    for tile in tiles {
        let logits = matmul_f32(hidden.clone(), tile.of(head).transpose());
        sums = cube::add_tile(logits, sums, targets, tile.place(temperature));
    }
    let [max, weights, products, chosen] = [0, 1, 2, 3].map(|k| sums.clone().narrow(1, k, 1));
    let log_sum = weights.clone().log();
    let normalizers = max + log_sum.clone();
    TokenLogprobs {
        logprobs: (chosen - normalizers.clone()).squeeze_dim(1),
        entropies: (log_sum - products / weights).squeeze_dim(1),
        kept: Kept::Normalizers(normalizers),
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn by_kernels(
    hidden: &Tensor<2>,
    _: &Tensor<2>,
    _: &Tensor<1, Int>,
    _: f64,
    _: &[Tile],
) -> TokenLogprobs {
    unreachable!("{:?} has no kernels", hidden.device())
}

fn column(values: &Tensor<1>) -> Tensor<2> {
    values.clone().unsqueeze_dim(1)
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
