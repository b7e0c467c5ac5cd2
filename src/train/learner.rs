//! The learner: a decoder, its optimiser, and the gradients gathered since the last step.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::gradients::Gradients;
use super::optimizer::Update;
use super::pass::Keep;
use super::slice::{Slice, SliceStats};
use super::slicing::{gradient_workers, queues};
use super::{
    AdamW, Batching, LossTotals, Objective, OptimConfig, SavedState, StepTotals, TrainingSample,
};
use crate::error::Result;
use crate::model::Decoder;
use crate::ops;
use crate::workers::Workers;

/// Added to the gradient's norm before the clip divides by it, as torch does.
const CLIP_EPSILON: f64 = 1e-6;

/// Trains a decoder.
#[derive(Debug)]
pub struct Learner {
    decoder: Decoder,
    optimizer: AdamW,
    config: OptimConfig,
    batching: Batching,
    gradients: Option<Vec<Tensor<2>>>,
    stats: StepStats,
}

/// What one optimiser step did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepStats {
    /// The step's loss.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens that counted.
    pub tokens: usize,
    /// Means over those tokens, by name.
    pub means: BTreeMap<&'static str, f64>,
}

impl Learner {
    /// A learner that starts at `decoder` with a fresh optimiser.
    pub fn new(decoder: Decoder, config: OptimConfig, batching: Batching) -> Self {
        let optimizer = AdamW::new(decoder.trainable());
        Self::resume(decoder, optimizer, config, batching)
    }

    /// A learner that goes on from a saved optimiser.
    pub fn resume(
        decoder: Decoder,
        optimizer: AdamW,
        config: OptimConfig,
        batching: Batching,
    ) -> Self {
        Self {
            decoder,
            optimizer,
            config,
            batching,
            gradients: None,
            stats: StepStats::default(),
        }
    }

    /// A learner that goes on from `saved`, or starts at `decoder`.
    pub fn restore(
        saved: Option<SavedState>,
        decoder: Decoder,
        config: OptimConfig,
        batching: Batching,
    ) -> Self {
        match saved {
            Some(state) => Self::resume(state.decoder, state.optimizer, config, batching),
            None => Self::new(decoder, config, batching),
        }
    }

    /// Takes one optimiser step on `samples`, in micro-batches.
    ///
    /// # Errors
    /// When the device failed.
    pub fn train_on(
        &mut self,
        samples: &[TrainingSample],
        objective: &dyn Objective,
        lr: f64,
        workers: &Workers,
    ) -> Result<StepStats> {
        let micro_batches = self.batching.split(samples);
        let step = StepTotals::of(&micro_batches);
        for micro_batch in micro_batches {
            self.accumulate(micro_batch, objective, step, workers)?;
        }
        self.step(lr, workers)
    }

    /// The model as it is now.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The optimiser's state.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Gradients gathered since the last step, in the decoder's order.
    pub fn gradients(&self) -> Option<&[Tensor<2>]> {
        self.gradients.as_deref()
    }

    /// Adds the gradient of one micro-batch; returns its share of the step's loss.
    ///
    /// # Errors
    /// When the device failed.
    pub fn accumulate(
        &mut self,
        samples: &[TrainingSample],
        objective: &dyn Objective,
        step: StepTotals,
        workers: &Workers,
    ) -> Result<f64> {
        let tokens = samples.iter().map(TrainingSample::trained_tokens).sum();
        let (threshold, entropy_tokens) = self.entropy_threshold(samples, objective, workers)?;
        let totals = LossTotals {
            step,
            tokens,
            entropy_tokens: entropy_tokens.unwrap_or(tokens),
        };
        let (decoder, keep) = (&self.decoder, self.keep());
        let workers = &gradient_workers(decoder, workers);
        let queues = queues(samples, workers.count(), &decoder.device());
        // The first worker goes on from the sums so far: they are not held twice.
        let before = self.gradients.take();
        let gradients = before.map_or_else(|| Gradients::none(decoder), Gradients::from_sums);
        let gradients =
            std::iter::once(gradients).chain(std::iter::repeat_with(|| Gradients::none(decoder)));
        let work = queues.into_iter().zip(gradients).collect();
        let results = workers.map(work, |(queue, mut gradients)| {
            let mut stats = Vec::new();
            for slice in queue {
                let forward = Slice::forward(decoder, slice, objective.temperature(), keep);
                if let Some(forward) = forward {
                    stats.push(forward.backward(objective, totals, threshold, &mut gradients)?);
                }
            }
            Ok((gradients, stats))
        });
        let results: Result<Vec<(Gradients, Vec<SliceStats>)>> = results.into_iter().collect();
        let (gradients, stats): (Vec<_>, Vec<_>) = results?.into_iter().unzip();
        self.gradients = Gradients::merge(gradients, workers).finish(&self.decoder);
        let mut loss = 0.0;
        for stats in stats.into_iter().flatten() {
            loss += stats.loss;
            for (name, sum) in stats.sums {
                *self.stats.means.entry(name).or_default() += sum;
            }
        }
        self.stats.loss += loss;
        self.stats.tokens += tokens;
        Ok(loss)
    }

    /// Clips the gathered gradient, updates the weights at rate `lr` and reports.
    ///
    /// Without a gathered gradient (no token counted) nothing changes but the step count.
    ///
    /// # Errors
    /// When the device failed.
    pub fn step(&mut self, lr: f64, workers: &Workers) -> Result<StepStats> {
        self.optimizer.steps += 1;
        let mut stats = std::mem::take(&mut self.stats);
        let tokens = stats.tokens.max(1) as f64;
        stats.means.values_mut().for_each(|sum| *sum /= tokens);
        let Some(gradients) = self.gradients.take() else {
            return Ok(stats);
        };
        stats.grad_norm = norm(&gradients, workers)?;
        let limit = self.config.max_grad_norm;
        let scale = match limit > 0.0 {
            true => (limit / (stats.grad_norm + CLIP_EPSILON)).min(1.0),
            false => 1.0,
        };
        self.update(gradients, scale, lr, workers);
        Ok(stats)
    }

    fn update(&mut self, gradients: Vec<Tensor<2>>, scale: f64, lr: f64, workers: &Workers) {
        let shapes = self.decoder.trainable_shapes();
        let first = std::mem::take(&mut self.optimizer.first);
        let second = std::mem::take(&mut self.optimizer.second);
        let states = first.into_iter().zip(second);
        let updates: Vec<Update> = self
            .decoder
            .trainable()
            .iter()
            .zip(gradients)
            .zip(states)
            .zip(shapes)
            .map(|(((weight, gradient), (first, second)), shape)| Update {
                weight: weight.clone(),
                gradient: if scale < 1.0 {
                    gradient * scale
                } else {
                    gradient
                },
                first,
                second,
                decays: shape.len() > 1,
            })
            .collect();
        let (config, step) = (&self.config, self.optimizer.steps);
        let mut weights = Vec::with_capacity(updates.len());
        for [weight, first, second] in workers.map(updates, |update| update.apply(config, lr, step))
        {
            weights.push(weight);
            self.optimizer.first.push(first);
            self.optimizer.second.push(second);
        }
        self.decoder = self.decoder.with_trainable(weights);
    }

    /// The entropy from which on tokens are kept, and how many are; none if the loss keeps all.
    fn entropy_threshold(
        &self,
        samples: &[TrainingSample],
        objective: &dyn Objective,
        workers: &Workers,
    ) -> Result<(Option<f32>, Option<usize>)> {
        let share = objective.top_entropy_share();
        if share >= 1.0 {
            return Ok((None, None));
        }
        let (decoder, keep) = (&self.decoder, self.keep());
        let workers = &gradient_workers(decoder, workers);
        let queues = queues(samples, workers.count(), &decoder.device());
        let results = workers.map(queues, |queue| {
            let mut entropies = Vec::new();
            for slice in queue {
                // Through the same operations as the gradient's pass, which rounds alike: a token
                // may stand exactly on the threshold.
                let forward = Slice::forward(decoder, slice, objective.temperature(), keep);
                if let Some(forward) = forward {
                    entropies.extend(forward.readout().entropies()?);
                }
            }
            Ok(entropies)
        });
        let results: Result<Vec<Vec<f32>>> = results.into_iter().collect();
        let mut entropies: Vec<f32> = results?.into_iter().flatten().collect();
        let threshold = quantile(&mut entropies, 1.0 - share);
        let kept = entropies.iter().filter(|h| **h >= threshold).count();
        Ok((Some(threshold), Some(kept)))
    }

    fn keep(&self) -> Keep {
        match self.batching.checkpointing {
            true => Keep::BlockInputs,
            false => Keep::Graph,
        }
    }
}

/// The quantile between neighbouring values, by linear interpolation.
pub fn quantile(values: &mut [f32], share: f64) -> f32 {
    values.sort_by(f32::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let (below, above) = (
        values[place.floor() as usize],
        values[place.ceil() as usize],
    );
    below + (above - below) * place.fract() as f32
}

/// Euclidean norm over all gradients, read in one transfer.
fn norm(gradients: &[Tensor<2>], workers: &Workers) -> Result<f64> {
    let square = |gradient: &Tensor<2>| gradient.clone().square().sum();
    let squares = workers.map(gradients.iter().collect(), square);
    let squares = ops::read_floats(Tensor::<1>::cat(squares, 0))?;
    Ok(squares.iter().map(|s| f64::from(*s)).sum::<f64>().sqrt())
}
