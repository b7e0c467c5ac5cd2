//! Losses of reward models, whose one score a text is trained to tell good answers from bad ones.
//!
//! With the score `r` of a text,
//! - pairwise: a pair loses `−log σ(r_chosen − r_rejected − m)`, `m` the margin that it should have
//!   (Bradley-Terry; arXiv:2203.02155, eq. 1; the margin of arXiv:2307.09288, eq. 2), and
//!   `c (r_chosen + r_rejected)²`, which centres the scores (arXiv:2312.09244, eq. 2), as TRL's
//!   `RewardTrainer`; the mean over the step's pairs is taken;
//! - pointwise: a text loses `−log σ(r)` if it is good and `−log σ(−r)` if not; the mean over the
//!   step's texts is taken.

use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use crate::train::{LossInput, LossOutput, Objective};

/// What a reward model learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardLossKind {
    /// Two answers to a prompt, of which one is better.
    #[default]
    Pairwise,
    /// Answers that are good or not, each by itself.
    Pointwise,
}

/// The objective of a reward model; every sample has one trained token, and its score is the value
/// before it.
///
/// The samples of pairs are one that is chosen, then the one that is rejected, and what they should
/// be worth differs by the margin. Elsewhere a sample should be worth 1 if it is good, else 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewardLoss {
    /// Pairs or single answers.
    pub kind: RewardLossKind,
    /// `c`, by which a pair's scores are drawn towards a mean of 0.
    pub center: f64,
}

impl Objective for RewardLoss {
    /// # Panics
    /// When the model is a language model, or samples do not say what they should be worth.
    fn loss(&self, input: &LossInput) -> LossOutput {
        let targets = input.returns.clone();
        let targets = targets.expect("a reward model learns what texts are worth");
        let by_text = |values: Tensor<2>| (values * input.mask.clone()).sum_dim(1);
        let (scores, targets) = (by_text(input.values()), by_text(targets));
        match self.kind {
            RewardLossKind::Pairwise => self.pairwise(input, scores, targets),
            RewardLossKind::Pointwise => pointwise(input, scores, targets),
        }
    }

    fn samples_together(&self) -> usize {
        match self.kind {
            RewardLossKind::Pairwise => 2,
            RewardLossKind::Pointwise => 1,
        }
    }
}

impl RewardLoss {
    /// # Shapes
    /// `scores` and `targets`: `[B, 1]`, two rows a pair.
    fn pairwise(&self, input: &LossInput, scores: Tensor<2>, targets: Tensor<2>) -> LossOutput {
        let [rows, _] = scores.dims();
        assert!(rows.is_multiple_of(2), "{rows} samples are no pairs");
        let scores = scores.reshape([rows / 2, 2]);
        let margins = difference(targets.reshape([rows / 2, 2]));
        let differences = difference(scores.clone());
        let pairs = (input.totals.step.sequences / 2).max(1) as f64;
        let mut loss = log_sigmoid(differences.clone() - margins).neg().sum();
        if self.center > 0.0 {
            loss = loss + scores.clone().sum_dim(1).square().sum() * self.center;
        }
        let (scores, differences) = (scores.inner(), differences.inner());
        // Sums are logged divided by the step's tokens.
        let per_pair = input.totals.step.tokens / pairs;
        LossOutput {
            loss: loss / pairs,
            sums: vec![
                (
                    "accuracy",
                    differences.clone().greater_elem(0.0).float().sum() * per_pair,
                ),
                ("margin", differences.sum() * per_pair),
                ("mean_reward", scores.sum() * (per_pair / 2.0)),
            ],
        }
    }
}

/// # Shapes
/// `scores` and `targets`: `[B, 1]`.
fn pointwise(input: &LossInput, scores: Tensor<2>, targets: Tensor<2>) -> LossOutput {
    let texts = input.totals.step.sequences.max(1) as f64;
    let good = log_sigmoid(scores.clone()) * targets.clone();
    let bad = log_sigmoid(scores.clone().neg()) * (targets.clone().neg() + 1.0);
    let (scores, targets) = (scores.inner(), targets.inner());
    let wrong = (scores.clone().greater_elem(0.0).float() - targets).abs();
    let per_text = input.totals.step.tokens / texts;
    LossOutput {
        loss: (good + bad).neg().sum() / texts,
        sums: vec![
            ("accuracy", (wrong.neg() + 1.0).sum() * per_text),
            ("mean_reward", scores.sum() * per_text),
        ],
    }
}

/// How much more the chosen have than the rejected, `[B/2, 2]` to `[B/2, 1]`.
fn difference(values: Tensor<2>) -> Tensor<2> {
    values.clone().narrow(1, 0, 1) - values.narrow(1, 1, 1)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops;
    use crate::train::{LossTotals, Predictions, StepTotals};

    /// Loss, gradient and logged means of texts with these scores and targets.
    fn loss(
        objective: RewardLoss,
        scores: [f32; 4],
        targets: [f32; 4],
    ) -> (f32, Vec<f32>, Vec<f32>) {
        let device = Device::flex();
        let grid = |values: [f32; 4]| ops::floats(values.to_vec(), [4, 1], &device);
        let leaf: Tensor<2> = grid(scores).autodiff().require_grad();
        let step = StepTotals {
            micro_batches: 1,
            sequences: 4,
            tokens: 4.0,
        };
        let output = objective.loss(&LossInput {
            predictions: Predictions::Values(leaf.clone()),
            mask: grid([1.0; 4]),
            advantages: None,
            old_logprobs: None,
            ref_logprobs: None,
            sampler_logprobs: None,
            returns: Some(grid(targets)),
            old_values: None,
            sampler_ratio: None,
            entropy_mask: None,
            totals: LossTotals {
                step,
                tokens: 4,
                entropy_tokens: 4,
            },
        });
        let read = |tensor: Tensor<1>| ops::read_floats(tensor).unwrap();
        let value = read(output.loss.clone().inner())[0];
        let means = output.sums.into_iter().map(|(_, sum)| read(sum)[0] / 4.0);
        let means = means.collect();
        let gradient = leaf.grad(&output.loss.backward()).unwrap();
        (value, ops::read_floats(gradient).unwrap(), means)
    }

    #[track_caller]
    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn a_pair_loses_the_log_likelihood_of_its_preference_beyond_the_margin() {
        // Differences 1 and −0.5; the second should be 0.5: −log σ(1) = 0.313262, −log σ(−1) =
        // 1.313262, mean 0.813262. Slopes by the chosen: −σ(−1) / 2 and −σ(1) / 2.
        let objective = RewardLoss::default();
        let (value, gradient, means) = loss(objective, [2.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.5, 0.0]);
        assert_close(&[value], &[0.813_262]);
        let (first, second) = (0.268_941 / 2.0, 0.731_059 / 2.0);
        assert_close(&gradient, &[-first, first, -second, second]);
        // One of two is the right way round; margins 1 and −0.5; scores 2, 1, 0, 0.5.
        assert_close(&means, &[0.5, 0.25, 0.875]);
    }

    #[test]
    fn centring_loses_the_square_of_a_pairs_sum() {
        // As above without margins: 0.313262 and −log σ(−0.5) = 0.974077, mean 0.643670; sums 3 and
        // 0.5: 0.1 (9 + 0.25) / 2 = 0.4625. Slopes gain 0.1 · 2 · 3 / 2 and 0.1 · 2 · 0.5 / 2.
        let objective = RewardLoss {
            center: 0.1,
            ..RewardLoss::default()
        };
        let (value, gradient, _) = loss(objective, [2.0, 1.0, 0.0, 0.5], [0.0; 4]);
        assert_close(&[value], &[0.643_670 + 0.4625]);
        let (first, second) = (0.268_941 / 2.0, 0.622_459 / 2.0);
        assert_close(
            &gradient,
            &[0.3 - first, 0.3 + first, 0.05 - second, 0.05 + second],
        );
    }

    #[test]
    fn a_text_loses_the_log_likelihood_of_its_label() {
        // Good with 1: 0.313262, bad with 1: 1.313262, good with −0.5: 0.974077, bad with −2:
        // 0.126928; mean 0.681882. Slopes (σ(r) − y) / 4.
        let objective = RewardLoss {
            kind: RewardLossKind::Pointwise,
            center: 0.0,
        };
        let (value, gradient, means) =
            loss(objective, [1.0, 1.0, -0.5, -2.0], [1.0, 0.0, 1.0, 0.0]);
        assert_close(&[value], &[0.681_882]);
        let slopes = [-0.268_941, 0.731_059, -0.622_459, 0.119_203];
        assert_close(&gradient, &slopes.map(|slope| slope / 4.0));
        assert_close(&means, &[0.5, -0.125]);
    }

    #[test]
    fn a_hopeless_text_loses_its_score_and_nothing_overflows() {
        let objective = RewardLoss {
            kind: RewardLossKind::Pointwise,
            center: 0.0,
        };
        let (value, gradient, _) = loss(objective, [-400.0, 400.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]);
        // (400 + 400 + 2 log 2) / 4.
        assert_close(&[value / 100.0], &[2.003_466]);
        assert_close(&gradient[..2], &[-0.25, 0.25]);
    }
}
