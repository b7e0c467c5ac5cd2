//! Compute in halves against compute in `f32`.

use std::fs;
use std::path::PathBuf;

use burn::tensor::{DType, Device};
use emberl::device::{self, DeviceSpec};
use emberl::model::{Adapter, Decoder, LoraConfig};
use emberl::ops;
use emberl::precision::Precision;
use emberl::seed::Seed;
use emberl::train::loss::SupervisedLoss;
use emberl::train::{Batching, Learner, OptimConfig, StepTotals, TrainingSample};
use emberl::workers::Workers;

use crate::oracle::gpu::wgpu;

/// A loss and its gradients, one a weight.
struct Step {
    loss: f64,
    gradients: Vec<Vec<f32>>,
}

#[test]
fn losses_and_gradients_in_halves_are_close_to_those_in_f32_for_every_architecture() {
    for folder in models() {
        let decoder = Decoder::load(&folder, &cpu()).expect("the model loads");
        for precision in [Precision::Bf16, Precision::F16] {
            for checkpointing in [false, true] {
                check(&decoder, precision, checkpointing, &samples());
            }
        }
    }
}

#[test]
fn an_adapter_in_bf16_learns_as_in_f32_beside_a_base_that_is_kept_in_bf16() {
    let folder = models().into_iter().next().expect("a recorded model");
    let base = Decoder::load(&folder, &cpu()).expect("the model loads");
    let adapter = Adapter::fresh(&LoraConfig::default(), &base, Seed::new(2)).unwrap();
    let adapted = base.with_adapter(adapter).unwrap();
    let moved = adapted
        .trainable()
        .iter()
        .map(|tensor| tensor.clone() + 0.01);
    let adapted = adapted.with_trainable(moved.collect());
    check(&adapted, Precision::Bf16, false, &samples());
    let halves = adapted.with_precision(Precision::Bf16).unwrap();
    let frozen = halves.with_frozen_base();
    assert!(frozen.parameters().iter().any(|w| w.dtype() == DType::BF16));
    assert!(frozen.trainable().iter().all(|w| w.dtype() == DType::F32));
    let (whole, kept) = (
        step(&halves, false, &samples()),
        step(&frozen, false, &samples()),
    );
    assert_eq!(whole.loss, kept.loss);
    assert_eq!(whole.gradients, kept.gradients);
}

#[test]
fn a_frozen_model_scores_as_the_one_that_trains() {
    let folder = models().into_iter().next().expect("a recorded model");
    let decoder = Decoder::load(&folder, &cpu()).expect("the model loads");
    let decoder = decoder.with_precision(Precision::Bf16).unwrap();
    let samples = samples();
    let score = |decoder: &Decoder| {
        Batching::default()
            .score(decoder, &samples, 1.0, &Workers::new(1))
            .expect("device works")
    };
    let scores = score(&decoder);
    assert_eq!(scores, score(&decoder.frozen()));
    let tokens: f64 = samples.iter().map(|s| s.trained_tokens() as f64).sum();
    let sum: f64 = scores.iter().flatten().map(|score| f64::from(*score)).sum();
    let loss = step(&decoder, false, &samples).loss;
    assert!(
        (loss + sum / tokens).abs() < 1e-5,
        "{loss}, {}",
        -sum / tokens
    );
}

#[test]
fn wgpu_a_step_in_f16_is_close_to_that_in_f32() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let folder = crate::oracle::folder().join("models/qwen2");
    let decoder = Decoder::load(&folder, &device).expect("the model loads");
    let refused = decoder.with_precision(Precision::Bf16);
    if let Err(error) = refused {
        assert!(
            error.to_string().starts_with("`precision`: is `bf16`"),
            "{error}"
        );
    }
    let Ok(halves) = decoder.with_precision(Precision::F16) else {
        crate::oracle::fixture::say("skipped: the adapter does not compute in f16");
        return;
    };
    // Compared to the CPU: every number type is tuned on its own.
    let whole = Decoder::load(&folder, &cpu()).expect("the model loads");
    compare(&halves, &whole, false, &samples()[..2]);
}

fn check(decoder: &Decoder, precision: Precision, checkpointing: bool, samples: &[TrainingSample]) {
    let halves = decoder
        .with_precision(precision)
        .expect("the device computes so");
    compare(&halves, decoder, checkpointing, samples);
}

/// Compares a step in halves to one in `f32`.
fn compare(halves: &Decoder, whole: &Decoder, checkpointing: bool, samples: &[TrainingSample]) {
    let precision = halves.precision();
    let found = step(halves, checkpointing, samples);
    let expected = step(whole, checkpointing, samples);
    let gap = (found.loss - expected.loss).abs() / expected.loss;
    assert!(
        gap < 1e-2,
        "{precision:?}: {}, not {}",
        found.loss,
        expected.loss
    );
    assert!(gap > 0.0, "{precision:?} was not computed in");
    let cosine = cosine(&found.gradients.concat(), &expected.gradients.concat());
    assert!(cosine > 0.999, "{precision:?}: cosine {cosine}");
    for (place, (found, expected)) in found.gradients.iter().zip(&expected.gradients).enumerate() {
        let cosine = self::cosine(found, expected);
        assert!(
            cosine > 0.99,
            "{precision:?}, weight {place}: cosine {cosine}"
        );
    }
}

fn step(decoder: &Decoder, checkpointing: bool, samples: &[TrainingSample]) -> Step {
    let batching = Batching {
        checkpointing,
        ..Batching::default()
    };
    let mut learner = Learner::new(decoder.clone(), OptimConfig::default(), batching);
    let objective = SupervisedLoss::default();
    let totals = StepTotals::of(&[&samples]);
    let loss = learner.accumulate(samples, &objective, totals, &Workers::new(1));
    let gradients = learner
        .gradients()
        .expect("tokens count")
        .iter()
        .map(|gradient| {
            assert_eq!(gradient.dtype(), DType::F32);
            ops::read_floats(gradient.clone()).expect("device works")
        });
    Step {
        loss: loss.expect("device works"),
        gradients: gradients.collect(),
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let lengths = dot(a, a) * dot(b, b);
    match lengths == 0.0 {
        true => 1.0,
        false => dot(a, b) / lengths.sqrt(),
    }
}

fn samples() -> Vec<TrainingSample> {
    let sample = |row: u32| {
        let ids: Vec<u32> = (0..row * 3)
            .map(|column| (row * 31 + column * 7) % 90)
            .collect();
        TrainingSample::new(&ids[..2], &ids[2..])
    };
    (2..9).map(sample).collect()
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
