//! JSON in a model's answer: the whole of it, or its last fenced block.

use serde_json::Value;

const FENCE: &str = "```";

/// The JSON value of `text`: the text itself or else its last closed block between three backticks,
/// whatever language the block names. `None` when that is no JSON. Of a name that is given twice the last
/// value holds, and what is nested more than 128 deep is no JSON.
pub(super) fn json_body(text: &str) -> Option<Value> {
    serde_json::from_str(text)
        .ok()
        .or_else(|| serde_json::from_str(last_block(text)?).ok())
}

/// The content of the last closed block, without the rest of its first line.
fn last_block(text: &str) -> Option<&str> {
    let mut rest = text;
    let mut last = None;
    while let Some((block, after)) = next_block(rest) {
        last = Some(block);
        rest = after;
    }
    let block = last?;
    let names_language = |line: &str| line.trim().chars().all(char::is_alphanumeric);
    match block.split_once('\n') {
        Some((line, content)) if names_language(line) => Some(content),
        _ => Some(block),
    }
}

fn next_block(text: &str) -> Option<(&str, &str)> {
    text.split_once(FENCE)?.1.split_once(FENCE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_text_or_last_block_is_read() {
        for (text, expected) in [
            (" {\"a\": 1}\n", Some(json!({"a": 1}))),
            ("So:\n```json\n[1, 2]\n```\nDone.", Some(json!([1, 2]))),
            ("```\n{}\n```\n```JSON\n[3]\n```", Some(json!([3]))),
            ("```[4]```", Some(json!([4]))),
            ("\"```\"", Some(json!("```"))),
            ("```json\n[5]", None),
            ("the answer is [6]", None),
            ("[7] [8]", None),
            ("{'a': 1}", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(json_body(text), expected, "{text}");
        }
    }

    #[test]
    fn hostile_text_is_no_json() {
        assert_eq!(json_body(&"[".repeat(1_000_000)), None);
        assert_eq!(json_body(&"```".repeat(300_000)), None);
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(json_body(&deep), None);
    }
}
