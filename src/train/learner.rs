//! The learner: a decoder, its optimiser, and the gradients gathered since the last step.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::gradients::Gradients;
use super::pass::Keep;
use super::slice::Slice;
use super::slice_stats::SliceStats;
use super::slicing::{Cutting, learning_workers, queues};
use super::{Batching, LossTotals, Objective, OptimConfig, Optimizer, StepTotals, TrainingSample};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::ops;
use crate::workers::Workers;

/// By how much entropies in `f32` that are the same differ by rounding, relative for those above 1.
const ENTROPY_ROUNDING: f32 = 2e-6;

/// Trains a decoder.
#[derive(Debug)]
pub struct Learner {
    decoder: Decoder,
    optimizer: Optimizer,
    batching: Batching,
    pending: Pending,
}

/// What was gathered since the last optimiser step.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub gradients: Option<Vec<Tensor<2>>>,
    pub stats: StepStats,
    /// Micro-batches that went into them.
    pub micro_batches: usize,
}

/// What one optimiser step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepStats {
    /// The step's loss.
    #[serde(with = "crate::exact")]
    pub loss: f64,
    /// Norm of the gradient before clipping.
    #[serde(with = "crate::exact")]
    pub grad_norm: f64,
    /// Tokens that counted.
    pub tokens: usize,
    /// Means over those tokens, by name.
    #[serde(with = "crate::exact")]
    pub means: BTreeMap<String, f64>,
}

impl Learner {
    /// A learner that starts at `decoder` with a fresh optimiser.
    pub fn new(decoder: Decoder, config: OptimConfig, batching: Batching) -> Self {
        let optimizer = Optimizer::new(config, decoder.trainable_shapes(), &decoder.device());
        Self::resume(decoder, optimizer, batching)
    }

    /// A learner that goes on from a saved optimiser.
    pub fn resume(decoder: Decoder, optimizer: Optimizer, batching: Batching) -> Self {
        Self {
            decoder,
            optimizer,
            batching,
            pending: Pending::default(),
        }
    }

    /// Takes one optimiser step on `samples`, in micro-batches; after each, `rest` may end it early.
    ///
    /// Micro-batches that were gathered before the learner was saved are not gathered again.
    ///
    /// # Errors
    /// When the device failed, or what `rest` fails with.
    pub fn train_on(
        &mut self,
        samples: &[TrainingSample],
        objective: &dyn Objective,
        lr: f64,
        workers: &Workers,
        rest: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<StepStats> {
        let micro_batches = self.batching.split(samples);
        let step = StepTotals::of(&micro_batches);
        let gathered = self.pending.micro_batches;
        let left = micro_batches.get(gathered..).ok_or_else(|| Error::Model {
            problem: format!(
                "the saved state has gathered {gathered} micro-batches of a step that has {}; \
                 resume with the data and settings that the run was started with",
                micro_batches.len()
            ),
        })?;
        for micro_batch in left {
            self.accumulate(micro_batch, objective, step, workers)?;
            rest(self)?;
        }
        self.step(lr, workers)
    }

    /// The model as it is now.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Gradients gathered since the last step, in the decoder's order.
    pub fn gradients(&self) -> Option<&[Tensor<2>]> {
        self.pending.gradients.as_deref()
    }

    /// What was gathered since the last optimiser step.
    pub(super) fn pending(&self) -> &Pending {
        &self.pending
    }

    /// The same, to be filled from a saved learner.
    pub(super) fn pending_mut(&mut self) -> &mut Pending {
        &mut self.pending
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
        let workers = &learning_workers(decoder, workers);
        let together = objective.samples_together();
        let queues = queues(samples, together, Cutting::of(decoder, workers));
        // The first worker goes on from the sums so far: they are not held twice.
        let before = self.pending.gradients.take();
        let gradients = before.map_or_else(|| Gradients::none(decoder), Gradients::from_sums);
        let gradients =
            std::iter::once(gradients).chain(std::iter::repeat_with(|| Gradients::none(decoder)));
        let work = queues.into_iter().zip(gradients).collect();
        let results = workers.map(work, |(queue, mut gradients)| {
            let mut stats = Vec::new();
            for slice in queue {
                let forward = Slice::forward(decoder, slice, objective.temperature(), keep);
                if let Some(forward) = forward {
                    stats.push(forward.backward(objective, totals, threshold, &mut gradients));
                }
            }
            (gradients, stats)
        });
        let (gradients, stats): (Vec<_>, Vec<_>) = results.into_iter().unzip();
        self.pending.gradients = Gradients::merge(gradients, workers).finish(&self.decoder);
        let mut loss = 0.0;
        for report in SliceStats::read(stats.into_iter().flatten().collect())? {
            loss += report.loss;
            for (name, sum) in report.sums {
                *self.pending.stats.means.entry(name.into()).or_default() += sum;
            }
        }
        self.pending.stats.loss += loss;
        self.pending.stats.tokens += tokens;
        self.pending.micro_batches += 1;
        Ok(loss)
    }

    /// Clips the gathered gradient, updates the weights at rate `lr` and reports.
    ///
    /// Without a gathered gradient (no token counted) nothing changes.
    ///
    /// # Errors
    /// When the device failed.
    pub fn step(&mut self, lr: f64, workers: &Workers) -> Result<StepStats> {
        let Pending {
            gradients,
            mut stats,
            ..
        } = std::mem::take(&mut self.pending);
        let tokens = stats.tokens.max(1) as f64;
        stats.means.values_mut().for_each(|sum| *sum /= tokens);
        let Some(gradients) = gradients else {
            return Ok(stats);
        };
        let weights = self.decoder.trainable_mut();
        stats.grad_norm = self.optimizer.step(weights, gradients, lr, workers)?;
        Ok(stats)
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
        let workers = &learning_workers(decoder, workers);
        let together = objective.samples_together();
        let queues = queues(samples, together, Cutting::of(decoder, workers));
        let results = workers.map(queues, |queue| {
            let mut entropies = Vec::new();
            for slice in queue {
                // Through the same operations as the gradient's pass, which rounds alike: a token
                // may stand exactly on the threshold.
                let forward = Slice::forward(decoder, slice, objective.temperature(), keep);
                entropies.extend(forward.and_then(|forward| forward.entropies()));
            }
            entropies
        });
        let entropies: Vec<_> = results.into_iter().flatten().collect();
        let mut entropies = match entropies.is_empty() {
            true => Vec::new(),
            false => ops::read_floats(Tensor::cat(entropies, 0))?,
        };
        let threshold = kept_from(&mut entropies, share);
        let kept = entropies.iter().filter(|h| **h >= threshold).count();
        Ok((Some(threshold), Some(kept)))
    }

    /// How micro-batches are made and passed.
    pub(super) fn batching(&self) -> Batching {
        self.batching
    }

    /// What is kept on the way forward.
    pub(super) fn keep(&self) -> Keep {
        match self.batching.checkpointing {
            true => Keep::BlockInputs,
            false => Keep::Graph,
        }
    }
}

/// The entropy from which on the `share` of tokens with the highest is kept: the quantile, less what rounding
/// may be. TRL takes the quantile itself, where of tokens that tie with it, such as the first ones of a group,
/// those are kept that happen to be rounded up.
fn kept_from(entropies: &mut [f32], share: f64) -> f32 {
    let threshold = quantile(entropies, 1.0 - share);
    threshold - ENTROPY_ROUNDING * threshold.max(1.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_tie_with_the_quantile_are_kept_together() {
        let kept = |entropies: &[f32], share: f64| {
            let from = kept_from(&mut entropies.to_vec(), share);
            entropies.iter().filter(|entropy| **entropy >= from).count()
        };
        // Four are the same but for rounding; the quantile is the one that was rounded up.
        let tied = [
            1.0,
            6.070_620_5,
            6.070_621_5,
            2.0,
            6.070_620_5,
            6.070_620_5,
            7.0,
        ];
        assert_eq!(kept(&tied, 1.0 / 6.0), 5);
        assert_eq!(kept(&[1.0, 2.0, 2.999, 3.0, 7.0], 0.25), 2);
        // Between 2 and 3.
        assert_eq!(kept(&[1.0, 2.0, 3.0, 4.0], 0.5), 2);
        assert_eq!(kept(&[0.0, -1e-9, 0.0, 1e-9], 0.5), 4);
        assert_eq!(kept(&[], 0.5), 0);
    }
}
