//! Settings of a DPO stage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::loss::PreferenceLossConfig;
use super::{Batching, OptimConfig};
use crate::error::{Error, Result};
use crate::model::LoraConfig;

/// Settings of a DPO stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpoConfig {
    /// The stage's name; unset is `dpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The stage whose model is trained, or `model` for the run's first; unset is the nearest earlier
    /// stage that makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The preferences, JSON Lines of `{"prompt", "chosen", "rejected"}`.
    pub data: PathBuf,
    /// Passes over the preferences.
    #[serde(default = "default_epochs")]
    pub epochs: usize,
    /// Pairs a step. The paper takes 64.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Longest prompt with one answer in tokens; longer answers are cut, and pairs without room for
    /// an answer are left out.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Trains a low-rank adapter in place of all weights; unset trains all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The loss.
    #[serde(default)]
    pub loss: PreferenceLossConfig,
    /// The optimiser. The paper takes a learning rate of 1e-6.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Micro-batches; a pair is two sequences.
    #[serde(default)]
    pub batching: Batching,
}

fn default_epochs() -> usize {
    1
}

fn default_batch() -> usize {
    64
}

fn default_max_tokens() -> usize {
    1024
}

impl DpoConfig {
    /// Checks the ranges; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let counts = [
            ("epochs", self.epochs, 1),
            ("batch", self.batch, 1),
            ("max_tokens", self.max_tokens, 2),
        ];
        if let Some((name, _, least)) = counts.into_iter().find(|(_, value, least)| value < least) {
            let problem = format!("must be at least {least}");
            return Err(Error::setting(format!("{key}.{name}"), problem));
        }
        if !self.batching.micro_batch.is_multiple_of(2) {
            let problem = "must be even: the two sequences of a pair stay together";
            return Err(Error::setting(
                format!("{key}.batching.micro_batch"),
                problem,
            ));
        }
        if let Some(lora) = &self.lora {
            lora.validate(&format!("{key}.lora"))?;
        }
        self.loss.validate(&format!("{key}.loss"))?;
        self.optim.validate(&format!("{key}.optim"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_papers_and_faults_are_named() {
        let read = |text: &str| -> DpoConfig { toml::from_str(text).unwrap() };
        let config = read("data = 'pairs.jsonl'");
        assert_eq!((config.batch, config.loss.beta), (64, 0.1));
        assert!(config.validate("stage.dpo").is_ok());
        for (line, key) in [
            ("batch = 0", "batch"),
            ("batching = { micro_batch = 3 }", "batching.micro_batch"),
            ("loss = { beta = -1.0 }", "loss.beta"),
            ("optim = { lr = -1.0 }", "optim.lr"),
        ] {
            let config = read(&format!("data = 'pairs.jsonl'\n{line}"));
            let error = config.validate("stage.dpo").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`stage.dpo.{key}`: ")),
                "{error}"
            );
        }
    }
}
