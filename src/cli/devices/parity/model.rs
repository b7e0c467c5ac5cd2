//! The model: forward, with a cache, decoding, scoring, gradients and an optimiser step.

use std::ops::Range;

use rand::RngExt;

use super::{Finding, Pair, Place, SEED};
use crate::error::Result;
use crate::generation::{Engine, GenerationRequest, SamplingParams};
use crate::model::{KvCache, TokenGrid};
use crate::ops;
use crate::seed::Seed;
use crate::train::loss::{PolicyLoss, PolicyLossConfig};
use crate::train::{Batching, Learner, OptimConfig, StepTotals, TrainingSample};

/// Tokens of the sequences, of which the first few are a prompt: their lengths differ.
const LENGTHS: [usize; 3] = [11, 8, 15];
const PROMPT_TOKENS: usize = 3;

/// Columns of every grid, as training pads them: kernels of one shape serve all checks.
const COLUMNS: usize = 16;

/// Learning rate of the step; only what it does relative to the largest change is compared.
const RATE: f64 = 1e-3;

pub(super) fn measure(pair: &Pair) -> impl Iterator<Item = Finding> {
    let checks: [fn(&Pair) -> Finding; 6] = [
        |pair| pair.compare("logits", &pair.exactness, |place| Ok(vec![logits(place)?])),
        |pair| {
            pair.compare("logits with cache", &pair.exactness, |place| {
                Ok(vec![cached_logits(place)?])
            })
        },
        |pair| pair.judge("decoded log-probs", &pair.exactness, decoded(pair)),
        |pair| pair.compare("log-probs", &pair.exactness, logprobs),
        |pair| pair.compare("gradients", &pair.exactness.of_gradients(), gradients),
        |pair| pair.compare("adamw step", &pair.exactness.of_gradients(), changes),
    ];
    checks.into_iter().map(move |check| check(pair))
}

/// The sequences' ids.
fn rows(place: &Place) -> Vec<Vec<u32>> {
    let vocabulary = place.decoder.config().vocab_size as u32;
    let mut rng = Seed::new(SEED).named("ids").rng();
    LENGTHS
        .iter()
        .map(|length| {
            (0..*length)
                .map(|_| rng.random_range(0..vocabulary))
                .collect()
        })
        .collect()
}

/// Logits of every position.
fn logits(place: &Place) -> Result<Vec<f32>> {
    let decoder = &place.decoder;
    let grid = TokenGrid::right_padded(&rows(place), COLUMNS);
    let states = decoder.hidden_states(&decoder.input(&grid), None);
    let [rows, columns, width] = states.dims();
    ops::read_floats(decoder.logits(states.reshape([rows * columns, width])))
}

/// Logits after one token that follows a cached, padded prompt.
fn cached_logits(place: &Place) -> Result<Vec<f32>> {
    let decoder = &place.decoder;
    let mut prompts = rows(place);
    let last: Vec<u32> = prompts.iter_mut().filter_map(Vec::pop).collect();
    let grid = TokenGrid::left_padded(&prompts, COLUMNS);
    let [_, columns] = grid.dims();
    let mut cache = KvCache::new(decoder, columns + 1);
    decoder.hidden_states(&decoder.input(&grid), Some(&mut cache));
    let input = decoder.next_input(&last, grid.starts(), cache.tokens());
    let states = decoder.hidden_states(&input, Some(&mut cache));
    ops::read_floats(decoder.logits(states.squeeze_dim(1)))
}

/// The log-probabilities of drawn tokens as the device draws them, and as the reference scores them.
fn decoded(pair: &Pair) -> Result<[Vec<Vec<f32>>; 2]> {
    let requests: Vec<GenerationRequest> = rows(&pair.other)
        .into_iter()
        .enumerate()
        .map(|(row, prompt)| GenerationRequest {
            prompt,
            seed: Seed::new(SEED).child(row as u64),
        })
        .collect();
    let params = SamplingParams {
        max_completion_tokens: COLUMNS,
        ..SamplingParams::default()
    };
    let engine = Engine::new(&pair.other.decoder, Vec::new(), &pair.other.workers);
    let made = engine.generate(&requests, &params, &|_, _| ())?;
    let samples: Vec<TrainingSample> = requests
        .iter()
        .zip(&made)
        .map(|(request, completion)| TrainingSample::new(&request.prompt, &completion.ids))
        .collect();
    let Place {
        decoder, workers, ..
    } = &pair.reference;
    let expected = Batching::default().score(decoder, &samples, 1.0, workers)?;
    Ok([
        made.into_iter().map(|made| made.logprobs).collect(),
        expected,
    ])
}

/// The sequences as samples of a policy a step behind.
fn samples(place: &Place) -> Vec<TrainingSample> {
    let mut rng = Seed::new(SEED).named("samples").rng();
    let sample = |row: Vec<u32>| {
        let (prompt, completion) = row.split_at(PROMPT_TOKENS);
        let mut list = |range: Range<f32>| -> Vec<f32> {
            let draw = |_| rng.random_range(range.clone());
            completion.iter().map(draw).collect()
        };
        TrainingSample {
            advantages: list(-1.0..1.0),
            ref_logprobs: list(-5.0..-3.0),
            ..TrainingSample::new(prompt, completion)
        }
    };
    rows(place).into_iter().map(sample).collect()
}

fn logprobs(place: &Place) -> Result<Vec<Vec<f32>>> {
    Batching::default().score(&place.decoder, &samples(place), 0.8, &place.workers)
}

/// A learner that has seen the samples once, and the loss.
fn learner(place: &Place) -> Result<(Learner, f64)> {
    let config = OptimConfig {
        // Large enough that the step does not turn the rounding of small gradients into signs.
        epsilon: 1e-2,
        ..OptimConfig::default()
    };
    let loss = PolicyLoss::new(
        PolicyLossConfig {
            kl_coef: 0.05,
            ..PolicyLossConfig::default()
        },
        0.9,
        *LENGTHS.iter().max().expect("there are sequences"),
    );
    let samples = samples(place);
    let mut learner = Learner::new(place.decoder.clone(), config, Batching::default());
    let totals = StepTotals::of(&[samples.as_slice()]);
    let loss = learner.accumulate(&samples, &loss, totals, &place.workers)?;
    Ok((learner, loss))
}

/// The loss and the gradient of every weight, all gradients in one list: a weight whose gradient is
/// all rounding has no scale of its own.
fn gradients(place: &Place) -> Result<Vec<Vec<f32>>> {
    let (learner, loss) = learner(place)?;
    let gradients = learner.gradients().unwrap_or_default().iter();
    let gradients: Result<Vec<_>> = gradients
        .map(|gradient| ops::read_floats(gradient.clone()))
        .collect();
    Ok(vec![vec![loss as f32], gradients?.concat()])
}

/// What a step changes in the weights.
fn changes(place: &Place) -> Result<Vec<Vec<f32>>> {
    let (mut learner, _) = learner(place)?;
    learner.step(RATE, &place.workers)?;
    let after = learner.decoder().parameters().iter();
    let changes: Result<Vec<_>> = after
        .zip(place.decoder.parameters())
        .map(|(after, before)| {
            let before = ops::read_floats(before.clone())?;
            let after = ops::read_floats(after.clone())?.into_iter();
            Ok(after
                .zip(before)
                .map(|(after, before)| after - before)
                .collect::<Vec<_>>())
        })
        .collect();
    Ok(vec![changes?.concat()])
}
