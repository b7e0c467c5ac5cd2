//! Losses on given completions: cross-entropy and its dynamically weighted form.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::train::{LossInput, LossOutput, Objective};

/// Which loss a given completion has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupervisedLossKind {
    /// Mean over the step's tokens of `−log p`.
    #[default]
    Nll,
    /// Mean over the step's tokens of `−p log p` with `p` held constant (DFT, arXiv:2508.05629).
    Dft,
}

/// The objective of pretraining and SFT.
#[derive(Clone, Copy, Debug, Default)]
pub struct SupervisedLoss {
    /// Which loss.
    pub kind: SupervisedLossKind,
}

impl Objective for SupervisedLoss {
    fn loss(&self, input: &LossInput) -> LossOutput {
        let logprobs = input.logprobs();
        let token_loss: Tensor<2> = match self.kind {
            SupervisedLossKind::Nll => logprobs.neg(),
            SupervisedLossKind::Dft => logprobs.clone().detach().exp() * logprobs.neg(),
        };
        let sum = (token_loss * input.mask.clone()).sum();
        let entropy = input.entropies().inner() * input.mask.clone().inner();
        LossOutput {
            loss: sum / input.totals.step.tokens.max(1.0),
            sums: vec![("entropy", entropy.sum())],
        }
    }
}
