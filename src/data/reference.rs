//! Whether an answer is the reference of a problem.

use serde_json::Value;

use super::Problem;

impl Problem {
    /// Whether `answer` is this problem's reference; `None` when it has none.
    ///
    /// A text must be equal but for surrounding white space. Any other reference is compared as
    /// JSON: the number 7 is matched by `7` and `7.0`, not by `seven` or ` 7 apples`.
    pub fn is_answered_by(&self, answer: &str) -> Option<bool> {
        is_reference(&self.answer, answer)
    }
}

fn is_reference(reference: &Value, answer: &str) -> Option<bool> {
    match reference {
        Value::Null => None,
        Value::String(text) => Some(text.trim() == answer.trim()),
        _ => {
            let answer = serde_json::from_str::<Value>(answer);
            Some(answer.is_ok_and(|answer| is_same(reference, &answer)))
        }
    }
}

/// Equality of JSON, but a number may be written with a point; integers are never compared as floats.
fn is_same(reference: &Value, answer: &Value) -> bool {
    let are_numbers = reference.is_number() && answer.is_number();
    if are_numbers && (reference.is_f64() || answer.is_f64()) {
        reference.as_f64() == answer.as_f64()
    } else {
        reference == answer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_reference_is_compared_without_surrounding_space() {
        assert_eq!(is_reference(&json!("161 "), "161"), Some(true));
        assert_eq!(is_reference(&json!("161"), "0161"), Some(false));
        assert_eq!(is_reference(&json!("Paris"), "paris"), Some(false));
    }

    #[test]
    fn number_reference_is_compared_as_a_number() {
        assert_eq!(is_reference(&json!(7), "7"), Some(true));
        assert_eq!(is_reference(&json!(7.0), "7"), Some(true));
        assert_eq!(is_reference(&json!(7), "7.0"), Some(true));
        assert_eq!(is_reference(&json!(7), "7 apples"), Some(false));
        assert_eq!(is_reference(&json!(7), "\"7\""), Some(false));
        assert_eq!(is_reference(&json!(7), "1e999"), Some(false));
    }

    #[test]
    fn large_integers_are_not_compared_as_floats() {
        // 2^53 and 2^53 + 1 are the same 64-bit float.
        let reference = json!(9_007_199_254_740_992_i64);
        assert_eq!(is_reference(&reference, "9007199254740993"), Some(false));
        assert_eq!(is_reference(&reference, "9007199254740992"), Some(true));
    }

    #[test]
    fn structured_reference_is_compared_as_json() {
        let reference = json!({"x": 1, "y": [true, 2]});
        assert_eq!(
            is_reference(&reference, "{\"y\": [true, 2], \"x\": 1}"),
            Some(true)
        );
        assert_eq!(is_reference(&reference, "{\"x\": 1}"), Some(false));
        assert_eq!(is_reference(&reference, &"[".repeat(60_000)), Some(false));
        assert_eq!(is_reference(&json!(true), "true"), Some(true));
    }

    #[test]
    fn null_reference_cannot_be_compared() {
        assert_eq!(is_reference(&Value::Null, "null"), None);
    }
}
