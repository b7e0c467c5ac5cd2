//! How the losses of tokens become one number: what each is multiplied by before all are summed.

use burn::tensor::Tensor;

use super::PolicyLossKind;
use crate::train::{LossInput, LossTotals};

/// Weights of the tokens, `[B, C]`.
///
/// All but `bnpo`'s divide by counts of the whole step, so that the losses of micro-batches of any
/// sizes add up to that of one big batch; TRL divides each micro-batch's mean by their number, which
/// is the same where they are of equal size.
pub(super) fn weights(
    kind: PolicyLossKind,
    input: &LossInput,
    max_completion_tokens: usize,
) -> Tensor<2> {
    let LossTotals { step, tokens, .. } = input.totals;
    let mask = input.mask.clone();
    let sequences = step.sequences as f64;
    match kind {
        PolicyLossKind::Grpo | PolicyLossKind::Sapo => {
            let lengths = mask.clone().sum_dim(1).clamp_min(1.0);
            mask / lengths / sequences
        }
        PolicyLossKind::Bnpo => mask / (tokens.max(1) * step.micro_batches) as f64,
        PolicyLossKind::DrGrpo => mask / (sequences * max_completion_tokens as f64),
        PolicyLossKind::Dapo | PolicyLossKind::Cispo | PolicyLossKind::Vespo => {
            mask / step.tokens.max(1.0)
        }
        PolicyLossKind::Luspo => mask / sequences,
    }
}
