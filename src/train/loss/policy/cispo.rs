//! The surrogate of `cispo`: the ratio itself is capped, held constant, and weighs the token.
//!
//! A token loses `−min(ρ, cap) A log π` with the factor before `A` held constant, so that no token
//! is without gradient (CISPO, MiniMax-M1, arXiv:2506.13585; its lower side is open).

use burn::tensor::Tensor;

use super::ratio::Ratios;
use super::surrogate::Surrogate;

pub(super) fn surrogate(
    cap: f64,
    ratios: &Ratios,
    logprobs: Tensor<2>,
    advantages: &Tensor<2>,
) -> Surrogate {
    let ratios = ratios.ratios.clone().inner();
    let advantages = advantages.clone().inner();
    let held = ratios.clone().greater_elem(cap);
    let held = held.bool_and(advantages.clone().greater_elem(0.0));
    Surrogate {
        token_loss: (logprobs * (ratios.clamp_max(cap) * advantages)).neg(),
        watched: vec![("clip_high", held.float())],
    }
}
