//! Settings of the policy loss.

use serde::{Deserialize, Serialize};

use super::{AdaptiveEntropy, SapoConfig, VespoConfig};
use crate::error::{Error, Result};
use crate::rollout::KlEstimator;

/// What a token loses, and how the losses of tokens become one number.
///
/// `grpo`, `bnpo`, `dr_grpo`, `dapo` and `luspo` share the clipped surrogate and differ in what the
/// sum over tokens is divided by.
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
    /// Mean over sequences of the sum over each sequence's tokens; meant for sequence ratios
    /// (LUSPO, arXiv:2602.05261).
    Luspo,
    /// The capped ratio weighs a token's log-probability, `clip_high` being the cap itself; mean
    /// over all tokens of the step (CISPO, MiniMax-M1, arXiv:2506.13585).
    Cispo,
    /// A smooth gate in the place of the clip; averaged as `grpo` (SAPO, arXiv:2511.20347).
    Sapo,
    /// A gamma-shaped weight of the whole sequence; mean over all tokens of the step (VESPO,
    /// arXiv:2602.10693).
    Vespo,
}

impl PolicyLossKind {
    /// Whether the kind's surrogate is the clipped one.
    fn is_clipped(self) -> bool {
        !matches!(self, Self::Cispo | Self::Sapo | Self::Vespo)
    }
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
    /// Which surrogate, and how token losses are averaged.
    pub kind: PolicyLossKind,
    /// What one importance ratio covers.
    pub ratio: RatioLevel,
    /// How far the ratio may fall below 1, in (0, 1]; at 1 the lower side is open, so that the ε = 10
    /// of R1's second phase is `clip_low = 1` with `clip_high = 10`.
    pub clip_low: f64,
    /// How far the ratio may rise above 1; unset is `clip_low`. DAPO's "clip higher"
    /// (arXiv:2503.14476) takes 0.28. For `cispo` it is the cap of the ratio itself, which should
    /// be set: ScaleRL (arXiv:2510.13786) takes 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_high: Option<f64>,
    /// Upper bound of the unclipped ratio (two-sided clipping, arXiv:2505.07291); unset is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_delta: Option<f64>,
    /// Where the advantage `A` is negative a token loses at most `−clip_dual · A`, above 1 (dual
    /// clip, arXiv:1912.09729, which takes 3); unset is no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_dual: Option<f64>,
    /// Weight `β` of the divergence from the reference; 0 needs no reference. R1-Zero takes 0.001.
    pub kl_coef: f64,
    /// How that divergence is estimated; GRPO (arXiv:2402.03300) takes `k3`.
    pub kl_estimator: KlEstimator,
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
    /// Moves that weight from step to step (Skywork-OR1, arXiv:2505.22312); unset keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive_entropy: Option<AdaptiveEntropy>,
    /// Temperatures of `sapo` (arXiv:2511.20347).
    pub sapo: SapoConfig,
    /// Shape of the weight of `vespo` (arXiv:2602.10693).
    pub vespo: VespoConfig,
}

impl Default for PolicyLossConfig {
    fn default() -> Self {
        Self {
            kind: PolicyLossKind::Grpo,
            ratio: RatioLevel::Token,
            clip_low: 0.2,
            clip_high: None,
            clip_delta: None,
            clip_dual: None,
            kl_coef: 0.0,
            kl_estimator: KlEstimator::K3,
            kl_importance_correction: true,
            off_policy_threshold: None,
            top_entropy_share: 1.0,
            entropy_coef: 0.0,
            adaptive_entropy: None,
            sapo: SapoConfig::default(),
            vespo: VespoConfig::default(),
        }
    }
}

impl PolicyLossConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range, or the first that the kind has no use for.
    pub fn validate(&self, key: &str) -> Result<()> {
        check(key, &self.clip_rules())?;
        let is_number = self.off_policy_threshold.is_none_or(f64::is_finite);
        check(
            key,
            &[
                ("kl_coef", is_not_negative(self.kl_coef), NOT_NEGATIVE),
                ("off_policy_threshold", is_number, NUMBER),
                ("top_entropy_share", is_share(self.top_entropy_share), SHARE),
                ("entropy_coef", self.entropy_coef.is_finite(), NUMBER),
            ],
        )?;
        if let Some(adaptive) = &self.adaptive_entropy {
            adaptive.validate(&format!("{key}.adaptive_entropy"))?;
        }
        self.sapo.validate(&format!("{key}.sapo"))?;
        self.vespo.validate(&format!("{key}.vespo"))
    }

    fn clip_rules(&self) -> [Rule; 6] {
        let has_use = |bound: Option<f64>| bound.is_none() || self.kind.is_clipped();
        let above_one = |value: f64| value.is_finite() && value > 1.0;
        let dual = self.clip_dual.is_none_or(above_one);
        [
            ("clip_low", is_share(self.clip_low), SHARE),
            (
                "clip_high",
                self.clip_high.is_none_or(is_positive),
                POSITIVE,
            ),
            (
                "clip_delta",
                self.clip_delta.is_none_or(is_positive),
                POSITIVE,
            ),
            ("clip_delta", has_use(self.clip_delta), UNUSED),
            ("clip_dual", dual, "must be above 1"),
            ("clip_dual", has_use(self.clip_dual), UNUSED),
        ]
    }

    /// The upper clip, which unset is the lower.
    pub(super) fn clip_high(&self) -> f64 {
        self.clip_high.unwrap_or(self.clip_low)
    }
}

/// A field, whether it holds, and what would be right.
pub(super) type Rule = (&'static str, bool, &'static str);

pub(super) const POSITIVE: &str = "must be above 0";
pub(super) const NOT_NEGATIVE: &str = "must be at least 0";
pub(super) const NUMBER: &str = "must be a number";
const SHARE: &str = "must be in (0, 1]";
const UNUSED: &str = "has no meaning for this kind of loss, which does not clip";

/// Fails at the first of the rules that does not hold.
pub(super) fn check(key: &str, rules: &[Rule]) -> Result<()> {
    match rules.iter().find(|(_, holds, _)| !holds) {
        Some((field, _, problem)) => Err(Error::setting(format!("{key}.{field}"), *problem)),
        None => Ok(()),
    }
}

pub(super) fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

pub(super) fn is_not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn is_share(value: f64) -> bool {
    is_positive(value) && value <= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with the settings in `json`.
    fn problem(json: &str) -> String {
        let config: PolicyLossConfig = serde_json::from_str(json).unwrap();
        let problem = config.validate("loss").unwrap_err();
        problem.to_string()
    }

    #[test]
    fn broken_settings_are_named() {
        for (json, key) in [
            (r#"{"clip_dual": 1.0}"#, "loss.clip_dual"),
            (r#"{"kind": "cispo", "clip_dual": 3.0}"#, "loss.clip_dual"),
            (r#"{"kind": "sapo", "clip_delta": 2.0}"#, "loss.clip_delta"),
            (r#"{"sapo": {"negative": 0.0}}"#, "loss.sapo.negative"),
            (
                r#"{"vespo": {"k_positive": -1.0}}"#,
                "loss.vespo.k_positive",
            ),
            (
                r#"{"adaptive_entropy": {"min": 2.0}}"#,
                "loss.adaptive_entropy.max",
            ),
        ] {
            let problem = problem(json);
            assert!(problem.contains(&format!("`{key}`")), "{problem}");
        }
    }

    #[test]
    fn unknown_settings_of_a_kind_are_refused() {
        for json in [
            r#"{"sapo": {"temperature": 1.0}}"#,
            r#"{"vespo": {"k": 1.0}}"#,
            r#"{"adaptive_entropy": {"delta": 0.1}}"#,
            r#"{"kl_estimator": "k4"}"#,
        ] {
            assert!(
                serde_json::from_str::<PolicyLossConfig>(json).is_err(),
                "{json}"
            );
        }
    }

    #[test]
    fn defaults_are_valid_for_every_kind() {
        for kind in [
            "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo",
        ] {
            let json = format!(r#"{{"kind": "{kind}", "adaptive_entropy": {{}}}}"#);
            let config: PolicyLossConfig = serde_json::from_str(&json).unwrap();
            config.validate("loss").unwrap();
        }
    }
}
