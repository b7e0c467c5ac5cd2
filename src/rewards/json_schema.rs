//! JSON schema: 1 for an answer that is JSON and fits the problem's schema, else 0.
//!
//! Structured output is among the weak points that DeepSeek-R1 (arXiv:2501.12948) names. The problem's
//! `answer` is the schema, of the draft that its `$schema` names or else 2020-12. Nothing outside of it
//! is read: a reference to a file or an address is an error of the schema. Expressions run in linear
//! time, so that those with look-around are errors as well.

use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_body::json_body;
use super::{AnswerSource, Attempt, Reward};
use crate::error::{Error, Result};

/// Settings of [`JsonSchema`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSchemaConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// Where the answer stands in the completion: JSON alone, or with words around a fenced block.
    #[serde(default)]
    pub answer: AnswerSource,
    /// Score of an answer that is JSON but does not fit, 0 to 1.
    #[serde(default)]
    pub misfit: f64,
    /// Whether a text must have the `format` that its schema names, such as `date`.
    #[serde(default = "yes")]
    pub check_formats: bool,
}

/// The JSON schema reward, 0 to 1; none for a problem without a schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JsonSchema {
    answer: AnswerSource,
    misfit: f64,
    check_formats: bool,
}

impl JsonSchema {
    /// The reward of these settings.
    ///
    /// # Errors
    /// When the score of a misfit is out of range.
    pub fn new(config: &JsonSchemaConfig) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.misfit) {
            let problem = format!("is {}, must be 0 to 1", config.misfit);
            return Err(Error::setting("rewards.json_schema.misfit", problem));
        }
        Ok(Self {
            answer: config.answer,
            misfit: config.misfit,
            check_formats: config.check_formats,
        })
    }

    fn judge(&self, validator: &Validator, completion: &str) -> f64 {
        let answer = self.answer.extract(completion).and_then(json_body);
        match answer {
            Some(value) if validator.is_valid(&value) => 1.0,
            Some(_) => self.misfit,
            None => 0.0,
        }
    }

    fn validator(&self, schema: &Value) -> Result<Validator> {
        jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(self.check_formats)
            .build(schema)
            .map_err(|error| self.failure(format!("the problem's schema: {error}")))
    }

    fn failure(&self, problem: String) -> Error {
        Error::Reward {
            reward: self.name().into(),
            problem,
        }
    }
}

impl Reward for JsonSchema {
    fn name(&self) -> &str {
        "json_schema"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let schema = &attempt.problem.answer;
        if schema.is_null() {
            return Ok(None);
        }
        let validator = self.validator(schema)?;
        Ok(Some(self.judge(&validator, attempt.completion)))
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

    fn score(settings: &str, schema: Value, completion: &str) -> Result<Option<f64>> {
        let problem = Problem {
            prompt: Prompt::Text("?".into()),
            answer: schema,
            level: None,
            language: None,
            part: None,
        };
        JsonSchema::new(&toml::from_str(settings).unwrap())?.score(&Attempt {
            problem: &problem,
            completion,
            token_ids: &[],
            finished: true,
        })
    }

    fn person() -> Value {
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Z]"},
                "born": {"type": "string", "format": "date"},
            },
            "required": ["name"],
            "additionalProperties": false,
        })
    }

    #[test]
    fn answer_that_fits_scores_1() {
        let score = |answer: &str| {
            let completion = format!("<think>{{}}</think><answer>{answer}</answer>");
            score("misfit = 0.25", person(), &completion).unwrap()
        };
        assert_eq!(score(r#"{"name": "Ada", "born": "1815-12-10"}"#), Some(1.0));
        assert_eq!(score("```json\n{\"name\": \"Ada\"}\n```"), Some(1.0));
        assert_eq!(score(r#"{"name": "ada"}"#), Some(0.25));
        assert_eq!(
            score(r#"{"name": "Ada", "born": "10.12.1815"}"#),
            Some(0.25)
        );
        assert_eq!(score(r#"{"name": "Ada", "age": 36}"#), Some(0.25));
        assert_eq!(score("Ada"), Some(0.0));
    }

    #[test]
    fn answer_stands_where_the_setting_says() {
        let text = |settings: &str| {
            let completion = "<think>x</think>{\"name\": \"Ada\"}";
            score(settings, person(), completion).unwrap()
        };
        assert_eq!(text(""), Some(0.0));
        assert_eq!(text("answer = \"text\""), Some(1.0));
    }

    #[test]
    fn formats_are_checked_unless_told_not_to() {
        let answer = r#"<answer>{"name": "Ada", "born": "?"}</answer>"#;
        assert_eq!(score("", person(), answer).unwrap(), Some(0.0));
        let found = score("check_formats = false", person(), answer);
        assert_eq!(found.unwrap(), Some(1.0));
    }

    #[test]
    fn problem_without_schema_has_no_score() {
        assert_eq!(score("", Value::Null, "<answer>1</answer>").unwrap(), None);
    }

    #[test]
    fn schema_that_cannot_be_used_is_an_error_of_the_reward() {
        for schema in [
            json!("object"),
            json!({"type": "objekt"}),
            json!({"$ref": "http://127.0.0.1:9/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$schema": "http://127.0.0.1:9/schema.json"}),
            json!({"pattern": "(?=a)a"}),
        ] {
            let found = score("", schema.clone(), "<answer>1</answer>");
            let message = found
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            let beginning = "reward `json_schema`: the problem's schema: ";
            assert!(message.starts_with(beginning), "{schema}: {message}");
        }
    }

    #[test]
    fn schema_and_answer_that_recur_end() {
        let nested = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        let answer = format!("<answer>{nested}</answer>");
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"items": {"$ref": "#"}}),
        ] {
            assert_eq!(score("", schema, &answer).unwrap(), Some(1.0));
        }
        let branching = json!({
            "anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}],
            "type": "array",
        });
        assert_eq!(score("", branching, &answer).unwrap(), Some(0.0));
    }

    #[test]
    fn expression_that_backtracks_elsewhere_is_linear() {
        let answer = format!("<answer>\"{}!\"</answer>", "a".repeat(60_000));
        let found = score("", json!({"pattern": "^(a+)+$"}), &answer);
        assert_eq!(found.unwrap(), Some(0.0));
    }

    #[test]
    fn setting_out_of_range_is_named() {
        let message = score("misfit = 2", person(), "").unwrap_err().to_string();
        assert!(
            message.contains("`rewards.json_schema.misfit`"),
            "{message}"
        );
    }
}
