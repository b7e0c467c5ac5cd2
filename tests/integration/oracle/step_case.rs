//! A recorded training run of a step or two, and its replay by the learner.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use emberl::model::{Adapter, Decoder};
use emberl::ops;
use emberl::train::{
    Batching, Learner, Objective, OptimConfig, StepStats, StepTotals, TrainingSample,
};
use emberl::workers::Workers;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fixture::{self, Tensors, Tolerance, Worst};

const LOSS: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-6,
};
const GRADIENT: Tolerance = Tolerance {
    relative: 1e-3,
    absolute: 1e-6,
};
const NORM: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 0.0,
};
/// A parameter whose gradient is below this share of its tensor's largest follows rounding noise.
const NOISE_SHARE: f32 = 1e-5;

/// One recorded run.
pub struct StepCase {
    pub name: String,
    /// The folder with the adapters of a run that trained one, before and after.
    adapters: Option<PathBuf>,
    pub tensors: Tensors,
    recording: Recording,
}

#[derive(Deserialize)]
struct Recording {
    trainer: String,
    lora: Option<Value>,
    settings: Map<String, Value>,
    micro_batch_losses: Vec<f64>,
    log: Vec<Map<String, Value>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// TRL's settings of the optimiser and of batches.
#[derive(Clone, Copy, Deserialize)]
struct StepSettings {
    learning_rate: f64,
    weight_decay: f64,
    max_grad_norm: f64,
    adam_beta1: f64,
    adam_beta2: f64,
    adam_epsilon: f64,
    #[serde(default = "one")]
    gradient_accumulation_steps: usize,
}

fn one() -> usize {
    1
}

impl StepCase {
    /// Every run of `trainer`, of all weights or of an adapter; never none.
    pub fn all(trainer: &str) -> Vec<Self> {
        let files = fixture::entries(&super::folder().join("steps")).into_iter();
        let files = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let mut cases = Vec::new();
        for path in files {
            let recording: Recording = fixture::read_json(&path);
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if recording.trainer != trainer {
                continue;
            }
            cases.push(Self {
                name,
                adapters: (recording.lora.as_ref()).map(|_| path.with_extension("")),
                tensors: Tensors::read(&path.with_extension("safetensors")),
                recording,
            });
        }
        assert!(!cases.is_empty(), "no steps of {trainer}");
        cases
    }

    pub fn settings<T: DeserializeOwned>(&self) -> T {
        self.read(Value::Object(self.recording.settings.clone()))
    }

    /// A field of the recording.
    pub fn field<T: DeserializeOwned>(&self, key: &str) -> T {
        self.read(self.recording.rest.get(key).cloned().unwrap_or_default())
    }

    /// The model that training starts from.
    pub fn base(&self, device: &Device) -> Decoder {
        self.adapted(self.reference(device), "init_adapter")
    }

    /// Whether the run trained an adapter.
    pub fn trains_adapter(&self) -> bool {
        self.adapters.is_some()
    }

    /// The frozen reference: the model without an adapter.
    pub fn reference(&self, device: &Device) -> Decoder {
        let folder = super::folder().join("steps/base");
        Decoder::load(&folder, device).expect("the base model loads")
    }

    /// `decoder` with the run's adapter of this name, if the run trained one.
    fn adapted(&self, decoder: Decoder, name: &str) -> Decoder {
        let Some(folder) = &self.adapters else {
            return decoder;
        };
        let adapter = Adapter::load(&folder.join(name), &decoder);
        let adapter = adapter.unwrap_or_else(|error| panic!("{error}"));
        decoder.with_adapter(adapter).expect("the adapter fits")
    }

    /// Micro-batches of one optimiser step.
    pub fn accumulation(&self) -> usize {
        self.settings::<StepSettings>().gradient_accumulation_steps
    }

    /// Optimiser steps.
    pub fn steps(&self) -> usize {
        self.recording.log.len()
    }

    /// Trains on the micro-batches of all steps and holds every step against the recording.
    pub fn replay(
        &self,
        micro_batches: &[Vec<TrainingSample>],
        objective: &dyn Objective,
        device: &Device,
        workers: &Workers,
    ) {
        let (name, settings) = (&self.name, self.settings::<StepSettings>());
        let accumulation = settings.gradient_accumulation_steps;
        assert_eq!(
            micro_batches.len(),
            self.recording.micro_batch_losses.len(),
            "{name}"
        );
        assert_eq!(micro_batches.len(), self.steps() * accumulation, "{name}");
        let mut worst = Worst::default();
        let mut losses = self.recording.micro_batch_losses.iter();
        let mut learner = Learner::new(self.base(device), settings.optim(), Batching::default());
        for (step, micro_batches) in micro_batches.chunks(accumulation).enumerate() {
            let totals = StepTotals::of(micro_batches);
            for samples in micro_batches {
                let loss = learner
                    .accumulate(samples, objective, totals, workers)
                    .expect("device works");
                let expected = losses.next().expect("one loss a micro-batch");
                if self.has_known_micro_batches() {
                    worst.note("loss", LOSS.check_one(name, loss, *expected));
                }
            }
            self.check_gradients(step, &learner, &mut worst);
            let stats = learner.step(settings.learning_rate, workers);
            self.check_stats(step, &stats.expect("device works"), &mut worst);
            self.check_parameters(step, &learner, device, &mut worst);
        }
        if self.trains_adapter() {
            self.check_adapters(device);
        }
        worst.print(&format!("{name}, {} workers", workers.count()));
    }

    /// The recorded adapter folders hold the parameters before the first and after the last step.
    fn check_adapters(&self, device: &Device) {
        let last = format!("step{}", self.steps());
        for (adapter, stage) in [("init_adapter", "init"), ("final_adapter", &last)] {
            let decoder = self.adapted(self.reference(device), adapter);
            let weights = decoder.trainable_names().iter().zip(decoder.trainable());
            for (parameter, weight) in weights {
                let recorded = format!("{stage}.param.{}", recorded_name(parameter));
                let expected = self.tensors.floats(&recorded);
                assert_eq!(read(weight), expected, "{}: {recorded}", self.name);
            }
        }
    }

    /// Whether the samples of each micro-batch are known: TRL's GRPO shuffles a rollout before it
    /// cuts it, and only its sum of losses can be compared then.
    fn has_known_micro_batches(&self) -> bool {
        self.accumulation() == 1 || self.tensors.has("batch0.input_ids")
    }

    fn check_gradients(&self, step: usize, learner: &Learner, worst: &mut Worst) {
        let gradients = learner.gradients().expect("a step has gradients");
        let names = learner.decoder().trainable_names();
        assert_eq!(gradients.len(), names.len(), "{}", self.name);
        for (parameter, gradient) in names.iter().zip(gradients) {
            let recorded = format!("step{}.grad.{}", step + 1, recorded_name(parameter));
            let place = format!("{}: {recorded}", self.name);
            let expected = self.tensors.floats(&recorded);
            worst.note(
                "gradients",
                GRADIENT.check(&place, &read(gradient), &expected),
            );
        }
    }

    /// Checks what TRL logs of a step; its means weigh micro-batches, not tokens, alike.
    fn check_stats(&self, step: usize, stats: &StepStats, worst: &mut Worst) {
        let logged = |name: &str| self.recording.log[step].get(name).and_then(Value::as_f64);
        let expected = logged("grad_norm").expect("the norm is logged");
        worst.note(
            "grad_norm",
            NORM.check_one(&self.name, stats.grad_norm, expected),
        );
        let expected = logged("loss").expect("the loss is logged");
        worst.note("loss", LOSS.check_one(&self.name, stats.loss, expected));
        if self.accumulation() > 1 {
            return;
        }
        for (name, recorded) in [
            ("entropy", "entropy"),
            ("kl", "kl"),
            ("clip_low", "clip_ratio/low_mean"),
            ("clip_high", "clip_ratio/high_mean"),
            ("rewards/chosen", "rewards/chosen"),
            ("rewards/rejected", "rewards/rejected"),
            ("rewards/margins", "rewards/margins"),
            ("logps/chosen", "logps/chosen"),
            ("logps/rejected", "logps/rejected"),
        ] {
            if let (Some(mean), Some(expected)) = (stats.means.get(name), logged(recorded)) {
                let place = format!("{}: {recorded}", self.name);
                let tolerance = Tolerance {
                    absolute: 1e-6,
                    ..NORM
                };
                worst.note(name, tolerance.check_one(&place, *mean, expected));
            }
        }
    }

    /// Checks the weights after a step, counted from 0, by the oracle's rule for Adam.
    fn check_parameters(&self, step: usize, learner: &Learner, device: &Device, worst: &mut Worst) {
        let base = self.base(device);
        let close = Tolerance {
            relative: 0.0,
            absolute: if step == 0 { 2e-5 } else { 1e-4 },
        };
        let decoder = learner.decoder();
        for (index, parameter) in decoder.trainable_names().iter().enumerate() {
            let recorded = format!("step{}.param.{}", step + 1, recorded_name(parameter));
            let place = format!("{}: {recorded}", self.name);
            let found = read(&decoder.trainable()[index]);
            let expected = self.tensors.floats(&recorded);
            let base = read(&base.trainable()[index]);
            let is_sure = self.sure_directions(step, parameter);
            let sure = |values: &[f32]| -> Vec<f32> {
                let pairs = values.iter().zip(&is_sure);
                pairs.filter(|(_, sure)| **sure).map(|(v, _)| *v).collect()
            };
            worst.note(
                "weights",
                close.check(&place, &sure(&found), &sure(&expected)),
            );
            self.check_reach(&place, step, &found, &base);
        }
    }

    /// Which entries of a parameter had a gradient above rounding noise in every step so far.
    fn sure_directions(&self, step: usize, parameter: &str) -> Vec<bool> {
        let mut is_sure: Vec<bool> = Vec::new();
        for step in 0..=step {
            let gradient = self.tensors.floats(&format!(
                "step{}.grad.{}",
                step + 1,
                recorded_name(parameter)
            ));
            let largest = gradient
                .iter()
                .fold(0.0_f32, |largest, g| largest.max(g.abs()));
            is_sure.resize(gradient.len(), true);
            for (is_sure, g) in is_sure.iter_mut().zip(gradient) {
                *is_sure &= g.abs() > NOISE_SHARE * largest;
            }
        }
        is_sure
    }

    /// No entry may have moved further than Adam can take it.
    fn check_reach(&self, place: &str, step: usize, found: &[f32], base: &[f32]) {
        let settings: StepSettings = self.settings();
        for (found, base) in found.iter().zip(base) {
            let (moved, base) = (f64::from((found - base).abs()), f64::from(base.abs()));
            let reach = settings.learning_rate * (1.01 + settings.weight_decay * base);
            let reach = reach * (step + 1) as f64;
            assert!(moved <= reach, "{place}: moved by {moved}, at most {reach}");
        }
    }

    fn read<T: DeserializeOwned>(&self, value: Value) -> T {
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

impl StepSettings {
    fn optim(self) -> OptimConfig {
        OptimConfig {
            lr: self.learning_rate,
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            ..OptimConfig::default()
        }
    }
}

/// The name in a recording: PEFT puts the name of an adapter, `default`, in its parameters' names
/// but not in its files.
fn recorded_name(parameter: &str) -> String {
    match parameter.strip_suffix(".weight") {
        Some(path) if path.starts_with("base_model.") => format!("{path}.default.weight"),
        _ => parameter.to_owned(),
    }
}

fn read(tensor: &Tensor<2>) -> Vec<f32> {
    ops::read_floats(tensor.clone()).expect("device works")
}
