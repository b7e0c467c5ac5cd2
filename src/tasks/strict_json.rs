//! JSON as an answer gives it: bounded, without doubtful readings, compared by value.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Longest answer accepted, in bytes.
const MAX_BYTES: usize = 8192;

/// Reads `answer` as one JSON value, perhaps in a code fence; `None` for anything else, for an
/// object that names a key twice and for what is longer than 8 KiB. Nesting is bounded by the
/// parser.
pub(super) fn read_json(answer: &str) -> Option<Value> {
    let answer = answer.trim();
    (answer.len() <= MAX_BYTES).then_some(())?;
    let text = match answer.strip_prefix("```") {
        Some(fenced) => {
            let inside = fenced.strip_suffix("```")?;
            inside.strip_prefix("json").unwrap_or(inside)
        }
        None => answer,
    };
    serde_json::from_str::<Strict>(text)
        .ok()
        .map(|strict| strict.0)
}

/// Whether two values are the same: members in any order, elements in theirs, `7` and `7.0` the
/// same number, texts to the letter.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || ((one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_same = |(key, value)| other.get(key).is_some_and(|found| is_same(value, found));
            one.len() == other.len() && one.iter().all(has_same)
        }
        _ => one == other,
    }
}

/// A value whose objects name every key once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a key is named twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_value_is_read_perhaps_in_a_fence() {
        let expected = Some(json!({"a": [1, null, "é"], "b": {"c": true}}));
        let text = r#"{"a": [1, null, "\u00e9"], "b": {"c": true}}"#;
        for answer in [
            text.to_string(),
            format!(" \n{text}\n"),
            format!("```json\n{text}\n```"),
            format!("```\n{text}```"),
        ] {
            assert_eq!(read_json(&answer), expected, "{answer}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = "[".repeat(4000) + &"]".repeat(4000);
        let long = format!("\"{}\"", "x".repeat(MAX_BYTES));
        for answer in [
            "",
            "{",
            "{} {}",
            "{'a': 1}",
            "{a: 1}",
            "[1,]",
            "NaN",
            "1e999",
            "{\"a\": 1, \"a\": 1}",
            "[{\"a\": {\"b\": 1, \"b\": 2}}]",
            "```json\n{}",
            "so: {}",
            "// x\n{}",
            "\u{feff}{}",
            &deep,
            &long,
        ] {
            assert_eq!(
                read_json(answer),
                None,
                "{}",
                &answer[..answer.len().min(40)]
            );
        }
    }

    #[test]
    fn values_are_compared_not_spellings() {
        let same =
            |one: &str, other: &str| is_same(&read_json(one).unwrap(), &read_json(other).unwrap());
        assert!(same(r#"{"a": 1, "b": [12.5]}"#, r#"{"b":[12.50],"a":1.0}"#));
        assert!(!same(r#"{"a": 1}"#, r#"{"a": 1, "b": null}"#));
        assert!(!same(r#"{"a": 1}"#, r#"{"a": "1"}"#));
        assert!(!same("[1, 2]", "[2, 1]"));
        assert!(!same("\"Oslo\"", "\"oslo\""));
        assert!(!same("9007199254740993", "9007199254740992"));
        assert!(!same("true", "1"));
    }
}
