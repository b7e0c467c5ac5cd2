//! Repetition: a penalty that grows with the share of n-grams seen before.
//!
//! `p · (1 − unique / total)` over the n-grams of a completion ("Demystifying Long Chain-of-Thought
//! Reasoning", arXiv:2502.03373, appendix C.2), 0 for one shorter than an n-gram. TRL counts n-grams of
//! tokens, open-r1 those of lower-case words between white space. Departure: no word segmentation of
//! Chinese, which open-r1 leaves to a dictionary; tokens serve every language.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Attempt, Reward};
use crate::error::{Error, Result};

/// Largest n-gram: each of a completion's tokens is read as often.
const MAX_NGRAM: usize = 64;

/// What an n-gram is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepetitionUnit {
    /// Tokens, the end token included, as TRL.
    #[default]
    Tokens,
    /// Lower-case words between white space, as open-r1.
    Words,
}

/// Settings of [`Repetition`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepetitionConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// What an n-gram is made of.
    #[serde(default)]
    pub unit: RepetitionUnit,
    /// Length of an n-gram, 1 to 64. TRL's is 3.
    #[serde(default = "three")]
    pub ngram: usize,
    /// What a completion of nothing but repetition comes near to, 0 or below. TRL's is -1.0.
    #[serde(default = "minus_one")]
    pub max_penalty: f64,
}

/// The repetition reward, `max_penalty` to 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repetition {
    unit: RepetitionUnit,
    ngram: usize,
    max_penalty: f64,
}

impl Repetition {
    /// The reward of these settings.
    ///
    /// # Errors
    /// When the n-gram or the penalty is out of range.
    pub fn new(config: &RepetitionConfig) -> Result<Self> {
        let &RepetitionConfig {
            unit,
            ngram,
            max_penalty,
            ..
        } = config;
        if !(1..=MAX_NGRAM).contains(&ngram) {
            let problem = format!("is {ngram}, must be 1 to {MAX_NGRAM}");
            return Err(Error::setting("rewards.repetition.ngram", problem));
        }
        if !(max_penalty.is_finite() && max_penalty <= 0.0) {
            let problem = format!("is {max_penalty}, must be 0 or below");
            return Err(Error::setting("rewards.repetition.max_penalty", problem));
        }
        Ok(Self {
            unit,
            ngram,
            max_penalty,
        })
    }

    /// The penalty of a text or of its tokens, whichever the unit asks for.
    pub fn of(&self, completion: &str, token_ids: &[u32]) -> f64 {
        let repeated = match self.unit {
            RepetitionUnit::Tokens => repeated_share(token_ids, self.ngram),
            RepetitionUnit::Words => {
                repeated_share(&word_ids(&completion.to_lowercase()), self.ngram)
            }
        };
        // Not -0.0, which prints as a penalty.
        if repeated == 0.0 {
            return 0.0;
        }
        repeated * self.max_penalty
    }
}

impl Reward for Repetition {
    fn name(&self) -> &str {
        "repetition"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        Ok(Some(self.of(attempt.completion, attempt.token_ids)))
    }
}

/// `1 − unique / total` over the n-grams; 0 when there are none.
fn repeated_share(ids: &[u32], ngram: usize) -> f64 {
    let ngrams = ids.windows(ngram);
    let total = ngrams.len();
    let unique = ngrams.collect::<HashSet<_>>().len();
    if total == 0 {
        0.0
    } else {
        1.0 - unique as f64 / total as f64
    }
}

/// A number for each word, the same for the same word.
fn word_ids(text: &str) -> Vec<u32> {
    let mut ids = HashMap::new();
    let mut number = |word| {
        let next = ids.len() as u32;
        *ids.entry(word).or_insert(next)
    };
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.map(&mut number).collect()
}

/// White space as Python sees it: Unicode's and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn one() -> f64 {
    1.0
}

fn three() -> usize {
    3
}

fn minus_one() -> f64 {
    -1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repetition(settings: &str) -> Result<Repetition> {
        Repetition::new(&toml::from_str(settings).unwrap())
    }

    #[test]
    fn penalty_is_the_share_of_tokens_seen_before() {
        let of = |settings: &str, ids: &[u32]| repetition(settings).unwrap().of("", ids);
        // 5 5 5 5: one 3-gram, twice.
        assert_eq!(of("", &[5, 5, 5, 5]), -0.5);
        // 9 8 9 8: bigrams 98 89 98, two of three unique.
        let half = "ngram = 2\nmax_penalty = -0.5";
        assert!((of(half, &[9, 8, 9, 8]) + 0.5 / 3.0).abs() < 1e-15);
        assert_eq!(of("", &[1, 2, 3, 4]), 0.0);
        assert!(of("", &[1, 2, 3, 4]).is_sign_positive());
        assert_eq!(of("", &[1, 1]), 0.0);
        assert_eq!(of("", &[]), 0.0);
    }

    #[test]
    fn words_are_compared_in_lower_case() {
        let words = repetition("unit = \"words\"\nngram = 1").unwrap();
        // a a b: two of three unique.
        assert!((words.of(" A  a\tb ", &[1, 2, 3]) + 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(words.of("", &[7, 7, 7]), 0.0);
    }

    #[test]
    fn setting_out_of_range_is_named() {
        for (settings, key) in [
            ("ngram = 0", "`rewards.repetition.ngram`"),
            ("ngram = 65", "`rewards.repetition.ngram`"),
            ("max_penalty = 0.1", "`rewards.repetition.max_penalty`"),
            ("max_penalty = -inf", "`rewards.repetition.max_penalty`"),
        ] {
            let message = repetition(settings).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
    }

    #[test]
    fn long_completion_is_counted_quickly() {
        let ids: Vec<u32> = (0..200_000).map(|i| i % 7).collect();
        let score = repetition("ngram = 64").unwrap().of("", &ids);
        assert!(score < -0.999, "{score}");
    }
}
