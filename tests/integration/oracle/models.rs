//! Forward passes against transformers: logits, hidden states, log-probabilities and entropies.

use emberl::model::{ForwardInput, TokenGrid};
use emberl::ops;
use emberl::train::{Batching, TrainingSample};
use emberl::workers::Workers;

use super::fixture::{Tolerance, Worst, cpu};
use super::model_case::ModelCase;

const CLOSE: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 1e-4,
};

#[test]
fn logits_are_those_of_transformers_however_rows_are_laid_out() {
    for case in ModelCase::all(&cpu()) {
        let mut worst = Worst::default();
        let rows = case.rows();
        let expected = case.logits();
        let left = TokenGrid::left_padded(&rows, 0);
        assert_eq!(left.dims(), case.tensors.shape("input_ids"));
        for (what, grid) in [
            ("left-padded logits", left),
            (
                "wider left-padded logits",
                TokenGrid::left_padded(&rows, 50),
            ),
            ("right-padded logits", TokenGrid::right_padded(&rows, 0)),
        ] {
            worst.note(what, check_logits(&case, &grid, &rows, &expected));
        }
        for (row, expected) in rows.iter().zip(&expected) {
            let (rows, expected) = ([row.clone()], [expected.clone()]);
            let grid = TokenGrid::left_padded(&rows, 0);
            worst.note("lone logits", check_logits(&case, &grid, &rows, &expected));
        }
        worst.print(&case.name);
    }
}

/// Checks the logits of the grid's real tokens; returns the largest difference.
pub fn check_logits(
    case: &ModelCase,
    grid: &TokenGrid,
    rows: &[Vec<u32>],
    expected: &[Vec<f32>],
) -> f64 {
    let [_, columns] = grid.dims();
    let states = case.decoder.hidden_states(&case.decoder.input(grid), None);
    let logits = case.decoder.logits(states.flatten(0, 1));
    let [_, vocabulary] = logits.dims();
    let logits = ops::read_floats(logits).expect("device works");
    let mut worst = 0.0_f64;
    for (index, (row, expected)) in rows.iter().zip(expected).enumerate() {
        let start = (index * columns + grid.starts()[index]) * vocabulary;
        let found = &logits[start..start + row.len() * vocabulary];
        let place = format!("{}: logits of row {index}", case.name);
        worst = worst.max(CLOSE.check(&place, found, expected));
    }
    worst
}

#[test]
fn every_hidden_state_is_that_of_transformers() {
    for case in ModelCase::all(&cpu()) {
        let mut worst = Worst::default();
        let grid = TokenGrid::left_padded(&case.rows(), 0);
        let found = case.decoder.all_hidden_states(&case.decoder.input(&grid));
        let [layers, tokens, width] = case.tensors.shape("hidden_states_row0");
        assert_eq!(found.len(), layers, "{}", case.name);
        let expected = case.tensors.floats("hidden_states_row0");
        let start = grid.starts()[0];
        for (layer, (found, expected)) in found
            .into_iter()
            .zip(expected.chunks(tokens * width))
            .enumerate()
        {
            let found = found.narrow(0, 0, 1).narrow(1, start, tokens);
            let found = ops::read_floats(found).expect("device works");
            let place = format!("{}: hidden state {layer}", case.name);
            worst.note("hidden states", CLOSE.check(&place, &found, expected));
        }
        worst.print(&case.name);
    }
}

#[test]
fn logprobs_are_those_of_transformers_at_every_temperature() {
    for case in ModelCase::all(&cpu()) {
        let mut worst = Worst::default();
        let samples: Vec<TrainingSample> = (case.split_rows().iter())
            .map(|(prompt, completion)| TrainingSample::new(prompt, completion))
            .collect();
        let recorded = case.tensors.names().into_iter();
        let recorded: Vec<_> = recorded
            .filter(|name| name.starts_with("logps_T"))
            .collect();
        assert!(!recorded.is_empty(), "{} has no logps_T*", case.name);
        for name in recorded {
            let temperature: f64 = name["logps_T".len()..].parse().unwrap();
            let expected = case.tensors.floats(&name);
            let place = format!("{}: {name}", case.name);
            let (found, _) = head_outputs(&case, temperature);
            worst.note("log-probabilities", CLOSE.check(&place, &found, &expected));
            for (micro_batch, workers) in [(0, 1), (0, 3), (1, 1), (3, 2)] {
                let batching = Batching {
                    micro_batch,
                    ..Batching::default()
                };
                let workers = Workers::new(workers);
                let scores = batching.score(&case.decoder, &samples, temperature, &workers);
                let found = scores.expect("device works").concat();
                worst.note("scores", CLOSE.check(&place, &found, &expected));
            }
        }
        worst.print(&case.name);
    }
}

#[test]
fn entropies_are_those_of_transformers() {
    for case in ModelCase::all(&cpu()) {
        let mut worst = Worst::default();
        let expected = case.tensors.floats("entropy_T1");
        let (_, found) = head_outputs(&case, 1.0);
        let place = format!("{}: entropies", case.name);
        worst.note("entropies", CLOSE.check(&place, &found, &expected));
        worst.print(&case.name);
    }
}

/// Log-probabilities and entropies of every row's completion, row by row.
fn head_outputs(case: &ModelCase, temperature: f64) -> (Vec<f32>, Vec<f32>) {
    let completion = case.expected.completion_len;
    let (mut logprobs, mut entropies) = (Vec::new(), Vec::new());
    for row in case.rows() {
        let input: ForwardInput = case.decoder.input(&TokenGrid::left_padded(&[&row[..]], 0));
        let states = case.decoder.hidden_states(&input, None).flatten::<2>(0, 1);
        let predicting = states.narrow(0, row.len() - completion - 1, completion);
        let ids: Vec<i32> = row[row.len() - completion..]
            .iter()
            .map(|id| *id as i32)
            .collect();
        let targets = burn::tensor::Tensor::from_data(&ids[..], &case.decoder.device());
        let output = ops::token_logprobs(&predicting, &case.decoder.head(), &targets, temperature);
        logprobs.extend(ops::read_floats(output.logprobs).expect("device works"));
        entropies.extend(ops::read_floats(output.entropies).expect("device works"));
    }
    (logprobs, entropies)
}
