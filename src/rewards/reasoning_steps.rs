//! Reasoning steps: full marks for three signs of step-by-step reasoning, a share of them below.
//!
//! open-r1's `reasoning_steps`: `min(1, n / 3)` with `n` the matches of
//! `(Step \d+:|^\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,)`, where `^` is the start of the text only.
//! It pays for the look of reasoning: a list of dashes earns it all.

use std::sync::LazyLock;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Attempt, Reward};
use crate::error::{Error, Result};

/// Without look-around or back-references, so that it is matched in linear time.
static FIRST_NUMBER: LazyLock<Regex> = LazyLock::new(|| signs(""));
static EVERY_NUMBER: LazyLock<Regex> = LazyLock::new(|| signs("(?m)"));

/// Settings of [`ReasoningSteps`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasoningStepsConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// Steps that earn full marks. open-r1's is 3.
    #[serde(default = "three")]
    pub steps: usize,
    /// Whether a number and a dot count at the start of every line; open-r1 counts them at the start
    /// of the text alone.
    #[serde(default)]
    pub every_line: bool,
}

/// The reasoning steps reward, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasoningSteps {
    steps: usize,
    every_line: bool,
}

impl ReasoningSteps {
    /// The reward of these settings.
    ///
    /// # Errors
    /// When no steps are asked for.
    pub fn new(config: &ReasoningStepsConfig) -> Result<Self> {
        if config.steps == 0 {
            let problem = "is 0, must be at least 1";
            return Err(Error::setting("rewards.reasoning_steps.steps", problem));
        }
        Ok(Self {
            steps: config.steps,
            every_line: config.every_line,
        })
    }

    /// The reward of `completion`.
    pub fn of(&self, completion: &str) -> f64 {
        let signs = if self.every_line {
            &EVERY_NUMBER
        } else {
            &FIRST_NUMBER
        };
        let found = signs.find_iter(completion).take(self.steps).count();
        found as f64 / self.steps as f64
    }
}

impl Reward for ReasoningSteps {
    fn name(&self) -> &str {
        "reasoning_steps"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        Ok(Some(self.of(attempt.completion)))
    }
}

fn signs(flags: &str) -> Regex {
    let pattern = r"Step \d+:|^\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,";
    Regex::new(&format!("{flags}{pattern}")).expect("the expression is valid")
}

fn one() -> f64 {
    1.0
}

fn three() -> usize {
    3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(settings: &str, completion: &str) -> f64 {
        let config: ReasoningStepsConfig = toml::from_str(settings).unwrap();
        ReasoningSteps::new(&config).unwrap().of(completion)
    }

    #[test]
    fn third_step_earns_full_marks() {
        assert_eq!(score("", ""), 0.0);
        assert_eq!(score("", "Step 1: a"), 1.0 / 3.0);
        assert_eq!(score("", "Step 1: a\nNext, b"), 2.0 / 3.0);
        assert_eq!(score("", "First, a\n- b\n* c\n- d"), 1.0);
        assert_eq!(score("", "step 1: a first, b"), 0.0);
        assert_eq!(score("steps = 4", "\n-\n-\n-"), 0.75);
    }

    #[test]
    fn numbers_count_at_the_start_of_the_text_or_of_every_line() {
        let list = "1. a\n2. b\n3. c";
        assert_eq!(score("", list), 1.0 / 3.0);
        assert_eq!(score("every_line = true", list), 1.0);
    }

    #[test]
    fn long_text_of_near_misses_is_searched_quickly() {
        assert_eq!(score("", &"Step 1".repeat(200_000)), 0.0);
        assert_eq!(score("", &format!("Step {}", "1".repeat(1_000_000))), 0.0);
    }

    #[test]
    fn no_steps_are_refused() {
        let config = toml::from_str("steps = 0").unwrap();
        assert!(ReasoningSteps::new(&config).is_err());
    }
}
