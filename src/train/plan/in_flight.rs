//! The largest slices of a step that are worked on at the same time.

use super::WorstCase;
use super::activations::SliceShape;
use crate::train::TrainingSample;
use crate::train::layout::Extent;
use crate::train::slicing::{Cutting, SliceLimit, padded, saves_enough};

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

/// A micro-batch of a step that is as bad as it can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct MicroBatch {
    pub worst: WorstCase,
    /// Sequences of it.
    pub sequences: usize,
    /// Neighbours that stay together.
    pub together: usize,
    pub cutting: Cutting,
}

impl MicroBatch {
    /// The costliest slices of whole sequences.
    pub(super) fn whole(self, cost: &dyn Fn(SliceShape) -> usize) -> InFlight {
        let (worst, together, sequences) = (self.worst, self.together, self.sequences);
        let columns = self.padded(worst.longest);
        let most = self.limit(sequences * columns, 0).tokens(0);
        let rows = (most / columns.max(1)) / together * together;
        let rows = rows.clamp(together, sequences.max(together));
        let of = |rows, length| self.shape(Extent::whole(rows, self.padded(length)), length);
        let mut slice = of(rows, worst.longest);
        // More sequences that are a little shorter may fill a slice better.
        let more = rows + together;
        let length = (most / more).min(worst.longest);
        if self.cutting.is_cpu && length >= worst.shortest && more <= sequences {
            let full = of(more, length);
            if cost(full) > cost(slice) {
                slice = full;
            }
        }
        self.in_flight(slice, sequences.div_ceil(slice.extent.rows))
    }

    /// The costliest slices of sequences that share prompts as long as they can be; none where no
    /// prompt is shared or that saves too little.
    pub(super) fn shared(self, cost: &dyn Fn(SliceShape) -> usize) -> Option<InFlight> {
        let worst = self.worst;
        let group = worst.group.min(self.sequences);
        if group < 2 || worst.longest_prompt < 2 {
            return None;
        }
        let prompt = self.padded(worst.longest_prompt - 1);
        let longest = self.padded(worst.longest_completion());
        let groups = self.sequences.div_ceil(group);
        let total = groups * prompt + self.sequences * longest;
        let limit = self.limit(total, prompt);
        let extents = (1..=groups).flat_map(|prompts| {
            let rows = (prompts * group).min(self.sequences);
            // As many rows as there are, and as long ones as there are.
            let room = limit.tokens(prompt).saturating_sub(prompts * prompt);
            let own = self.fitting(room / rows).min(longest);
            [(rows, own), (rows.min(room / longest), longest)].map(|(rows, columns)| Extent {
                prompts,
                prompt_columns: prompt,
                rows: self.fewer(
                    rows,
                    limit.keys(prompt).saturating_sub(prompts * prompt),
                    prompt + columns,
                ),
                columns,
            })
        });
        let slices = extents.filter(|extent| {
            let whole = self.padded(worst.longest_prompt + extent.columns);
            extent.rows > extent.prompts
                && extent.columns > 0
                && limit.allows(*extent)
                && saves_enough(extent.tokens(), extent.rows * whole)
        });
        let own = |extent: &Extent| extent.columns.min(worst.longest_completion());
        let slices = slices.map(|extent| self.shape(extent, worst.prompt_tokens + own(&extent)));
        let slice = slices.max_by_key(|slice| cost(*slice))?;
        let count = total.div_ceil(slice.extent.tokens());
        Some(self.in_flight(slice, count.max(self.sequences.div_ceil(slice.extent.rows))))
    }

    /// Of `rows` with so many keys each those that `keys` are enough for, in whole runs of neighbours.
    fn fewer(self, rows: usize, keys: usize, keys_a_row: usize) -> usize {
        rows.min(keys / keys_a_row) / self.together * self.together
    }

    fn limit(self, total: usize, prompt: usize) -> SliceLimit {
        SliceLimit::of(total, prompt, self.cutting)
    }

    fn padded(self, tokens: usize) -> usize {
        padded(tokens, self.cutting.is_cpu)
    }

    /// The widest grid of at most `tokens`.
    fn fitting(self, tokens: usize) -> usize {
        let widths = (0..=tokens).rev();
        let mut widths = widths.filter(|width| *width == 0 || self.padded(*width) == *width);
        widths.next().unwrap_or(0)
    }

    fn in_flight(self, slice: SliceShape, slices: usize) -> InFlight {
        let Cutting {
            is_cpu, workers, ..
        } = self.cutting;
        let workers = if is_cpu { workers } else { 1 };
        let count = workers.min(slices).max(1);
        InFlight {
            slice,
            count,
            with_sums: match slices > workers {
                true => count,
                // The first worker goes on from the micro-batch before.
                false => usize::from(self.sequences < self.worst.sequences),
            },
        }
    }

    /// The shape of a slice whose sequences have `length` tokens.
    fn shape(self, extent: Extent, length: usize) -> SliceShape {
        let trained = length.saturating_sub(self.worst.prompt_tokens).max(1);
        SliceShape {
            extent,
            trained: extent.rows * trained,
        }
    }
}

impl InFlight {
    /// Samples that fill the slices, with values of every kind that a loss may ask for.
    pub(in crate::train) fn samples(self, worst: WorstCase) -> Vec<TrainingSample> {
        let extent = self.slice.extent;
        let (prompt, tokens) = match extent.prompts {
            0 => {
                let length = extent.columns.min(worst.longest).max(2);
                let prompt = worst.prompt_tokens.clamp(1, length - 1);
                (prompt, length - prompt)
            }
            _ => {
                let tokens = extent.columns.min(worst.longest_completion());
                (worst.longest_prompt, tokens)
            }
        };
        let number = |row: usize| match extent.prompts {
            0 => row,
            prompts => row * prompts / extent.rows,
        };
        let rows = 0..self.count * extent.rows;
        rows.map(|row| full_sample(&numbered(number(row), prompt), tokens))
            .collect()
    }
}

/// A prompt of `tokens` that differs from those with other numbers, if it is long enough.
fn numbered(number: usize, tokens: usize) -> Vec<u32> {
    let bit = |place: usize| (number.checked_shr(place as u32).unwrap_or(0) & 1) as u32;
    (0..tokens).map(bit).collect()
}

fn full_sample(prompt: &[u32], tokens: usize) -> TrainingSample {
    TrainingSample {
        advantages: vec![1.0; tokens],
        old_logprobs: vec![-1.0; tokens],
        ref_logprobs: vec![-1.0; tokens],
        sampler_logprobs: vec![-1.0; tokens],
        returns: vec![0.0; tokens],
        old_values: vec![0.0; tokens],
        sampler_ratio: vec![1.0; tokens],
        ..TrainingSample::new(prompt, &vec![0; tokens])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, ModelConfig};
    use crate::train::Batching;
    use crate::train::plan::{Machine, Sizes};

    use crate::train::slicing;

    fn sizes() -> Sizes {
        let config = ModelConfig {
            num_hidden_layers: 1,
            hidden_size: 64,
            intermediate_size: 128,
            vocab_size: 100,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 16,
            ..ModelConfig::of_family(Family::Llama)
        };
        Sizes::new(&config, None).unwrap()
    }

    /// A machine with so many workers; a GPU for none.
    fn machine(workers: usize) -> Machine {
        Machine {
            is_cpu: workers > 0,
            workers: workers.max(1),
            gpu_bytes: None,
        }
    }

    /// GPUs with little memory and with plenty, and CPUs.
    fn machines() -> [Machine; 5] {
        let plenty = Machine {
            gpu_bytes: Some(usize::MAX),
            ..machine(0)
        };
        [machine(0), plenty, machine(1), machine(2), machine(4)]
    }

    /// Rows, columns, slices and how many of these go on from sums.
    fn slices(longest: usize, shortest: usize, micro_batch: usize, workers: usize) -> [usize; 4] {
        let worst = WorstCase {
            sequences: 16,
            together: 1,
            longest,
            shortest,
            prompt_tokens: 1,
            group: 1,
            longest_prompt: 1,
        };
        let batching = Batching {
            micro_batch,
            ..Batching::default()
        };
        let found = worst.learning(&sizes(), batching, machine(workers))[0];
        let extent = found.slice.extent;
        [extent.rows, extent.columns, found.count, found.with_sums]
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

    /// Steps of 64 completions of up to `longest` tokens, eight to a prompt of up to `prompt`.
    fn groups(prompt: usize, longest: usize) -> WorstCase {
        WorstCase {
            sequences: 64,
            together: 1,
            longest: prompt + longest,
            shortest: prompt / 2 + 1,
            prompt_tokens: prompt / 2,
            group: 8,
            longest_prompt: prompt,
        }
    }

    const GROUPS: [(usize, usize); 6] = [
        (128, 128),
        (20, 60),
        (900, 40),
        (2000, 100),
        (9, 700),
        (300, 3000),
    ];

    #[test]
    fn the_samples_of_a_rehearsal_fill_the_slices_that_are_foretold() {
        for (prompt, longest) in GROUPS {
            let worst = groups(prompt, longest);
            for machine in machines() {
                for kind in worst.learning(&sizes(), Batching::default(), machine) {
                    let samples = kind.samples(worst);
                    let slices = slicing::slices(&samples, 1, Cutting::new(&sizes(), machine));
                    let extents: Vec<_> = slices.iter().map(|slice| slice.extent()).collect();
                    let expected = vec![kind.slice.extent; kind.count];
                    assert_eq!(extents, expected, "{prompt} {longest} {machine:?}");
                }
            }
        }
    }

    #[test]
    fn no_slice_of_groups_costs_more_than_the_foretold_ones() {
        let sizes = sizes();
        let cost = |slice| sizes.learning(slice, false, true).numbers();
        for (prompt, longest) in GROUPS {
            let worst = groups(prompt, longest);
            for machine in machines() {
                let kinds = worst.learning(&sizes, Batching::default(), machine);
                let most = kinds.iter().map(|kind| cost(kind.slice)).max().unwrap();
                for round in 1..12 {
                    // From all short to all long, and mixed.
                    let own = |place: usize| match round {
                        1..6 => (longest >> round).max(1),
                        6 => longest,
                        _ => 1 + place * round * 7919 % longest,
                    };
                    let group = |place: usize| place / 8;
                    let prompt = |place: usize| prompt / 2 + prompt * group(place) / 14;
                    let samples = (0..64).map(|place| {
                        let prompt = numbered(group(place), prompt(place));
                        TrainingSample::new(&prompt, &vec![0; own(place)])
                    });
                    let samples: Vec<_> = samples.collect();
                    let slices = slicing::slices(&samples, 1, Cutting::new(&sizes, machine));
                    for slice in slices {
                        let trained = slice.samples().iter();
                        let trained = trained.map(|placed| placed.sample.trained_tokens()).sum();
                        let extent = slice.extent();
                        let found = cost(SliceShape { extent, trained });
                        assert!(
                            found as f64 <= 1.05 * most as f64,
                            "{worst:?} {machine:?} {extent:?}: {found}, foretold {most}"
                        );
                    }
                }
            }
        }
    }
}
