//! The entropy bonus: the mean entropy of the tokens that the policy loss acts on.

use burn::tensor::Tensor;

use crate::train::LossInput;

/// Name of the logged entropy of the tokens that the entropy mask keeps, over all tokens.
pub(super) const KEPT_ENTROPY: &str = "kept_entropy";
/// Name of the logged share of tokens that the entropy mask keeps.
pub(super) const KEPT_TOKENS: &str = "kept_tokens";

/// This slice's share of the mean entropy, `[1]`: the mean of its micro-batch over the number of
/// micro-batches.
pub(super) fn mean(input: &LossInput) -> Tensor<1> {
    let mask = match &input.entropy_mask {
        Some(kept) => input.mask.clone() * kept.clone(),
        None => input.mask.clone(),
    };
    let tokens = input.totals.entropy_tokens.max(1) * input.totals.step.micro_batches;
    (input.entropies() * mask).sum() / tokens as f64
}

/// What an [`super::EntropyControl`] must see besides the mean entropy: nothing without an entropy
/// mask.
pub(super) fn watched(input: &LossInput) -> Vec<(&'static str, Tensor<2>)> {
    let Some(kept) = &input.entropy_mask else {
        return Vec::new();
    };
    vec![
        (KEPT_ENTROPY, input.entropies() * kept.clone()),
        (KEPT_TOKENS, kept.clone()),
    ]
}
