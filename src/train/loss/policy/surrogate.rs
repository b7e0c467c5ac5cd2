//! What the surrogate of each kind gives.

use burn::tensor::Tensor;

/// What each token loses, before masks, divergence and reduction.
pub(super) struct Surrogate {
    /// Losses, `[B, C]`.
    pub token_loss: Tensor<2>,
    /// Values worth logging, `[B, C]` each; their gradient is not used.
    pub watched: Vec<(&'static str, Tensor<2>)>,
}
