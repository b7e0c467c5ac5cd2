//! How a micro-batch is cut for the workers: samples of like length together, so that little is
//! padding, and few enough tokens at once to stay in a core's cache.

use burn::tensor::Device;

use super::TrainingSample;
use crate::device;
use crate::model::Decoder;
use crate::workers::Workers;

/// Most tokens of a slice on the CPU, padding included.
const SLICE_TOKENS: usize = 1024;

/// A model of more weights than this (128 MiB of f32) fills the cores from inside its operations,
/// and gradients of its own for every worker would cost too much memory.
const MOST_SHARED_WEIGHTS: usize = 1 << 25;

/// The workers that take gradients of `decoder`.
pub(super) fn gradient_workers(decoder: &Decoder, workers: &Workers) -> Workers {
    let weights = decoder.parameters().iter();
    let weights: usize = weights.map(|w| w.dims().iter().product::<usize>()).sum();
    match weights > MOST_SHARED_WEIGHTS {
        true => Workers::new(1),
        false => *workers,
    }
}

/// A sample and its place in the micro-batch.
pub(super) type Placed<'a> = (usize, &'a TrainingSample);

/// The slices of a micro-batch, one queue a worker.
///
/// A CPU gets many small slices, sorted by length and dealt in turn; a GPU gets one, since its
/// shapes should be few and large.
pub(super) fn queues<'a>(
    samples: &'a [TrainingSample],
    workers: usize,
    device: &Device,
) -> Vec<Vec<Vec<Placed<'a>>>> {
    let mut placed: Vec<Placed<'_>> = samples.iter().enumerate().collect();
    if !device::is_cpu(device) {
        return vec![vec![placed]];
    }
    placed.sort_by_key(|(_, sample)| sample.ids.len());
    let total: usize = samples.iter().map(|sample| sample.ids.len()).sum();
    let most = total.div_ceil(workers).clamp(1, SLICE_TOKENS);
    let mut queues: Vec<Vec<Vec<Placed<'_>>>> = vec![Vec::new(); workers];
    let mut slice = Vec::new();
    let mut count = 0;
    for (place, sample) in placed {
        if !slice.is_empty() && (slice.len() + 1) * sample.ids.len() > most {
            queues[count % workers].push(std::mem::take(&mut slice));
            count += 1;
        }
        slice.push((place, sample));
    }
    queues[count % workers].push(slice);
    queues
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_slice_and_slices_are_even() {
        let sample = |tokens: usize| TrainingSample::new(&[0], &vec![0; tokens]);
        let samples: Vec<_> = (1..200).map(|n| sample(n * 7 % 90 + 1)).collect();
        let queues = queues(&samples, 3, &Device::flex());
        let mut places: Vec<usize> = Vec::new();
        for slice in queues.iter().flatten() {
            let longest = slice.iter().map(|(_, sample)| sample.ids.len()).max();
            assert!(slice.len() * longest.unwrap() <= SLICE_TOKENS);
            places.extend(slice.iter().map(|(place, _)| place));
        }
        places.sort_unstable();
        assert_eq!(places, (0..199).collect::<Vec<_>>());
        assert!(queues.iter().all(|queue| queue.len() >= 2));
    }
}
