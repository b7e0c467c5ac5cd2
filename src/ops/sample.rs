//! Drawing the next token of every row on the device, so that only ids come back to the host.
//!
//! Scores `s = z / T`, weights `w = e^(s − max s)`. The filters run in the order of transformers'
//! warpers and drop what `generation::Sampler` drops: top-k keeps scores that reach the k-th highest;
//! top-p drops the least likely tokens, of equal ones the first, while their weights sum to at most
//! `1 − p` of all; min-p drops weights below it. The token with the highest `w / E` is drawn, where `E`
//! are exponentially distributed: an exponential race, which orders tokens as `log w + Gumbel` does
//! (the Gumbel-max trick, arXiv:1611.00712). Temperature 0 takes the likeliest token.
//!
//! `E` of token `i` is `−log(1 − (x + ½) / 2³²)` for word `i mod 4` of Philox4x32-10 (Salmon et al.,
//! "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with the row's seed as key and the counter
//! `[i div 4, the row's counter, 0, 0]`: a draw depends on its row's logits, seed and counter alone.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) mod draw;
mod philox;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use self::philox::exponentials;
use super::{DecodeProgram, floats};
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Halvings of 1 down to the last digit of the lightest weight that top-p can stop at: one of a few
/// hundred thousand tokens that together weigh a rounding error.
const SMALLEST_STEP: i32 = 66;

/// What may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleFilters {
    /// Divides the logits; 0 takes the likeliest token and leaves the other filters out.
    pub temperature: f32,
    /// Keep only this many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the likeliest tokens whose probabilities reach this sum, in (0, 1]; 1 keeps all.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the likeliest one, in [0, 1).
    pub min_p: f32,
}

/// What was drawn.
///
/// # Shapes
/// Both `[B]`.
#[derive(Clone, Debug)]
pub struct SampledTokens {
    /// The tokens' ids.
    pub ids: Tensor<1, Int>,
    /// Their log-probabilities in nats under the distributions they were drawn from; when greedy,
    /// under the unscaled logits.
    pub logprobs: Tensor<1>,
}

/// The random streams of rows: each row's seed in two halves, low first, and its counter.
///
/// # Shapes
/// `[B, 3]`; adding 1 to the last column moves every row to its next draw.
pub fn sample_streams(seeds: &[Seed], counter: u32, device: &Device) -> Tensor<2, Int> {
    let words = seeds.iter().flat_map(|seed| {
        let seed = seed.value();
        [seed as u32, (seed >> 32) as u32, counter].map(|word| word as i32)
    });
    let data = TensorData::new(words.collect(), [seeds.len(), 3]);
    Tensor::from_data(data, (device, DType::I32))
}

/// Draws one token a row.
///
/// # Shapes
/// `logits` `[B, V]`, finite, without autodiff; `streams` `[B, 3]` of 32-bit integers as
/// [`sample_streams`] makes them.
///
/// # Errors
/// When the device failed.
///
/// # Panics
/// When there is a row but no vocabulary.
pub fn sample(
    logits: Tensor<2>,
    streams: Tensor<2, Int>,
    filters: SampleFilters,
) -> Result<SampledTokens> {
    let [rows, vocabulary] = logits.dims();
    assert!(rows == 0 || vocabulary > 0, "a vocabulary has entries");
    if rows == 0 || !DecodeProgram::runs_on(&logits.device()) {
        return sample_reference(logits, streams, filters);
    }
    Ok(on_device(logits, streams, filters))
}

/// The same from plain tensor functions, with random numbers made on the host: what every device
/// must agree with.
///
/// # Shapes
/// As [`sample`].
///
/// # Errors
/// When the device failed.
pub fn sample_reference(
    logits: Tensor<2>,
    streams: Tensor<2, Int>,
    filters: SampleFilters,
) -> Result<SampledTokens> {
    let ([rows, vocabulary], device) = (logits.dims(), logits.device());
    if rows == 0 {
        let ids = Tensor::from_data(TensorData::new(Vec::<i32>::new(), [0]), &device);
        let logprobs = Tensor::zeros([0], &device);
        return Ok(SampledTokens { ids, logprobs });
    }
    let logits = logits.cast(DType::F32);
    let is_greedy = filters.temperature == 0.0;
    let scores = match is_greedy {
        true => logits,
        false => logits / filters.temperature,
    };
    let highest = scores.clone().max_dim(1);
    let weights = (scores.clone() - highest.clone()).exp();
    let (weights, ids) = match is_greedy {
        true => (weights, scores.clone().argmax(1)),
        false => {
            let weights = filters.apply(&scores, weights);
            let noise = exponentials(&read_words(streams)?, vocabulary);
            let race = weights.clone() / floats(noise, [rows, vocabulary], &device);
            (weights, race.argmax(1))
        }
    };
    let logprobs = scores.gather(1, ids.clone()) - highest - weights.sum_dim(1).log();
    Ok(SampledTokens {
        ids: ids.reshape([rows]),
        logprobs: logprobs.reshape([rows]),
    })
}

impl SampleFilters {
    /// The weights with those that are filtered out set to 0.
    fn apply(self, scores: &Tensor<2>, weights: Tensor<2>) -> Tensor<2> {
        let [_, vocabulary] = weights.dims();
        let mut weights = weights;
        if self.top_k > 0 && self.top_k < vocabulary {
            let likeliest = scores.clone().sort_descending(1);
            let least = likeliest.narrow(1, self.top_k - 1, 1);
            weights = weights.mask_fill(scores.clone().lower(least), 0.0);
        }
        if self.top_p < 1.0 {
            weights = keep_top_p(weights, (1.0 - self.top_p) as f32);
        }
        if self.min_p > 0.0 {
            let least = weights.clone().lower_elem(self.min_p);
            weights = weights.mask_fill(least, 0.0);
        }
        weights
    }
}

/// Drops the lightest tokens, of equal ones the first, while their sum is at most `droppable` of all.
///
/// Bit by bit as in the kernel: Burn sorts on the host and sums cumulatively in quadratic time.
fn keep_top_p(weights: Tensor<2>, droppable: f32) -> Tensor<2> {
    let droppable = weights.clone().sum_dim(1) * droppable;
    let least = least_kept(&weights, &droppable);
    let lower = weights.clone().lower(least.clone());
    let ties = weights.clone().equal(least.clone());
    let dropped = weights.clone() * lower.clone().float();
    let rest = (droppable - dropped.sum_dim(1)).clamp_min(0.0);
    let others = ties.clone().float().sum_dim(1) - 1.0;
    let tied_out = (rest / least).floor().min_pair(others);
    let is_tied_out = first_of(&ties, &tied_out).bool_and(ties);
    weights.mask_fill(lower.bool_or(is_tied_out), 0.0)
}

/// The weight below which all go, `[B, 1]`: the highest whose lighter ones sum to at most `droppable`.
fn least_kept(weights: &Tensor<2>, droppable: &Tensor<2>) -> Tensor<2> {
    let mut least = droppable.zeros_like();
    for power in 0..=SMALLEST_STEP {
        let candidate = least.clone() + 0.5_f64.powi(power);
        let lighter = weights.clone().lower(candidate.clone()).float() * weights.clone();
        let fits = lighter.sum_dim(1).lower_equal(droppable.clone());
        let fits = fits.bool_and(candidate.clone().lower_equal_elem(1.0));
        least = least.mask_where(fits, candidate);
    }
    least
}

/// The ids before the one at which more than `count` of `ties` have been met.
fn first_of(ties: &Tensor<2, Bool>, count: &Tensor<2>) -> Tensor<2, Bool> {
    let [_, vocabulary] = ties.dims();
    let ids = Tensor::<1, Int>::arange(0..vocabulary as i64, &ties.device()).float();
    let ids: Tensor<2> = ids.unsqueeze_dim(0);
    let mut end = count.zeros_like();
    for bit in (0..=vocabulary.ilog2()).rev() {
        let candidate = end.clone() + f64::from(1_u32 << bit);
        let met = ids.clone().lower(candidate.clone()).bool_and(ties.clone());
        let fits = met.float().sum_dim(1).lower_equal(count.clone());
        end = end.mask_where(fits, candidate);
    }
    ids.lower(end)
}

/// The streams' words, row by row.
fn read_words(streams: Tensor<2, Int>) -> Result<Vec<[u32; 3]>> {
    let device = format!("{:?}", streams.device());
    let words = streams.try_into_vec_as::<i32>();
    let words = words.map_err(|error| Error::Device {
        device,
        problem: format!("random streams could not be read: {error:?}"),
    })?;
    let row = |row: &[i32]| [row[0] as u32, row[1] as u32, row[2] as u32];
    Ok(words.chunks_exact(3).map(row).collect())
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn on_device(logits: Tensor<2>, streams: Tensor<2, Int>, filters: SampleFilters) -> SampledTokens {
    use burn::backend::Dispatch;

    use self::cube::SampleBackend;

    let logits = logits.cast(DType::F32).into_dispatch();
    let streams = streams.cast(DType::I32).into_dispatch();
    let (ids, logprobs) = Dispatch::sample(logits, streams, filters);
    SampledTokens {
        ids: Tensor::from_dispatch(ids),
        logprobs: Tensor::from_dispatch(logprobs),
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn on_device(_: Tensor<2>, _: Tensor<2, Int>, _: SampleFilters) -> SampledTokens {
    unreachable!("no device of this build runs kernels")
}
