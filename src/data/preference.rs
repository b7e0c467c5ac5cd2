//! What a model is taught by comparison: a prompt with an answer that is preferred to another.

use std::path::Path;

use serde_json::Value;

use crate::data::problem::take_messages;
use crate::data::{JsonLine, Prompt, read_json_lines};
use crate::error::{Error, Result};
use crate::tokenizer::Message;

/// A prompt with two answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Preference {
    /// A text and two that continue it.
    Text {
        /// What is given.
        prompt: String,
        /// The better continuation.
        chosen: String,
        /// The worse one.
        rejected: String,
    },
    /// A conversation and two that continue it.
    Chat {
        /// What is given.
        prompt: Vec<Message>,
        /// The better continuation.
        chosen: Vec<Message>,
        /// The worse one.
        rejected: Vec<Message>,
    },
}

/// A preference, and by how much the better answer is better.
#[derive(Clone, Debug, PartialEq)]
pub struct RatedPreference {
    /// The prompt with its answers.
    pub preference: Preference,
    /// By how much the score of the chosen answer should exceed that of the rejected one.
    pub margin: f32,
}

/// Reads preferences from JSON Lines: `{"prompt": .., "chosen": .., "rejected": ..}`, all texts or
/// all messages.
///
/// Without a `prompt`, or with one as text beside messages, `chosen` and `rejected` each hold it:
/// their longest common beginning is taken for it, as in TRL, but at least one message or character
/// stays in each. Other fields are ignored.
///
/// # Errors
/// When the file cannot be read, a line is not a preference, or there are no lines.
pub fn read_preferences(path: &Path) -> Result<Vec<Preference>> {
    read(path, preference)
}

/// Reads preferences as [`read_preferences`] does, each with its `"margin"`; without one it is 0.
///
/// # Errors
/// As [`read_preferences`], and when a margin is no finite number.
pub fn read_rated_preferences(path: &Path) -> Result<Vec<RatedPreference>> {
    read(path, |mut line| {
        let margin = margin(&mut line)?;
        let preference = preference(line)?;
        Ok(RatedPreference { preference, margin })
    })
}

fn read<T>(path: &Path, parse: impl Fn(JsonLine) -> Result<T>) -> Result<Vec<T>> {
    let preferences = read_json_lines(path)?
        .map(|line| parse(line?))
        .collect::<Result<Vec<_>>>()?;
    if preferences.is_empty() {
        let problem =
            "no preferences, expected lines of {\"prompt\": .., \"chosen\": .., \"rejected\": ..}";
        return Err(Error::file(path, problem));
    }
    Ok(preferences)
}

fn margin(line: &mut JsonLine) -> Result<f32> {
    if !line.has("margin") {
        return Ok(0.0);
    }
    let margin: f64 = line.take("margin", "a number")?;
    let single = margin as f32;
    match single.is_finite() {
        true => Ok(single),
        false => Err(line.error(format!("`margin`: is {margin:e}, expected a finite number"))),
    }
}

fn preference(mut line: JsonLine) -> Result<Preference> {
    let of_messages = matches!(line.fields().get("chosen"), Some(Value::Array(_)));
    let prompt = match line.has("prompt") {
        true => Some(Prompt::take(&mut line, "prompt")?),
        false => None,
    };
    match of_messages {
        true => between_messages(line, prompt),
        false => between_texts(line, prompt),
    }
}

fn between_messages(mut line: JsonLine, prompt: Option<Prompt>) -> Result<Preference> {
    let mut chosen = take_messages(&mut line, "chosen")?;
    let mut rejected = take_messages(&mut line, "rejected")?;
    let prompt = match prompt {
        Some(Prompt::Messages(prompt)) => prompt,
        Some(Prompt::Text(_)) | None => {
            let shared = shared_messages(&chosen, &rejected);
            rejected.drain(..shared);
            chosen.drain(..shared).collect()
        }
    };
    if prompt.is_empty() {
        let problem = "`chosen` and `rejected` begin with different messages, expected a `prompt` \
                       of messages or one that both begin with";
        return Err(line.error(problem));
    }
    Ok(Preference::Chat {
        prompt,
        chosen,
        rejected,
    })
}

fn between_texts(mut line: JsonLine, prompt: Option<Prompt>) -> Result<Preference> {
    let mut chosen: String = line.take("chosen", "a text or a list of messages")?;
    let mut rejected: String = line.take("rejected", "a text, as `chosen` is")?;
    let prompt = match prompt {
        Some(Prompt::Text(prompt)) => prompt,
        Some(Prompt::Messages(_)) => {
            let problem = "`prompt` is of messages and `chosen` a text, expected two of a kind";
            return Err(line.error(problem));
        }
        None => {
            let shared = shared_bytes(&chosen, &rejected);
            rejected.drain(..shared);
            chosen.drain(..shared).collect()
        }
    };
    Ok(Preference::Text {
        prompt,
        chosen,
        rejected,
    })
}

/// Messages that both begin with, leaving at least one to each.
fn shared_messages(chosen: &[Message], rejected: &[Message]) -> usize {
    let shared = chosen.iter().zip(rejected).take_while(|(a, b)| a == b);
    let shorter = chosen.len().min(rejected.len());
    shared.count().min(shorter - 1)
}

/// Bytes that both texts begin with, without a space at their end, which belongs to the word after
/// it; at least one character is left to each text, unless it is empty.
fn shared_bytes(chosen: &str, rejected: &str) -> usize {
    let pairs = chosen.char_indices().zip(rejected.chars());
    let most = pairs.clone().last().map_or(0, |((at, _), _)| at);
    let differing = pairs.clone().find(|((_, a), b)| a != b);
    match differing {
        Some(((at, _), _)) => chosen[..at].strip_suffix(' ').map_or(at, str::len),
        None => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<Preference>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        std::fs::write(&path, content).unwrap();
        read_preferences(&path)
    }

    #[track_caller]
    fn assert_text(line: &str, expected: [&str; 3]) {
        let [prompt, chosen, rejected] = expected.map(str::to_string);
        let expected = Preference::Text {
            prompt,
            chosen,
            rejected,
        };
        assert_eq!(read(line).unwrap(), [expected]);
    }

    const USER: &str = r#"{"role": "user", "content": "q"}"#;
    const GOOD: &str = r#"{"role": "assistant", "content": "a"}"#;
    const BAD: &str = r#"{"role": "assistant", "content": "b"}"#;

    #[track_caller]
    fn assert_chat(line: &str) {
        let expected = Preference::Chat {
            prompt: vec![Message::user("q")],
            chosen: vec![Message::assistant("a")],
            rejected: vec![Message::assistant("b")],
        };
        assert_eq!(read(line).unwrap(), [expected], "{line}");
    }

    #[test]
    fn a_prompt_of_its_own_is_taken_as_it_is() {
        let line = r#"{"prompt": "1+1=", "chosen": "2", "rejected": "2.5", "score": 3}"#;
        assert_text(line, ["1+1=", "2", "2.5"]);
        assert_chat(&format!(
            r#"{{"prompt": [{USER}], "chosen": [{GOOD}], "rejected": [{BAD}]}}"#
        ));
    }

    #[test]
    fn a_margin_is_read_where_margins_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        let read = |margin: &str| {
            let line = format!(r#"{{"prompt": "q", "chosen": "a", "rejected": "b"{margin}}}"#);
            std::fs::write(&path, line).unwrap();
            // Elsewhere the field may be anything.
            assert_eq!(read_preferences(&path).unwrap().len(), 1);
            let rated = read_rated_preferences(&path);
            rated
                .map(|rated| rated[0].margin)
                .map_err(|e| e.to_string())
        };
        assert_eq!(read(""), Ok(0.0));
        assert_eq!(read(r#", "margin": 2"#), Ok(2.0));
        let error = read(r#", "margin": 1e300"#).unwrap_err();
        assert!(
            error.ends_with(":1: `margin`: is 1e300, expected a finite number"),
            "{error}"
        );
        let error = read(r#", "margin": "much""#).unwrap_err();
        assert!(error.contains(":1: `margin`: expected a number"), "{error}");
    }

    #[test]
    fn a_prompt_within_the_answers_is_their_common_beginning() {
        let answers = format!(r#""chosen": [{USER}, {GOOD}], "rejected": [{USER}, {BAD}]"#);
        assert_chat(&format!("{{{answers}}}"));
        assert_chat(&format!(r#"{{"prompt": "q", {answers}}}"#));
        // As TRL's `extract_prompt`: the space goes to the answers.
        let line = r#"{"chosen": "The sky is blue.", "rejected": "The sky is green."}"#;
        assert_text(line, ["The sky is", " blue.", " green."]);
        let line = r#"{"chosen": "é你a", "rejected": "é你b"}"#;
        assert_text(line, ["é你", "a", "b"]);
        let line = r#"{"chosen": "a", "rejected": "b"}"#;
        assert_text(line, ["", "a", "b"]);
    }

    #[test]
    fn an_answer_that_the_other_begins_with_keeps_its_end() {
        let line = r#"{"chosen": "yes é", "rejected": "yes é!"}"#;
        assert_text(line, ["yes ", "é", "é!"]);
        let line = r#"{"chosen": "", "rejected": "no"}"#;
        assert_text(line, ["", "", "no"]);
        let line =
            format!(r#"{{"chosen": [{USER}, {GOOD}], "rejected": [{USER}, {GOOD}, {BAD}]}}"#);
        let Preference::Chat {
            chosen, rejected, ..
        } = &read(&line).unwrap()[0]
        else {
            panic!("messages");
        };
        assert_eq!((chosen.len(), rejected.len()), (1, 2));
    }

    #[test]
    fn what_is_no_preference_is_named_with_its_line() {
        let different = format!(r#"{{"chosen": [{GOOD}], "rejected": [{BAD}]}}"#);
        let mixed = format!(r#"{{"prompt": [{USER}], "chosen": "a", "rejected": "b"}}"#);
        let half = format!(r#"{{"chosen": [{USER}, {GOOD}], "rejected": "b"}}"#);
        for (line, problem) in [
            (r#"{"prompt": "a", "chosen": "b"}"#, ":1: no `rejected`"),
            (
                &different,
                ":1: `chosen` and `rejected` begin with different",
            ),
            (&mixed, ":1: `prompt` is of messages and `chosen` a text"),
            (&half, ":1: `rejected`: expected a list of messages"),
            ("", "no preferences"),
        ] {
            let message = read(line).unwrap_err().to_string();
            assert!(message.contains(problem), "{message}");
        }
    }
}
