//! The largest forward and backward pass that a stage may meet, before its first: if memory does
//! not suffice, that shows at once and not after hours.

use burn::tensor::Tensor;

use super::gradients::Gradients;
use super::plan::{Machine, Sizes, WorstCase};
use super::slice::Slice;
use super::slicing::{gradient_workers, queues};
use super::{Learner, LossTotals, Objective, StepTotals, TrainingSample};
use crate::device;
use crate::error::Result;
use crate::workers::Workers;

/// An entropy that all tokens reach: the mask of the tokens above it is made, and keeps all.
const ANY_ENTROPY: f32 = 0.0;

impl Learner {
    /// Goes forward and back through the largest slices of a step that is as bad as `worst`, one a
    /// worker, beside all that later steps find in memory, and drops what comes of it.
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
        let decoder = self.decoder();
        let device = decoder.device();
        let machine = Machine {
            is_cpu: device::is_cpu(&device),
            workers: workers.count(),
        };
        let in_flight = worst.learning(&Sizes::of(decoder), self.batching(), machine);
        let samples = in_flight.samples(worst);
        let totals = totals(&samples);
        let threshold = (objective.top_entropy_share() < 1.0).then_some(ANY_ENTROPY);
        let workers = &gradient_workers(decoder, workers);
        let queues = queues(&samples, worst.together, workers.count(), &device);
        // Gradients that a saved learner had gathered are the sums that a worker goes on from.
        let mut is_there = self.gradients().is_some();
        let work = queues.into_iter().map(|queue| {
            let gradients = match std::mem::take(&mut is_there) {
                true => Gradients::none(decoder),
                false => Gradients::ones(decoder),
            };
            (queue, gradients)
        });
        let work = work.collect();
        let state = self.untouched_state(machine);
        let results = workers.map(work, |(queue, mut gradients)| {
            for slice in queue {
                let forward = Slice::forward(decoder, slice, objective.temperature(), self.keep());
                if let Some(forward) = forward {
                    forward.backward(objective, totals, threshold, &mut gradients)?;
                }
            }
            Ok(())
        });
        drop(state);
        results.into_iter().collect()
    }

    /// As much memory as the optimiser's state will take once the first step has touched it: a CPU
    /// gives out zeros without it.
    fn untouched_state(&self, machine: Machine) -> Option<Tensor<1>> {
        let decoder = self.decoder();
        let optimizer = self.optimizer();
        let is_untouched = machine.is_cpu && optimizer.steps() == 0;
        let bytes = optimizer.config().state_bytes(decoder.trainable_shapes());
        let numbers = bytes / size_of::<f32>();
        is_untouched.then(|| Tensor::ones([numbers], &decoder.device()))
    }
}

fn totals(samples: &[TrainingSample]) -> LossTotals {
    let step = StepTotals::of(&[samples]);
    LossTotals {
        step,
        tokens: step.tokens as usize,
        entropy_tokens: step.tokens as usize,
    }
}
