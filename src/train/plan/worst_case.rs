//! The largest slice that a stage can meet: what is planned for, and rehearsed.

use super::activations::SliceShape;
use super::{Machine, Sizes};
use crate::train::slicing::{GPU_SLICE_TOKENS, gradient_workers_for, most_tokens, padded};
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
}

/// Slices of one shape, worked on at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::train) struct InFlight {
    /// The shape of each.
    pub slice: SliceShape,
    /// Slices.
    pub count: usize,
    /// How many of them add their gradients to sums that are there before.
    pub with_sums: usize,
}

impl WorstCase {
    /// The worst of samples of which a step takes `sequences`.
    pub(in crate::train) fn of(
        samples: &[TrainingSample],
        sequences: usize,
        together: usize,
    ) -> Self {
        let lengths = || samples.iter().map(|sample| sample.ids.len());
        let prompts = samples.iter().map(|sample| sample.prompt_tokens);
        Self {
            sequences,
            together,
            longest: lengths().max().unwrap_or(1),
            shortest: lengths().min().unwrap_or(1),
            prompt_tokens: prompts.min().unwrap_or(1),
        }
    }

    /// The worst of samples of which nothing is known but that none is longer than `longest`.
    pub(in crate::train) fn unseen(sequences: usize, together: usize, longest: usize) -> Self {
        Self {
            sequences,
            together,
            longest,
            shortest: 2.min(longest),
            prompt_tokens: 1,
        }
    }

    /// The slices of a micro-batch that learns.
    pub(in crate::train) fn learning(
        self,
        sizes: &Sizes,
        batching: Batching,
        machine: Machine,
    ) -> InFlight {
        let workers = gradient_workers_for(sizes.weights, machine.workers);
        let checkpointing = batching.checkpointing;
        let cost = |slice| sizes.learning(slice, checkpointing, true).numbers();
        self.slices(batching, machine, workers, self.together, &cost)
    }

    /// The slices of a micro-batch that is only scored.
    pub(in crate::train) fn scoring(
        self,
        sizes: &Sizes,
        batching: Batching,
        machine: Machine,
    ) -> InFlight {
        let cost = |slice| sizes.scoring(slice);
        self.slices(batching, machine, machine.workers, 1, &cost)
    }

    fn slices(
        self,
        batching: Batching,
        machine: Machine,
        workers: usize,
        together: usize,
        cost: &dyn Fn(SliceShape) -> usize,
    ) -> InFlight {
        let sequences = match batching.micro_batch {
            0 => self.sequences,
            most => most.min(self.sequences),
        };
        if !machine.is_cpu {
            let columns = padded(self.longest, false);
            let rows = (GPU_SLICE_TOKENS / columns.max(1)) / together * together;
            let rows = rows.max(together).min(sequences);
            return InFlight {
                slice: self.shape(rows, self.longest, columns),
                count: 1,
                with_sums: usize::from(rows < self.sequences),
            };
        }
        let most = most_tokens(sequences * self.longest, workers, true);
        let rows = (most / self.longest.max(1)) / together * together;
        let rows = rows.clamp(together, sequences.max(together));
        let long = self.shape(rows, self.longest, self.longest);
        // More sequences that are a little shorter may fill a slice better.
        let more = rows + together;
        let length = (most / more).min(self.longest);
        let mut slice = long;
        if length >= self.shortest && more <= sequences {
            let full = self.shape(more, length, length);
            if cost(full) > cost(long) {
                slice = full;
            }
        }
        let slices = sequences.div_ceil(slice.rows);
        let count = workers.min(slices).max(1);
        InFlight {
            slice,
            count,
            with_sums: match slices > workers {
                true => count,
                // The first worker goes on from the micro-batch before.
                false => usize::from(sequences < self.sequences),
            },
        }
    }

    fn shape(self, rows: usize, length: usize, columns: usize) -> SliceShape {
        SliceShape {
            rows,
            columns,
            trained: rows * length.saturating_sub(self.prompt_tokens).max(1),
        }
    }
}

impl InFlight {
    /// Samples that fill the slices, with values of every kind that a loss may ask for.
    pub(in crate::train) fn samples(self, worst: WorstCase) -> Vec<TrainingSample> {
        let length = self.slice.columns.min(worst.longest).max(2);
        let prompt = worst.prompt_tokens.clamp(1, length - 1);
        let tokens = length - prompt;
        let sample = TrainingSample {
            advantages: vec![1.0; tokens],
            old_logprobs: vec![-1.0; tokens],
            ref_logprobs: vec![-1.0; tokens],
            sampler_logprobs: vec![-1.0; tokens],
            returns: vec![0.0; tokens],
            old_values: vec![0.0; tokens],
            sampler_ratio: vec![1.0; tokens],
            ..TrainingSample::new(&vec![0; prompt], &vec![0; tokens])
        };
        vec![sample; self.slice.rows * self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, ModelConfig};

    /// Rows, columns, slices and how many of these go on from sums.
    fn slices(longest: usize, shortest: usize, micro_batch: usize, workers: usize) -> [usize; 4] {
        let config = ModelConfig {
            num_hidden_layers: 1,
            hidden_size: 64,
            intermediate_size: 128,
            vocab_size: 100,
            ..ModelConfig::of_family(Family::Llama)
        };
        let worst = WorstCase {
            sequences: 16,
            together: 1,
            longest,
            shortest,
            prompt_tokens: 1,
        };
        let batching = Batching {
            micro_batch,
            ..Batching::default()
        };
        let machine = Machine {
            is_cpu: workers > 0,
            workers,
        };
        let sizes = Sizes::new(&config, None).unwrap();
        let found = worst.learning(&sizes, batching, machine);
        let slice = found.slice;
        [slice.rows, slice.columns, found.count, found.with_sums]
    }

    #[test]
    fn a_slice_on_the_cpu_is_filled_and_a_longer_sequence_is_its_own() {
        // 16 of 400 tokens: two in a slice of 1024, eight slices for two workers.
        assert_eq!(slices(400, 400, 0, 2), [2, 400, 2, 2]);
        // Three of 341 fill it better, where sequences may be that short.
        assert_eq!(slices(400, 100, 0, 2), [3, 341, 2, 2]);
        assert_eq!(slices(3000, 100, 0, 2), [1, 3000, 2, 2]);
        // Two of 400 are shared by two workers; the first goes on from other micro-batches.
        assert_eq!(slices(400, 400, 2, 2), [1, 400, 2, 1]);
    }

    #[test]
    fn a_gpu_takes_as_much_of_a_micro_batch_at_once_as_fills_it() {
        assert_eq!(slices(400, 100, 0, 0), [16, 448, 1, 0]);
        assert_eq!(slices(400, 100, 4, 0), [4, 448, 1, 1]);
        // 8192 / 832 = 9.8.
        assert_eq!(slices(800, 100, 0, 0), [9, 832, 1, 1]);
    }
}
