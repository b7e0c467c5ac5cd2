//! Whole SFT steps against TRL's trainer, and the ids and labels that it made of its data.

use std::path::Path;

use emberl::data::{Example, read_examples};
use emberl::tokenizer::Tokenizer;
use emberl::train::loss::{SupervisedLoss, SupervisedLossKind};
use emberl::train::{LossOn, TrainingSample, supervised_sample};
use emberl::workers::Workers;
use serde::Deserialize;
use serde_json::Value;

use super::fixture::cpu;
use super::step_case::StepCase;

const NO_LOSS: i64 = -100;

#[derive(Deserialize)]
struct SftSettings {
    #[serde(default)]
    loss_type: SupervisedLossKind,
    /// Learns what the assistant says in a conversation, by marks in the chat template.
    #[serde(default)]
    assistant_only_loss: bool,
}

#[test]
fn sft_steps_are_trls_whatever_the_number_of_workers() {
    for case in StepCase::all("trl.SFTTrainer") {
        let settings: SftSettings = case.settings();
        let objective = SupervisedLoss {
            kind: settings.loss_type,
        };
        for workers in [1, 3] {
            case.replay(&recorded(&case), &objective, &cpu(), &Workers::new(workers));
        }
    }
}

#[test]
fn examples_become_the_ids_and_labels_that_trl_makes() {
    let base = super::folder().join("steps/base");
    for case in StepCase::all("trl.SFTTrainer") {
        let mut tokenizer = Tokenizer::load(&base).expect("tokenizer loads");
        let mut loss_on = LossOn::Completion;
        if case.settings::<SftSettings>().assistant_only_loss {
            let template: String = case.field("chat_template_used");
            tokenizer = tokenizer.with_chat_template(&template).expect("is taken");
            loss_on = LossOn::Assistant;
        }
        let sample = |example| supervised_sample(&tokenizer, &example, loss_on).expect("encodes");
        let found = examples(&case).into_iter().map(sample);
        let (mut found, mut expected) = (rows(found), rows(recorded(&case).into_iter().flatten()));
        // TRL shuffles.
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", case.name);
    }
}

/// What TRL fed, one vector a micro-batch.
fn recorded(case: &StepCase) -> Vec<Vec<TrainingSample>> {
    let count = case.steps() * case.accumulation();
    let micro_batch = |index: usize| {
        let name = |part: &str| format!("batch{index}.{part}");
        let rows = case
            .tensors
            .unpadded(&name("input_ids"), &name("attention_mask"));
        let labels = case.tensors.integer_rows(&name("labels"));
        rows.into_iter()
            .zip(labels)
            .map(|(ids, labels)| sample(&ids, &labels))
            .collect()
    };
    (0..count).map(micro_batch).collect()
}

/// A row with its labels; the first token has no prediction, whatever its label.
fn sample(ids: &[u32], labels: &[i64]) -> TrainingSample {
    let counts = |position: &usize| labels[*position] != NO_LOSS;
    let prompt = (1..ids.len())
        .find(counts)
        .expect("a row has a token to learn");
    TrainingSample {
        loss_mask: (prompt..ids.len())
            .map(|position| counts(&position))
            .collect(),
        ..TrainingSample::new(&ids[..prompt], &ids[prompt..])
    }
}

fn rows(samples: impl Iterator<Item = TrainingSample>) -> Vec<(Vec<u32>, usize, Vec<bool>)> {
    samples
        .map(|sample| (sample.ids, sample.prompt_tokens, sample.loss_mask))
        .collect()
}

/// The recorded data, read from JSON Lines as a stage reads it.
fn examples(case: &StepCase) -> Vec<Example> {
    let lines: Vec<Value> = case.field("data");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let folder = tempfile::tempdir().expect("temporary folder");
    let path: &Path = &folder.path().join("data.jsonl");
    std::fs::write(path, text).expect("file is written");
    read_examples(path).expect("data is read")
}
