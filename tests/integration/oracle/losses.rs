//! The policy loss against TRL's: value, gradients and logged figures of every recorded case.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use emberl::ops;
use emberl::train::loss::{PolicyLoss, PolicyLossKind};
use emberl::train::{
    LossInput, LossOutput, LossTotals, Objective, Predictions, StepTotals, quantile,
};
use serde::Deserialize;

use super::fixture::{self, Tensors, Tolerance, Worst, cpu};
use super::policy_settings::PolicySettings;

const LOSS: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-6,
};
const GRADIENT: Tolerance = Tolerance {
    relative: 1e-4,
    absolute: 1e-6,
};

/// All recorded cases with their tensors.
pub struct LossCases {
    pub cases: Vec<LossCase>,
    inputs: Tensors,
    gradients: Tensors,
}

#[derive(Deserialize)]
pub struct LossCase {
    id: String,
    pub group: String,
    batch: String,
    settings: CaseSettings,
    loss: f64,
    metrics: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct CaseSettings {
    #[serde(flatten)]
    policy: PolicySettings,
    current_gradient_accumulation_steps: usize,
    steps_per_generation: usize,
    num_items_in_batch: f64,
    old_logps_given: bool,
    use_importance_sampling_ratio: bool,
}

#[test]
fn losses_and_gradients_are_trls() {
    let all = LossCases::read();
    let mut worst = Worst::default();
    let mut checked: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &all.cases {
        all.check(case, &cpu(), &mut worst);
        *checked.entry(&case.group).or_default() += 1;
    }
    eprintln!("loss cases checked: {checked:?}");
    worst.print("policy loss");
}

impl LossCases {
    pub fn read() -> Self {
        #[derive(Deserialize)]
        struct File {
            cases: Vec<LossCase>,
        }
        let folder = super::folder().join("grpo");
        let File { cases } = fixture::read_json(&folder.join("loss_cases.json"));
        assert!(!cases.is_empty(), "{} holds no cases", folder.display());
        Self {
            cases,
            inputs: Tensors::read(&folder.join("loss_inputs.safetensors")),
            gradients: Tensors::read(&folder.join("loss_grads.safetensors")),
        }
    }

    /// Runs one case and holds all it gives against the recording.
    pub fn check(&self, case: &LossCase, device: &Device, worst: &mut Worst) {
        let id = &case.id;
        let loss = case.settings.policy.loss();
        let input = self.input(case, &loss, device);
        let LossOutput { loss, sums } = loss.loss(&input);
        let value = ops::read_floats(loss.clone().inner()).expect("device works")[0];
        worst.note("loss", LOSS.check_one(id, f64::from(value), case.loss));
        let gradients = loss.backward();
        for (what, leaf, recorded) in [
            ("gradients", input.logprobs(), id.clone()),
            (
                "entropy gradients",
                input.entropies(),
                format!("{id}/entropy"),
            ),
        ] {
            let found = match leaf.grad(&gradients) {
                Some(gradient) => ops::read_floats(gradient).expect("device works"),
                None => vec![0.0; leaf.shape().num_elements()],
            };
            let expected = match self.gradients.has(&recorded) {
                true => self.gradients.floats(&recorded),
                false => vec![0.0; found.len()],
            };
            let place = format!("{recorded}: gradient");
            worst.note(what, GRADIENT.check(&place, &found, &expected));
        }
        let tokens = input.totals.tokens as f64;
        for (name, sum) in sums {
            let sum = ops::read_floats(sum).expect("device works")[0];
            case.check_metric(name, f64::from(sum) / tokens, worst);
        }
    }

    fn input(&self, case: &LossCase, loss: &PolicyLoss, device: &Device) -> LossInput {
        let batch = &case.batch;
        let shape: [usize; 2] = self.inputs.shape(&format!("{batch}/logps"));
        let tensor = |values: Vec<f32>| -> Tensor<2> {
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        let floats = |name: &str| self.inputs.floats(&format!("{batch}/{name}"));
        let given = |is_given: bool, name: &str| is_given.then(|| tensor(floats(name)));
        let leaf = |name: &str| tensor(floats(name)).autodiff().require_grad();
        let settings = &case.settings;
        let mask = self.mask(batch);
        let entropies = leaf("entropies");
        let share = loss.top_entropy_share();
        let threshold = (share < 1.0).then(|| {
            let all = floats("entropies").into_iter().zip(&mask);
            let mut counting: Vec<f32> = all.filter(|(_, m)| **m != 0.0).map(|(h, _)| h).collect();
            quantile(&mut counting, 1.0 - share)
        });
        let is_kept = |entropy: f32| threshold.is_none_or(|threshold| entropy >= threshold);
        let all = floats("entropies").into_iter().zip(&mask);
        let kept = all.filter(|(h, m)| **m != 0.0 && is_kept(*h)).count();
        let per_row = |value: f32| std::iter::repeat_n(value, shape[1]);
        LossInput {
            entropy_mask: threshold
                .map(|threshold| entropies.clone().greater_equal_elem(threshold).float()),
            predictions: Predictions::Tokens {
                logprobs: leaf("logps"),
                entropies,
            },
            advantages: Some(tensor(
                floats("advantages").into_iter().flat_map(per_row).collect(),
            )),
            old_logprobs: given(settings.old_logps_given, "old_logps"),
            ref_logprobs: given(true, "ref_logps"),
            sampler_logprobs: given(loss.config.off_policy_threshold.is_some(), "sampling_logps"),
            old_values: None,
            returns: None,
            sampler_ratio: given(
                settings.use_importance_sampling_ratio,
                "importance_sampling_ratio",
            ),
            totals: settings.totals(&mask, shape[0], kept),
            mask: tensor(mask),
        }
    }

    /// 1 where a token counts, else 0.
    fn mask(&self, batch: &str) -> Vec<f32> {
        let values = |name: &str| self.inputs.integers(&format!("{batch}/{name}"));
        let mut mask = values("completion_mask");
        if self.inputs.has(&format!("{batch}/tool_mask")) {
            for (mask, tool) in mask.iter_mut().zip(values("tool_mask")) {
                *mask *= tool;
            }
        }
        mask.into_iter().map(|mask| mask as f32).collect()
    }
}

impl LossCase {
    /// Checks a logged mean over tokens; TRL's of what a sequence shares are over sequences.
    fn check_metric(&self, name: &'static str, found: f64, worst: &mut Worst) {
        let per_token = self.settings.policy.importance_sampling_level == Default::default();
        let is_cispo = self.settings.policy.kind() == PolicyLossKind::Cispo;
        let recorded = match name {
            "clip_high" if per_token && is_cispo => "cispo_clip_ratio",
            "clip_low" if per_token => "clip_ratio/low_mean",
            "clip_high" if per_token => "clip_ratio/high_mean",
            "clip_low" | "clip_high" | "vespo_weight" => return,
            name => name,
        };
        let expected = self.metrics.get(recorded).copied().flatten();
        let expected = expected.unwrap_or_else(|| panic!("{}: no metric {recorded}", self.id));
        let place = format!("{}: {recorded}", self.id);
        worst.note(name, LOSS.check_one(&place, found, expected));
    }
}

impl CaseSettings {
    fn totals(&self, mask: &[f32], sequences: usize, entropy_tokens: usize) -> LossTotals {
        let micro_batches = self.current_gradient_accumulation_steps;
        // The recorded count spans a generation, which may serve several optimiser steps.
        let steps = self.steps_per_generation as f64 / micro_batches as f64;
        LossTotals {
            step: StepTotals {
                micro_batches,
                sequences: sequences * micro_batches,
                tokens: self.num_items_in_batch / steps,
            },
            tokens: mask.iter().filter(|mask| **mask != 0.0).count(),
            entropy_tokens,
        }
    }
}
