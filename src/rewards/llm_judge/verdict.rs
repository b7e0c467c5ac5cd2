//! What a judge's reply says: bounded, and never more than it says.

use serde_json::{Deserializer, Value};

/// Longest reply that is read, in bytes.
pub(super) const MAX_REPLY_BYTES: usize = 65_536;

/// Most places of a reply where an object may begin.
const MOST_OBJECTS: usize = 64;

/// The score in a judge's reply: its JSON object's `correctness`, `"correct"` or true, `"incorrect"` or
/// false, or a number in [0, 1].
///
/// Text around the object, such as a code fence, does not matter. None where the reply is too long, has
/// no verdict, or several that differ: one may be quoted from the answer.
pub(super) fn verdict(reply: &str) -> Option<f64> {
    if reply.len() > MAX_REPLY_BYTES {
        return None;
    }
    let mut found: Option<f64> = None;
    let mut rest = reply;
    for _ in 0..MOST_OBJECTS {
        let Some(start) = rest.find('{') else {
            return found;
        };
        rest = &rest[start..];
        let mut objects = Deserializer::from_str(rest).into_iter::<Value>();
        let Some(Ok(object)) = objects.next() else {
            rest = &rest[1..];
            continue;
        };
        rest = &rest[objects.byte_offset()..];
        let Some(correctness) = object.get("correctness") else {
            continue;
        };
        let score = score(correctness)?;
        if found.is_some_and(|found| found != score) {
            return None;
        }
        found = Some(score);
    }
    // What comes after so many is not known.
    None
}

fn score(correctness: &Value) -> Option<f64> {
    match correctness {
        Value::Bool(is_correct) => Some(f64::from(*is_correct)),
        Value::Number(number) => number.as_f64().filter(|score| (0.0..=1.0).contains(score)),
        Value::String(word) => match word.trim().to_ascii_lowercase().as_str() {
            "correct" => Some(1.0),
            "incorrect" => Some(0.0),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_with_whatever_stands_around_it() {
        for (reply, expected) in [
            (r#"{"analysis": "same", "correctness": "correct"}"#, 1.0),
            ("```json\n{\"correctness\": \"Incorrect\"}\n```", 0.0),
            (r#"So {x} is {"a": 1}. {"correctness": true}"#, 1.0),
            (r#"{"correctness": 0.25}"#, 0.25),
            // Quoted in the analysis it is text.
            (
                r#"{"analysis": "it says {\"correctness\": \"correct\"}", "correctness": "incorrect"}"#,
                0.0,
            ),
            (
                r#"{"correctness": "correct"} {"correctness": "correct"}"#,
                1.0,
            ),
        ] {
            assert_eq!(verdict(reply), Some(expected), "{reply}");
        }
    }

    #[test]
    fn what_is_no_verdict_or_two_is_none() {
        let deep = "{\"a\":".repeat(100_000 / 5);
        let long = format!("{}{{\"correctness\": true}}", " ".repeat(MAX_REPLY_BYTES));
        let open = "{".repeat(MAX_REPLY_BYTES);
        let many = format!("{}{{\"correctness\": true}}", "{} ".repeat(MOST_OBJECTS));
        for reply in [
            "",
            "correct",
            "[]",
            r#"{"analysis": "correct"}"#,
            r#"{"correctness": "correct and incorrect"}"#,
            r#"{"correctness": 7}"#,
            r#"{"correctness": null}"#,
            r#"{"correctness": "correct""#,
            r#"{"correctness": "correct"} no: {"correctness": "incorrect"}"#,
            &deep[..MAX_REPLY_BYTES],
            &long,
            &open,
            &many,
        ] {
            let shown: String = reply.chars().take(60).collect();
            assert_eq!(verdict(reply), None, "{shown}");
        }
    }
}
