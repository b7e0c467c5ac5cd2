//! A slice of a micro-batch on a device: forward to log-probabilities, backward to gradients.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};

use super::gradients::Gradients;
use super::pass::{Keep, Pass};
use super::readout::{Grid, Readout};
use super::slicing::Placed;
use super::{LossInput, LossTotals, Objective, Predictions, TrainingSample};
use crate::device;
use crate::error::Result;
use crate::model::{Decoder, TokenGrid};
use crate::ops;

/// Samples that went forward through the model.
pub(super) struct Slice<'a> {
    samples: Vec<&'a TrainingSample>,
    decoder: Decoder,
    pass: Pass,
    /// Shape of the final states, `[B, T, E]`.
    states_shape: [usize; 3],
    /// Rows of the final states as `[B·T, E]` that predict a trained token, `[N]`.
    rows: Tensor<1, Int>,
    readout: Readout,
    grid: Grid,
}

/// Loss and logged sums of one slice.
pub(super) struct SliceStats {
    pub loss: f64,
    pub sums: Vec<(&'static str, f64)>,
}

impl<'a> Slice<'a> {
    /// Runs the model over `samples`; `None` if they have no trained token.
    pub(super) fn forward(
        decoder: &Decoder,
        slice: Vec<Placed<'a>>,
        temperature: f64,
        keep: Keep,
    ) -> Option<Self> {
        let samples: Vec<_> = slice.into_iter().map(|(_, sample)| sample).collect();
        let device = decoder.device();
        let columns = grid_columns(&samples, &device);
        let tokens = TrainedTokens::of(&samples, columns);
        if tokens.targets.is_empty() {
            return None;
        }
        let rows: Vec<&[u32]> = samples.iter().map(|sample| &sample.ids[..]).collect();
        let input = decoder.input(&TokenGrid::right_padded(&rows, columns));
        let (pass, states) = Pass::forward(decoder, input, keep);
        let states_shape = states.dims();
        let [b, t, e] = states_shape;
        let rows = ops::indices(tokens.rows, &device);
        let hidden = states.reshape([b * t, e]).select(0, rows.clone());
        let targets = ops::indices(tokens.targets, &device);
        Some(Self {
            decoder: decoder.clone(),
            pass,
            states_shape,
            rows,
            readout: Readout::new(decoder, hidden, targets, temperature),
            grid: Grid {
                cells: ops::indices(tokens.cells, &device),
                shape: [samples.len(), tokens.columns],
            },
            samples,
        })
    }

    /// What the head says of the trained tokens, sample by sample.
    pub(super) fn readout(&self) -> &Readout {
        &self.readout
    }

    /// Takes the loss and adds the gradients of all trainable weights.
    pub(super) fn backward(
        self,
        objective: &dyn Objective,
        totals: LossTotals,
        entropy_threshold: Option<f32>,
        gradients: &mut Gradients,
    ) -> Result<SliceStats> {
        let input = self.loss_input(totals, entropy_threshold);
        let output = objective.loss(&input);
        let stats = self.read_stats(&input, output.loss.clone().inner(), output.sums)?;
        let (decoder, grid, predictions) = (&self.decoder, &self.grid, &input.predictions);
        let readout = self.readout;
        let hidden = readout.backward(decoder, grid, predictions, output.loss, gradients);
        let [b, t, e] = self.states_shape;
        let all = Tensor::<2>::zeros([b * t, e], &hidden.device());
        let all = all.select_assign(0, self.rows, hidden, IndexingUpdateOp::Add);
        self.pass.backward(all.reshape([b, t, e]), gradients);
        Ok(stats)
    }

    fn loss_input(&self, totals: LossTotals, entropy_threshold: Option<f32>) -> LossInput {
        let given = |values: fn(&TrainingSample) -> &[f32]| self.host_grid(values);
        let mask =
            |sample: &&TrainingSample| sample.loss_mask.iter().map(|m| f32::from(*m)).collect();
        let mut input = LossInput {
            predictions: self.readout.predictions(&self.grid),
            mask: self.rectangle(self.samples.iter().map(mask).collect()),
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
        let rows: Vec<Vec<f32>> = self.samples.iter().map(|s| values(s).to_vec()).collect();
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

    /// Reads the loss and all sums in one transfer.
    fn read_stats(
        &self,
        input: &LossInput,
        loss: Tensor<1>,
        mut sums: Vec<(&'static str, Tensor<1>)>,
    ) -> Result<SliceStats> {
        if let (Predictions::Tokens { logprobs, .. }, Some(sampler)) =
            (&input.predictions, &input.sampler_logprobs)
        {
            let gap = (logprobs.clone().inner() - sampler.clone()).abs();
            // What the sampler did not say is no gap.
            let gap = gap.clone().mask_fill(gap.is_nan(), 0.0);
            sums.push(("logprob_gap", (gap * input.mask.clone()).sum()));
        }
        let tensors = sums.iter().map(|(_, sum)| sum.clone());
        let all = Tensor::cat(std::iter::once(loss).chain(tensors).collect(), 0);
        let values = ops::read_floats(all)?;
        let names = sums.iter().map(|(name, _)| *name);
        let sums = names.zip(values[1..].iter().map(|value| f64::from(*value)));
        Ok(SliceStats {
            loss: f64::from(values[0]),
            sums: sums.collect(),
        })
    }
}

/// Width of the grid of whole sequences: a power of two on a GPU, where each width is tuned once.
fn grid_columns(samples: &[&TrainingSample], device: &Device) -> usize {
    let longest = samples.iter().map(|sample| sample.ids.len()).max();
    let longest = longest.unwrap_or(0);
    match device::is_cpu(device) {
        true => longest,
        false => longest.next_power_of_two(),
    }
}

/// Where the trained tokens of some samples stand.
struct TrainedTokens {
    rows: Vec<usize>,
    cells: Vec<usize>,
    targets: Vec<usize>,
    columns: usize,
}

impl TrainedTokens {
    /// `longest` is the width of the grid of whole sequences.
    fn of(samples: &[&TrainingSample], longest: usize) -> Self {
        let columns = samples
            .iter()
            .map(|sample| sample.completion_tokens())
            .max();
        let mut tokens = Self {
            rows: Vec::new(),
            cells: Vec::new(),
            targets: Vec::new(),
            columns: columns.unwrap_or(0),
        };
        for (index, sample) in samples.iter().enumerate() {
            let trained = sample.loss_mask.iter().enumerate().filter(|(_, m)| **m);
            for (column, _) in trained {
                let position = sample.prompt_tokens + column;
                tokens.rows.push(index * longest + position - 1);
                tokens.cells.push(index * tokens.columns + column);
                tokens.targets.push(sample.ids[position] as usize);
            }
        }
        tokens
    }
}
