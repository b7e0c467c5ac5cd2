//! Samples that share a prompt are trained on and scored as if each had it to itself.

use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use emberl::device::{self, DeviceSpec};
use emberl::model::{Adapter, Decoder, LoraConfig};
use emberl::ops;
use emberl::precision::Precision;
use emberl::seed::Seed;
use emberl::train::loss::ValueLoss;
use emberl::train::{
    Batching, Learner, LossInput, LossOutput, Objective, OptimConfig, StepTotals, TrainingSample,
};
use emberl::workers::Workers;

use crate::oracle::gpu::wgpu;

/// What a pass over some samples finds.
struct Found {
    scores: Vec<f32>,
    entropy: f64,
    loss: f64,
    gradients: Vec<Vec<f32>>,
}

/// Log-probabilities and entropies, each weighed by the token's advantage, over the step's tokens.
struct Weighted;

impl Objective for Weighted {
    fn loss(&self, input: &LossInput) -> LossOutput {
        let of_tokens = |values: Tensor<2>| (values * input.mask.clone().autodiff()).sum();
        let advantages = input.advantages.clone().expect("every sample has them");
        let entropies = input.entropies();
        let weighed = entropies.clone() * 0.3 - input.logprobs() * advantages.autodiff();
        LossOutput {
            loss: of_tokens(weighed) / input.totals.step.tokens,
            sums: vec![("entropy", of_tokens(entropies).inner())],
        }
    }

    fn temperature(&self) -> f64 {
        0.9
    }
}

#[test]
fn scores_entropies_and_gradients_are_those_of_samples_alone_for_every_architecture() {
    for folder in models() {
        let decoder = Decoder::load(&folder, &cpu()).expect("the model loads");
        for checkpointing in [false, true] {
            check(&decoder, &Weighted, checkpointing);
        }
    }
}

#[test]
fn an_adapter_learns_from_shared_prompts_as_from_samples_alone() {
    let folder = models().into_iter().next().expect("a recorded model");
    let base = Decoder::load(&folder, &cpu()).expect("the model loads");
    let adapter = Adapter::fresh(&LoraConfig::default(), &base, Seed::new(2)).unwrap();
    let adapted = base.with_adapter(adapter).unwrap();
    let moved = adapted
        .trainable()
        .iter()
        .map(|tensor| tensor.clone() + 0.01);
    let adapted = adapted.with_trainable(moved.collect());
    check(&adapted, &Weighted, false);
}

#[test]
fn a_critic_values_and_learns_from_shared_prompts_as_from_samples_alone() {
    let folder = models().into_iter().next().expect("a recorded model");
    let decoder = Decoder::load(&folder, &cpu()).expect("the model loads");
    let critic = decoder.with_zero_score();
    let moved = critic.parameters().iter().map(|w| w.clone() + 0.01);
    let critic = critic.with_parameters(moved.collect());
    check(&critic, &ValueLoss { clip: None }, false);
}

#[test]
fn halves_are_as_close_to_f32_with_shared_prompts_as_without() {
    let folder = models().into_iter().next().expect("a recorded model");
    let whole = Decoder::load(&folder, &cpu()).expect("the model loads");
    let halves = whole.with_precision(Precision::Bf16).unwrap();
    let expected = pass(&whole, &Weighted, Batching::default());
    let shared = pass(&halves, &Weighted, Batching::default());
    let alone = pass(&halves, &Weighted, one_by_one(false));
    let gap = |found: &Found| -> f64 {
        let pairs = found.gradients.iter().zip(&expected.gradients);
        let gaps = pairs.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        gaps.map(|gap| gap * gap).sum::<f64>().sqrt()
    };
    assert!(gap(&alone) > 0.0, "bf16 was not computed in");
    assert!(
        gap(&shared) < 1.5 * gap(&alone),
        "{} {}",
        gap(&shared),
        gap(&alone)
    );
}

#[test]
fn wgpu_shared_prompts_are_those_of_the_cpu() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let folder = crate::oracle::folder().join("models/qwen2");
    let [found, expected] = [&device, &cpu()].map(|device| {
        let decoder = Decoder::load(&folder, device).expect("the model loads");
        pass(&decoder, &Weighted, Batching::default())
    });
    compare(&found, &expected, 1e-4);
}

/// Compares samples that share prompts with each of them in a pass of its own.
fn check(decoder: &Decoder, objective: &dyn Objective, checkpointing: bool) {
    let together = Batching {
        checkpointing,
        ..Batching::default()
    };
    let found = pass(decoder, objective, together);
    let expected = pass(decoder, objective, one_by_one(checkpointing));
    compare(&found, &expected, 2e-5);
}

fn compare(found: &Found, expected: &Found, tolerance: f32) {
    assert_close("scores", &found.scores, &expected.scores, tolerance);
    let sums = |found: &Found| [found.entropy as f32, found.loss as f32];
    assert_close("sums", &sums(found), &sums(expected), tolerance);
    assert_eq!(found.gradients.len(), expected.gradients.len());
    for (place, (found, expected)) in found.gradients.iter().zip(&expected.gradients).enumerate() {
        assert_close(&format!("weight {place}"), found, expected, tolerance);
    }
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let largest = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    let gaps = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let gap = gaps.fold(0.0, f32::max);
    assert!(
        gap <= tolerance * largest + 1e-7,
        "{what}: {gap} of {largest}"
    );
}

fn pass(decoder: &Decoder, objective: &dyn Objective, batching: Batching) -> Found {
    let (samples, workers) = (samples(), Workers::new(2));
    let scores = batching.score(decoder, &samples, objective.temperature(), &workers);
    let mut learner = Learner::new(decoder.clone(), OptimConfig::default(), batching);
    let micro_batches = batching.split(&samples);
    let totals = StepTotals::of(&micro_batches);
    let mut loss = 0.0;
    for micro_batch in micro_batches {
        let share = learner.accumulate(micro_batch, objective, totals, &workers);
        loss += share.expect("device works");
    }
    let gradients = learner.gradients().expect("tokens count").iter();
    let gradients = gradients.map(|g| ops::read_floats(g.clone()).expect("device works"));
    let gradients = gradients.collect();
    let stats = learner.step(0.0, &workers).expect("device works");
    Found {
        scores: scores.expect("device works").concat(),
        entropy: stats.means.get("entropy").copied().unwrap_or(0.0),
        loss,
        gradients,
    }
}

/// Prompts of 7, 1, 12 and 9 tokens with one to five completions each, not in order, of odd lengths;
/// the last has only one. Some tokens are not trained on.
fn samples() -> Vec<TrainingSample> {
    let prompts = [(7, 0), (1, 3), (12, 1), (9, 0)];
    let groups = [0, 2, 0, 1, 2, 0, 2, 1, 2, 0, 2, 3];
    let ids = |tokens: u32, seed: u32| -> Vec<u32> {
        (0..tokens).map(|n| (seed * 31 + n * 7) % 90).collect()
    };
    let sample = |(index, &group): (usize, &usize)| {
        let index = index as u32;
        let (tokens, seed) = prompts[group];
        let completion = ids(index * 5 % 7 + 1, index + 50);
        let count = completion.len();
        let values = |scale: f32| (0..count).map(move |n| scale * (n as f32 - index as f32));
        TrainingSample {
            loss_mask: (0..count).map(|n| (n + index as usize) % 4 != 2).collect(),
            advantages: values(0.3).collect(),
            returns: values(0.1).collect(),
            ..TrainingSample::new(&ids(tokens, seed), &completion)
        }
    };
    groups.iter().enumerate().map(sample).collect()
}

/// Micro-batches of one sample, which shares its prompt with none.
fn one_by_one(checkpointing: bool) -> Batching {
    Batching {
        micro_batch: 1,
        checkpointing,
    }
}

fn models() -> Vec<PathBuf> {
    let folders = fs::read_dir(crate::oracle::folder().join("models")).expect("recorded models");
    let mut folders: Vec<_> = folders
        .map(|folder| folder.expect("an entry").path())
        .collect();
    folders.sort();
    folders
}

fn cpu() -> Device {
    device::open(&DeviceSpec::Cpu).expect("this build has the CPU backend")
}
