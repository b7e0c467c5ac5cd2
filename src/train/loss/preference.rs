//! Losses that make a preferred answer likelier than another: DPO and its relatives, as in TRL.
//!
//! With `h = (log π(y_w) − log π_ref(y_w)) − (log π(y_l) − log π_ref(y_l))`, the log-probabilities
//! summed over an answer's tokens, of a chosen answer `y_w` and a rejected `y_l`, a pair loses
//! - sigmoid: `−(1 − ε) log σ(βh) − ε log σ(−βh)` (DPO, arXiv:2305.18290, eq. 7; `ε` for labels that
//!   are wrong that often: conservative DPO, its authors' note of 2023);
//! - hinge: `max(0, 1 − βh)` (SLiC, arXiv:2305.10425, with DPO's `h`: RSO, arXiv:2309.06657);
//! - ipo: `(h̄ − 1 / 2β)²` (IPO, arXiv:2310.12036, eq. 17), where `h̄` has means over tokens for sums.
//!
//! The loss is the mean over the step's pairs.

use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::{LossInput, LossOutput, Objective};

/// What a pair loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferenceLossKind {
    /// The negative log-likelihood of the preference (DPO, arXiv:2305.18290).
    #[default]
    Sigmoid,
    /// What the preference lacks of a margin (SLiC, arXiv:2305.10425).
    Hinge,
    /// The squared distance from a margin (IPO, arXiv:2310.12036).
    Ipo,
}

/// Settings of the preference loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceLossConfig {
    /// What a pair loses.
    pub kind: PreferenceLossKind,
    /// How strongly the policy is held to the reference: `β`, in IPO's paper `τ`. DPO takes 0.1.
    pub beta: f64,
    /// Share `ε` of pairs that are taken to be the wrong way round, in [0, 0.5); `sigmoid` only.
    pub label_smoothing: f64,
}

impl Default for PreferenceLossConfig {
    fn default() -> Self {
        Self {
            kind: PreferenceLossKind::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
        }
    }
}

impl PreferenceLossConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let fault = |field: &str, problem: &str| Error::setting(format!("{key}.{field}"), problem);
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(fault("beta", "must be above 0"));
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            return Err(fault("label_smoothing", "must be in [0, 0.5)"));
        }
        if self.label_smoothing > 0.0 && self.kind != PreferenceLossKind::Sigmoid {
            return Err(fault("label_smoothing", "is of kind `sigmoid` only"));
        }
        Ok(())
    }
}

/// The objective of DPO. Samples are pairs: one that is chosen, then the one that is rejected.
#[derive(Clone, Copy, Debug, Default)]
pub struct PreferenceLoss {
    /// Settings.
    pub config: PreferenceLossConfig,
}

impl Objective for PreferenceLoss {
    /// # Panics
    /// When the samples are no pairs or have no log-probabilities under the reference.
    fn loss(&self, input: &LossInput) -> LossOutput {
        let reference = input.ref_logprobs.clone();
        let reference = reference.expect("a preference loss has a reference");
        let policy = by_pair(input.logprobs() * input.mask.clone());
        let reference = by_pair(reference * input.mask.clone());
        let ratios = policy.clone() - reference;
        let loss = self.pair_loss(ratios.clone(), by_pair(input.mask.clone()));
        let pairs = (input.totals.step.sequences / 2).max(1) as f64;
        LossOutput {
            loss: loss.sum() / pairs,
            sums: self.sums(input, policy.inner(), ratios.inner(), pairs),
        }
    }

    fn samples_together(&self) -> usize {
        2
    }
}

impl PreferenceLoss {
    /// What each pair loses.
    ///
    /// # Shapes
    /// `ratios`, of sequences, and `lengths`, in tokens: `[B/2, 2]`; to `[B/2, 1]`.
    fn pair_loss(&self, ratios: Tensor<2>, lengths: Tensor<2>) -> Tensor<2> {
        let PreferenceLossConfig {
            kind,
            beta,
            label_smoothing,
        } = self.config;
        match kind {
            PreferenceLossKind::Sigmoid => {
                let logits = margin(ratios) * beta;
                let right = log_sigmoid(logits.clone()) * (1.0 - label_smoothing);
                let wrong = log_sigmoid(logits.neg()) * label_smoothing;
                (right + wrong).neg()
            }
            PreferenceLossKind::Hinge => (margin(ratios) * -beta + 1.0).clamp_min(0.0),
            PreferenceLossKind::Ipo => {
                let means = ratios / lengths.clamp_min(1.0);
                (margin(means) - 0.5 / beta).square()
            }
        }
    }

    /// What TRL logs. Sums are logged divided by the step's tokens, so what is meant by the pair is
    /// multiplied by the tokens of a mean pair.
    fn sums(
        &self,
        input: &LossInput,
        policy: Tensor<2>,
        ratios: Tensor<2>,
        pairs: f64,
    ) -> Vec<(&'static str, Tensor<1>)> {
        let entropies = input.entropies().inner() * input.mask.clone().inner();
        let rewards = ratios * self.config.beta;
        let margins = margin(rewards.clone());
        let tokens = input.totals.step.tokens / pairs;
        let per_pair = |values: Tensor<2>| values.sum() * tokens;
        vec![
            ("entropy", entropies.sum()),
            ("rewards/chosen", per_pair(rewards.clone().narrow(1, 0, 1))),
            ("rewards/rejected", per_pair(rewards.narrow(1, 1, 1))),
            (
                "rewards/accuracies",
                per_pair(margins.clone().greater_elem(0.0).float()),
            ),
            ("rewards/margins", per_pair(margins)),
            ("logps/chosen", per_pair(policy.clone().narrow(1, 0, 1))),
            ("logps/rejected", per_pair(policy.narrow(1, 1, 1))),
        ]
    }
}

/// Sums over each row's tokens, the two of a pair side by side.
///
/// # Shapes
/// `[B, C]` to `[B/2, 2]`.
fn by_pair(values: Tensor<2>) -> Tensor<2> {
    let [rows, _] = values.dims();
    assert!(rows.is_multiple_of(2), "{rows} samples are no pairs");
    values.sum_dim(1).reshape([rows / 2, 2])
}

/// How much more the chosen have than the rejected, `[B/2, 2]` to `[B/2, 1]`.
fn margin(values: Tensor<2>) -> Tensor<2> {
    values.clone().narrow(1, 0, 1) - values.narrow(1, 1, 1)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops;
    use crate::train::{LossTotals, Predictions, StepTotals};

    /// Sums of two pairs' log-probabilities: chosen −3 and −1, rejected −2 and −2; under the
    /// reference −5, −2, −1.5, −4. Ratios: 2, 1, −0.5, 2; h = 2.5 and −1. The chosen have 2 and 1
    /// tokens, the rejected 1 and 2; what stands in the cells outside must not matter.
    const LOGPROBS: [f32; 8] = [-1.0, -2.0, -2.0, 9.0, -1.0, 9.0, -0.5, -1.5];
    const REFERENCE: [f32; 8] = [-2.0, -3.0, -1.5, 7.0, -2.0, 7.0, -2.0, -2.0];
    const MASK: [f32; 8] = [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0];
    const TOKENS: f64 = 6.0;

    fn input() -> LossInput {
        let device = Device::flex().autodiff();
        let grid = |values: [f32; 8]| ops::floats(values.to_vec(), [4, 2], &device);
        LossInput {
            predictions: Predictions::Tokens {
                logprobs: grid(LOGPROBS).require_grad(),
                entropies: grid([0.5; 8]),
            },
            mask: grid(MASK),
            advantages: None,
            old_logprobs: None,
            ref_logprobs: Some(grid(REFERENCE)),
            sampler_logprobs: None,
            old_values: None,
            returns: None,
            sampler_ratio: None,
            entropy_mask: None,
            totals: LossTotals {
                step: StepTotals {
                    micro_batches: 1,
                    sequences: 4,
                    tokens: TOKENS,
                },
                tokens: 6,
                entropy_tokens: 6,
            },
        }
    }

    fn objective(kind: PreferenceLossKind, beta: f64, label_smoothing: f64) -> PreferenceLoss {
        PreferenceLoss {
            config: PreferenceLossConfig {
                kind,
                beta,
                label_smoothing,
            },
        }
    }

    #[track_caller]
    fn assert_loss(objective: PreferenceLoss, loss: f32, gradient: [f32; 8]) {
        let input = input();
        let output = objective.loss(&input);
        let gradients = output.loss.backward();
        let found = input.logprobs().grad(&gradients).unwrap().reshape([8]);
        let found = ops::read_floats(found).unwrap();
        let found_loss = ops::read_floats(output.loss.inner()).unwrap()[0];
        assert!((found_loss - loss).abs() < 1e-5, "{found_loss}");
        for (found, expected) in found.iter().zip(gradient) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn sigmoid_loses_the_log_likelihood_of_the_preference() {
        // β = 0.4: βh = 1 and −0.4. −log σ: 0.313262 and 0.913015; mean 0.613139.
        // The slope by h is −β σ(−βh) / 2: −0.2 · 0.268941 and −0.2 · 0.598688.
        let (first, second) = (0.2 * 0.268_941, 0.2 * 0.598_688);
        assert_loss(
            objective(PreferenceLossKind::Sigmoid, 0.4, 0.0),
            0.613_139,
            [-first, -first, first, 0.0, -second, 0.0, second, second],
        );
    }

    #[test]
    fn smoothed_labels_lose_a_share_of_the_opposite() {
        // As above, and −log σ(−βh): 1.313262 and 0.513015. 0.9 of one and 0.1 of the other:
        // 0.413262 and 0.873015, mean 0.643139. The slope is β (ε σ(βh) − (1 − ε) σ(−βh)) / 2:
        // 0.2 (0.0731059 − 0.2420471) and 0.2 (0.0401312 − 0.5388192).
        let (first, second) = (0.2 * 0.168_941, 0.2 * 0.498_688);
        assert_loss(
            objective(PreferenceLossKind::Sigmoid, 0.4, 0.1),
            0.643_139,
            [-first, -first, first, 0.0, -second, 0.0, second, second],
        );
    }

    #[test]
    fn hinge_loses_what_is_missing_of_a_margin() {
        // β = 0.5: 1 − βh is −0.25 and 1.5; the first pair has its margin. Mean 0.75; slope −β / 2.
        assert_loss(
            objective(PreferenceLossKind::Hinge, 0.5, 0.0),
            0.75,
            [0.0, 0.0, 0.0, 0.0, -0.25, 0.0, 0.25, 0.25],
        );
    }

    #[test]
    fn ipo_loses_the_squared_distance_of_token_means_from_a_margin() {
        // β = 0.25: the margin is 2. Means: 2/2 − −0.5/1 = 1.5 and 1/1 − 2/2 = 0. Squares 0.25 and
        // 4, mean 2.125. The slope by a token is (h̄ − 2) / its answer's tokens, −0.5 and −2.
        assert_loss(
            objective(PreferenceLossKind::Ipo, 0.25, 0.0),
            2.125,
            [-0.25, -0.25, 0.5, 0.0, -2.0, 0.0, 1.0, 1.0],
        );
    }

    #[test]
    fn logged_figures_are_means_over_pairs() {
        let output = objective(PreferenceLossKind::Sigmoid, 0.4, 0.0).loss(&input());
        let logged = |name: &str| {
            let sum = output.sums.iter().find(|(other, _)| *other == name);
            f64::from(ops::read_floats(sum.unwrap().1.clone()).unwrap()[0]) / TOKENS
        };
        // Rewards are 0.4 of the ratios: chosen 0.8 and 0.4, rejected −0.2 and 0.8.
        for (name, expected) in [
            ("rewards/chosen", 0.6),
            ("rewards/rejected", 0.3),
            ("rewards/accuracies", 0.5),
            ("rewards/margins", 0.3),
            ("logps/chosen", -2.0),
            ("logps/rejected", -2.0),
            ("entropy", 0.5),
        ] {
            assert!((logged(name) - expected).abs() < 1e-6, "{name}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (objective, field) in [
            (
                objective(PreferenceLossKind::Sigmoid, 0.0, 0.0),
                "loss.beta",
            ),
            (
                objective(PreferenceLossKind::Sigmoid, 0.1, 0.5),
                "loss.label_smoothing",
            ),
            (
                objective(PreferenceLossKind::Hinge, 0.1, 0.1),
                "loss.label_smoothing",
            ),
        ] {
            let error = objective.config.validate("loss").unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{field}`: ")), "{error}");
        }
        assert!(PreferenceLossConfig::default().validate("loss").is_ok());
    }
}
