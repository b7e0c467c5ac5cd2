//! How a model is evaluated.

use std::iter::once;

use serde::{Deserialize, Serialize};

use super::WinRateConfig;
use crate::error::{Error, Result};
use crate::generation::SamplingParams;
use crate::rewards::FormatStyle;

/// Most worked examples before a question.
const MOST_SHOTS: usize = 64;

/// How a model is evaluated. The default is the paper's: temperature 0.6, top-p 0.95, zero-shot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Held-out problems.
    pub problems: usize,
    /// Samples of each problem, the `k` of pass@k and cons@k. The paper takes 64 on AIME and GPQA,
    /// 16 on MATH and Codeforces, 8 on LiveCodeBench: the fewer problems, the more samples.
    pub samples: usize,
    /// How completions are sampled.
    pub sampling: SamplingParams,
    /// Worked examples before each question, 0 to 64: problems of the task's training side with
    /// right completions, the same before every question. The paper asks without (0): R1 does
    /// worse with examples.
    pub shots: usize,
    /// Other numbers of worked examples with which all is asked once more, reported beside `shots`.
    pub also_shots: Vec<usize>,
    /// The shape that counts as well formed.
    pub format: FormatStyle,
    /// Evaluates the language model of every stage of a recipe, beside those that enter and leave
    /// reinforcement learning.
    pub each_stage: bool,
    /// Models of a recipe that are compared with each other on the held-out problems.
    #[serde(rename = "win_rate", skip_serializing_if = "Vec::is_empty")]
    pub win_rates: Vec<WinRateConfig>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            problems: 100,
            samples: 16,
            sampling: SamplingParams {
                temperature: 0.6,
                top_p: 0.95,
                ..SamplingParams::default()
            },
            shots: 0,
            also_shots: Vec::new(),
            format: FormatStyle::default(),
            each_stage: false,
            win_rates: Vec::new(),
        }
    }
}

impl EvalConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        for (name, value) in [("problems", self.problems), ("samples", self.samples)] {
            if value == 0 {
                return Err(Error::setting(
                    format!("{key}.{name}"),
                    "must be at least 1",
                ));
            }
        }
        check_shots(&format!("{key}.shots"), self.shots)?;
        for (index, shots) in self.also_shots.iter().enumerate() {
            let key = format!("{key}.also_shots");
            check_shots(&key, *shots)?;
            if *shots == self.shots || self.also_shots[..index].contains(shots) {
                let problem = format!("names {shots} twice, `shots` included; expected each once");
                return Err(Error::setting(key, problem));
            }
        }
        self.sampling.validate(&format!("{key}.sampling"))
    }

    /// Whether models are evaluated beside those that enter and leave reinforcement learning.
    pub fn evaluates_stages(&self) -> bool {
        self.each_stage || !self.win_rates.is_empty()
    }

    /// Every number of worked examples that is asked with, `shots` first.
    pub fn all_shots(&self) -> impl Iterator<Item = usize> {
        once(self.shots).chain(self.also_shots.iter().copied())
    }

    /// The largest number of worked examples that is asked with.
    pub fn most_shots(&self) -> usize {
        self.all_shots().max().unwrap_or(self.shots)
    }

    /// Completions of a whole evaluation, over all numbers of worked examples.
    pub fn completions(&self) -> usize {
        self.problems * self.samples * self.all_shots().count()
    }
}

fn check_shots(key: &str, shots: usize) -> Result<()> {
    match shots {
        0..=MOST_SHOTS => Ok(()),
        _ => {
            let problem = format!("is {shots}, expected 0 to {MOST_SHOTS}");
            Err(Error::setting(key, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(shots: usize, also_shots: &[usize]) -> String {
        let config = EvalConfig {
            shots,
            also_shots: also_shots.to_vec(),
            ..EvalConfig::default()
        };
        config.validate("eval").unwrap_err().to_string()
    }

    #[test]
    fn default_is_the_papers_zero_shot() {
        let config = EvalConfig::default();
        assert_eq!(config.all_shots().collect::<Vec<_>>(), [0]);
        assert_eq!(config.completions(), 1600);
        config.validate("eval").unwrap();
    }

    #[test]
    fn completions_are_of_all_numbers_of_examples() {
        let config = EvalConfig {
            problems: 5,
            samples: 2,
            also_shots: vec![4, 1],
            ..EvalConfig::default()
        };
        config.validate("eval").unwrap();
        assert_eq!((config.completions(), config.most_shots()), (30, 4));
    }

    #[test]
    fn numbers_of_examples_that_are_too_large_or_twice_are_refused_by_name() {
        assert_eq!(complaint(65, &[]), "`eval.shots`: is 65, expected 0 to 64");
        let large = "`eval.also_shots`: is 99, expected 0 to 64";
        assert_eq!(complaint(0, &[2, 99]), large);
        for also_shots in [[0, 2], [2, 2]] {
            let message = complaint(0, &also_shots);
            assert!(
                message.starts_with("`eval.also_shots`: names "),
                "{message}"
            );
        }
    }
}
