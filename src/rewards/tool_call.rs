//! Tool calls: whether the completion calls the expected functions with the expected arguments.
//!
//! Function calling is among the weak points that DeepSeek-R1 (arXiv:2501.12948) names. Partial credit
//! follows ToolRL (arXiv:2504.13958), whose correctness adds name, argument names and
//! argument values over the best pairing of calls. Departures: each pair's credit is scaled to 0..1, a
//! pair needs the same name, and the sum is divided by the larger number of calls, so that calling every
//! tool does not pay.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::alignment::{best_in_any_order, best_in_order};
use super::json_body::json_body;
use super::{AnswerSource, Attempt, Reward};
use crate::error::{Error, Result};

/// Most calls of a completion that are looked at; more score 0.
const MAX_CALLS: usize = 64;

/// Whether calls must come in the expected order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOrder {
    /// In the order of the reference.
    #[default]
    Kept,
    /// In any order, as for calls that run side by side.
    Any,
}

/// What calls that are not all as expected earn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolCallCredit {
    /// Nothing.
    #[default]
    Exact,
    /// With the best pairing of calls, the sum of the pairs' credits over the larger number of calls. A
    /// pair of the same name earns 1 for it, the shared part of its argument names (Jaccard) and 1 for
    /// each expected argument of equal value, over what an equal call earns.
    Partial,
}

/// Settings of [`ToolCall`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCallConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether calls must come in the expected order.
    #[serde(default)]
    pub order: CallOrder,
    /// What calls that are not all as expected earn.
    #[serde(default)]
    pub credit: ToolCallCredit,
    /// Where calls stand in the completion; by default after the thinking.
    #[serde(default = "after_thinking")]
    pub answer: AnswerSource,
}

/// The tool call reward, 0 to 1; none for a problem without a reference.
///
/// The problem's `answer` is the expected call or a list of them, each `{"name": .., "arguments": {..}}`
/// or that under `function`, as in a message's `tool_calls`; an empty list asks for no call.
///
/// The completion calls by `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, any number of times
/// with any words between, or else by JSON, alone or in a fenced block: one call or a list. Arguments
/// are equal as JSON values: objects in any order of names, 2 as 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolCall {
    order: CallOrder,
    credit: ToolCallCredit,
    answer: AnswerSource,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
}

impl ToolCall {
    /// The reward of these settings.
    pub fn new(config: &ToolCallConfig) -> Self {
        Self {
            order: config.order,
            credit: config.credit,
            answer: config.answer,
        }
    }

    /// The score of what was called, `None` for a call that cannot be read.
    fn judge(&self, expected: &[Call], found: &[Option<Call>]) -> f64 {
        let most = expected.len().max(found.len());
        if most == 0 {
            return 1.0;
        }
        if found.len() > MAX_CALLS {
            return 0.0;
        }
        let worth: Vec<Vec<f64>> = found
            .iter()
            .map(|call| {
                expected
                    .iter()
                    .map(|e| self.worth(e, call.as_ref()))
                    .collect()
            })
            .collect();
        let sum = match self.order {
            CallOrder::Kept => best_in_order(&worth),
            CallOrder::Any => best_in_any_order(&worth),
        };
        match self.credit {
            // Each pair is worth 0 or 1 here, so that the sum is a whole number.
            ToolCallCredit::Exact => f64::from(u8::from(sum == most as f64)),
            ToolCallCredit::Partial => sum / most as f64,
        }
    }

    fn worth(&self, expected: &Call, found: Option<&Call>) -> f64 {
        let credit = found.map_or(0.0, |found| credit(expected, found));
        match self.credit {
            ToolCallCredit::Exact => f64::from(u8::from(credit == 1.0)),
            ToolCallCredit::Partial => credit,
        }
    }

    fn expected(&self, reference: &Value) -> Result<Vec<Call>> {
        let calls = match reference {
            Value::Array(calls) => calls.iter().map(call).collect(),
            one => call(one).map(|call| vec![call]),
        };
        calls.ok_or_else(|| Error::Reward {
            reward: self.name().into(),
            problem: "the problem's answer is no tool call or list of them, expected \
                      {\"name\": .., \"arguments\": {..}}"
                .into(),
        })
    }
}

impl Reward for ToolCall {
    fn name(&self) -> &str {
        "tool_call"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let reference = &attempt.problem.answer;
        if reference.is_null() {
            return Ok(None);
        }
        let expected = self.expected(reference)?;
        Ok(Some(match self.answer.extract(attempt.completion) {
            Some(answer) => self.judge(&expected, &calls(answer)),
            None => 0.0,
        }))
    }
}

/// The calls in `text`, `None` for each that cannot be read.
fn calls(text: &str) -> Vec<Option<Call>> {
    let mut marked = text.split("<tool_call>");
    let before = marked.next().unwrap_or_default();
    let blocks: Vec<_> = marked.take(MAX_CALLS + 1).collect();
    if !blocks.is_empty() {
        return blocks.into_iter().map(marked_call).collect();
    }
    match json_body(before) {
        Some(Value::Array(values)) => {
            let calls: Vec<_> = values.iter().take(MAX_CALLS + 1).map(call).collect();
            // A list that holds no call is an answer like any other.
            if calls.iter().all(Option::is_none) {
                Vec::new()
            } else {
                calls
            }
        }
        Some(value) => call(&value).into_iter().map(Some).collect(),
        None => Vec::new(),
    }
}

/// The call that `block`, which follows an opening tag, begins with.
fn marked_call(block: &str) -> Option<Call> {
    let (body, _) = block.split_once("</tool_call>")?;
    call(&json_body(body.trim())?)
}

/// The call that `value` says; no arguments are none, and a text of arguments is read as JSON.
fn call(value: &Value) -> Option<Call> {
    let object = value.as_object()?;
    if let Some(function) = object.get("function") {
        return call(function);
    }
    let name = object.get("name")?.as_str()?.to_string();
    let arguments = match object.get("arguments").or_else(|| object.get("parameters")) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(_) => return None,
    };
    Some(Call { name, arguments })
}

/// What `found` earns in place of `expected`: 1 if and only if they are equal.
fn credit(expected: &Call, found: &Call) -> f64 {
    if found.name != expected.name {
        return 0.0;
    }
    let (ours, theirs) = (&expected.arguments, &found.arguments);
    let shared = ours
        .keys()
        .filter(|name| theirs.contains_key(*name))
        .count();
    let either = ours.len() + theirs.len() - shared;
    let equal = ours.iter().filter(|(name, value)| {
        let given = theirs.get(*name);
        given.is_some_and(|given| is_same(value, given))
    });
    let names = if either == 0 {
        1.0
    } else {
        shared as f64 / either as f64
    };
    (1.0 + names + equal.count() as f64) / (2.0 + ours.len() as f64)
}

/// Whether two JSON values are equal, numbers by what they are and not how they are written.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let has_same = |(name, a)| b.get(name).is_some_and(|b| is_same(a, b));
            a.len() == b.len() && a.iter().all(has_same)
        }
        _ => a == b,
    }
}

fn one() -> f64 {
    1.0
}

fn after_thinking() -> AnswerSource {
    AnswerSource::Text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::{Problem, Prompt};
    use crate::tokenizer::Message;

    fn score(settings: &str, answer: Value, completion: &str) -> Result<Option<f64>> {
        let prompt = vec![
            Message::user("Is it warm in Oslo?"),
            Message::assistant("In which unit?"),
            Message::user("Celsius"),
        ];
        let problem = Problem {
            prompt: Prompt::Messages(prompt),
            answer,
            level: None,
            language: None,
            part: None,
        };
        ToolCall::new(&toml::from_str(settings).unwrap()).score(&Attempt {
            problem: &problem,
            completion,
            token_ids: &[],
            finished: true,
        })
    }

    fn weather() -> Value {
        json!([{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}])
    }

    /// The score of a completion that should call the weather.
    fn exact(completion: &str) -> Option<f64> {
        score("", weather(), completion).unwrap()
    }

    const CALL: &str = r#"{"name": "weather", "arguments": {"days": 2.0, "city": "Oslo"}}"#;

    #[test]
    fn call_counts_in_tags_in_a_block_or_alone() {
        assert_eq!(
            exact(&format!("<tool_call>\n{CALL}\n</tool_call>")),
            Some(1.0)
        );
        assert_eq!(
            exact(&format!(
                "<think>x</think>I ask. <tool_call>{CALL}</tool_call>"
            )),
            Some(1.0)
        );
        assert_eq!(
            exact(&format!("Calling:\n```json\n[{CALL}]\n```")),
            Some(1.0)
        );
        assert_eq!(exact(CALL), Some(1.0));
        let api = r#"{"type": "function", "function": {"name": "weather",
            "arguments": "{\"city\": \"Oslo\", \"days\": 2}"}}"#;
        assert_eq!(exact(api), Some(1.0));
        let llama = r#"{"name": "weather", "parameters": {"city": "Oslo", "days": 2}}"#;
        assert_eq!(exact(llama), Some(1.0));
    }

    #[test]
    fn call_that_differs_or_cannot_be_read_scores_0() {
        for completion in [
            "",
            "It is warm.",
            "<tool_call></tool_call>",
            "{\"name\": \"weather\"}",
            &CALL.replace("Oslo", "oslo"),
            &CALL.replace("weather", "Weather"),
            &CALL.replace("2.0", "\"2\""),
            &CALL.replace("}}", ", \"unit\": \"C\"}}"),
            &format!("<tool_call>{CALL}"),
            &format!("<tool_call>{}</tool_call>", CALL.replace("}}", "}")),
            &format!("<think><tool_call>{CALL}</tool_call></think>It is warm."),
            &format!("<tool_call>{CALL}</tool_call>").repeat(2),
        ] {
            assert_eq!(exact(completion), Some(0.0), "{completion}");
        }
    }

    #[test]
    fn order_counts_unless_told_otherwise() {
        let answer = || json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]);
        let swapped = r#"[{"name": "a"}, {"name": "a"}, {"name": "b"}]"#;
        assert_eq!(score("", answer(), swapped).unwrap(), Some(0.0));
        let any = "order = \"any\"";
        assert_eq!(score(any, answer(), swapped).unwrap(), Some(1.0));
        let wrong = r#"[{"name": "a"}, {"name": "b"}, {"name": "b"}]"#;
        assert_eq!(score(any, answer(), wrong).unwrap(), Some(0.0));
    }

    #[test]
    fn partial_credit_adds_name_argument_names_and_values() {
        let partial = |completion: &str| {
            let found = score("credit = \"partial\"", weather(), completion);
            found.unwrap().unwrap()
        };
        assert_eq!(partial(CALL), 1.0);
        // Name 1, both argument names 1, one of two values 1: 3 of 4.
        assert_eq!(partial(&CALL.replace("Oslo", "Rome")), 0.75);
        // Name 1, one of two argument names ½, its value 1: 2.5 of 4.
        let fewer = r#"{"name": "weather", "arguments": {"city": "Oslo"}}"#;
        assert_eq!(partial(fewer), 0.625);
        assert_eq!(
            partial(r#"{"name": "time", "arguments": {"city": "Oslo"}}"#),
            0.0
        );
        // One of four calls is right.
        let many =
            format!("[{CALL}, {{\"name\": \"b\"}}, {{\"name\": \"c\"}}, {{\"name\": \"d\"}}]");
        assert_eq!(partial(&many), 0.25);
    }

    #[test]
    fn partial_credit_keeps_the_order_or_not() {
        let answer = || json!([{"name": "a"}, {"name": "b"}]);
        let swapped = r#"[{"name": "b"}, {"name": "a"}]"#;
        let score = |order: &str| {
            let settings = format!("credit = \"partial\"\norder = \"{order}\"");
            score(&settings, answer(), swapped).unwrap()
        };
        assert_eq!(score("kept"), Some(0.5));
        assert_eq!(score("any"), Some(1.0));
    }

    #[test]
    fn empty_list_asks_for_no_call() {
        let none = |completion: &str| score("", json!([]), completion).unwrap();
        assert_eq!(none("It is warm."), Some(1.0));
        assert_eq!(none("[1, 2]"), Some(1.0));
        assert_eq!(none(CALL), Some(0.0));
        assert_eq!(none("<tool_call>{}</tool_call>"), Some(0.0));
    }

    #[test]
    fn problem_without_reference_has_no_score_and_a_bad_one_is_an_error() {
        assert_eq!(score("", Value::Null, CALL).unwrap(), None);
        for bad in [
            json!("weather"),
            json!({"name": 1}),
            json!([{"name": "a", "arguments": 1}]),
        ] {
            let message = score("", bad, CALL).unwrap_err().to_string();
            assert!(message.starts_with("reward `tool_call`: "), "{message}");
        }
    }

    #[test]
    fn hostile_completion_scores_0_quickly() {
        for completion in [
            "<tool_call>".repeat(5_000),
            format!("<tool_call>{CALL}</tool_call>").repeat(600),
            format!("[{}{CALL}]", format!("{CALL},").repeat(900)),
            "{\"function\":".repeat(5_000),
            "x".repeat(1_000_000),
        ] {
            for credit in ["exact", "partial"] {
                let settings = format!("credit = \"{credit}\"\norder = \"any\"");
                assert_eq!(score(&settings, weather(), &completion).unwrap(), Some(0.0));
            }
        }
    }
}
