//! The policy-gradient losses of GRPO and its variants, equal to TRL's.
//!
//! With `Δ = log π − log π_old` and importance ratio `ρ = e^Δ`, a kind's surrogate says what a token
//! loses. That is multiplied by the off-policy mask, the entropy mask and the sampler's correction,
//! in this order; `β` times the divergence from the reference is added; the kind's weights turn the
//! tokens into one number; and the mean entropy, times its coefficient, is subtracted. One file a
//! part.

mod cispo;
mod clipped;
mod config;
mod divergence;
mod entropy;
mod entropy_control;
mod off_policy;
mod ratio;
mod reduction;
mod sapo;
mod surrogate;
mod vespo;

pub use config::{PolicyLossConfig, PolicyLossKind, RatioLevel};
pub use entropy_control::{AdaptiveEntropy, EntropyControl};
pub use sapo::SapoConfig;
pub use vespo::VespoConfig;

use burn::tensor::Tensor;

use self::clipped::Clip;
use self::ratio::Ratios;
use self::surrogate::Surrogate;
use crate::train::{LossInput, LossOutput, Objective};

/// The objective of the policy in reinforcement learning.
#[derive(Clone, Debug)]
pub struct PolicyLoss {
    /// Settings.
    pub config: PolicyLossConfig,
    /// Divides the logits, as it did while sampling.
    pub temperature: f64,
    /// Longest completion allowed, in tokens: what `dr_grpo` divides by.
    pub max_completion_tokens: usize,
    /// Weight of the mean token entropy in the step at hand; an [`EntropyControl`] moves it.
    pub entropy_coef: f64,
}

impl PolicyLoss {
    /// The objective as it is in the first step.
    pub fn new(config: PolicyLossConfig, temperature: f64, max_completion_tokens: usize) -> Self {
        let mut loss = Self {
            entropy_coef: config.entropy_coef,
            config,
            temperature,
            max_completion_tokens,
        };
        if let Some(control) = loss.entropy_control() {
            loss.entropy_coef = control.coef();
        }
        loss
    }

    /// What steers the entropy coefficient, as it is before the first step; none if it is fixed.
    pub fn entropy_control(&self) -> Option<EntropyControl> {
        let adaptive = self.config.adaptive_entropy?;
        Some(EntropyControl::new(adaptive, self.config.entropy_coef))
    }

    fn surrogate(&self, input: &LossInput, ratios: &Ratios, advantages: &Tensor<2>) -> Surrogate {
        let config = &self.config;
        match config.kind {
            PolicyLossKind::Cispo => {
                cispo::surrogate(config.clip_high(), ratios, input.logprobs(), advantages)
            }
            PolicyLossKind::Sapo => config.sapo.surrogate(ratios, advantages),
            PolicyLossKind::Vespo => config.vespo.surrogate(input, ratios, advantages),
            PolicyLossKind::Grpo
            | PolicyLossKind::Bnpo
            | PolicyLossKind::DrGrpo
            | PolicyLossKind::Dapo
            | PolicyLossKind::Luspo => Clip::of(config).surrogate(ratios, advantages),
        }
    }

    /// What the surrogate is multiplied by, in order.
    fn factors(
        &self,
        input: &LossInput,
        ratios: &Ratios,
        advantages: &Tensor<2>,
    ) -> impl Iterator<Item = Tensor<2>> {
        let on_policy = self
            .config
            .off_policy_threshold
            .map(|threshold| off_policy::mask(input, ratios, advantages, threshold));
        // VESPO has the sampler's correction in its weight.
        let sampler_ratio = match self.config.kind {
            PolicyLossKind::Vespo => None,
            _ => input.sampler_ratio.clone(),
        };
        [on_policy, input.entropy_mask.clone(), sampler_ratio]
            .into_iter()
            .flatten()
    }

    fn divergence(&self, input: &LossInput, ratios: &Ratios) -> Option<Tensor<2>> {
        let config = &self.config;
        let reference = input.ref_logprobs.clone();
        let reference = reference.filter(|_| config.kl_coef != 0.0)?;
        let divergence = divergence::estimate(config.kl_estimator, input.logprobs(), reference);
        Some(match config.kl_importance_correction {
            true => divergence * ratios.ratios.clone(),
            false => divergence,
        })
    }
}

impl Objective for PolicyLoss {
    fn loss(&self, input: &LossInput) -> LossOutput {
        let advantages = input.advantages.as_ref();
        let advantages = advantages.expect("a policy loss has advantages");
        let ratios = Ratios::of(input, self.config.ratio);
        let Surrogate {
            mut token_loss,
            mut watched,
        } = self.surrogate(input, &ratios, advantages);
        for factor in self.factors(input, &ratios, advantages) {
            token_loss = token_loss * factor;
        }
        watched.push(("entropy", input.entropies()));
        if let Some(divergence) = self.divergence(input, &ratios) {
            watched.push(("kl", divergence.clone()));
            token_loss = token_loss + divergence * self.config.kl_coef;
        }
        if self.config.adaptive_entropy.is_some() {
            watched.extend(entropy::watched(input));
        }
        let weights = reduction::weights(self.config.kind, input, self.max_completion_tokens);
        let mut loss = (token_loss * weights).sum();
        if self.entropy_coef != 0.0 {
            loss = loss - entropy::mean(input) * self.entropy_coef;
        }
        let sum = |values: Tensor<2>| (values.inner() * input.mask.clone().inner()).sum();
        let sums = watched
            .into_iter()
            .map(|(name, values)| (name, sum(values)));
        LossOutput {
            loss,
            sums: sums.collect(),
        }
    }

    fn top_entropy_share(&self) -> f64 {
        self.config.top_entropy_share
    }

    fn temperature(&self) -> f64 {
        self.temperature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops;
    use crate::train::{LossTotals, Predictions, StepTotals};

    const COLUMNS: usize = 3;
    const LOGPROBS: [f32; 9] = [-1.0, -0.4, -2.0, -0.7, -1.5, 0.0, -0.3, 0.0, 0.0];
    const OLD: [f32; 9] = [-1.2, -0.9, -1.1, -0.6, -1.6, 0.0, -0.8, 0.0, 0.0];
    const REFERENCE: [f32; 9] = [-0.9, -0.6, -1.7, -0.8, -1.2, 0.0, -0.4, 0.0, 0.0];
    const ENTROPIES: [f32; 9] = [0.9, 0.2, 1.3, 0.5, 1.1, 0.0, 0.3, 0.0, 0.0];
    const MASK: [f32; 9] = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    const ADVANTAGES: [f32; 9] = [0.8, 0.8, 0.8, -0.5, -0.5, 0.0, -0.3, 0.0, 0.0];
    const SAMPLER_RATIO: [f32; 9] = [1.1, 0.9, 1.0, 1.2, 0.7, 0.0, 0.8, 0.0, 0.0];

    fn input(rows: std::ops::Range<usize>) -> LossInput {
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        let cells = rows.start * COLUMNS..rows.end * COLUMNS;
        let grid = |values: &[f32; 9]| {
            let values = values[cells.clone()].to_vec();
            ops::floats(values, [rows.len(), COLUMNS], &device)
        };
        let tokens = MASK[cells.clone()].iter().filter(|m| **m != 0.0).count();
        LossInput {
            predictions: Predictions::Tokens {
                logprobs: grid(&LOGPROBS),
                entropies: grid(&ENTROPIES),
            },
            mask: grid(&MASK),
            advantages: Some(grid(&ADVANTAGES)),
            old_logprobs: Some(grid(&OLD)),
            ref_logprobs: Some(grid(&REFERENCE)),
            sampler_logprobs: None,
            old_values: None,
            returns: None,
            sampler_ratio: Some(grid(&SAMPLER_RATIO)),
            entropy_mask: None,
            totals: LossTotals {
                step: StepTotals {
                    micro_batches: 2,
                    sequences: 3,
                    tokens: 6.0,
                },
                tokens,
                entropy_tokens: tokens,
            },
        }
    }

    fn value(loss: &PolicyLoss, input: &LossInput) -> f32 {
        ops::read_floats(loss.loss(input).loss).unwrap()[0]
    }

    #[test]
    fn losses_of_uneven_micro_batches_add_up_to_that_of_one_big_batch() {
        // `bnpo` is left out: it divides by each micro-batch's own tokens.
        for kind in [
            PolicyLossKind::Grpo,
            PolicyLossKind::DrGrpo,
            PolicyLossKind::Dapo,
            PolicyLossKind::Luspo,
            PolicyLossKind::Cispo,
            PolicyLossKind::Sapo,
            PolicyLossKind::Vespo,
        ] {
            let config = PolicyLossConfig {
                kind,
                kl_coef: 0.1,
                off_policy_threshold: Some(0.05),
                ..PolicyLossConfig::default()
            };
            let loss = PolicyLoss::new(config, 1.0, 8);
            let whole = value(&loss, &input(0..3));
            let parts = value(&loss, &input(0..2)) + value(&loss, &input(2..3));
            assert!((whole - parts).abs() < 1e-6, "{kind:?}: {whole}, {parts}");
            assert!(whole.abs() > 1e-3, "{kind:?}: {whole}");
        }
    }

    #[test]
    fn a_cell_without_a_token_is_no_part_of_the_weight_of_its_sequence() {
        let config = PolicyLossConfig {
            kind: PolicyLossKind::Vespo,
            ..PolicyLossConfig::default()
        };
        let loss = PolicyLoss::new(config, 1.0, 8);
        let mut input = input(0..3);
        let with_zeros = value(&loss, &input);
        let empty = input.mask.clone().equal_elem(0.0);
        let ratio = input.sampler_ratio.take();
        input.sampler_ratio = ratio.map(|ratio| ratio.mask_fill(empty, 1.0));
        assert_eq!(value(&loss, &input), with_zeros);
    }

    #[test]
    fn entropy_bonus_takes_the_coefficient_of_the_step_at_hand() {
        let mut loss = PolicyLoss::new(PolicyLossConfig::default(), 1.0, 8);
        let without = value(&loss, &input(0..3));
        loss.entropy_coef = 0.5;
        let with = value(&loss, &input(0..3));
        // Mean entropy (0.9 + 0.2 + 1.3 + 0.5 + 1.1 + 0.3) / 6, over two micro-batches.
        let bonus = 0.5 * (4.3 / 6.0) / 2.0;
        assert!((without - with - bonus).abs() < 1e-6, "{without}, {with}");
    }

    #[test]
    fn adaptive_entropy_starts_without_a_bonus_and_reports_what_the_bonus_acts_on() {
        let config = PolicyLossConfig {
            entropy_coef: 0.5,
            adaptive_entropy: Some(AdaptiveEntropy::default()),
            ..PolicyLossConfig::default()
        };
        let loss = PolicyLoss::new(config, 1.0, 8);
        assert_eq!(loss.entropy_coef, 0.0);
        let mut input = input(0..3);
        let kept = input.entropies().greater_equal_elem(0.5).float();
        input.entropy_mask = Some(kept);
        let sums = loss.loss(&input).sums;
        let read = |name: &str| {
            let sum = sums.iter().find(|(found, _)| *found == name);
            ops::read_floats(sum.unwrap().1.clone()).unwrap()[0]
        };
        assert_eq!(read(entropy::KEPT_TOKENS), 4.0);
        assert!((read(entropy::KEPT_ENTROPY) - 3.8).abs() < 1e-6);
    }
}
