//! A slice of a micro-batch on a device: forward to log-probabilities, backward to gradients.

use burn::tensor::{Int, Tensor};

use super::gradients::Gradients;
use super::layout::Layout;
use super::pass::{Keep, Pass};
use super::readout::{Grid, Readout, picked};
use super::slice_stats::SliceStats;
use super::slicing::padded;
use super::trained_tokens::TrainedTokens;
use super::{LossInput, LossTotals, Objective, Predictions, TrainingSample};
use crate::device;
use crate::model::Decoder;
use crate::ops;

/// Samples that went forward through the model.
pub(super) struct Slice<'a> {
    layout: Layout<'a>,
    decoder: Decoder,
    pass: Pass,
    /// Shape of the final states, `[B, T, E]`.
    states_shape: [usize; 3],
    /// The trained token that each of the final states as `[B·T, E]` predicts, `[B·T]`.
    predicted: Tensor<1, Int>,
    /// Trained tokens: the first of those read off.
    tokens: usize,
    readout: Readout,
    grid: Grid,
}

impl<'a> Slice<'a> {
    /// Runs the model over samples; `None` if they have no trained token.
    pub(super) fn forward(
        decoder: &Decoder,
        layout: Layout<'a>,
        temperature: f64,
        keep: Keep,
    ) -> Option<Self> {
        let device = decoder.device();
        let tokens = TrainedTokens::of(&layout);
        let count = tokens.count();
        if count == 0 {
            return None;
        }
        let tokens = tokens.pad(padded(count, device::is_cpu(&device)));
        let (pass, states) = Pass::forward(decoder, layout.input(decoder), keep);
        let states_shape = states.dims();
        let [b, t, e] = states_shape;
        let rows = ops::indices(tokens.rows, &device);
        let hidden = states.reshape([b * t, e]).select(0, rows);
        let targets = ops::indices(tokens.targets, &device);
        Some(Self {
            decoder: decoder.clone(),
            pass,
            states_shape,
            predicted: ops::indices(tokens.at_rows, &device),
            tokens: count,
            readout: Readout::new(decoder, hidden, targets, temperature),
            grid: Grid {
                cells: ops::indices(tokens.cells, &device),
                tokens: ops::indices(tokens.at_cells, &device),
                shape: [layout.samples().len(), tokens.columns],
            },
            layout,
        })
    }

    /// Log-probabilities of the trained tokens, sample by sample, or values of the states before
    /// them.
    pub(super) fn scores(&self) -> Tensor<1> {
        self.readout.scores().narrow(0, 0, self.tokens)
    }

    /// Entropies at the trained tokens; none of a model with a score.
    pub(super) fn entropies(&self) -> Option<Tensor<1>> {
        let entropies = self.readout.entropies()?;
        Some(entropies.narrow(0, 0, self.tokens))
    }

    /// Takes the loss and adds the gradients of all trainable weights; nothing is read back.
    pub(super) fn backward(
        self,
        objective: &dyn Objective,
        totals: LossTotals,
        entropy_threshold: Option<f32>,
        gradients: &mut Gradients,
    ) -> SliceStats {
        let input = self.loss_input(totals, entropy_threshold);
        let output = objective.loss(&input);
        let stats = stats(&input, output.loss.clone().inner(), output.sums);
        let (decoder, grid, predictions) = (&self.decoder, &self.grid, &input.predictions);
        let readout = self.readout;
        let hidden = readout.backward(decoder, grid, predictions, output.loss, gradients);
        let [b, t, e] = self.states_shape;
        let all = picked(hidden, self.predicted);
        self.pass.backward(all.reshape([b, t, e]), gradients);
        stats
    }

    fn samples(&self) -> impl Iterator<Item = &'a TrainingSample> {
        self.layout.samples().iter().map(|placed| placed.sample)
    }

    fn loss_input(&self, totals: LossTotals, entropy_threshold: Option<f32>) -> LossInput {
        let given = |values: fn(&TrainingSample) -> &[f32]| self.host_grid(values);
        let mask =
            |sample: &TrainingSample| sample.loss_mask.iter().map(|m| f32::from(*m)).collect();
        let mut input = LossInput {
            predictions: self.readout.predictions(&self.grid),
            mask: self.rectangle(self.samples().map(mask).collect()),
            advantages: given(|sample| &sample.advantages),
            old_logprobs: given(|sample| &sample.old_logprobs),
            ref_logprobs: given(|sample| &sample.ref_logprobs),
            sampler_logprobs: given(|sample| &sample.sampler_logprobs),
            returns: given(|sample| &sample.returns),
            old_values: given(|sample| &sample.old_values),
            entropy_mask: None,
            sampler_ratio: given(|sample| &sample.sampler_ratio),
            totals,
        };
        input.entropy_mask = entropy_threshold
            .map(|threshold| input.entropies().greater_equal_elem(threshold).float());
        input
    }

    /// Per-token host values as `[B, C]`; none where no sample has them.
    fn host_grid(&self, values: fn(&TrainingSample) -> &[f32]) -> Option<Tensor<2>> {
        let rows: Vec<Vec<f32>> = self.samples().map(|s| values(s).to_vec()).collect();
        rows.iter()
            .any(|row| !row.is_empty())
            .then(|| self.rectangle(rows))
    }

    fn rectangle(&self, rows: Vec<Vec<f32>>) -> Tensor<2> {
        let [_, columns] = self.grid.shape;
        let mut values = Vec::with_capacity(rows.len() * columns);
        for (index, row) in rows.iter().enumerate() {
            values.extend_from_slice(row);
            values.resize((index + 1) * columns, 0.0);
        }
        ops::floats(values, [rows.len(), columns], &self.decoder.device())
    }
}

/// The loss and all sums of a slice, with the gap between policy and sampler where there was one.
fn stats(
    input: &LossInput,
    loss: Tensor<1>,
    mut sums: Vec<(&'static str, Tensor<1>)>,
) -> SliceStats {
    if let (Predictions::Tokens { logprobs, .. }, Some(sampler)) =
        (&input.predictions, &input.sampler_logprobs)
    {
        let gap = (logprobs.clone().inner() - sampler.clone()).abs();
        // What the sampler did not say is no gap.
        let gap = gap.clone().mask_fill(gap.is_nan(), 0.0);
        sums.push(("logprob_gap", (gap * input.mask.clone()).sum()));
    }
    SliceStats::new(loss, sums)
}
