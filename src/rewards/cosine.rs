//! Cosine: right or wrong, scaled by length along half a cosine.
//!
//! With progress `p = min(length / max_length, 1)` the score is `low + ½ (high − low)(1 + cos πp)`: a right
//! completion falls from `max_right` to `min_right` as it grows, a wrong one rises from `min_wrong` to
//! `max_wrong` ("Demystifying Long Chain-of-Thought Reasoning", arXiv:2502.03373, appendix C.1). TRL
//! counts tokens. open-r1 counts characters, holds no score past `max_length` but follows the cosine up
//! again, and gives 1 to a problem without a reference: `unit = "characters"`, `hold = false`,
//! `unjudged = 1.0`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{Accuracy, AnswerSource, Attempt, LengthUnit, Reward};
use crate::error::{Error, Result};

/// Settings of [`Cosine`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// Length at which the score has come all the way. open-r1's is 1,000 characters.
    pub max_length: usize,
    /// What length is counted in.
    #[serde(default)]
    pub unit: LengthUnit,
    /// Where the answer stands in the completion.
    #[serde(default)]
    pub answer: AnswerSource,
    /// Score of a wrong completion of no length. TRL's and open-r1's is -1.0.
    #[serde(default = "minus_one")]
    pub min_wrong: f64,
    /// Score of a wrong completion of `max_length`. TRL's and open-r1's is -0.5.
    #[serde(default = "minus_half")]
    pub max_wrong: f64,
    /// Score of a right completion of `max_length`. TRL's and open-r1's is 0.5.
    #[serde(default = "half")]
    pub min_right: f64,
    /// Score of a right completion of no length. TRL's and open-r1's is 1.0.
    #[serde(default = "one")]
    pub max_right: f64,
    /// Whether a completion longer than `max_length` scores as one of `max_length`. open-r1's does not,
    /// and pays for the longest again.
    #[serde(default = "yes")]
    pub hold: bool,
    /// Score for a problem without a reference; unset gives none, as TRL. open-r1's is 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<f64>,
}

/// The cosine reward.
#[derive(Clone)]
pub struct Cosine {
    accuracy: Accuracy,
    config: CosineConfig,
}

impl Cosine {
    /// The reward of these settings; `accuracy` tells right from wrong.
    ///
    /// # Errors
    /// When the length is 0 or a score is not finite.
    pub fn new(config: &CosineConfig, accuracy: Accuracy) -> Result<Self> {
        if config.max_length == 0 {
            let problem = "is 0, must be at least 1";
            return Err(Error::setting("rewards.cosine.max_length", problem));
        }
        for (name, score) in [
            ("min_wrong", config.min_wrong),
            ("max_wrong", config.max_wrong),
            ("min_right", config.min_right),
            ("max_right", config.max_right),
            ("unjudged", config.unjudged.unwrap_or(0.0)),
        ] {
            if !score.is_finite() {
                let problem = format!("is {score}, must be finite");
                return Err(Error::setting(format!("rewards.cosine.{name}"), problem));
            }
        }
        Ok(Self {
            accuracy,
            config: *config,
        })
    }

    /// The reward of a completion of `length`.
    pub fn of(&self, is_right: bool, length: usize) -> f64 {
        let config = &self.config;
        let mut progress = length as f64 / config.max_length as f64;
        if config.hold {
            progress = progress.min(1.0);
        }
        let (at_end, at_start) = match is_right {
            true => (config.min_right, config.max_right),
            false => (config.max_wrong, config.min_wrong),
        };
        at_end + 0.5 * (at_start - at_end) * (1.0 + (progress * PI).cos())
    }
}

impl Reward for Cosine {
    fn name(&self) -> &str {
        "cosine"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        Ok(match self.accuracy.score(attempt)? {
            Some(accuracy) => Some(self.of(accuracy > 0.0, self.config.unit.of(attempt))),
            None => self.config.unjudged,
        })
    }
}

fn one() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

fn minus_half() -> f64 {
    -0.5
}

fn minus_one() -> f64 {
    -1.0
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::data::{Problem, Prompt};

    fn cosine(settings: &str) -> Result<Cosine> {
        let config = toml::from_str(&format!("max_length = 100\n{settings}")).unwrap();
        Cosine::new(&config, Accuracy::new(AnswerSource::Text, None))
    }

    /// The scores at these lengths, to nine digits.
    fn along(reward: &Cosine, is_right: bool, lengths: [usize; 4]) -> [f64; 4] {
        lengths.map(|length| (reward.of(is_right, length) * 1e9).round() / 1e9)
    }

    #[test]
    fn right_falls_and_wrong_rises_with_length() {
        let reward = cosine("").unwrap();
        assert_eq!(
            along(&reward, true, [0, 50, 100, 200]),
            [1.0, 0.75, 0.5, 0.5]
        );
        let wrong = along(&reward, false, [0, 50, 100, 200]);
        assert_eq!(wrong, [-1.0, -0.75, -0.5, -0.5]);
    }

    #[test]
    fn without_hold_the_cosine_comes_back() {
        let reward = cosine("hold = false").unwrap();
        assert_eq!(
            along(&reward, true, [100, 150, 200, 300]),
            [0.5, 0.75, 1.0, 0.5]
        );
    }

    #[test]
    fn answer_decides_which_half_and_no_reference_gives_what_is_set() {
        let score = |settings: &str, answer: Value| {
            let problem = Problem {
                prompt: Prompt::Text("?".into()),
                answer,
                level: None,
                language: None,
                part: None,
            };
            let attempt = Attempt {
                problem: &problem,
                completion: "7",
                token_ids: &[0; 100],
                finished: true,
            };
            cosine(settings).unwrap().score(&attempt).unwrap()
        };
        assert_eq!(score("", json!("7")), Some(0.5));
        assert_eq!(score("", json!("8")), Some(-0.5));
        assert_eq!(score("", Value::Null), None);
        assert_eq!(score("unjudged = 1.0", Value::Null), Some(1.0));
        // One character of 100: ½ + ¼ (1 + cos 0.01π).
        let one = score("unit = \"characters\"", json!("7")).unwrap();
        assert!((one - 0.999_876_640_091_433).abs() < 1e-12, "{one}");
    }

    #[test]
    fn setting_out_of_range_is_named() {
        let message = cosine("min_wrong = nan").err().unwrap().to_string();
        assert!(message.contains("`rewards.cosine.min_wrong`"), "{message}");
    }
}
