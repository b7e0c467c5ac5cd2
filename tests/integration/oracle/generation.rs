//! Generation against transformers: greedy ids and the filters of sampling.

use emberl::generation::{Engine, FinishReason, GenerationRequest, Sampler, SamplingParams};
use emberl::seed::Seed;
use emberl::train::{Batching, TrainingSample};
use emberl::workers::Workers;

use super::fixture::{Tolerance, Worst, cpu};
use super::model_case::ModelCase;

#[test]
fn greedy_ids_are_those_of_transformers_in_a_batch_and_alone() {
    for case in ModelCase::all(&cpu()) {
        for workers in [1, 3] {
            let found = greedy(&case, &prompts(&case), None, &Workers::new(workers));
            assert_eq!(found, ids(&case, "greedy_new_ids"), "{}", case.name);
        }
        let alone = prompts(&case).into_iter();
        let alone: Vec<_> = alone
            .flat_map(|prompt| greedy(&case, &[prompt], None, &Workers::new(1)))
            .collect();
        assert_eq!(
            alone,
            ids(&case, "greedy_new_ids_unpadded"),
            "{}",
            case.name
        );
    }
}

#[test]
fn rows_stop_at_the_end_id_and_leave_the_others_as_they_are() {
    for case in ModelCase::all(&cpu()) {
        let stop = case.expected.greedy_stop_token_for_stop_case;
        let expected = ids(&case, "greedy_new_ids_stop");
        let is_stopping = |row: &Vec<u32>| row.contains(&stop);
        assert!(expected.iter().any(is_stopping), "{}", case.name);
        for workers in [1, 3] {
            let found = greedy(&case, &prompts(&case), Some(stop), &Workers::new(workers));
            assert_eq!(found, expected, "{}", case.name);
        }
    }
}

#[test]
fn samplers_logprobs_are_the_trainers() {
    // Not recorded: the two paths of this crate must agree with each other.
    let close = Tolerance {
        relative: 0.0,
        absolute: 1e-4,
    };
    let temperature = 0.7;
    for case in ModelCase::all(&cpu()) {
        let mut worst = Worst::default();
        let params = SamplingParams {
            temperature,
            max_completion_tokens: 24,
            ..SamplingParams::default()
        };
        let (workers, prompts) = (Workers::new(2), prompts(&case));
        let engine = Engine::new(&case.decoder, Vec::new(), &workers);
        let completions = engine.generate(&requests(&prompts), &params, &|_, _| ());
        let completions = completions.expect("device works");
        let samples: Vec<_> = (prompts.iter().zip(&completions))
            .map(|(prompt, completion)| TrainingSample::new(prompt, &completion.ids))
            .collect();
        let scores = Batching::default().score(&case.decoder, &samples, temperature, &workers);
        for (scores, completion) in scores.expect("device works").iter().zip(&completions) {
            let worst_here = close.check(&case.name, &completion.logprobs, scores);
            worst.note("sampler's log-probabilities", worst_here);
        }
        worst.print(&case.name);
    }
}

#[test]
fn filtered_distributions_are_those_of_transformers() {
    let close = Tolerance {
        relative: 0.0,
        absolute: 1e-5,
    };
    for case in ModelCase::all(&cpu()) {
        let mut worst = Worst::default();
        let filters = &case.expected.sampling_filters_on_last_logits;
        assert!(!filters.is_empty(), "{}", case.name);
        for filter in filters {
            let mut sampler = Sampler::new(&filter.settings);
            let rows = case.rows().into_iter().zip(case.logits());
            for ((ids, logits), expected) in rows.zip(&filter.rows) {
                let place = format!("{}: {:?}", case.name, filter.settings);
                let last = &logits[logits.len() - logits.len() / ids.len()..];
                let found = sampler.distribution(last, &ids);
                let support = found.iter().filter(|p| **p > 0.0).count();
                assert_eq!(support, expected.support, "{place}");
                let listed: Vec<f32> = expected.ids.iter().map(|id| found[*id]).collect();
                worst.note(
                    "probabilities",
                    close.check(&place, &listed, &expected.probs),
                );
            }
        }
        worst.print(&case.name);
    }
}

/// The recorded prompts of the greedy rows.
fn prompts(case: &ModelCase) -> Vec<Vec<u32>> {
    case.tensors
        .unpadded("greedy_prompt_ids", "greedy_prompt_mask")
}

/// Recorded rows of ids.
fn ids(case: &ModelCase, name: &str) -> Vec<Vec<u32>> {
    let row = |row: Vec<i64>| row.into_iter().map(|id| id as u32).collect();
    case.tensors
        .integer_rows(name)
        .into_iter()
        .map(row)
        .collect()
}

/// The likeliest continuations as transformers gives them: the rest of a finished row is padding.
fn greedy(
    case: &ModelCase,
    prompts: &[Vec<u32>],
    stop: Option<u32>,
    workers: &Workers,
) -> Vec<Vec<u32>> {
    let most = case.expected.greedy_max_new_tokens;
    let engine = Engine::new(&case.decoder, stop.into_iter().collect(), workers);
    let completions = engine.generate(&requests(prompts), &case.greedy(most), &|_, _| ());
    let completions = completions.expect("device works").into_iter();
    completions
        .map(|mut completion| {
            let stopped = completion.ids.last().copied() == stop;
            assert_eq!(completion.finish == FinishReason::Stop, stopped);
            completion.ids.resize(most, case.expected.pad_token_id);
            completion.ids
        })
        .collect()
}

fn requests(prompts: &[Vec<u32>]) -> Vec<GenerationRequest> {
    let request = |(index, prompt): (usize, &Vec<u32>)| GenerationRequest {
        prompt: prompt.clone(),
        seed: Seed::new(7).child(index as u64),
    };
    prompts.iter().enumerate().map(request).collect()
}
