//! Whole DPO steps against TRL's trainer, and the ids that it made of its data.

use emberl::data::{Preference, read_preferences};
use emberl::tokenizer::Tokenizer;
use emberl::train::loss::{PreferenceLoss, PreferenceLossConfig};
use emberl::train::{Batching, TrainingSample, preference_samples};
use emberl::workers::Workers;
use serde::Deserialize;
use serde_json::Value;

use super::fixture::cpu;
use super::step_case::StepCase;

#[derive(Deserialize)]
struct DpoSettings {
    beta: f64,
}

#[test]
fn dpo_steps_are_trls_whatever_the_number_of_workers() {
    for case in StepCase::all("trl.DPOTrainer") {
        let objective = PreferenceLoss {
            config: PreferenceLossConfig {
                beta: case.settings::<DpoSettings>().beta,
                ..PreferenceLossConfig::default()
            },
        };
        for workers in [1, 3] {
            let workers = Workers::new(workers);
            let mut micro_batches = recorded(&case);
            for samples in &mut micro_batches {
                let batching = Batching::default();
                let reference = batching.score(&case.base(&cpu()), samples, 1.0, &workers);
                for (sample, logprobs) in samples.iter_mut().zip(reference.expect("device works")) {
                    sample.ref_logprobs = logprobs;
                }
            }
            case.replay(&micro_batches, &objective, &cpu(), &workers);
        }
    }
}

#[test]
fn preferences_become_the_ids_that_trl_makes() {
    let tokenizer = Tokenizer::load(&super::folder().join("steps/base")).expect("tokenizer loads");
    for case in StepCase::all("trl.DPOTrainer") {
        let samples = |preference: &Preference| {
            preference_samples(&tokenizer, preference)
                .expect("encodes")
                .map(answer)
        };
        let mut found: Vec<_> = preferences(&case).iter().map(samples).collect();
        let fed = recorded(&case).concat();
        let mut expected: Vec<_> = fed
            .chunks(2)
            .map(|pair| [answer(pair[0].clone()), answer(pair[1].clone())])
            .collect();
        // TRL shuffles.
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", case.name);
    }
}

/// Ids and the tokens of the prompt; all that follows is learned.
fn answer(sample: TrainingSample) -> (Vec<u32>, usize) {
    assert!(sample.loss_mask.iter().all(|counts| *counts));
    (sample.ids, sample.prompt_tokens)
}

/// What TRL fed, one vector a micro-batch; TRL has all chosen answers before all rejected ones.
fn recorded(case: &StepCase) -> Vec<Vec<TrainingSample>> {
    let micro_batch = |index: usize| {
        let rows = |part: &str| {
            let mask = format!("batch{index}.attention_mask");
            case.tensors
                .unpadded(&format!("batch{index}.{part}"), &mask)
        };
        let sample = |(ids, mask): (Vec<u32>, Vec<u32>)| {
            let prompt = mask.iter().take_while(|counts| **counts == 0).count();
            TrainingSample::new(&ids[..prompt], &ids[prompt..])
        };
        let rows = rows("input_ids").into_iter().zip(rows("completion_mask"));
        let samples: Vec<TrainingSample> = rows.map(sample).collect();
        let (chosen, rejected) = samples.split_at(samples.len() / 2);
        let pairs = chosen.iter().zip(rejected);
        pairs.flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
    };
    (0..case.steps() * case.accumulation())
        .map(micro_batch)
        .collect()
}

/// The recorded data, read from JSON Lines as a stage reads it.
fn preferences(case: &StepCase) -> Vec<Preference> {
    let lines: Vec<Value> = case.field("data");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("data.jsonl");
    std::fs::write(&path, text).expect("file is written");
    read_preferences(&path).expect("data is read")
}
