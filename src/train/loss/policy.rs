//! The clipped policy-gradient loss of GRPO and its variants, equal to TRL's.
//!
//! With `Δ = log π − log π_old` and ratio `ρ = e^Δ`, a token loses
//! `−min(min(ρ, δ) A, clip(ρ, 1 − ε_low, 1 + ε_high) A)` (PPO, arXiv:1707.06347; GRPO,
//! arXiv:2402.03300, eq. 3), plus `β` times the k3 estimate of the divergence from the reference,
//! `e^(r − π) − (r − π) − 1` of the log-probabilities (GRPO eq. 4). The kinds differ in what the sum
//! over tokens is divided by.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::{LossInput, LossOutput, LossTotals, Objective};

/// How the losses of tokens become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyLossKind {
    /// Mean over sequences of the mean over each sequence's tokens (GRPO, arXiv:2402.03300).
    #[default]
    Grpo,
    /// Mean over the tokens of each micro-batch.
    Bnpo,
    /// Sum over tokens divided by sequences times the longest completion allowed (Dr. GRPO,
    /// arXiv:2503.20783).
    DrGrpo,
    /// Mean over all tokens of the optimiser step (DAPO, arXiv:2503.14476).
    Dapo,
}

/// What one importance ratio covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// Each token has its own.
    #[default]
    Token,
    /// A sequence's tokens share the geometric mean of theirs (GSPO, arXiv:2507.18071).
    Sequence,
}

/// Settings of the policy loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLossConfig {
    /// How token losses are averaged.
    pub kind: PolicyLossKind,
    /// What one importance ratio covers.
    pub ratio: RatioLevel,
    /// How far the ratio may fall below 1, in (0, 1].
    pub clip_low: f64,
    /// How far the ratio may rise above 1; unset is `clip_low`. DAPO's "clip higher" takes 0.28.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_high: Option<f64>,
    /// Upper bound of the unclipped ratio (two-sided clipping, arXiv:2505.07291); unset is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_delta: Option<f64>,
    /// Weight `β` of the divergence from the reference; 0 needs no reference. R1-Zero takes 0.001.
    pub kl_coef: f64,
    /// Multiplies the divergence by the importance ratio (DeepSeek-V3.2, arXiv:2512.02556).
    pub kl_importance_correction: bool,
    /// Drops a sequence with negative advantage whose mean log-probability fell by more than this
    /// since it was sampled (off-policy sequence masking, arXiv:2512.02556); unset keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_threshold: Option<f64>,
    /// Share of tokens, by entropy from the top, that the policy loss acts on, in (0, 1]
    /// (arXiv:2506.01939).
    pub top_entropy_share: f64,
    /// Weight of the mean token entropy, which is subtracted from the loss.
    pub entropy_coef: f64,
}

impl Default for PolicyLossConfig {
    fn default() -> Self {
        Self {
            kind: PolicyLossKind::Grpo,
            ratio: RatioLevel::Token,
            clip_low: 0.2,
            clip_high: None,
            clip_delta: None,
            kl_coef: 0.0,
            kl_importance_correction: true,
            off_policy_threshold: None,
            top_entropy_share: 1.0,
            entropy_coef: 0.0,
        }
    }
}

impl PolicyLossConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let checks = [
            ("clip_low", positive(self.clip_low) && self.clip_low <= 1.0),
            ("clip_high", self.clip_high.is_none_or(positive)),
            ("clip_delta", self.clip_delta.is_none_or(positive)),
            ("kl_coef", self.kl_coef.is_finite() && self.kl_coef >= 0.0),
            (
                "top_entropy_share",
                positive(self.top_entropy_share) && self.top_entropy_share <= 1.0,
            ),
            ("entropy_coef", self.entropy_coef.is_finite()),
        ];
        match checks.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(Error::setting(format!("{key}.{field}"), "out of range")),
            None => Ok(()),
        }
    }
}

/// The objective of GRPO.
#[derive(Clone, Debug)]
pub struct PolicyLoss {
    /// Settings.
    pub config: PolicyLossConfig,
    /// Divides the logits, as it did while sampling.
    pub temperature: f64,
    /// Longest completion allowed, in tokens: what `dr_grpo` divides by.
    pub max_completion_tokens: usize,
}

impl Objective for PolicyLoss {
    fn loss(&self, input: &LossInput) -> LossOutput {
        let config = &self.config;
        let advantages = input
            .advantages
            .clone()
            .expect("a policy loss has advantages");
        let old = match &input.old_logprobs {
            Some(old) => old.clone(),
            None => input.logprobs().detach(),
        };
        let ratio = self.ratio(input, old.clone());
        let (low, high) = (1.0 - config.clip_low, 1.0 + self.clip_high());
        let capped = match config.clip_delta {
            Some(delta) => ratio.clone().clamp_max(delta),
            None => ratio.clone(),
        };
        let clipped = ratio.clone().clamp(low, high) * advantages.clone();
        let mut token_loss = (capped.clone() * advantages.clone())
            .min_pair(clipped)
            .neg();
        if let Some(threshold) = config.off_policy_threshold {
            let sampler = input.sampler_logprobs.clone().unwrap_or(old);
            token_loss = token_loss * on_policy_mask(input, sampler, &advantages, threshold);
        }
        for factor in [&input.entropy_mask, &input.sampler_ratio]
            .into_iter()
            .flatten()
        {
            token_loss = token_loss * factor.clone();
        }
        let mut sums = vec![("entropy", masked_sum(input, input.entropies()))];
        if let (Some(reference), true) = (&input.ref_logprobs, config.kl_coef != 0.0) {
            let kl = self.divergence(input, reference.clone(), ratio);
            sums.push(("kl", masked_sum(input, kl.clone())));
            token_loss = token_loss + kl * config.kl_coef;
        }
        sums.extend(clip_shares(input, capped, &advantages, low, high));
        let mut loss = (token_loss * self.weights(input)).sum();
        if config.entropy_coef != 0.0 {
            loss = loss - self.mean_entropy(input) * config.entropy_coef;
        }
        LossOutput { loss, sums }
    }

    fn top_entropy_share(&self) -> f64 {
        self.config.top_entropy_share
    }

    fn temperature(&self) -> f64 {
        self.temperature
    }
}

impl PolicyLoss {
    fn clip_high(&self) -> f64 {
        self.config.clip_high.unwrap_or(self.config.clip_low)
    }

    fn ratio(&self, input: &LossInput, old: Tensor<2>) -> Tensor<2> {
        let change = input.logprobs() - old;
        match self.config.ratio {
            RatioLevel::Token => change.exp(),
            RatioLevel::Sequence => {
                let shape = change.shape();
                masked_mean(change, &input.mask).exp().expand(shape)
            }
        }
    }

    fn divergence(&self, input: &LossInput, reference: Tensor<2>, ratio: Tensor<2>) -> Tensor<2> {
        let gap = reference - input.logprobs();
        let k3 = gap.clone().exp() - gap - 1.0;
        match self.config.kl_importance_correction {
            true => k3 * ratio,
            false => k3,
        }
    }

    /// What each token's loss is multiplied by before all are summed, `[B, C]`.
    fn weights(&self, input: &LossInput) -> Tensor<2> {
        let LossTotals { step, tokens, .. } = input.totals;
        let mask = input.mask.clone();
        let sequences = step.sequences as f64;
        match self.config.kind {
            PolicyLossKind::Grpo => {
                let lengths = mask.clone().sum_dim(1).clamp_min(1.0);
                mask / lengths / sequences
            }
            PolicyLossKind::Bnpo => mask / (tokens.max(1) * step.micro_batches) as f64,
            PolicyLossKind::DrGrpo => mask / (sequences * self.max_completion_tokens as f64),
            PolicyLossKind::Dapo => mask / step.tokens.max(1.0),
        }
    }

    /// This slice's share of the mean entropy of the tokens that the policy loss acts on.
    fn mean_entropy(&self, input: &LossInput) -> Tensor<1> {
        let mask = match &input.entropy_mask {
            Some(kept) => input.mask.clone() * kept.clone(),
            None => input.mask.clone(),
        };
        let tokens = input.totals.entropy_tokens.max(1) * input.totals.step.micro_batches;
        (input.entropies() * mask).sum() / tokens as f64
    }
}

/// Mean over each row's counting tokens, `[B, 1]`.
fn masked_mean(values: Tensor<2>, mask: &Tensor<2>) -> Tensor<2> {
    (values * mask.clone()).sum_dim(1) / mask.clone().sum_dim(1).clamp_min(1.0)
}

fn masked_sum(input: &LossInput, values: Tensor<2>) -> Tensor<1> {
    (values.inner() * input.mask.clone().inner()).sum()
}

/// 1 for the tokens of sequences that are still close to the policy that sampled them, else 0.
fn on_policy_mask(
    input: &LossInput,
    sampler: Tensor<2>,
    advantages: &Tensor<2>,
    threshold: f64,
) -> Tensor<2> {
    let fall = sampler - input.logprobs().detach();
    let fell = masked_mean(fall, &input.mask).greater_elem(threshold);
    let fell = fell.expand(advantages.shape());
    let negative = advantages.clone().lower_elem(0.0);
    fell.bool_and(negative).bool_not().float()
}

/// How many tokens are held by the lower and by the upper clip.
fn clip_shares(
    input: &LossInput,
    ratio: Tensor<2>,
    advantages: &Tensor<2>,
    low: f64,
    high: f64,
) -> [(&'static str, Tensor<1>); 2] {
    let ratio = ratio.inner();
    let advantages = advantages.clone().inner();
    let low = ratio.clone().lower_elem(low);
    let low = low.bool_and(advantages.clone().lower_elem(0.0));
    let high = ratio.greater_elem(high);
    let high = high.bool_and(advantages.greater_elem(0.0));
    [
        ("clip_low", masked_sum(input, low.float())),
        ("clip_high", masked_sum(input, high.float())),
    ]
}
