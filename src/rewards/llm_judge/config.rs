//! Settings of a judge.

use serde::{Deserialize, Serialize};

use super::endpoint::is_web_address;
use crate::error::{Error, Result};
use crate::rewards::ScoredPart;

/// Longest wait for a response, in seconds.
const MAX_TIMEOUT_SECONDS: f64 = 3600.0;

/// Most of what is counted in the settings.
const MOST: usize = 1024;

/// Settings of a judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmJudgeConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// The service's address, as `https://host/v1`; `/chat/completions` is put after it if it is not
    /// there.
    pub url: String,
    /// The model that the service is asked for.
    pub model: String,
    /// The environment variable that holds the key of the service; unset sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// What the judge is asked, with places `{question}`, `{reference}` and `{answer}`. Its reply must
    /// hold a JSON object with `correctness`: `"correct"`, `"incorrect"` or a number in [0, 1]. Unset
    /// asks whether the answer says what the reference says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Which part of a completion is judged: `answer`, what is left without the thinking, or
    /// `response`, all.
    #[serde(default = "default_scores")]
    pub scores: ScoredPart,
    /// Most tokens of a reply.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Seconds until a request is given up.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: f64,
    /// Times that a request is made while the service does not answer, or says that it is busy.
    #[serde(default = "default_attempts")]
    pub attempts: usize,
    /// Seconds between the first two attempts; each further wait is twice as long, at most 60. A wait
    /// that the service asks for comes first.
    #[serde(default = "one")]
    pub backoff_seconds: f64,
    /// Requests under way at once.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
}

fn one() -> f64 {
    1.0
}

fn default_scores() -> ScoredPart {
    ScoredPart::Answer
}

fn default_max_tokens() -> usize {
    1024
}

fn default_timeout() -> f64 {
    60.0
}

fn default_attempts() -> usize {
    5
}

fn default_concurrency() -> usize {
    8
}

/// The dotted key of a setting of the reward `name`.
pub(super) fn key(name: &str, field: &str) -> String {
    format!("rewards.{name}.{field}")
}

impl LlmJudgeConfig {
    /// Checks the ranges; the reward is called `name`.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub(super) fn validate(&self, name: &str) -> Result<()> {
        let fault = |field: &str, problem: &str| Err(Error::setting(key(name, field), problem));
        if !is_web_address(&self.url) {
            return fault("url", "must be an address such as `https://host/v1`");
        }
        let is_within =
            |seconds: f64, most: f64| seconds.is_finite() && (0.0..=most).contains(&seconds);
        if !is_within(self.timeout_seconds, MAX_TIMEOUT_SECONDS) || self.timeout_seconds == 0.0 {
            return fault("timeout_seconds", "must be above 0, at most 3600");
        }
        if !is_within(self.backoff_seconds, MAX_TIMEOUT_SECONDS) {
            return fault("backoff_seconds", "must be in [0, 3600]");
        }
        for (field, value) in [
            ("attempts", self.attempts),
            ("concurrency", self.concurrency),
        ] {
            if !(1..=MOST).contains(&value) {
                return fault(field, &format!("must be in [1, {MOST}]"));
            }
        }
        match self.max_tokens {
            0 => fault("max_tokens", "must be at least 1"),
            _ => Ok(()),
        }
    }
}
