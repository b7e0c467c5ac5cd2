//! The largest forward and backward pass that a stage may meet, before its first: if memory does
//! not suffice, that shows at once and not after hours. A reference that shares its weights with the
//! policy until the first update is not in it.
//!
//! On a GPU that never did so, shorter ones come before it, so that their kernels are not tuned in
//! the middle of the stage.

use super::gradients::Gradients;
use super::plan::{InFlight, Machine, Sizes, WorstCase};
use super::slice::Slice;
use super::slice_stats::SliceStats;
use super::slicing::{Cutting, GPU_UNIT, learning_workers, queues};
use super::{Learner, LossTotals, Objective, StepTotals, TrainingSample};
use crate::device;
use crate::error::Result;
use crate::workers::Workers;

/// An entropy that all tokens reach: the mask of the tokens above it is made, and keeps all.
const ANY_ENTROPY: f32 = 0.0;

impl Learner {
    /// [`Self::rehearse`], on a GPU at every bucket of lengths up to the worst; says so when kernels
    /// are tuned.
    ///
    /// # Errors
    /// As [`Self::rehearse`].
    pub fn rehearse_lengths(
        &self,
        worst: WorstCase,
        objective: &dyn Objective,
        workers: &Workers,
    ) -> Result<()> {
        let decoder = self.decoder();
        let device = decoder.device();
        device::while_tuning(&device, "training", || {
            if !device::is_cpu(&device) {
                let (config, precision) = (decoder.config(), decoder.precision());
                let batching = self.batching();
                let key = format!("{device:?} {precision:?} {config:?} {worst:?} {batching:?}");
                device::once_a_machine(&key, || {
                    lengths(worst).into_iter().try_for_each(|longest| {
                        let case = WorstCase { longest, ..worst };
                        let usual = self.in_flight(case, workers).pop();
                        usual.map_or(Ok(()), |usual| self.pass(case, usual, objective, workers))
                    })
                })?;
            }
            self.rehearse(worst, objective, workers)
        })
    }

    /// Goes forward and back through the largest slices of a step that is as bad as `worst`, one a
    /// worker, beside all that later steps find in memory, and drops what comes of it: first those of
    /// whole sequences, then those that share prompts.
    ///
    /// Weights, optimiser and gathered gradients stay as they are, and no random number is drawn.
    ///
    /// # Errors
    /// When the device failed.
    pub fn rehearse(
        &self,
        worst: WorstCase,
        objective: &dyn Objective,
        workers: &Workers,
    ) -> Result<()> {
        let mut kinds = self.in_flight(worst, workers).into_iter();
        kinds.try_for_each(|in_flight| self.pass(worst, in_flight, objective, workers))
    }

    fn in_flight(&self, worst: WorstCase, workers: &Workers) -> Vec<InFlight> {
        let decoder = self.decoder();
        let machine = Machine::of(&decoder.device(), workers.count());
        worst.learning(&Sizes::of(decoder), self.batching(), machine)
    }

    fn pass(
        &self,
        worst: WorstCase,
        in_flight: InFlight,
        objective: &dyn Objective,
        workers: &Workers,
    ) -> Result<()> {
        let decoder = self.decoder();
        let samples = in_flight.samples(worst);
        let totals = totals(&samples);
        let threshold = (objective.top_entropy_share() < 1.0).then_some(ANY_ENTROPY);
        let workers = &learning_workers(decoder, workers);
        let queues = queues(&samples, worst.together, Cutting::of(decoder, workers));
        // Gradients that a saved learner had gathered are the sums that the first worker goes on
        // from: they are there already.
        let gathered = usize::from(self.gradients().is_some());
        let gradients = |worker| match (gathered..in_flight.with_sums).contains(&worker) {
            true => Gradients::ones(decoder),
            false => Gradients::none(decoder),
        };
        let work = queues.into_iter().enumerate();
        let work = work.map(|(worker, queue)| (queue, gradients(worker)));
        let work = work.collect();
        let results = workers.map(work, |(queue, mut gradients)| {
            let mut stats = Vec::new();
            for slice in queue {
                let forward = Slice::forward(decoder, slice, objective.temperature(), self.keep());
                if let Some(forward) = forward {
                    stats.push(forward.backward(objective, totals, threshold, &mut gradients));
                }
            }
            stats
        });
        SliceStats::read(results.into_iter().flatten().collect()).map(|_| ())
    }
}

/// Lengths of sequences for which kernels are tuned before the longest: where prompts are shared, for
/// every bucket of completions of the longest prompt.
fn lengths(worst: WorstCase) -> Vec<usize> {
    if worst.group < 2 {
        return buckets(worst.shortest, worst.longest);
    }
    let own = buckets(GPU_UNIT, worst.longest_completion()).into_iter();
    own.map(|own| worst.longest_prompt + own).collect()
}

/// The powers of two from `shortest` to below `longest`, in order: with `longest` itself a length
/// for every bucket between them.
pub(super) fn buckets(shortest: usize, longest: usize) -> Vec<usize> {
    let first = shortest.max(1).next_power_of_two();
    let doubled = std::iter::successors(Some(first), |length| length.checked_mul(2));
    doubled.take_while(|length| *length < longest).collect()
}

fn totals(samples: &[TrainingSample]) -> LossTotals {
    let step = StepTotals::of(&[samples]);
    LossTotals {
        step,
        tokens: step.tokens as usize,
        entropy_tokens: step.tokens as usize,
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::{Decoder, Family, ModelConfig};
    use crate::ops;
    use crate::seed::Seed;
    use crate::train::loss::SupervisedLoss;
    use crate::train::{Batching, OptimConfig};

    fn learner() -> Learner {
        let config = ModelConfig {
            vocab_size: 40,
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 8,
            ..ModelConfig::of_family(Family::Qwen2)
        };
        let decoder = Decoder::random(config, 0.1, Seed::new(3), &Device::flex());
        let batching = Batching {
            micro_batch: 1,
            ..Batching::default()
        };
        Learner::new(decoder, OptimConfig::default(), batching)
    }

    /// The weights after a step of two micro-batches, before and inside which is rehearsed or not.
    fn trained(is_rehearsed: bool) -> Vec<Vec<f32>> {
        let worst = WorstCase {
            sequences: 5,
            together: 1,
            longest: 9,
            shortest: 2,
            prompt_tokens: 1,
            group: 1,
            longest_prompt: 1,
        };
        let (objective, workers) = (SupervisedLoss::default(), Workers::new(2));
        let rehearse = |learner: &Learner| match is_rehearsed {
            true => learner.rehearse(worst, &objective, &workers),
            false => Ok(()),
        };
        let mut learner = learner();
        rehearse(&learner).unwrap();
        let samples = [
            TrainingSample::new(&[1, 2], &[3, 4, 5]),
            TrainingSample::new(&[6], &[7, 8]),
        ];
        let stats = learner.train_on(&samples, &objective, 1e-2, &workers, &mut |learner| {
            rehearse(learner)
        });
        assert_eq!(stats.unwrap().tokens, 5);
        let weights = learner.decoder().parameters().iter().cloned();
        weights.map(|w| ops::read_floats(w).unwrap()).collect()
    }

    #[test]
    fn buckets_are_powers_of_two_from_the_shortest_to_below_the_longest() {
        assert_eq!(buckets(5, 64), [8, 16, 32]);
        assert_eq!(buckets(0, 3), [1, 2]);
        assert_eq!(buckets(40, 50), Vec::<usize>::new());
    }

    #[test]
    fn a_rehearsal_changes_nothing_even_inside_an_accumulation() {
        assert_eq!(trained(true), trained(false));
    }
}
