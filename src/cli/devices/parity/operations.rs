//! The operations that have a shader: advantages and sampling.

use rand::RngExt;

use super::{Exactness, Finding, Pair, Place, SEED};
use crate::error::{Error, Result};
use crate::ops::{self, AdvantageDivisor, SampleFilters};
use crate::seed::Seed;

/// Rows that are drawn, and entries of their vocabulary.
const ROWS: usize = 64;
const VOCABULARY: usize = 997;

/// Share of draws that may differ: two tokens may come so close that rounding decides.
const DIFFERING_DRAWS: f64 = 1.0 / ROWS as f64;

const GREEDY: SampleFilters = SampleFilters {
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
};
const FILTERED: SampleFilters = SampleFilters {
    temperature: 0.7,
    top_k: 50,
    top_p: 0.9,
    min_p: 0.01,
};

/// A draw of every row: ids and log-probabilities.
type Draws = (Vec<i32>, Vec<f32>);

pub(super) fn measure(pair: &Pair) -> impl Iterator<Item = Finding> {
    let checks: [fn(&Pair) -> Vec<Finding>; 3] = [
        |pair| vec![pair.compare("advantages", &Exactness::elementwise(), advantages)],
        |pair| sampling(pair, "greedy", GREEDY).into(),
        |pair| sampling(pair, "sampled", FILTERED).into(),
    ];
    checks.into_iter().flat_map(move |check| check(pair))
}

/// Advantages of three groups, some rewards missing.
fn advantages(place: &Place) -> Result<Vec<Vec<f32>>> {
    let mut rng = Seed::new(SEED).named("rewards").rng();
    let mut rewards: Vec<f32> = (0..3 * 9).map(|_| rng.random()).collect();
    rewards[4] = f32::NAN;
    [
        AdvantageDivisor::GroupStd,
        AdvantageDivisor::BatchStd,
        AdvantageDivisor::None,
    ]
    .into_iter()
    .map(|divisor| {
        let rewards = ops::floats(rewards.clone(), [3, 9], &place.device);
        ops::read_floats(ops::group_advantage(rewards, divisor))
    })
    .collect()
}

/// Which ids are drawn, and how likely they were where they are the same.
fn sampling(pair: &Pair, name: &str, filters: SampleFilters) -> [Finding; 2] {
    let results = draws(&pair.reference, filters)
        .and_then(|expected| Ok((draws(&pair.other, filters)?, expected)));
    let finding = |what: &str, difference, tolerance| Finding {
        check: format!("{name} {what}"),
        dtype: "f32".into(),
        difference,
        tolerance,
        problem: None,
    };
    let (ids, logprobs) = (
        finding("ids", None, DIFFERING_DRAWS),
        finding("log-probs", None, super::ELEMENTWISE),
    );
    match results {
        Ok((found, expected)) => [
            Finding {
                difference: Some(differing_share(&found, &expected)),
                ..ids
            },
            Finding {
                difference: logprob_difference(&found, &expected),
                ..logprobs
            },
        ],
        Err(error) => [ids, logprobs].map(|finding| Finding {
            problem: Some(error.to_string()),
            ..finding
        }),
    }
}

fn draws(place: &Place, filters: SampleFilters) -> Result<Draws> {
    let mut rng = Seed::new(SEED).named("logits").rng();
    let logits = (0..ROWS * VOCABULARY).map(|_| rng.random_range(-6.0..6.0));
    let logits = ops::floats(logits.collect(), [ROWS, VOCABULARY], &place.device);
    let seeds: Vec<Seed> = (0..ROWS as u64).map(Seed::new).collect();
    let streams = ops::sample_streams(&seeds, 0, &place.device);
    let drawn = ops::sample(logits, streams, filters)?;
    let ids = drawn.ids.try_into_vec_as::<i32>();
    let ids = ids.map_err(|error| Error::Device {
        device: format!("{:?}", place.device),
        problem: format!("ids could not be read: {error:?}"),
    })?;
    Ok((ids, ops::read_floats(drawn.logprobs)?))
}

fn differing_share((found, _): &Draws, (expected, _): &Draws) -> f64 {
    let pairs = found.iter().zip(expected);
    pairs.filter(|(found, expected)| found != expected).count() as f64 / expected.len() as f64
}

/// The largest difference of log-probabilities of the same ids, relative to the largest of them.
fn logprob_difference(found: &Draws, expected: &Draws) -> Option<f64> {
    let is_same: Vec<bool> = (found.0.iter().zip(&expected.0))
        .map(|(found, expected)| found == expected)
        .collect();
    let of_same = |logprobs: &[f32]| -> Vec<f32> {
        let kept = logprobs.iter().zip(&is_same).filter(|(_, same)| **same);
        kept.map(|(logprob, _)| *logprob).collect()
    };
    super::largest_difference(&[of_same(&found.1)], &[of_same(&expected.1)])
}
