//! Rewards as a recipe names them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Accuracy, AnswerSource, Format, FormatStyle, Math, Reward, Rubric, SoftOverlong};
use crate::error::{Error, Result};
use crate::tasks::Task;

/// One reward of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardConfig {
    /// 1 for a right answer, 0 for a wrong one or none.
    Accuracy {
        /// Factor in the sum of rewards; R1-Zero weighs accuracy and format equally.
        #[serde(default = "one")]
        weight: f64,
        /// Where the answer stands in the completion.
        #[serde(default)]
        answer: AnswerSource,
    },
    /// 1 for a completion of the asked-for shape, else 0.
    Format {
        /// Factor in the sum of rewards; R1-Zero weighs accuracy and format equally.
        #[serde(default = "one")]
        weight: f64,
        /// The shape.
        #[serde(default)]
        style: FormatStyle,
    },
    /// 1 for an answer that has the reference's mathematical value, in whatever form it is written, else
    /// 0: LaTeX or plain, `0.5` for `\frac12`. For problems whose reference is mathematics.
    Math {
        /// Factor in the sum of rewards; R1-Zero weighs accuracy and format equally.
        #[serde(default = "one")]
        weight: f64,
        /// Whether only what follows the first `</think>`, if there is one, can hold the answer. Inside
        /// stands first the last `<answer>…</answer>`, then the last `\boxed{…}`, then what follows
        /// "final answer" or "answer", then the mathematics that comes last.
        #[serde(default = "yes")]
        after_think: bool,
        /// Whether a word in a sentence can be the answer, as in "The answer is B."; in tags, boxes and
        /// LaTeX it always can.
        #[serde(default)]
        words: bool,
    },
    /// From 0 down to -1 for a completion that comes near its most tokens or passes them (DAPO's soft
    /// overlong punishment).
    SoftOverlong {
        /// Factor in the sum of rewards; DAPO adds it to accuracy with factor 1.
        #[serde(default = "one")]
        weight: f64,
        /// Tokens from which a completion gets -1. DAPO took 20,480.
        max_tokens: usize,
        /// Tokens before `max_tokens` over which the punishment grows. DAPO took 4,096.
        buffer_tokens: usize,
    },
}

impl RewardConfig {
    /// Factor in the sum of rewards.
    pub fn weight(&self) -> f64 {
        match *self {
            Self::Accuracy { weight, .. }
            | Self::Format { weight, .. }
            | Self::Math { weight, .. }
            | Self::SoftOverlong { weight, .. } => weight,
        }
    }
}

impl Rubric {
    /// The rubric of `configs`; answers are judged by `verifier`, or without one by the problem's reference.
    ///
    /// # Errors
    /// When there are no rewards, two of one name, a weight that is not finite, or a setting that is
    /// out of range.
    pub fn build(configs: &[RewardConfig], verifier: Option<Arc<dyn Task>>) -> Result<Self> {
        if configs.is_empty() {
            return Err(Error::setting(
                "rewards",
                "no rewards, expected at least one",
            ));
        }
        let mut rubric = Self::default();
        for config in configs {
            let reward: Box<dyn Reward> = match *config {
                RewardConfig::Accuracy { answer, .. } => {
                    Box::new(Accuracy::new(answer, verifier.clone()))
                }
                RewardConfig::Format { style, .. } => Box::new(Format::new(style)),
                RewardConfig::Math {
                    after_think, words, ..
                } => Box::new(Math::new(after_think, words)),
                RewardConfig::SoftOverlong {
                    max_tokens,
                    buffer_tokens,
                    ..
                } => Box::new(SoftOverlong::new(max_tokens, buffer_tokens)?),
            };
            rubric.push(config.weight(), reward)?;
        }
        Ok(rubric)
    }
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::{Problem, Prompt};
    use crate::rewards::Attempt;

    #[derive(Deserialize)]
    struct Recipe {
        rewards: Vec<RewardConfig>,
    }

    fn parse(text: &str) -> Result<Vec<RewardConfig>, toml::de::Error> {
        toml::from_str::<Recipe>(text).map(|recipe| recipe.rewards)
    }

    #[test]
    fn rewards_of_a_recipe_grade_a_completion() {
        let configs = parse(
            r#"
            [[rewards]]
            kind = "accuracy"
            answer = "anywhere"
            [[rewards]]
            kind = "format"
            style = "think_answer_inline"
            weight = 0.2
            "#,
        )
        .unwrap();
        let rubric = Rubric::build(&configs, None).unwrap();
        assert_eq!(rubric.names(), ["accuracy", "format"]);
        assert_eq!(rubric.weights(), [1.0, 0.2]);
        let graded = rubric.grade(&Attempt {
            problem: &Problem {
                prompt: Prompt::Text("70+91=?".into()),
                answer: json!("161"),
                level: None,
                language: None,
            },
            completion: "<think>7+9=16, 0+1=1</think><answer>161</answer>",
            token_count: 23,
            finished: true,
        });
        assert_eq!(graded.total, Some(1.2));
    }

    #[test]
    fn integer_weight_is_read() {
        let configs = parse("rewards = [{ kind = \"format\", weight = 2 }]").unwrap();
        assert_eq!(configs[0].weight(), 2.0);
    }

    #[test]
    fn unknown_key_kind_or_style_is_refused() {
        for text in [
            r#"rewards = [{ kind = "format", wieght = 2 }]"#,
            r#"rewards = [{ kind = "formt" }]"#,
            r#"rewards = [{ kind = "format", style = "xml" }]"#,
            r#"rewards = [{ kind = "accuracy", style = "think" }]"#,
            r#"rewards = [{ kind = "soft_overlong", max_tokens = 100 }]"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn math_needs_no_settings() {
        let configs = parse("rewards = [{ kind = \"math\" }]").unwrap();
        let expected = RewardConfig::Math {
            weight: 1.0,
            after_think: true,
            words: false,
        };
        assert_eq!(configs, [expected]);
        assert_eq!(Rubric::build(&configs, None).unwrap().names(), ["math"]);
    }

    #[test]
    fn rubric_without_rewards_is_refused() {
        assert!(Rubric::build(&[], None).is_err());
    }
}
