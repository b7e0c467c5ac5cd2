//! How a micro-batch is cut: samples of like length together, so that little is padding. On the CPU
//! few enough tokens at once to stay in a core's cache, on a GPU enough to fill it.

use burn::tensor::Device;

use super::TrainingSample;
use crate::device;
use crate::model::Decoder;
use crate::workers::Workers;

/// Most tokens of a slice on the CPU.
pub(super) const SLICE_TOKENS: usize = 1024;

/// Most tokens of a slice on a GPU, padding included: its products are as fast as larger ones, and
/// what the blocks of a model of half a billion weights keep of it is about 9 GB. Where that is too
/// much, smaller micro-batches or checkpointing help.
pub(super) const GPU_SLICE_TOKENS: usize = 8192;

/// Widths and counts on a GPU are multiples of this, or powers of two below it, so that kernels that
/// were tuned once serve all.
const GPU_UNIT: usize = 64;

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

/// A sample and its place in the micro-batch.
pub(super) type Placed<'a> = (usize, &'a TrainingSample);

/// The slices of a micro-batch, one queue a worker; each run of `together` neighbours stays in one
/// slice, in order.
///
/// Slices are sorted by length and dealt in turn.
pub(super) fn queues<'a>(
    samples: &'a [TrainingSample],
    together: usize,
    workers: usize,
    device: &Device,
) -> Vec<Vec<Vec<Placed<'a>>>> {
    let is_cpu = device::is_cpu(device);
    let placed: Vec<Placed<'_>> = samples.iter().enumerate().collect();
    let mut units: Vec<&[Placed<'_>]> = placed.chunks(together).collect();
    units.sort_by_key(|unit| longest(unit));
    let columns = |unit: &[Placed<'_>]| padded(longest(unit), is_cpu);
    let total: usize = units.iter().map(|unit| unit.len() * columns(unit)).sum();
    let most = most_tokens(total, workers, is_cpu);
    // On a GPU slices are even, so that the last is no odd rest with kernels of its own to tune.
    let enough = match is_cpu {
        true => usize::MAX,
        false => total.div_ceil(total.div_ceil(most).max(1)),
    };
    let mut queues: Vec<Vec<Vec<Placed<'_>>>> = vec![Vec::new(); workers];
    let mut slice: Vec<Placed<'_>> = Vec::new();
    let mut count = 0;
    for unit in units {
        let is_full = slice.len() * columns(&slice) >= enough;
        if !slice.is_empty() && (is_full || (slice.len() + unit.len()) * columns(unit) > most) {
            queues[count % workers].push(std::mem::take(&mut slice));
            count += 1;
        }
        slice.extend_from_slice(unit);
    }
    queues[count % workers].push(slice);
    queues
}

/// Most tokens of a slice of a micro-batch of `total`; neighbours that must stay together may exceed
/// it.
pub(super) fn most_tokens(total: usize, workers: usize, is_cpu: bool) -> usize {
    match is_cpu {
        true => total.div_ceil(workers).clamp(1, SLICE_TOKENS),
        false => GPU_SLICE_TOKENS,
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

/// Tokens of the longest sample.
fn longest(unit: &[Placed<'_>]) -> usize {
    let lengths = unit.iter().map(|(_, sample)| sample.ids.len());
    lengths.max().unwrap_or(0)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    fn samples(count: usize) -> Vec<TrainingSample> {
        let sample = |tokens: usize| TrainingSample::new(&[0], &vec![0; tokens]);
        (1..=count).map(|n| sample(n * 7 % 90 + 1)).collect()
    }

    #[test]
    fn every_sample_is_in_one_slice_and_slices_are_even() {
        let samples = samples(199);
        let queues = queues(&samples, 1, 3, &Device::flex());
        let mut places: Vec<usize> = Vec::new();
        for slice in queues.iter().flatten() {
            assert!(slice.len() * longest(slice) <= SLICE_TOKENS);
            places.extend(slice.iter().map(|(place, _)| place));
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

    #[test]
    fn neighbours_that_belong_together_stay_in_a_slice_in_order() {
        let samples = samples(198);
        for workers in [1, 3] {
            let queues = queues(&samples, 2, workers, &Device::flex());
            let mut firsts: Vec<usize> = Vec::new();
            for slice in queues.iter().flatten() {
                assert!(slice.len() * longest(slice) <= SLICE_TOKENS);
                for pair in slice.chunks(2) {
                    let places: Vec<usize> = pair.iter().map(|(place, _)| *place).collect();
                    assert_eq!(places, [places[0], places[0] + 1]);
                    firsts.push(places[0]);
                }
            }
            firsts.sort_unstable();
            assert_eq!(firsts, (0..198).step_by(2).collect::<Vec<_>>());
        }
    }
}
