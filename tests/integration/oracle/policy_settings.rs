//! TRL's settings of the policy loss and what this crate calls them.

use emberl::train::loss::{PolicyLoss, PolicyLossConfig, PolicyLossKind, RatioLevel};
use serde::Deserialize;
use serde_json::Value;

/// Settings under TRL's names; those that are not recorded have TRL's defaults.
#[derive(Clone, Deserialize)]
#[serde(default)]
pub struct PolicySettings {
    pub loss_type: String,
    pub importance_sampling_level: RatioLevel,
    pub epsilon: f64,
    pub epsilon_high: Option<f64>,
    pub delta: Option<f64>,
    pub beta: f64,
    pub use_bias_correction_kl: bool,
    pub off_policy_mask_threshold: Option<f64>,
    pub top_entropy_quantile: f64,
    pub entropy_coef: f64,
    pub max_completion_length: usize,
    pub temperature: f64,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            loss_type: "dapo".into(),
            importance_sampling_level: RatioLevel::Token,
            epsilon: 0.2,
            epsilon_high: None,
            delta: None,
            beta: 0.0,
            use_bias_correction_kl: true,
            off_policy_mask_threshold: None,
            top_entropy_quantile: 1.0,
            entropy_coef: 0.0,
            max_completion_length: 512,
            temperature: 1.0,
        }
    }
}

impl PolicySettings {
    /// The loss these settings ask for; none when this build lacks its kind.
    pub fn loss(&self) -> Option<PolicyLoss> {
        let kind = Value::String(self.loss_type.clone());
        let kind: PolicyLossKind = serde_json::from_value(kind).ok()?;
        let config = PolicyLossConfig {
            kind,
            ratio: self.importance_sampling_level,
            clip_low: self.epsilon,
            clip_high: self.epsilon_high,
            clip_delta: self.delta,
            kl_coef: self.beta,
            kl_importance_correction: self.use_bias_correction_kl,
            off_policy_threshold: self.off_policy_mask_threshold,
            top_entropy_share: self.top_entropy_quantile,
            entropy_coef: self.entropy_coef,
        };
        config
            .validate("loss")
            .expect("recorded settings are in range");
        Some(PolicyLoss {
            config,
            temperature: self.temperature,
            max_completion_tokens: self.max_completion_length,
        })
    }
}
