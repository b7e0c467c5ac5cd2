//! What a model is taught to tell apart: completions that are good or not, each by itself.

use std::path::Path;

use super::example::completion;
use crate::data::{Example, JsonLine, read_json_lines};
use crate::error::{Error, Result};

/// A completion and what was said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledCompletion {
    /// A prompt with its completion.
    pub example: Example,
    /// Whether the completion is good: safe, right, wanted.
    pub label: bool,
}

/// Reads completions from JSON Lines: `{"prompt": .., "completion": .., "label": true or false}`, prompt
/// and completion both texts or both messages.
///
/// Other fields are ignored.
///
/// # Errors
/// When the file cannot be read, a line is not such a completion, or there are no lines.
pub fn read_labelled(path: &Path) -> Result<Vec<LabelledCompletion>> {
    let completions = read_json_lines(path)?
        .map(|line| labelled(line?))
        .collect::<Result<Vec<_>>>()?;
    if completions.is_empty() {
        let problem = "no completions, expected lines of {\"prompt\": .., \"completion\": .., \
                       \"label\": true or false}";
        return Err(Error::file(path, problem));
    }
    Ok(completions)
}

fn labelled(mut line: JsonLine) -> Result<LabelledCompletion> {
    let label = line.take("label", "true for a good completion, else false")?;
    let example = completion(line)?;
    Ok(LabelledCompletion { example, label })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<LabelledCompletion>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.jsonl");
        std::fs::write(&path, content).unwrap();
        read_labelled(&path)
    }

    #[test]
    fn texts_and_messages_are_read_with_their_labels() {
        let found = read(
            r#"{"prompt": "a", "completion": "b", "label": true, "source": "x"}
               {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}], "label": false}"#,
        )
        .unwrap();
        let text = Example::TextCompletion {
            prompt: "a".into(),
            completion: "b".into(),
        };
        assert_eq!((&found[0].example, found[0].label), (&text, true));
        assert!(matches!(found[1].example, Example::ChatCompletion { .. }));
        assert!(!found[1].label);
    }

    #[test]
    fn what_has_no_label_or_no_completion_is_named_with_its_line() {
        for (line, problem) in [
            (r#"{"prompt": "a", "completion": "b"}"#, ":1: no `label`"),
            (
                r#"{"prompt": "a", "completion": "b", "label": 1}"#,
                ":1: `label`: expected true for a good",
            ),
            (r#"{"prompt": "a", "label": true}"#, ":1: no `completion`"),
            ("", "no completions, expected lines of"),
        ] {
            let message = read(line).unwrap_err().to_string();
            assert!(message.contains(problem), "{message}");
        }
    }
}
