//! What a model is taught by imitation: texts, conversations, prompts with their completions.

use std::path::Path;

use crate::data::problem::take_messages;
use crate::data::{JsonLine, Prompt, read_json_lines};
use crate::error::{Error, Result};
use crate::tokenizer::Message;

/// One example of supervised training.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// Plain text, learned whole.
    Text(String),
    /// A conversation, learned as the chat template renders it.
    Chat(Vec<Message>),
    /// A text and the text that continues it; only the completion is learned.
    TextCompletion {
        /// What is given.
        prompt: String,
        /// What is learned.
        completion: String,
    },
    /// A conversation and the messages that continue it; only the completion is learned.
    ChatCompletion {
        /// What is given.
        prompt: Vec<Message>,
        /// What is learned.
        completion: Vec<Message>,
    },
}

/// Reads examples from JSON Lines, each line in one of the forms
/// `{"prompt": .., "completion": ..}` (both texts or both messages), `{"messages": [..]}`, `{"text": ..}`.
///
/// Other fields are ignored, such as the `provenance` that a `sample` stage writes.
///
/// # Errors
/// When the file cannot be read, a line is none of these forms, or there are no lines.
pub fn read_examples(path: &Path) -> Result<Vec<Example>> {
    let examples = read_json_lines(path)?
        .map(|line| example(line?))
        .collect::<Result<Vec<_>>>()?;
    if examples.is_empty() {
        return Err(Error::file(path, format!("no examples, expected {FORMS}")));
    }
    Ok(examples)
}

const FORMS: &str =
    "lines of {\"prompt\": .., \"completion\": ..}, {\"messages\": [..]} or {\"text\": ..}";

fn example(mut line: JsonLine) -> Result<Example> {
    let forms = (
        line.has("prompt") || line.has("completion"),
        line.has("messages"),
        line.has("text"),
    );
    match forms {
        (true, false, false) => completion(line),
        (false, true, false) => take_messages(&mut line, "messages").map(Example::Chat),
        (false, false, true) => line.take("text", "a text").map(Example::Text),
        _ => Err(line.error(format!("not an example, expected {FORMS}"))),
    }
}

/// A `prompt` and the `completion` of it, both texts or both messages.
pub(super) fn completion(mut line: JsonLine) -> Result<Example> {
    let prompt = Prompt::take(&mut line, "prompt")?;
    let completion = Prompt::take(&mut line, "completion")?;
    match (prompt, completion) {
        (Prompt::Text(prompt), Prompt::Text(completion)) => {
            Ok(Example::TextCompletion { prompt, completion })
        }
        (Prompt::Messages(prompt), Prompt::Messages(completion)) => {
            Ok(Example::ChatCompletion { prompt, completion })
        }
        _ => Err(line.error(
            "one of `prompt` and `completion` is a text, the other messages, expected two of a kind",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<Example>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("examples.jsonl");
        std::fs::write(&path, content).unwrap();
        read_examples(&path)
    }

    #[test]
    fn all_four_forms_are_read() {
        let examples = read(
            r#"{"text": "once"}
               {"messages": [{"role": "user", "content": "a"}], "source": "web"}
               {"prompt": "1+1=", "completion": "2", "provenance": {"stage": "sample", "reward": 1.0}}
               {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#,
        )
        .unwrap();
        assert_eq!(examples[0], Example::Text("once".into()));
        assert!(matches!(&examples[1], Example::Chat(messages) if messages.len() == 1));
        assert_eq!(
            examples[2],
            Example::TextCompletion {
                prompt: "1+1=".into(),
                completion: "2".into()
            }
        );
        assert!(
            matches!(&examples[3], Example::ChatCompletion { completion, .. } if completion.len() == 1)
        );
    }

    #[test]
    fn line_of_no_form_or_of_two_is_an_error() {
        for line in [r#"{"input": "a"}"#, r#"{"text": "a", "prompt": "b"}"#] {
            let message = read(line).unwrap_err().to_string();
            assert!(
                message.contains("examples.jsonl:1: not an example, expected lines of"),
                "{message}"
            );
        }
    }

    #[test]
    fn prompt_without_completion_is_an_error() {
        let message = read(r#"{"prompt": "a"}"#).unwrap_err().to_string();
        assert!(message.contains(":1: no `completion`"), "{message}");
    }

    #[test]
    fn text_prompt_with_message_completion_is_an_error() {
        let line = r#"{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}"#;
        let message = read(line).unwrap_err().to_string();
        assert!(message.contains("expected two of a kind"), "{message}");
    }

    #[test]
    fn file_without_examples_is_an_error() {
        let message = read("").unwrap_err().to_string();
        assert!(message.contains("examples.jsonl: no examples"), "{message}");
    }
}
