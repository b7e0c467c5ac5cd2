//! TRL's settings of the policy loss and what this crate calls them.

use emberl::train::loss::{
    PolicyLoss, PolicyLossConfig, PolicyLossKind, RatioLevel, SapoConfig, VespoConfig,
};
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
    pub sapo_temperature_pos: f64,
    pub sapo_temperature_neg: f64,
    pub vespo_k_pos: f64,
    pub vespo_lambda_pos: f64,
    pub vespo_k_neg: f64,
    pub vespo_lambda_neg: f64,
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
            sapo_temperature_pos: 1.0,
            sapo_temperature_neg: 1.05,
            vespo_k_pos: 2.0,
            vespo_lambda_pos: 3.0,
            vespo_k_neg: 3.0,
            vespo_lambda_neg: 2.0,
            max_completion_length: 512,
            temperature: 1.0,
        }
    }
}

impl PolicySettings {
    /// The loss these settings ask for.
    pub fn loss(&self) -> PolicyLoss {
        let config = PolicyLossConfig {
            kind: self.kind(),
            ratio: self.importance_sampling_level,
            clip_low: self.epsilon,
            clip_high: self.epsilon_high,
            clip_delta: self.delta,
            kl_coef: self.beta,
            kl_importance_correction: self.use_bias_correction_kl,
            off_policy_threshold: self.off_policy_mask_threshold,
            top_entropy_share: self.top_entropy_quantile,
            entropy_coef: self.entropy_coef,
            sapo: SapoConfig {
                positive: self.sapo_temperature_pos,
                negative: self.sapo_temperature_neg,
            },
            vespo: VespoConfig {
                k_positive: self.vespo_k_pos,
                lambda_positive: self.vespo_lambda_pos,
                k_negative: self.vespo_k_neg,
                lambda_negative: self.vespo_lambda_neg,
            },
            ..PolicyLossConfig::default()
        };
        config
            .validate("loss")
            .expect("recorded settings are in range");
        PolicyLoss::new(config, self.temperature, self.max_completion_length)
    }

    pub fn kind(&self) -> PolicyLossKind {
        let name = Value::String(self.loss_type.clone());
        serde_json::from_value(name)
            .unwrap_or_else(|error| panic!("loss_type `{}`: {error}", self.loss_type))
    }
}
