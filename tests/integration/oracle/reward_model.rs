//! Reward models against TRL's trainer and transformers: scores, losses, gradients, a step, and the
//! ids that TRL made of its data.

use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};
use emberl::model::{Decoder, Head, ModelConfig, WeightDtype};
use emberl::ops;
use emberl::seed::Seed;
use emberl::tokenizer::Tokenizer;
use emberl::train::loss::{RewardLoss, RewardLossKind};
use emberl::train::{
    Batching, Learner, OptimConfig, RewardModelConfig, StepTotals, TrainingSample, reward_samples,
    score_texts,
};
use emberl::workers::Workers;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fixture::{self, Tensors, Tolerance, cpu};

const SCORE: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-5,
};
const LOSS: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-6,
};
const GRADIENT: Tolerance = Tolerance {
    relative: 1e-3,
    absolute: 1e-5,
};
/// Of scores after a step: weights whose gradient is rounding noise go either way.
const AFTER: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 1e-4,
};

#[derive(Deserialize)]
struct Recording {
    data: Vec<Value>,
    pad_token_id: u32,
    settings: Option<Settings>,
    loss: f64,
    log: Map<String, Value>,
}

#[derive(Deserialize)]
struct Settings {
    learning_rate: f64,
    max_grad_norm: f64,
    adam_beta1: f64,
    adam_beta2: f64,
    adam_epsilon: f64,
    center_rewards_coefficient: f64,
}

/// One recorded step.
struct Case {
    name: String,
    tensors: Tensors,
    recording: Recording,
}

impl Case {
    fn all() -> Vec<Self> {
        let files = fixture::entries(&folder()).into_iter();
        let files = files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
        let cases: Vec<Self> = files
            .map(|path| Self {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                recording: fixture::read_json(&path.with_extension("json")),
                tensors: Tensors::read(&path),
            })
            .collect();
        assert!(!cases.is_empty(), "no reward models");
        cases
    }

    fn objective(&self) -> RewardLoss {
        match &self.recording.settings {
            Some(settings) => RewardLoss {
                kind: RewardLossKind::Pairwise,
                center: settings.center_rewards_coefficient,
            },
            None => RewardLoss {
                kind: RewardLossKind::Pointwise,
                center: 0.0,
            },
        }
    }

    /// The base model with the recorded score.
    fn decoder(&self) -> Decoder {
        let folder = super::folder().join("steps/base");
        let decoder = Decoder::load_with_score(&folder, &cpu()).expect("the base model loads");
        let mut weights = decoder.parameters().to_vec();
        let score = self.tensors.floats("init.score.weight");
        let shape = [1, score.len()];
        let score = Tensor::from_data(TensorData::new(score, shape), &cpu());
        *weights.last_mut().expect("weights") = score;
        let decoder = decoder.with_parameters(weights);
        decoder.with_pad_token(Some(self.recording.pad_token_id))
    }

    /// The texts as they were fed: TRL has all chosen ones before all rejected ones.
    fn texts(&self) -> Vec<Vec<u32>> {
        self.tensors.unpadded("input_ids", "attention_mask")
    }

    /// The samples in the objective's order.
    fn samples(&self) -> Vec<TrainingSample> {
        let sample = |ids: &Vec<u32>, target: f32| TrainingSample {
            returns: vec![target],
            ..TrainingSample::new(ids, &[0])
        };
        let texts = self.texts();
        if self.recording.settings.is_none() {
            let labels = self.recording.data.iter();
            let labels = labels.map(|line| f32::from(line["label"].as_bool().unwrap()));
            return (texts.iter().zip(labels))
                .map(|(ids, label)| sample(ids, label))
                .collect();
        }
        let (chosen, rejected) = texts.split_at(texts.len() / 2);
        let margins = match self.tensors.has("margin") {
            true => self.tensors.floats("margin"),
            false => vec![0.0; chosen.len()],
        };
        let pairs = chosen.iter().zip(rejected).zip(margins);
        pairs
            .flat_map(|((chosen, rejected), margin)| {
                [sample(chosen, margin), sample(rejected, 0.0)]
            })
            .collect()
    }
}

#[test]
fn scores_are_those_of_transformers() {
    for case in Case::all() {
        let texts = case.texts();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let found = score_texts(&case.decoder(), &texts, &Workers::new(2)).expect("device works");
        SCORE.check(&case.name, &found, &case.tensors.floats("scores"));
    }
}

#[test]
fn a_step_is_trls_whatever_the_number_of_workers() {
    for case in Case::all() {
        for workers in [1, 3] {
            replay(&case, &Workers::new(workers));
        }
    }
}

fn replay(case: &Case, workers: &Workers) {
    let (name, recording) = (&case.name, &case.recording);
    let (samples, objective) = (case.samples(), case.objective());
    let optim = recording.settings.as_ref().map(|settings| OptimConfig {
        lr: settings.learning_rate,
        beta1: settings.adam_beta1,
        beta2: settings.adam_beta2,
        epsilon: settings.adam_epsilon,
        max_grad_norm: settings.max_grad_norm,
        ..OptimConfig::default()
    });
    let lr = optim.as_ref().map_or(0.0, |optim| optim.lr);
    let optim = optim.unwrap_or_default();
    let mut learner = Learner::new(case.decoder(), optim, Batching::default());
    let totals = StepTotals::of(&[&samples]);
    let loss = learner.accumulate(&samples, &objective, totals, workers);
    LOSS.check_one(name, loss.expect("device works"), recording.loss);
    let names = learner.decoder().trainable_names().to_vec();
    let gradients = learner.gradients().expect("a step has gradients").to_vec();
    let mut compared = 0;
    for (parameter, gradient) in names.iter().zip(gradients) {
        let recorded = format!("grad.{parameter}");
        if case.tensors.has(&recorded) {
            let found = ops::read_floats(gradient).expect("device works");
            let place = format!("{name}: {recorded}");
            GRADIENT.check(&place, &found, &case.tensors.floats(&recorded));
            compared += 1;
        }
    }
    assert!(compared >= 2, "{name}: only {compared} gradients");
    let stats = learner.step(lr, workers).expect("device works");
    let norm = recording.log["grad_norm"].as_f64().expect("a number");
    LOSS.check_one(&format!("{name}: norm"), stats.grad_norm / norm, 1.0);
    for (mean, found) in &stats.means {
        if let Some(expected) = recording.log.get(mean).and_then(Value::as_f64) {
            SCORE.check_one(&format!("{name}: {mean}"), *found, expected);
        }
    }
    if case.tensors.has("scores_after") {
        let texts = case.texts();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let found = score_texts(learner.decoder(), &texts, workers).expect("device works");
        let worst = AFTER.check(name, &found, &case.tensors.floats("scores_after"));
        eprintln!("{name}: scores after a step: largest difference {worst:.1e}");
    }
}

#[test]
fn data_becomes_the_ids_that_trl_makes() {
    let tokenizer = Tokenizer::load(&super::folder().join("steps/base")).expect("tokenizer loads");
    for case in Case::all() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let data = folder.path().join("data.jsonl");
        let lines = case.recording.data.iter();
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        std::fs::write(&data, lines).expect("file is written");
        let config: RewardModelConfig = serde_json::from_value(serde_json::json!({
            "data": data,
            "loss": case.objective().kind,
            "scores": "response",
        }))
        .expect("settings");
        let together = if case.recording.settings.is_some() {
            2
        } else {
            1
        };
        let found = reward_samples(&config, &tokenizer, 256, Seed::new(0)).expect("encodes");
        let expected = case.samples();
        // TRL shuffles.
        let sorted = |samples: &[TrainingSample]| {
            let key = |sample: &TrainingSample| {
                let target = sample.returns[0].to_bits();
                (sample.ids[..sample.prompt_tokens].to_vec(), target)
            };
            let mut items: Vec<Vec<_>> = samples
                .chunks(together)
                .map(|item| item.iter().map(key).collect())
                .collect();
            items.sort();
            items
        };
        assert_eq!(sorted(&found), sorted(&expected), "{}", case.name);
    }
}

#[test]
fn a_folder_of_transformers_is_read_and_ours_comes_back() {
    let config = ModelConfig::load(&folder()).expect("the config is read");
    assert_eq!(config.head, Head::Score);
    let case = &Case::all()[0];
    let decoder = case.decoder();
    assert_eq!(*decoder.config(), config);
    let saved = tempfile::tempdir().expect("temporary folder");
    decoder.save(saved.path(), WeightDtype::F32).expect("saves");
    let refused = Decoder::load(saved.path(), &cpu()).unwrap_err().to_string();
    assert!(refused.contains("expected a language model"), "{refused}");
    let back = Decoder::load_with_score(saved.path(), &cpu()).expect("loads");
    assert_eq!(*back.config(), config);
    let texts = case.texts();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let score = |decoder: &Decoder| score_texts(decoder, &texts, &Workers::new(1)).unwrap();
    assert_eq!(score(&back), score(&decoder));
}

fn folder() -> PathBuf {
    super::folder().join("reward_model")
}
