//! A slice of a micro-batch on a device: forward to log-probabilities, backward to gradients.

use burn::tensor::{Device, Int, Tensor};

use super::slicing::Placed;
use super::{LossInput, LossTotals, Objective, Predictions, TrainingSample};
use crate::device;
use crate::error::Result;
use crate::model::{Decoder, Part, TokenGrid};
use crate::ops::{self, HeadGradients, TokenLogprobs};

/// Samples that went forward through the model.
pub(super) struct Slice<'a> {
    samples: Vec<&'a TrainingSample>,
    decoder: Decoder,
    /// Final hidden states with their graph, `[B·T, E]`.
    states: Tensor<2>,
    /// Rows of `states` that predict a trained token, `[N]`.
    rows: Tensor<1, Int>,
    /// Cells of the `[B, C]` grid that the trained tokens fill, `[N]`.
    cells: Tensor<1, Int>,
    targets: Tensor<1, Int>,
    /// Hidden states that predict a trained token, without graph, `[N, E]`.
    predicting: Tensor<2>,
    forward: TokenLogprobs,
    /// Longest completion.
    columns: usize,
}

/// Gradients and logged sums of one slice.
pub(super) struct SliceResult {
    pub gradients: Vec<Tensor<2>>,
    pub loss: f64,
    pub sums: Vec<(&'static str, f64)>,
}

impl<'a> Slice<'a> {
    /// Runs the model over `samples`; `None` if they have no trained token.
    pub(super) fn forward(
        decoder: &Decoder,
        slice: Vec<Placed<'a>>,
        temperature: f64,
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
        let states = decoder.hidden_states(&input, None);
        let [b, t, e] = states.dims();
        let states = states.reshape([b * t, e]);
        let rows = ops::indices(tokens.rows, &device);
        let targets = ops::indices(tokens.targets, &device);
        let predicting = states.clone().inner().select(0, rows.clone());
        let head = decoder.head().inner();
        let forward = ops::token_logprobs(&predicting, &head, &targets, temperature);
        Some(Self {
            samples,
            decoder: decoder.clone(),
            states,
            rows,
            cells: ops::indices(tokens.cells, &device),
            targets,
            predicting,
            forward,
            columns: tokens.columns,
        })
    }

    /// Log-probabilities of the trained tokens, sample by sample.
    pub(super) fn logprobs(&self) -> Result<Vec<f32>> {
        ops::read_floats(self.forward.logprobs.clone())
    }

    /// Entropies at the trained tokens, sample by sample.
    pub(super) fn entropies(&self) -> Result<Vec<f32>> {
        ops::read_floats(self.forward.entropies.clone())
    }

    /// Takes the loss and goes back to the gradients of all weights.
    ///
    /// The head's part is taken by hand in chunks; the blocks' part by autodiff, from the surrogate
    /// `Σ h · dh` whose gradient with respect to `h` is `dh`.
    pub(super) fn backward(
        self,
        objective: &dyn Objective,
        totals: LossTotals,
        entropy_threshold: Option<f32>,
    ) -> Result<SliceResult> {
        let input = self.loss_input(totals, entropy_threshold);
        let (logprobs, entropies) = (input.logprobs(), input.entropies());
        let output = objective.loss(&input);
        let sums = self.read_sums(&input, output.loss.clone().inner(), output.sums)?;
        let gradients = output.loss.backward();
        let of_tokens = |leaf: &Tensor<2>| {
            let gradient = leaf.grad(&gradients)?;
            let cells = gradient.dims().iter().product::<usize>();
            Some(gradient.reshape([cells]).select(0, self.cells.clone()))
        };
        let for_logprobs =
            of_tokens(&logprobs).unwrap_or_else(|| self.forward.logprobs.zeros_like());
        let for_entropies = of_tokens(&entropies);
        let head = self.decoder.head().inner();
        let HeadGradients { hidden, head } = ops::head_gradients(
            &self.predicting,
            &head,
            &self.targets,
            objective.temperature(),
            &self.forward,
            &for_logprobs,
            for_entropies.as_ref(),
        );
        let (loss, sums) = sums;
        Ok(SliceResult {
            gradients: self.block_gradients(hidden, head),
            loss,
            sums,
        })
    }

    fn block_gradients(self, hidden: Tensor<2>, head: Tensor<2>) -> Vec<Tensor<2>> {
        let all = self.states.clone().inner().zeros_like();
        let all = all.select_assign(0, self.rows, hidden, burn::tensor::IndexingUpdateOp::Add);
        let surrogate = (self.states * Tensor::from_inner(all)).sum();
        let mut gradients = surrogate.backward();
        let head_place = self.decoder.trainable_range(Part::Head);
        let parameters = self.decoder.trainable().iter().enumerate();
        parameters
            .map(|(index, parameter)| {
                let own = parameter.grad_remove(&mut gradients);
                match (own, head_place.contains(&index)) {
                    (Some(own), true) => own + head.clone(),
                    (None, true) => head.clone(),
                    (Some(own), false) => own,
                    (None, false) => parameter.clone().inner().zeros_like(),
                }
            })
            .collect()
    }

    fn loss_input(&self, totals: LossTotals, entropy_threshold: Option<f32>) -> LossInput {
        let device = self.decoder.device();
        let shape = [self.samples.len(), self.columns];
        let leaf = |tokens: &Tensor<1>| {
            let grid = Tensor::<1>::zeros([shape[0] * shape[1]], &device);
            let cells = self.cells.clone();
            let grid = grid.select_assign(
                0,
                cells,
                tokens.clone(),
                burn::tensor::IndexingUpdateOp::Add,
            );
            grid.reshape(shape).autodiff().require_grad()
        };
        let given = |values: fn(&TrainingSample) -> &[f32]| self.grid(values);
        let mask =
            |sample: &&TrainingSample| sample.loss_mask.iter().map(|m| f32::from(*m)).collect();
        let entropies = leaf(&self.forward.entropies);
        let entropy_mask = entropy_threshold
            .map(|threshold| entropies.clone().greater_equal_elem(threshold).float());
        LossInput {
            predictions: Predictions::Tokens {
                logprobs: leaf(&self.forward.logprobs),
                entropies,
            },
            entropy_mask,
            mask: self.rectangle(self.samples.iter().map(mask).collect()),
            advantages: given(|sample| &sample.advantages),
            old_logprobs: given(|sample| &sample.old_logprobs),
            ref_logprobs: given(|sample| &sample.ref_logprobs),
            sampler_logprobs: given(|sample| &sample.sampler_logprobs),
            sampler_ratio: None,
            totals,
        }
    }

    /// Per-token host values as `[B, C]`; none where no sample has them.
    fn grid(&self, values: fn(&TrainingSample) -> &[f32]) -> Option<Tensor<2>> {
        let rows: Vec<Vec<f32>> = self.samples.iter().map(|s| values(s).to_vec()).collect();
        rows.iter()
            .any(|row| !row.is_empty())
            .then(|| self.rectangle(rows))
    }

    fn rectangle(&self, rows: Vec<Vec<f32>>) -> Tensor<2> {
        let mut values = Vec::with_capacity(rows.len() * self.columns);
        for (index, row) in rows.iter().enumerate() {
            values.extend_from_slice(row);
            values.resize((index + 1) * self.columns, 0.0);
        }
        ops::floats(values, [rows.len(), self.columns], &self.decoder.device())
    }

    /// Reads the loss and all sums in one transfer.
    fn read_sums(
        &self,
        input: &LossInput,
        loss: Tensor<1>,
        mut sums: Vec<(&'static str, Tensor<1>)>,
    ) -> Result<(f64, Vec<(&'static str, f64)>)> {
        if let Some(sampler) = &input.sampler_logprobs {
            let gap = (input.logprobs().inner() - sampler.clone()).abs();
            sums.push(("logprob_gap", (gap * input.mask.clone()).sum()));
        }
        let tensors = sums.iter().map(|(_, sum)| sum.clone());
        let all = Tensor::cat(std::iter::once(loss).chain(tensors).collect(), 0);
        let values = ops::read_floats(all)?;
        let names = sums.iter().map(|(name, _)| *name);
        let sums = names.zip(values[1..].iter().map(|value| f64::from(*value)));
        Ok((f64::from(values[0]), sums.collect()))
    }
}

impl SliceResult {
    /// Both slices as one.
    pub(super) fn plus(self, other: Self) -> Self {
        let pairs = self.gradients.into_iter().zip(other.gradients);
        let sums = self.sums.into_iter().zip(other.sums);
        Self {
            gradients: pairs.map(|(a, b)| a + b).collect(),
            loss: self.loss + other.loss,
            sums: sums.map(|((name, a), (_, b))| (name, a + b)).collect(),
        }
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
