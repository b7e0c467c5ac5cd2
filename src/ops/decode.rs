//! Decoding on a GPU: a step of many rows as a fixed sequence of kernels over fixed buffers.
//!
//! Everything of a step stays on the device: last tokens, lengths, keys and values, logits, draws. The
//! host looks every few steps. Where a device can record what is launched, a step is recorded once and
//! replayed. Linear maps are in the weights' dtype, all else in `f32`, as in training.

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
mod absent;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod kernels;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod program;

use burn::tensor::{DType, Tensor};

use super::SampleFilters;
use crate::error::Result;
use crate::seed::Seed;

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub use self::absent::DecodeProgram;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub use self::program::DecodeProgram;

/// The weights of a step.
///
/// # Shapes
/// `V` vocabulary entries, width `E`, inner width `I`, `H` query heads and `K` key heads of width `D`.
#[derive(Clone, Debug)]
pub struct DecodeWeights {
    /// `[V, E]`.
    pub embedding: Tensor<2>,
    /// The blocks.
    pub layers: Vec<DecodeLayer>,
    /// `[1, E]`.
    pub norm: Tensor<2>,
    /// `[V, E]`; none where it is the embedding.
    pub head: Option<Tensor<2>>,
}

/// The weights of a block.
#[derive(Clone, Debug)]
pub struct DecodeLayer {
    /// `[1, E]`.
    pub input_norm: Tensor<2>,
    /// Queries, keys and values below each other, `[(H + 2K)·D, E]`.
    pub attention_in: JoinedLinear,
    /// Of queries and keys, `[1, D]` each.
    pub head_norms: Option<(Tensor<2>, Tensor<2>)>,
    /// `[E, H·D]`.
    pub attention_out: JoinedLinear,
    /// `[1, E]`.
    pub output_norm: Tensor<2>,
    /// Gate above up, `[2I, E]`.
    pub gate_up: JoinedLinear,
    /// `[E, I]`.
    pub down: JoinedLinear,
}

/// Linear maps of the same input, below each other.
#[derive(Clone, Debug)]
pub struct JoinedLinear {
    /// `[out, in]`.
    pub weight: Tensor<2>,
    /// `[1, out]`.
    pub bias: Option<Tensor<2>>,
}

/// What a program is made for.
#[derive(Clone, Debug)]
pub struct DecodeSettings {
    /// Rows that decode together.
    pub rows: usize,
    /// Most tokens of a row, its prompt among them.
    pub capacity: usize,
    /// Most steps before the host looks.
    pub ring: usize,
    /// What may be drawn.
    pub filters: SampleFilters,
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads.
    pub key_heads: usize,
    /// Width of one head.
    pub head_width: usize,
    /// Inverse frequencies of the rotary embedding, `D/2` of them.
    pub inverse_frequencies: Vec<f32>,
    /// Added to the mean square in norms.
    pub epsilon: f32,
    /// Of linear maps, keys and values.
    pub dtype: DType,
}

/// Where a row stands before a round.
#[derive(Clone, Copy, Debug)]
pub struct DecodeRow {
    /// Its last token.
    pub id: u32,
    /// Its tokens before that, whose keys and values are in the cache.
    pub length: usize,
    /// Where its randomness comes from.
    pub seed: Seed,
    /// Draws so far.
    pub counter: u32,
}

/// Who wants the rows' tokens.
pub trait DecodeHost {
    /// Steps of the next round, after `ahead` whose tokens it has not been given; 0 ends the rounds.
    fn steps(&self, ahead: usize) -> usize;

    /// Is given what each row drew in a round.
    ///
    /// # Errors
    /// When it wants no more.
    fn keep(&mut self, drawn: Vec<Vec<DecodedToken>>) -> Result<()>;
}

/// What a row drew in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodedToken {
    /// The token's id.
    pub id: u32,
    /// Its log-probability in nats under the distribution it was drawn from; greedy, under the unscaled
    /// logits. Not a number where the logits are none.
    pub logprob: f32,
}
