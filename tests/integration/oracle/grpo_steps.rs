//! Whole GRPO steps against TRL's trainer: advantages, losses, gradients, weights.

use burn::tensor::{Device, Tensor};
use emberl::ops;
use emberl::rollout::{RewardAggregation, RewardScale, group_advantages};
use emberl::train::{Batching, Learner, OptimConfig, StepTotals, TrainingSample};
use emberl::workers::Workers;
use serde::Deserialize;

use super::fixture::{Tolerance, cpu};
use super::policy_settings::PolicySettings;
use super::step_case::StepCase;

/// TRL's settings of advantages and of reuse.
#[derive(Deserialize)]
struct RolloutSettings {
    num_generations: usize,
    per_device_train_batch_size: usize,
    #[serde(default)]
    scale_rewards: RewardScale,
    #[serde(default)]
    multi_objective_aggregation: RewardAggregation,
}

#[test]
fn grpo_steps_are_trls_whatever_the_number_of_workers() {
    for case in StepCase::all("trl.GRPOTrainer") {
        for workers in [1, 3] {
            check(&case, &cpu(), &Workers::new(workers));
        }
    }
}

#[test]
fn entropy_terms_do_not_depend_on_the_number_of_workers() {
    // No recorded step has them: one worker is held against several.
    for case in StepCase::all("trl.GRPOTrainer") {
        let (rollout, mut settings): (RolloutSettings, PolicySettings) =
            (case.settings(), case.settings());
        settings.entropy_coef = 0.3;
        settings.top_entropy_quantile = 0.4;
        let objective = settings.loss();
        let samples = training_samples(&case, &rollout);
        let totals = StepTotals::of(&[&samples]);
        let gradients = |workers: usize| -> Vec<Vec<f32>> {
            let mut learner = Learner::new(
                case.base(&cpu()),
                OptimConfig::default(),
                Batching::default(),
            );
            let workers = Workers::new(workers);
            let loss = learner.accumulate(&samples, &objective, totals, &workers);
            let gradients = learner.gradients().expect("tokens count").iter();
            let gradients = gradients.map(|g| ops::read_floats(g.clone()).expect("device works"));
            let loss = vec![loss.expect("device works") as f32];
            std::iter::once(loss).chain(gradients).collect()
        };
        let close = Tolerance {
            relative: 1e-4,
            absolute: 1e-6,
        };
        for (found, expected) in gradients(3).iter().zip(&gradients(1)) {
            close.check(&case.name, found, expected);
        }
    }
}

#[test]
fn uneven_micro_batches_add_up_to_one_big_batch() {
    for case in StepCase::all("trl.GRPOTrainer") {
        let (rollout, settings): (RolloutSettings, PolicySettings) =
            (case.settings(), case.settings());
        let objective = settings.loss();
        let samples = training_samples(&case, &rollout);
        let workers = Workers::new(1);
        let gradients = |size: usize| -> Vec<Vec<f32>> {
            let mut learner = Learner::new(
                case.base(&cpu()),
                OptimConfig::default(),
                Batching::default(),
            );
            let micro_batches: Vec<_> = samples.chunks(size).collect();
            let totals = StepTotals::of(&micro_batches);
            for micro_batch in micro_batches {
                let loss = learner.accumulate(micro_batch, &objective, totals, &workers);
                loss.expect("device works");
            }
            let gradients = learner.gradients().expect("tokens count").iter();
            let read = |g: &Tensor<2>| ops::read_floats(g.clone()).expect("device works");
            gradients.map(read).collect()
        };
        let close = Tolerance {
            relative: 1e-4,
            absolute: 1e-6,
        };
        // Eight samples: three, three and two.
        for (found, expected) in gradients(3).iter().zip(&gradients(samples.len())) {
            close.check(&case.name, found, expected);
        }
    }
}

/// Replays one run.
pub fn check(case: &StepCase, device: &Device, workers: &Workers) {
    let settings: PolicySettings = case.settings();
    let objective = settings.loss();
    let rollout: RolloutSettings = case.settings();
    let samples = training_samples(case, &rollout);
    check_scores(case, &samples, settings.temperature, device, workers);
    let batches = samples.chunks(rollout.per_device_train_batch_size);
    let batches: Vec<_> = batches.map(<[_]>::to_vec).collect();
    // A rollout serves every step in turn.
    let count = case.steps() * case.accumulation();
    let micro_batches: Vec<_> = batches.into_iter().cycle().take(count).collect();
    case.replay(&micro_batches, &objective, device, workers);
}

/// The recorded rollout as the learner takes it.
fn training_samples(case: &StepCase, settings: &RolloutSettings) -> Vec<TrainingSample> {
    let generated = |name: &str| format!("generation.{name}");
    let tensors = &case.tensors;
    let prompts = tensors.unpadded(&generated("prompt_ids"), &generated("prompt_mask"));
    let completions: Vec<Vec<u32>> = case.field("completion_ids");
    let order: Vec<usize> = case.field("order_used");
    let masks = masks(case);
    let optional = |name: &str, row: usize, tokens: usize| {
        let name = generated(name);
        match tensors.has(&name) {
            true => tensors.float_rows(&name)[row][..tokens].to_vec(),
            false => Vec::new(),
        }
    };
    let advantages = advantages(case, settings);
    let sample = |(row, &index): (usize, &usize)| {
        // A completion that is left out is recorded with an empty mask but keeps its ids.
        let completion = &completions[index];
        let tokens = completion.len();
        TrainingSample {
            loss_mask: masks[row][..tokens].to_vec(),
            advantages: vec![advantages[row]; tokens],
            old_logprobs: optional("old_per_token_logps", row, tokens),
            ref_logprobs: optional("ref_per_token_logps", row, tokens),
            ..TrainingSample::new(&prompts[row], completion)
        }
    };
    order.iter().enumerate().map(sample).collect()
}

/// Which completion tokens count, padded.
fn masks(case: &StepCase) -> Vec<Vec<bool>> {
    let mut masks = case.tensors.integer_rows("generation.completion_mask");
    if case.tensors.has("generation.tool_mask") {
        let tools = case.tensors.integer_rows("generation.tool_mask");
        for (mask, tool) in masks.iter_mut().flatten().zip(tools.iter().flatten()) {
            *mask *= tool;
        }
    }
    let row = |row: Vec<i64>| row.into_iter().map(|mask| mask != 0).collect();
    masks.into_iter().map(row).collect()
}

/// Our advantages of the recorded rewards, held against the recorded ones.
fn advantages(case: &StepCase, settings: &RolloutSettings) -> Vec<f32> {
    let rewards: Vec<Vec<Option<f64>>> = case.field("rewards_per_func");
    let order: Vec<usize> = case.field("order_used");
    let rewards: Vec<_> = order.iter().map(|&index| rewards[index].clone()).collect();
    let found = group_advantages(
        &rewards,
        &case.field::<Vec<f64>>("reward_weights"),
        settings.num_generations,
        settings.scale_rewards,
        settings.multi_objective_aggregation,
    );
    let close = Tolerance {
        relative: 0.0,
        absolute: 1e-5,
    };
    let expected = case.tensors.floats("generation.advantages");
    close.check(
        &format!("{}: advantages", case.name),
        &found.values,
        &expected,
    );
    found.values
}

/// The first model's scores are the recorded old log-probabilities, the reference's the recorded
/// reference log-probabilities.
fn check_scores(
    case: &StepCase,
    samples: &[TrainingSample],
    temperature: f64,
    device: &Device,
    workers: &Workers,
) {
    let close = Tolerance {
        relative: 0.0,
        absolute: 1e-4,
    };
    type Recorded = fn(&TrainingSample) -> &[f32];
    let old: (_, Recorded) = (case.base(device), |sample| &sample.old_logprobs);
    let reference: (_, Recorded) = (case.reference(device), |sample| &sample.ref_logprobs);
    for (decoder, recorded) in [old, reference] {
        if samples.iter().all(|sample| recorded(sample).is_empty()) {
            continue;
        }
        let scores = Batching::default().score(&decoder, samples, temperature, workers);
        for (sample, score) in samples.iter().zip(scores.expect("device works")) {
            let recorded = recorded(sample).iter().zip(&sample.loss_mask);
            let counting = |(value, counts): (&f32, &bool)| if *counts { *value } else { 0.0 };
            let recorded: Vec<f32> = recorded.map(counting).collect();
            close.check(&format!("{}: scores", case.name), &score, &recorded);
        }
    }
}
