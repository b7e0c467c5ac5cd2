//! The largest slice that a stage can meet: what is planned for, and rehearsed.

use std::collections::HashMap;

use super::activations::SliceShape;
use super::in_flight::{InFlight, MicroBatch};
use super::{Machine, Sizes};
use crate::train::slicing::{Cutting, gradient_workers_for};
use crate::train::{Batching, TrainingSample};

/// The samples of an optimiser step, as long as they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstCase {
    /// Sequences a step.
    pub sequences: usize,
    /// Neighbours that stay together.
    pub together: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
    /// Tokens of the shortest.
    pub shortest: usize,
    /// Tokens that every sequence begins with and that are not trained on, at least 1.
    pub prompt_tokens: usize,
    /// Sequences that may share a prompt; 1 where none do.
    pub group: usize,
    /// Tokens of the longest prompt.
    pub longest_prompt: usize,
}

impl WorstCase {
    /// The worst of samples of which a step takes `sequences`.
    pub(in crate::train) fn of(
        samples: &[TrainingSample],
        sequences: usize,
        together: usize,
    ) -> Self {
        let lengths = || samples.iter().map(|sample| sample.ids.len());
        let prompts = || samples.iter().map(|sample| sample.prompt_tokens);
        let mut shared: HashMap<&[u32], usize> = HashMap::new();
        for sample in samples {
            *shared
                .entry(&sample.ids[..sample.prompt_tokens])
                .or_default() += 1;
        }
        Self {
            sequences,
            together,
            longest: lengths().max().unwrap_or(1),
            shortest: lengths().min().unwrap_or(1),
            prompt_tokens: prompts().min().unwrap_or(1),
            group: shared.values().copied().max().unwrap_or(1),
            longest_prompt: prompts().max().unwrap_or(1),
        }
    }

    /// The worst of samples of which nothing is known but that none is longer than `longest`, and that
    /// those that stay together may share a prompt.
    pub(in crate::train) fn unseen(sequences: usize, together: usize, longest: usize) -> Self {
        Self {
            sequences,
            together,
            longest,
            shortest: 2.min(longest),
            prompt_tokens: 1,
            group: together,
            longest_prompt: longest.saturating_sub(1).max(1),
        }
    }

    /// The slices of a micro-batch that learns: of whole sequences, and of such as share prompts if
    /// that may be.
    pub(in crate::train) fn learning(
        self,
        sizes: &Sizes,
        batching: Batching,
        machine: Machine,
    ) -> Vec<InFlight> {
        let workers = gradient_workers_for(sizes.weights, machine.workers);
        let machine = Machine { workers, ..machine };
        let checkpointing = batching.checkpointing;
        let cost = |slice| sizes.learning(slice, checkpointing, true).numbers();
        self.slices(batching, Cutting::new(sizes, machine), self.together, &cost)
    }

    /// The slices of a micro-batch that is only scored, as in [`Self::learning`].
    pub(in crate::train) fn scoring(
        self,
        sizes: &Sizes,
        batching: Batching,
        machine: Machine,
    ) -> Vec<InFlight> {
        let cost = |slice| sizes.scoring(slice);
        self.slices(batching, Cutting::new(sizes, machine), 1, &cost)
    }

    fn slices(
        self,
        batching: Batching,
        cutting: Cutting,
        together: usize,
        cost: &dyn Fn(SliceShape) -> usize,
    ) -> Vec<InFlight> {
        let sequences = match batching.micro_batch {
            0 => self.sequences,
            most => most.min(self.sequences),
        };
        let micro_batch = MicroBatch {
            worst: self,
            sequences,
            together,
            cutting,
        };
        let whole = micro_batch.whole(cost);
        [Some(whole), micro_batch.shared(cost)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Tokens of the longest completion of the longest prompt.
    pub(in crate::train) fn longest_completion(self) -> usize {
        self.longest.saturating_sub(self.longest_prompt).max(1)
    }
}
