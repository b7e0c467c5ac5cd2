//! Rewards as a recipe names them.

use serde::{Deserialize, Serialize};

use super::{
    Accuracy, AnswerSource, Code, CodeConfig, CodeFormat, CodeFormatConfig, Cosine, CosineConfig,
    Format, FormatStyle, JsonSchema, JsonSchemaConfig, LanguageConsistency,
    LanguageConsistencyConfig, Length, LengthConfig, LlmJudge, LlmJudgeConfig, Math, ModelReward,
    ModelRewardConfig, ReasoningSteps, ReasoningStepsConfig, Repetition, RepetitionConfig, Reward,
    RewardConfig, RewardContext, Rubric, SoftOverlong, TagCount, ToolCall, ToolCallConfig,
};
use crate::error::{Error, Result};

/// A reward and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardKind {
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
    /// The share of the reasoning's words that are in the target language (R1).
    LanguageConsistency(LanguageConsistencyConfig),
    /// A quarter for each of four tags on a line of its own (open-r1).
    TagCount {
        /// Factor in the sum of rewards.
        #[serde(default = "one")]
        weight: f64,
    },
    /// Up to 1 for signs of step-by-step reasoning (open-r1).
    ReasoningSteps(ReasoningStepsConfig),
    /// 1 for the think+answer shape with a code block in the answer, else 0 (open-r1).
    CodeFormat(CodeFormatConfig),
    /// From 0 down to a penalty for repeated n-grams (TRL, open-r1).
    Repetition(RepetitionConfig),
    /// 0.5 to -0.5 for short and long completions of a group (Kimi k1.5).
    Length(LengthConfig),
    /// Right or wrong, scaled by length along half a cosine (TRL, open-r1).
    Cosine(CosineConfig),
    /// 1 for an answer that fits the problem's JSON schema.
    JsonSchema(JsonSchemaConfig),
    /// 1 for the expected tool calls.
    ToolCall(ToolCallConfig),
    /// 1 for a Python program that passes the problem's tests, run in a sandbox.
    Code(CodeConfig),
    /// The score of a trained reward model (R1).
    RewardModel(ModelRewardConfig),
    /// The verdict of a language model that is asked over HTTP (R1).
    LlmJudge(LlmJudgeConfig),
}

impl RewardKind {
    /// Factor in the sum of rewards.
    pub fn weight(&self) -> f64 {
        match self {
            Self::Accuracy { weight, .. }
            | Self::Format { weight, .. }
            | Self::Math { weight, .. }
            | Self::SoftOverlong { weight, .. }
            | Self::TagCount { weight } => *weight,
            Self::LanguageConsistency(config) => config.weight,
            Self::ReasoningSteps(config) => config.weight,
            Self::CodeFormat(config) => config.weight,
            Self::Repetition(config) => config.weight,
            Self::Length(config) => config.weight,
            Self::Cosine(config) => config.weight,
            Self::JsonSchema(config) => config.weight,
            Self::ToolCall(config) => config.weight,
            Self::Code(config) => config.weight,
            Self::RewardModel(config) => config.weight,
            Self::LlmJudge(config) => config.weight,
        }
    }

    /// Where the answer stands that this reward judges right or wrong, if it does.
    pub fn answer_source(&self) -> Option<AnswerSource> {
        match self {
            Self::Accuracy { answer, .. } => Some(*answer),
            _ => None,
        }
    }

    /// The kind as recipes name it, the reward's name unless it is given another.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accuracy { .. } => "accuracy",
            Self::Format { .. } => "format",
            Self::Math { .. } => "math",
            Self::SoftOverlong { .. } => "soft_overlong",
            Self::LanguageConsistency(_) => "language_consistency",
            Self::TagCount { .. } => "tag_count",
            Self::ReasoningSteps(_) => "reasoning_steps",
            Self::CodeFormat(_) => "code_format",
            Self::Repetition(_) => "repetition",
            Self::Length(_) => "length",
            Self::Cosine(_) => "cosine",
            Self::JsonSchema(_) => "json_schema",
            Self::ToolCall(_) => "tool_call",
            Self::Code(_) => "code",
            Self::RewardModel(_) => "reward_model",
            Self::LlmJudge(_) => "llm_judge",
        }
    }

    /// Builds the reward `name` with what it needs of `context`.
    ///
    /// # Errors
    /// When a setting is out of range, its key is named, and when a model cannot be loaded.
    pub fn build(&self, name: &str, context: &RewardContext<'_>) -> Result<Box<dyn Reward>> {
        let accuracy = |answer| Accuracy::new(answer, context.verifier.clone());
        Ok(match self {
            Self::Accuracy { answer, .. } => Box::new(accuracy(*answer)),
            Self::Format { style, .. } => Box::new(Format::new(*style)),
            Self::Math {
                after_think, words, ..
            } => Box::new(Math::new(*after_think, *words)),
            Self::SoftOverlong {
                max_tokens,
                buffer_tokens,
                ..
            } => Box::new(SoftOverlong::new(*max_tokens, *buffer_tokens)?),
            Self::LanguageConsistency(config) => {
                Box::new(LanguageConsistency::new(config.language))
            }
            Self::TagCount { .. } => Box::new(TagCount),
            Self::ReasoningSteps(config) => Box::new(ReasoningSteps::new(config)?),
            Self::CodeFormat(config) => Box::new(CodeFormat::new(&config.language)?),
            Self::Repetition(config) => Box::new(Repetition::new(config)?),
            Self::Length(config) => Box::new(Length::new(config, accuracy(config.answer))),
            Self::Cosine(config) => Box::new(Cosine::new(config, accuracy(config.answer))?),
            Self::JsonSchema(config) => Box::new(JsonSchema::new(config)?),
            Self::ToolCall(config) => Box::new(ToolCall::new(config)),
            Self::Code(config) => Box::new(Code::new(config)?),
            Self::RewardModel(config) => Box::new(ModelReward::new(name, config, context)?),
            Self::LlmJudge(config) => Box::new(LlmJudge::new(name, config, context)?),
        })
    }
}

impl Rubric {
    /// The rubric of `configs`, with what the rewards need of `context`.
    ///
    /// # Errors
    /// When there are no rewards, two of one name, a weight that is not finite, a setting that is out
    /// of range, or a model that cannot be loaded.
    pub fn build(configs: &[RewardConfig], context: &RewardContext<'_>) -> Result<Self> {
        if configs.is_empty() {
            return Err(Error::setting(
                "rewards",
                "no rewards, expected at least one",
            ));
        }
        let mut rubric = Self::default();
        for config in configs {
            let reward = config.build(context)?;
            rubric.push(config.name(), config.weight(), config.from_step, reward)?;
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
        let rubric = Rubric::build(&configs, &RewardContext::default()).unwrap();
        assert_eq!(rubric.names(), ["accuracy", "format"]);
        assert_eq!(rubric.weights(), [1.0, 0.2]);
        let graded = rubric.grade(&Attempt {
            problem: &Problem {
                prompt: Prompt::Text("70+91=?".into()),
                answer: json!("161"),
                level: None,
                language: None,
                part: None,
            },
            completion: "<think>7+9=16, 0+1=1</think><answer>161</answer>",
            token_ids: &[0; 23],
            finished: true,
        });
        assert_eq!(graded.total, Some(1.2));
    }

    /// Every kind once, with what it needs.
    const EVERY_KIND: &str = r#"rewards = [
        { kind = "accuracy" }, { kind = "format" }, { kind = "tag_count" },
        { kind = "soft_overlong", max_tokens = 9, buffer_tokens = 3 },
        { kind = "language_consistency", language = "en", weight = 0.5 },
        { kind = "reasoning_steps" }, { kind = "code_format" }, { kind = "repetition" },
        { kind = "length" }, { kind = "cosine", max_length = 9 },
        { kind = "json_schema" }, { kind = "tool_call", order = "any" },
    ]"#;

    #[test]
    fn every_kind_is_named_as_recipes_name_it_and_read_back() {
        let configs = parse(EVERY_KIND).unwrap();
        let rubric = Rubric::build(&configs, &RewardContext::default()).unwrap();
        let mut kinds = Vec::new();
        for config in &configs {
            let written = serde_json::to_value(config).unwrap();
            kinds.push(written["kind"].as_str().unwrap().to_string());
            assert_eq!(
                serde_json::from_value::<RewardConfig>(written).unwrap(),
                *config
            );
        }
        assert_eq!(rubric.names(), kinds);
        assert_eq!(rubric.weights()[4], 0.5);
    }

    #[test]
    fn total_leaves_out_what_does_not_apply_and_counts_what_fails() {
        let grade = |answer, completion| {
            let rubric =
                Rubric::build(&parse(EVERY_KIND).unwrap(), &RewardContext::default()).unwrap();
            rubric.grade(&Attempt {
                problem: &Problem {
                    prompt: Prompt::Text("?".into()),
                    answer,
                    level: None,
                    language: None,
                    part: None,
                },
                completion,
                token_ids: &[1, 2],
                finished: true,
            })
        };
        // Without a reference accuracy, length, cosine, json_schema and tool_call do not apply: format 1,
        // tag_count 1, language ½ · 1, the others 0.
        let completion = "<think>\nlet us think about it\n</think>\n<answer>\n1\n</answer>";
        let graded = grade(serde_json::Value::Null, completion);
        assert_eq!(graded.total, Some(2.5));
        let missing = graded.parts.iter().filter(|part| part.score.is_none());
        assert_eq!(missing.count(), 5);
        assert!(graded.errors.is_empty());
        // "161" is no schema and no call.
        let graded = grade(json!("161"), completion);
        assert_eq!(graded.errors.len(), 2);
        assert_eq!(graded.total, None);
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
            r#"rewards = [{ kind = "tag_count", steps = 3 }]"#,
            r#"rewards = [{ kind = "reasoning_steps", step = 3 }]"#,
            r#"rewards = [{ kind = "language_consistency", language = "english" }]"#,
            r#"rewards = [{ kind = "code_format", lang = "python" }]"#,
            r#"rewards = [{ kind = "repetition", unit = "letters" }]"#,
            r#"rewards = [{ kind = "length", answers = "text" }]"#,
            r#"rewards = [{ kind = "cosine" }]"#,
            r#"rewards = [{ kind = "json_schema", schema = {} }]"#,
            r#"rewards = [{ kind = "tool_call", order = "strict" }]"#,
            r#"rewards = [{ kind = "llm_judge", url = "http://h/v1", model = "m", api_key = "k" }]"#,
            r#"rewards = [{ kind = "reward_model" }]"#,
            r#"rewards = [{ kind = "reward_model", model = "m", scores = "think" }]"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn math_needs_no_settings() {
        let configs = parse("rewards = [{ kind = \"math\" }]").unwrap();
        let expected = RewardKind::Math {
            weight: 1.0,
            after_think: true,
            words: false,
        };
        assert_eq!(configs[0].kind, expected);
        assert_eq!(
            Rubric::build(&configs, &RewardContext::default())
                .unwrap()
                .names(),
            ["math"]
        );
    }

    #[test]
    fn rubric_without_rewards_is_refused() {
        assert!(Rubric::build(&[], &RewardContext::default()).is_err());
    }
}
