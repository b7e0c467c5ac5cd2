//! What is read off the final states of a slice, and the way back to them.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::Predictions;
use super::gradients::Gradients;
use crate::error::Result;
use crate::model::{Decoder, Part};
use crate::ops::{self, HeadGradients, TokenGradients, TokenLogprobs};

/// The trained tokens of a slice with what the head says of them.
pub(super) struct Readout {
    /// Hidden states that predict a trained token, `[N, E]`.
    hidden: Tensor<2>,
    /// The tokens, `[N]`.
    targets: Tensor<1, Int>,
    tokens: TokenLogprobs,
    temperature: f64,
}

impl Readout {
    /// Reads `hidden` `[N, E]` for `targets` `[N]`.
    pub(super) fn new(
        decoder: &Decoder,
        hidden: Tensor<2>,
        targets: Tensor<1, Int>,
        temperature: f64,
    ) -> Self {
        let tokens = ops::token_logprobs(&hidden, &decoder.head(), &targets, temperature);
        Self {
            hidden,
            targets,
            tokens,
            temperature,
        }
    }

    /// Log-probabilities of the tokens.
    pub(super) fn logprobs(&self) -> Result<Vec<f32>> {
        ops::read_floats(self.tokens.logprobs.clone())
    }

    /// Entropies at the tokens.
    pub(super) fn entropies(&self) -> Result<Vec<f32>> {
        ops::read_floats(self.tokens.entropies.clone())
    }

    /// What the loss sees: leaves of its own graph, spread over a grid.
    pub(super) fn predictions(&self, grid: &Grid) -> Predictions {
        Predictions::Tokens {
            logprobs: grid.leaf(&self.tokens.logprobs),
            entropies: grid.leaf(&self.tokens.entropies),
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
        let Predictions::Tokens {
            logprobs,
            entropies,
        } = predictions
        else {
            panic!("a head's predictions are of tokens");
        };
        let found = loss.backward();
        let of_tokens = |leaf: &Tensor<2>| Some(grid.gather(leaf.grad(&found)?));
        let for_tokens = TokenGradients {
            logprobs: of_tokens(logprobs).unwrap_or_else(|| self.tokens.logprobs.zeros_like()),
            entropies: of_tokens(entropies),
        };
        let place = decoder.trainable_range(Part::Head).next();
        let HeadGradients { hidden, head } = ops::head_gradients(
            &self.hidden,
            &decoder.head(),
            &self.targets,
            self.temperature,
            &self.tokens,
            &for_tokens,
            gradients.take_for_head(place),
        );
        if let (Some(place), Some(head)) = (place, head) {
            gradients.add(place, head);
        }
        hidden
    }
}

/// Where trained tokens stand in a `[B, C]` grid of completions.
pub(super) struct Grid {
    /// Cells of the flat grid, `[N]`.
    pub cells: Tensor<1, Int>,
    /// `B` and `C`.
    pub shape: [usize; 2],
}

impl Grid {
    /// Values of tokens `[N]` as a leaf of an autodiff graph, zero between them.
    fn leaf(&self, tokens: &Tensor<1>) -> Tensor<2> {
        let [rows, columns] = self.shape;
        let flat = Tensor::<1>::zeros([rows * columns], &tokens.device());
        let cells = self.cells.clone();
        let flat = flat.select_assign(0, cells, tokens.clone(), IndexingUpdateOp::Add);
        flat.reshape(self.shape).autodiff().require_grad()
    }

    /// The values at the tokens, `[N]`.
    fn gather(&self, values: Tensor<2>) -> Tensor<1> {
        let [rows, columns] = self.shape;
        values
            .reshape([rows * columns])
            .select(0, self.cells.clone())
    }
}
