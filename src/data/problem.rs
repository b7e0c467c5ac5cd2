//! What the model is asked and what a verifier needs to judge its answer.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{JsonLine, read_json_lines};
use crate::error::{Error, Result};
use crate::tokenizer::{Message, Role};

/// A prompt before it is rendered: plain text or a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Plain text.
    Text(String),
    /// A conversation; the last message is the user's.
    Messages(Vec<Message>),
}

/// One question with its reference answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// What the model is asked.
    pub prompt: Prompt,
    /// The reference: a text for exact match, or what the task's verifier needs
    /// (countdown: `{"numbers": [3, 5, 7], "target": 15}`).
    pub answer: Value,
    /// How hard it is, in the words of its source: problems of one level are about equally hard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Language of the prompt, which the reasoning should be in too, as an ISO 639-1 code (`en`,
    /// `zh`); none where it is not known or the prompt has no words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The part of a mixture that it belongs to; none where all problems are of a kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// Reads problems from JSON Lines: `{"prompt": text or messages, "answer": any JSON}` and, if they have
/// them, `"level": text or whole number`, `"language": code` and `"part": text`.
///
/// Other fields are ignored. An `answer` of null says that no reward compares this problem's answer.
///
/// # Errors
/// When the file cannot be read, a line is not a problem, or there are none.
pub fn read_problems(path: &Path) -> Result<Vec<Problem>> {
    let problems = read_json_lines(path)?
        .map(|line| problem(line?))
        .collect::<Result<Vec<_>>>()?;
    if problems.is_empty() {
        let problem = "no problems, expected lines of {\"prompt\": .., \"answer\": ..}";
        return Err(Error::file(path, problem));
    }
    Ok(problems)
}

fn problem(mut line: JsonLine) -> Result<Problem> {
    let prompt = Prompt::take(&mut line, "prompt")?;
    let answer = line.take("answer", "the reference answer, or null if there is none")?;
    match &prompt {
        Prompt::Messages(messages)
            if messages.last().is_some_and(|m| m.role == Role::Assistant) =>
        {
            Err(line.error("`prompt`: ends with the assistant's message, expected the user's"))
        }
        _ => Ok(Problem {
            prompt,
            answer,
            level: level(&mut line)?,
            language: language(&mut line)?,
            part: part(&mut line)?,
        }),
    }
}

/// The problem's level, if it has one.
pub(super) fn level(line: &mut JsonLine) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Level {
        Number(i64),
        Text(String),
    }
    if !line.has("level") {
        return Ok(None);
    }
    let level: Option<Level> = line.take("level", "a text or a whole number")?;
    Ok(level.map(|level| match level {
        Level::Number(number) => number.to_string(),
        Level::Text(text) => text,
    }))
}

/// The prompt's language, if it says one.
fn language(line: &mut JsonLine) -> Result<Option<String>> {
    const EXPECTED: &str = "a code of two small letters, such as \"en\"";
    if !line.has("language") {
        return Ok(None);
    }
    let language: Option<String> = line.take("language", EXPECTED)?;
    let is_code = |code: &String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_lowercase());
    match language {
        Some(code) if !is_code(&code) => {
            Err(line.error(format!("`language`: is `{code}`, expected {EXPECTED}")))
        }
        language => Ok(language),
    }
}

/// The part that the problem belongs to, if it says one.
fn part(line: &mut JsonLine) -> Result<Option<String>> {
    match line.has("part") {
        true => line.take("part", "a text"),
        false => Ok(None),
    }
}

impl Prompt {
    /// What is asked: the text, or what the user says in a conversation, line after line.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Messages(messages) => {
                let users = messages.iter().filter(|message| message.role == Role::User);
                let said: Vec<&str> = users.filter_map(|m| m.content.as_deref()).collect();
                Cow::Owned(said.join("\n"))
            }
        }
    }

    /// Takes `field` out of `line` as a text or as messages.
    pub(super) fn take(line: &mut JsonLine, field: &str) -> Result<Self> {
        match line.fields().get(field) {
            Some(Value::Array(_)) => take_messages(line, field).map(Self::Messages),
            _ => line
                .take(field, "a text or a list of messages")
                .map(Self::Text),
        }
    }
}

/// Takes `field` out of `line` as a conversation of at least one message.
pub(super) fn take_messages(line: &mut JsonLine, field: &str) -> Result<Vec<Message>> {
    let messages: Vec<Message> =
        line.take(field, "a list of messages {\"role\": .., \"content\": ..}")?;
    if messages.is_empty() {
        return Err(line.error(format!("`{field}`: no messages, expected at least one")));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(content: &str) -> Result<Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("problems.jsonl");
        std::fs::write(&path, content).unwrap();
        read_problems(&path)
    }

    #[test]
    fn prompts_are_texts_or_messages_and_answers_any_json() {
        let problems = read(
            r#"{"prompt": "1+1=", "answer": 2, "level": "easy"}
               {"answer": {"target": 7}, "prompt": [{"role": "user", "content": "7?"}]}
               {"prompt": "say hello", "answer": null}"#,
        )
        .unwrap();
        assert_eq!(problems[0].prompt, Prompt::Text("1+1=".into()));
        assert_eq!(problems[0].answer, json!(2));
        assert!(matches!(&problems[1].prompt, Prompt::Messages(m) if m.len() == 1));
        assert_eq!(problems[1].answer, json!({"target": 7}));
        assert_eq!(problems[2].answer, Value::Null);
    }

    #[test]
    fn levels_are_texts_or_whole_numbers_or_missing() {
        let problems = read(
            r#"{"prompt": "1+1=", "answer": 2, "level": "Level 5"}
               {"prompt": "1+2=", "answer": 3, "level": 5}
               {"prompt": "1+3=", "answer": 4, "level": null}
               {"prompt": "1+4=", "answer": 5}"#,
        )
        .unwrap();
        let levels: Vec<_> = problems.iter().map(|p| p.level.as_deref()).collect();
        assert_eq!(levels, [Some("Level 5"), Some("5"), None, None]);
    }

    #[test]
    fn languages_are_codes_or_missing() {
        let problems = read(
            r#"{"prompt": "1+1=", "answer": 2, "language": "zh", "part": "sums"}
               {"prompt": "1+2=", "answer": 3, "language": null}
               {"prompt": "1+4=", "answer": 5}"#,
        )
        .unwrap();
        let languages: Vec<_> = problems.iter().map(|p| p.language.as_deref()).collect();
        assert_eq!(languages, [Some("zh"), None, None]);
        assert_eq!(problems[0].part.as_deref(), Some("sums"));
    }

    #[test]
    fn line_that_is_no_problem_is_named_with_what_would_be_right() {
        let good = r#"{"prompt": "p", "answer": "a"}"#;
        for (bad, complaint) in [
            (
                r#"{"prompt": "p"}"#,
                "no `answer`, expected the reference answer, or null if there is none",
            ),
            (
                r#"{"answer": "a"}"#,
                "no `prompt`, expected a text or a list of messages",
            ),
            (
                r#"{"prompt": 5, "answer": "a"}"#,
                "`prompt`: expected a text or a list of messages: invalid type: integer `5`",
            ),
            (
                r#"{"prompt": [], "answer": "a"}"#,
                "`prompt`: no messages, expected at least one",
            ),
            (
                r#"{"prompt": [{"role": "assistant", "content": "p"}], "answer": "a"}"#,
                "`prompt`: ends with the assistant's message, expected the user's",
            ),
            (
                r#"{"prompt": "p", "answer": "a", "level": 1.5}"#,
                "`level`: expected a text or a whole number",
            ),
            (
                r#"{"prompt": "p", "answer": "a", "language": "Chinese"}"#,
                "`language`: is `Chinese`, expected a code of two small letters",
            ),
            (
                r#"{"prompt": ["p"], "answer": "a"}"#,
                "`prompt`: expected a list of messages {\"role\": .., \"content\": ..}",
            ),
        ] {
            let message = read(&format!("{good}\n\n{bad}\n")).unwrap_err().to_string();
            let complaint = format!("problems.jsonl:3: {complaint}");
            assert!(message.contains(&complaint), "{message}");
        }
    }

    #[test]
    fn file_without_problems_is_an_error() {
        let message = read("\n\n").unwrap_err().to_string();
        assert!(message.contains("problems.jsonl: no problems"), "{message}");
    }
}
