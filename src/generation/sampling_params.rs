//! How the next token is chosen.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How tokens are sampled and when a completion ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the likeliest token. The paper trains at 1 and evaluates at 0.6.
    pub temperature: f64,
    /// Keep only this many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the likeliest tokens whose probabilities reach this sum, in (0, 1]; 1 keeps all.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the likeliest one, in [0, 1); 0 keeps all.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens already in the row; 1 is off.
    pub repetition_penalty: f64,
    /// Most new tokens a completion may have.
    pub max_completion_tokens: usize,
    /// Ids that end a completion besides the model's own; the id that ends it stays in it.
    pub stop_ids: Vec<u32>,
    /// Goes on past the model's end-of-text ids.
    pub ignore_eos: bool,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_completion_tokens: 512,
            stop_ids: Vec::new(),
            ignore_eos: false,
        }
    }
}

impl SamplingParams {
    /// Always the likeliest token.
    pub fn greedy(max_completion_tokens: usize) -> Self {
        Self {
            temperature: 0.0,
            max_completion_tokens,
            ..Self::default()
        }
    }

    /// Whether tokens are drawn from anything but the model's own distribution at the temperature.
    pub fn filters(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0 || self.repetition_penalty != 1.0
    }

    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let finite = |value: f64| value.is_finite() && value >= 0.0;
        let checks = [
            ("temperature", finite(self.temperature), "must be 0 or more"),
            (
                "top_p",
                self.top_p > 0.0 && self.top_p <= 1.0,
                "must be above 0 and at most 1",
            ),
            (
                "min_p",
                self.min_p >= 0.0 && self.min_p < 1.0,
                "must be at least 0 and below 1",
            ),
            (
                "repetition_penalty",
                self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0,
                "must be above 0",
            ),
            (
                "max_completion_tokens",
                self.max_completion_tokens > 0,
                "must be at least 1",
            ),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(Error::setting(format!("{key}.{field}"), problem)),
            None => Ok(()),
        }
    }
}
