//! Every policy loss: its value and its gradients with respect to log-probabilities and entropies.

use std::ops::Range;

use burn::tensor::Tensor;
use rand::RngExt;

use super::{Exactness, Finding, Pair, Place, SEED};
use crate::error::Result;
use crate::ops;
use crate::seed::Seed;
use crate::train::loss::{PolicyLoss, PolicyLossConfig, PolicyLossKind};
use crate::train::{LossInput, LossTotals, Objective, Predictions, StepTotals};

const KINDS: [PolicyLossKind; 8] = [
    PolicyLossKind::Grpo,
    PolicyLossKind::Bnpo,
    PolicyLossKind::DrGrpo,
    PolicyLossKind::Dapo,
    PolicyLossKind::Luspo,
    PolicyLossKind::Cispo,
    PolicyLossKind::Sapo,
    PolicyLossKind::Vespo,
];

/// Tokens of the completions.
const LENGTHS: [usize; 4] = [7, 3, 5, 1];
const COLUMNS: usize = 7;

pub(super) fn measure(pair: &Pair) -> impl Iterator<Item = Finding> {
    let exactness = Exactness::elementwise();
    KINDS.into_iter().map(move |kind| {
        let check = format!("loss {}", name(kind));
        pair.compare(check, &exactness, |place| evaluate(kind, place))
    })
}

/// The kind as recipes spell it.
fn name(kind: PolicyLossKind) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or("?").to_string()
}

fn evaluate(kind: PolicyLossKind, place: &Place) -> Result<Vec<Vec<f32>>> {
    let config = PolicyLossConfig {
        kind,
        kl_coef: 0.05,
        entropy_coef: 0.01,
        ..PolicyLossConfig::default()
    };
    let loss = PolicyLoss::new(config, 1.0, COLUMNS);
    let input = input(place);
    let value = loss.loss(&input).loss;
    let mut results = vec![ops::read_floats(value.clone().inner())?];
    let gradients = value.backward();
    for leaf in [input.logprobs(), input.entropies()] {
        let gradient = leaf.grad(&gradients);
        results.push(
            gradient
                .map(ops::read_floats)
                .transpose()?
                .unwrap_or_default(),
        );
    }
    Ok(results)
}

/// Numbers such as a step has.
fn input(place: &Place) -> LossInput {
    let mut rng = Seed::new(SEED).named("loss").rng();
    let rows = LENGTHS.len();
    let mut grid = |range: Range<f32>| -> Tensor<2> {
        let draw = |_| rng.random_range(range.clone());
        let values = (0..rows * COLUMNS).map(draw).collect();
        ops::floats(values, [rows, COLUMNS], &place.device)
    };
    let mask = LENGTHS.iter().flat_map(|length| {
        (0..COLUMNS).map(move |column| if column < *length { 1.0 } else { 0.0 })
    });
    let mask = ops::floats(mask.collect(), [rows, COLUMNS], &place.device);
    let logprobs = grid(-3.0..-0.1);
    let near = |other: Tensor<2>| logprobs.clone() + other;
    let (old, reference) = (near(grid(-0.3..0.3)), near(grid(-0.5..0.5)));
    let tokens: usize = LENGTHS.iter().sum();
    LossInput {
        predictions: Predictions::Tokens {
            entropies: grid(0.1..2.0).autodiff().require_grad(),
            logprobs: logprobs.clone().autodiff().require_grad(),
        },
        advantages: Some(grid(-1.0..1.0)),
        old_logprobs: Some(old),
        ref_logprobs: Some(reference),
        sampler_logprobs: None,
        returns: None,
        old_values: None,
        sampler_ratio: Some(grid(0.7..1.3)),
        entropy_mask: None,
        mask,
        totals: LossTotals {
            step: StepTotals {
                micro_batches: 1,
                sequences: rows,
                tokens: tokens as f64,
            },
            tokens,
            entropy_tokens: tokens,
        },
    }
}
