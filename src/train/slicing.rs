//! How a micro-batch is cut: samples of like length together, so that little is padding. On the CPU
//! few enough tokens at once to stay in a core's cache, on a GPU enough to fill it.

use std::collections::HashMap;

use super::TrainingSample;
use super::layout::{Extent, Layout, Placed};
use super::plan::{Machine, Sizes};
use crate::device;
use crate::model::Decoder;
use crate::workers::Workers;

/// Most tokens of a slice on the CPU.
const SLICE_TOKENS: usize = 1024;

/// Most tokens of a slice on a GPU, padding included: its products are as fast as larger ones, and
/// what the blocks of a model of half a billion weights keep of it is about 9 GB. Where that is too
/// much, smaller micro-batches or checkpointing help.
const GPU_SLICE_TOKENS: usize = 8192;

/// How much more a slice may be on a GPU with memory to spare: steps of a model of half a billion
/// weights take 0.84 to 0.94 of the time then, on an H200.
const GROWTH: usize = 2;

/// Bytes of weights, gradients and moments that training takes for each weight.
const TRAINING_BYTES: usize = 16;

/// Most keys that attention reads for each token of a full slice: rows that share a long prompt and
/// are short themselves have a copy of its keys each.
const KEYS_A_TOKEN: usize = 4;

/// Widths and counts on a GPU are multiples of this, or powers of two below it, so that kernels that
/// were tuned once serve all.
pub(super) const GPU_UNIT: usize = 64;

/// A model of more weights than this (128 MiB of f32) fills the cores from inside its operations,
/// and gradients of its own for every worker would cost too much memory.
const MOST_SHARED_WEIGHTS: usize = 1 << 25;

/// The workers that go through `decoder`, to gradients or only to scores: on a GPU one, since sums
/// that threads go on from in place would race.
pub(super) fn learning_workers(decoder: &Decoder, workers: &Workers) -> Workers {
    if !device::is_cpu(&decoder.device()) {
        return Workers::new(1);
    }
    let weights = decoder.parameters().iter();
    let weights: usize = weights.map(|w| w.dims().iter().product::<usize>()).sum();
    match gradient_workers_for(weights, workers.count()) {
        1 => workers.joined(),
        _ => *workers,
    }
}

/// How many of `workers` take gradients of a model of so many weights.
pub(super) fn gradient_workers_for(weights: usize, workers: usize) -> usize {
    match weights > MOST_SHARED_WEIGHTS {
        true => 1,
        false => workers,
    }
}

/// The slices of a micro-batch, one queue a worker, dealt in turn.
pub(super) fn queues<'a>(
    samples: &'a [TrainingSample],
    together: usize,
    cutting: Cutting,
) -> Vec<Vec<Layout<'a>>> {
    let workers = cutting.workers;
    let mut queues: Vec<Vec<Layout<'a>>> = vec![Vec::new(); workers];
    let slices = slices(samples, together, cutting);
    for (count, slice) in slices.into_iter().enumerate() {
        queues[count % workers].push(slice);
    }
    queues
}

/// The slices of a micro-batch; each run of `together` neighbours stays in one, in order.
///
/// Samples are sorted by length. Where laying out prompts once for all that share them saves an
/// eighth of the tokens, they are sorted so that it saves most.
pub(super) fn slices(
    samples: &[TrainingSample],
    together: usize,
    cutting: Cutting,
) -> Vec<Layout<'_>> {
    let placed = placed(samples);
    let mut units: Vec<&[Placed<'_>]> = placed.chunks(together).collect();
    units.sort_by_key(|unit| longest(unit, whole_tokens));
    let whole = cutting.cut(&units, false);
    let repeats = |one: &Placed<'_>| one.prompt != one.place && one.sample.prompt_tokens > 1;
    match placed.iter().any(repeats) {
        true => cutting.shared(units, whole),
        false => whole,
    }
}

/// The samples, each with the place of the first that has its prompt.
fn placed(samples: &[TrainingSample]) -> Vec<Placed<'_>> {
    let mut firsts: HashMap<&[u32], usize> = HashMap::new();
    let placed = samples.iter().enumerate().map(|(place, sample)| Placed {
        place,
        sample,
        prompt: *firsts
            .entry(&sample.ids[..sample.prompt_tokens])
            .or_insert(place),
    });
    placed.collect()
}

/// For whom a micro-batch is cut, and how large slices may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cutting {
    pub workers: usize,
    pub is_cpu: bool,
    /// Most tokens of a slice, unless a prompt alone has so many.
    tokens: usize,
}

impl Cutting {
    /// How micro-batches are cut for a model of these sizes: on a GPU in larger slices where what its blocks keep of
    /// one leaves half of the memory that training does not take.
    pub(super) fn new(sizes: &Sizes, machine: Machine) -> Self {
        let is_large = machine.gpu_bytes.is_some_and(|bytes| {
            let spare = bytes.saturating_sub(TRAINING_BYTES * sizes.weights);
            2 * size_of::<f32>() * sizes.kept(GROWTH * GPU_SLICE_TOKENS) <= spare
        });
        let tokens = match (machine.is_cpu, is_large) {
            (true, _) => SLICE_TOKENS,
            (false, true) => GROWTH * GPU_SLICE_TOKENS,
            (false, false) => GPU_SLICE_TOKENS,
        };
        Self {
            workers: machine.workers,
            is_cpu: machine.is_cpu,
            tokens,
        }
    }

    /// The same for a model that is there.
    pub(super) fn of(decoder: &Decoder, workers: &Workers) -> Self {
        let machine = Machine::of(&decoder.device(), workers.count());
        Self::new(&Sizes::of(decoder), machine)
    }

    /// `units` in slices that share prompts, or `whole`, unless that has an eighth more tokens.
    fn shared<'a>(self, mut units: Vec<&[Placed<'a>]>, whole: Vec<Layout<'a>>) -> Vec<Layout<'a>> {
        let own = |unit: &[Placed<'_>]| longest(unit, TrainingSample::completion_tokens);
        units.sort_by_key(|unit| own(unit));
        let by_length = self.cut(&units, true);
        let mut of_prompt: HashMap<usize, usize> = HashMap::new();
        for unit in &units {
            of_prompt.insert(unit[0].prompt, own(unit));
        }
        units.sort_by_key(|unit| (of_prompt[&unit[0].prompt], unit[0].prompt));
        let by_prompt = self.cut(&units, true);
        let tokens = |slices: &[Layout<'_>]| -> usize {
            slices.iter().map(|slice| slice.extent().tokens()).sum()
        };
        let shared = match tokens(&by_length) < tokens(&by_prompt) {
            true => by_length,
            false => by_prompt,
        };
        match saves_enough(tokens(&shared), tokens(&whole)) {
            true => shared,
            false => whole,
        }
    }

    /// Slices of `units`, in order, each as full as it can be.
    fn cut<'a>(self, units: &[&[Placed<'a>]], may_share: bool) -> Vec<Layout<'a>> {
        let (total, prompt) = self.least_tokens(units, may_share);
        let most = SliceLimit::of(total, prompt, self);
        // On a GPU slices are even, so that the last is no odd rest with kernels of its own to tune.
        let enough = match self.is_cpu {
            true => usize::MAX,
            false => total.div_ceil(total.div_ceil(most.tokens(prompt)).max(1)),
        };
        let empty = Layout::empty(may_share, self.is_cpu);
        let (mut slices, mut slice) = (Vec::new(), empty.clone());
        for unit in units {
            let grown = slice.with(unit);
            let is_full = slice.extent().tokens() >= enough;
            if !slice.samples().is_empty() && (is_full || !most.allows(grown.extent())) {
                slices.push(std::mem::replace(&mut slice, empty.with(unit)));
            } else {
                slice = grown;
            }
        }
        slices.push(slice);
        slices
    }

    /// Tokens of all units if they filled slices without padding between units, and those of the
    /// longest prompt that may be shared.
    fn least_tokens(self, units: &[&[Placed<'_>]], may_share: bool) -> (usize, usize) {
        let padded = |tokens| padded(tokens, self.is_cpu);
        if !may_share {
            let columns = |unit: &[Placed<'_>]| padded(longest(unit, whole_tokens));
            return (units.iter().map(|unit| unit.len() * columns(unit)).sum(), 0);
        }
        let own = |unit: &[Placed<'_>]| padded(longest(unit, TrainingSample::completion_tokens));
        let own: usize = units.iter().map(|unit| unit.len() * own(unit)).sum();
        let firsts = units.iter().copied().flatten();
        let firsts = firsts.filter(|placed| placed.prompt == placed.place);
        let prompts = firsts.map(|placed| padded(placed.sample.prompt_tokens - 1));
        (
            own + prompts.clone().sum::<usize>(),
            prompts.max().unwrap_or(0),
        )
    }
}

/// Whether prompts are shared that leave `shared` of `whole` tokens: an eighth less.
pub(super) fn saves_enough(shared: usize, whole: usize) -> bool {
    8 * shared <= 7 * whole
}

/// How much a slice may be; neighbours that must stay together may exceed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SliceLimit {
    /// Tokens of a worker's share.
    share: usize,
    cutting: Cutting,
}

impl SliceLimit {
    /// That of a micro-batch of `total` tokens whose rows share prompts of up to `prompt` tokens, 0
    /// where they share none.
    ///
    /// On the CPU there is room for one more such prompt in the share of every worker but the first.
    pub(super) fn of(total: usize, prompt: usize, cutting: Cutting) -> Self {
        let share = |workers: usize| (total + (workers - 1) * prompt).div_ceil(workers);
        Self {
            share: match cutting.is_cpu {
                true => share(cutting.workers),
                false => usize::MAX,
            },
            cutting,
        }
    }

    /// Tokens that may go through the model where rows share prompts of `prompt` tokens.
    pub(super) fn tokens(self, prompt: usize) -> usize {
        self.full(prompt).min(self.share).max(1)
    }

    /// Keys that attention may read there.
    pub(super) fn keys(self, prompt: usize) -> usize {
        KEYS_A_TOKEN * self.full(prompt)
    }

    /// Whether a slice may be so large.
    pub(super) fn allows(self, extent: Extent) -> bool {
        let prompt = extent.prompt_columns;
        extent.tokens() <= self.tokens(prompt) && extent.keys() <= self.keys(prompt)
    }

    /// Tokens of a full slice, with room for a prompt that its rows share.
    fn full(self, prompt: usize) -> usize {
        match self.cutting.is_cpu {
            true => self.cutting.tokens + prompt,
            // Kernels are tuned for powers of two.
            false => self.cutting.tokens.max(2 * prompt),
        }
    }
}

/// Width of a grid, or count of tokens, that holds `count`.
pub(super) fn padded(count: usize, is_cpu: bool) -> usize {
    match is_cpu {
        true => count,
        false if count < GPU_UNIT => count.next_power_of_two(),
        false => count.next_multiple_of(GPU_UNIT),
    }
}

fn whole_tokens(sample: &TrainingSample) -> usize {
    sample.ids.len()
}

/// The most of a unit's samples' `tokens`.
fn longest(unit: &[Placed<'_>], tokens: impl Fn(&TrainingSample) -> usize) -> usize {
    let lengths = unit.iter().map(|placed| tokens(placed.sample));
    lengths.max().unwrap_or(0)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;
    use crate::model::{Family, ModelConfig};

    fn samples(count: usize) -> Vec<TrainingSample> {
        let sample = |tokens: usize| TrainingSample::new(&[0], &vec![0; tokens]);
        (1..=count).map(|n| sample(n * 7 % 90 + 1)).collect()
    }

    fn cpu(workers: usize) -> Cutting {
        Cutting {
            workers,
            is_cpu: true,
            tokens: SLICE_TOKENS,
        }
    }

    #[test]
    fn slices_are_larger_on_a_gpu_with_memory_to_spare() {
        let config = ModelConfig {
            vocab_size: 1 << 20,
            hidden_size: 64,
            intermediate_size: 192,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 16,
            ..ModelConfig::of_family(Family::Llama)
        };
        let sizes = Sizes::new(&config, None).unwrap();
        let tokens = |gpu_bytes| {
            let machine = Machine {
                is_cpu: false,
                workers: 1,
                gpu_bytes,
            };
            Cutting::new(&sizes, machine).tokens
        };
        // A block keeps 128 for its norms, 128 of attention, 384 before its maps, 384 of gate and up.
        let kept = 4 * 4 * 2 * 8192 * (2 * 64 + 64 + 2 * 32 + 3 * 64 + 192 + 2 * 192);
        let training = 16 * sizes.weights;
        assert_eq!(tokens(Some(training + 2 * kept)), 16384);
        assert_eq!(tokens(Some(training + 2 * kept - 1)), 8192);
        assert_eq!(tokens(Some(0)), 8192);
        assert_eq!(tokens(None), 8192);
    }

    #[test]
    fn every_sample_is_in_one_slice_and_slices_are_even() {
        let samples = samples(199);
        let queues = queues(&samples, 1, cpu(3));
        let mut places: Vec<usize> = Vec::new();
        for slice in queues.iter().flatten() {
            assert!(slice.extent().tokens() <= SLICE_TOKENS);
            places.extend(slice.samples().iter().map(|placed| placed.place));
        }
        places.sort_unstable();
        assert_eq!(places, (0..199).collect::<Vec<_>>());
        assert!(queues.iter().all(|queue| queue.len() >= 2));
    }

    #[test]
    fn widths_on_a_gpu_are_few_and_on_the_cpu_exact() {
        let found = [0, 1, 5, 63, 64, 65, 300].map(|count| padded(count, false));
        assert_eq!(found, [1, 1, 8, 64, 64, 128, 320]);
        assert_eq!(padded(65, true), 65);
    }

    /// Samples in groups with a prompt of `prompt` tokens each; completions have `own` tokens in turn.
    fn groups(count: usize, group: usize, prompt: usize, own: &[usize]) -> Vec<TrainingSample> {
        let sample = |place: usize| {
            let prompt = vec![(place / group) as u32; prompt];
            TrainingSample::new(&prompt, &vec![0; own[place % own.len()]])
        };
        (0..count).map(sample).collect()
    }

    /// Prompts, their width, rows and their width of each slice.
    fn extents(samples: &[TrainingSample], workers: usize) -> Vec<[usize; 4]> {
        let queues = queues(samples, 1, cpu(workers));
        let extents = queues.iter().flatten().map(Layout::extent);
        let numbers = |e: Extent| [e.prompts, e.prompt_columns, e.rows, e.columns];
        extents.map(numbers).collect()
    }

    #[test]
    fn a_group_stays_whole_and_its_prompt_is_laid_out_once() {
        let samples = groups(16, 8, 128, &[128]);
        assert_eq!(extents(&samples, 1), [[1, 127, 8, 128]; 2]);
        // Two workers share one group: each has the prompt.
        assert_eq!(extents(&samples[..8], 2), [[1, 127, 4, 128]; 2]);
    }

    #[test]
    fn samples_of_like_length_share_prompts_where_groups_would_be_padded() {
        // One long completion in each of 8 groups, whose prompts the short ones share.
        let own = [8, 8, 8, 8, 8, 8, 8, 100];
        let expected = [[8, 39, 56, 8], [0, 0, 7, 140], [0, 0, 1, 140]];
        assert_eq!(extents(&groups(64, 8, 40, &own), 1), expected);
    }

    #[test]
    fn prompts_are_not_shared_where_that_saves_less_than_an_eighth() {
        // 8 x 108 tokens, or 7 + 8 x 100.
        assert_eq!(extents(&groups(8, 8, 8, &[100]), 1), [[0, 0, 8, 108]]);
        // 8 x 120, or 19 + 8 x 100.
        assert_eq!(extents(&groups(8, 8, 20, &[100]), 1), [[1, 19, 8, 100]]);
        // A prompt of one token has nothing to share.
        assert_eq!(extents(&groups(8, 8, 1, &[4]), 1), [[0, 0, 8, 5]]);
        // Each prompt once.
        assert_eq!(extents(&groups(8, 1, 20, &[20]), 1), [[0, 0, 8, 40]]);
    }

    #[test]
    fn rows_that_are_short_beside_their_prompt_are_few_in_a_slice() {
        // 4 x (1024 + 999) = 8092 keys: 999 for the prompt itself, 1001 for each row with its own.
        let found = extents(&groups(63, 63, 1000, &[2]), 1);
        assert_eq!(found, [[1, 999, 7, 2]; 9]);
    }

    #[test]
    fn neighbours_that_belong_together_stay_in_a_slice_in_order() {
        let samples = samples(198);
        for workers in [1, 3] {
            let queues = queues(&samples, 2, cpu(workers));
            let mut firsts: Vec<usize> = Vec::new();
            for slice in queues.iter().flatten() {
                assert!(slice.extent().tokens() <= SLICE_TOKENS);
                for pair in slice.samples().chunks(2) {
                    let places: Vec<usize> = pair.iter().map(|placed| placed.place).collect();
                    assert_eq!(places, [places[0], places[0] + 1]);
                    firsts.push(places[0]);
                }
            }
            firsts.sort_unstable();
            assert_eq!(firsts, (0..198).step_by(2).collect::<Vec<_>>());
        }
    }
}
