//! What is read off the final states of a slice, and the way back to them.

use burn::tensor::{FloatDType, Int, Tensor};

use super::Predictions;
use super::gradients::Gradients;
use crate::model::{Decoder, Head, Part};
use crate::ops::{self, HeadGradients, TokenGradients, TokenLogprobs};

/// The trained tokens of a slice with what the head says of them.
pub(super) struct Readout {
    /// Hidden states that predict a trained token, `[N, E]`, and the head, in the model's precision;
    /// a score is `f32`.
    hidden: Tensor<2>,
    head: Tensor<2>,
    /// The tokens, `[N]`.
    targets: Tensor<1, Int>,
    said: Said,
    temperature: f64,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a few at a time, and a tensor's handle is that large"
)]
enum Said {
    /// By the head of a language model.
    Tokens(TokenLogprobs),
    /// By a score: what the state before each token is worth, `[N]`.
    Values(Tensor<1>),
}

impl Readout {
    /// Reads `hidden` `[N, E]` for `targets` `[N]`.
    pub(super) fn new(
        decoder: &Decoder,
        hidden: Tensor<2>,
        targets: Tensor<1, Int>,
        temperature: f64,
    ) -> Self {
        let is_score = decoder.config().head == Head::Score;
        let dtype = match is_score {
            true => FloatDType::F32,
            false => decoder.dtype(),
        };
        let (hidden, head) = (hidden.cast(dtype), decoder.head().cast(dtype));
        let said = match is_score {
            false => Said::Tokens(ops::token_logprobs(&hidden, &head, &targets, temperature)),
            true => {
                let values = hidden.clone().matmul(head.clone().transpose());
                Said::Values(values.squeeze_dim(1))
            }
        };
        Self {
            hidden,
            head,
            targets,
            said,
            temperature,
        }
    }

    /// Log-probabilities of the tokens, or values of the states before them, `[N]`.
    pub(super) fn scores(&self) -> Tensor<1> {
        match &self.said {
            Said::Tokens(tokens) => tokens.logprobs.clone(),
            Said::Values(values) => values.clone(),
        }
    }

    /// Entropies at the tokens, `[N]`; none of a model with a score.
    pub(super) fn entropies(&self) -> Option<Tensor<1>> {
        match &self.said {
            Said::Tokens(tokens) => Some(tokens.entropies.clone()),
            Said::Values(_) => None,
        }
    }

    /// What the loss sees: leaves of its own graph, spread over a grid.
    pub(super) fn predictions(&self, grid: &Grid) -> Predictions {
        match &self.said {
            Said::Tokens(tokens) => Predictions::Tokens {
                logprobs: grid.leaf(&tokens.logprobs),
                entropies: grid.leaf(&tokens.entropies),
            },
            Said::Values(values) => Predictions::Values(grid.leaf(values)),
        }
    }

    /// Adds the head's gradient and returns that of the hidden states, `[N, E]`.
    pub(super) fn backward(
        self,
        decoder: &Decoder,
        grid: &Grid,
        predictions: &Predictions,
        loss: Tensor<1>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let found = loss.backward();
        let of_tokens = |leaf: &Tensor<2>| Some(grid.gather(leaf.grad(&found)?));
        match (&self.said, predictions) {
            (
                Said::Tokens(tokens),
                Predictions::Tokens {
                    logprobs,
                    entropies,
                },
            ) => {
                let for_tokens = TokenGradients {
                    logprobs: of_tokens(logprobs).unwrap_or_else(|| tokens.logprobs.zeros_like()),
                    entropies: of_tokens(entropies),
                };
                self.backward_tokens(decoder, tokens, &for_tokens, gradients)
            }
            (Said::Values(values), Predictions::Values(leaf)) => {
                let for_values = of_tokens(leaf).unwrap_or_else(|| values.zeros_like());
                self.backward_values(decoder, for_values, gradients)
            }
            _ => panic!("predictions are those of the head that made them"),
        }
    }

    fn backward_tokens(
        &self,
        decoder: &Decoder,
        tokens: &TokenLogprobs,
        for_tokens: &TokenGradients,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let place = decoder.trainable_range(Part::Head).next();
        let HeadGradients { hidden, head } = ops::head_gradients(
            &self.hidden,
            &self.head,
            &self.targets,
            self.temperature,
            tokens,
            for_tokens,
            gradients.take_for_head(place),
        );
        if let (Some(place), Some(head)) = (place, head) {
            gradients.add(place, head);
        }
        hidden
    }

    fn backward_values(
        &self,
        decoder: &Decoder,
        for_values: Tensor<1>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let for_values: Tensor<2> = for_values.unsqueeze_dim(1);
        if let Some(place) = decoder.trainable_range(Part::Head).next() {
            let weight = for_values.clone().transpose().matmul(self.hidden.clone());
            gradients.add(place, weight);
        }
        for_values.matmul(self.head.clone())
    }
}

/// Where trained tokens stand in a `[B, C]` grid of completions.
pub(super) struct Grid {
    /// Cells of the flat grid, `[N]`; the one after the last stands for no cell.
    pub cells: Tensor<1, Int>,
    /// Tokens in the cells, `[B·C]`; the one after the last stands for no token.
    pub tokens: Tensor<1, Int>,
    /// `B` and `C`.
    pub shape: [usize; 2],
}

impl Grid {
    /// Values of tokens `[N]` as a leaf of an autodiff graph, zero between them.
    fn leaf(&self, tokens: &Tensor<1>) -> Tensor<2> {
        let values = picked(tokens.clone(), self.tokens.clone());
        values.reshape(self.shape).autodiff().require_grad()
    }

    /// The values at the tokens, `[N]`.
    fn gather(&self, values: Tensor<2>) -> Tensor<1> {
        let [rows, columns] = self.shape;
        picked(values.reshape([rows * columns]), self.cells.clone())
    }
}

/// The rows of `values` that `places` names, zeros for the one after the last.
///
/// Where each row goes at most once, this spreads rows like an addition at indices, which a GPU does
/// one after the other.
pub(super) fn picked<const R: usize>(values: Tensor<R>, places: Tensor<1, Int>) -> Tensor<R> {
    let mut shape = values.dims();
    shape[0] = 1;
    let nothing = Tensor::zeros(shape, &values.device());
    Tensor::cat(vec![values, nothing], 0).select(0, places)
}
