//! Values for some layers: PEFT's `rank_pattern` and `alpha_pattern`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::module_filter::PathPattern;
use crate::error::Result;

/// Values by layer: the key is a name or a regular expression that matches a layer's whole path or
/// what follows one of its dots. The first key that matches counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Patterns<T>(Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<(String, T)> for Patterns<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<T: Copy> Patterns<T> {
    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, T)> {
        self.0.iter().map(|(pattern, value)| (&pattern[..], *value))
    }

    /// The patterns, ready to match; `key` is only for error messages.
    ///
    /// # Errors
    /// When a key is no regular expression.
    pub(super) fn matcher(&self, key: &'static str) -> Result<PatternMatcher<T>> {
        let compile = |(pattern, value)| Ok((PathPattern::ending(key, pattern)?, value));
        let entries: Result<_> = self.iter().map(compile).collect();
        Ok(PatternMatcher(entries?))
    }
}

/// [`Patterns`] ready to match.
#[derive(Debug)]
pub(super) struct PatternMatcher<T>(Vec<(PathPattern, T)>);

impl<T: Copy> PatternMatcher<T> {
    /// The value of the first pattern that matches `path`.
    ///
    /// # Errors
    /// When a regular expression takes too long.
    pub(super) fn find(&self, path: &str) -> Result<Option<T>> {
        for (pattern, value) in &self.0 {
            if pattern.matches(path)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pattern, value)| (pattern, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Reads a map in the order of the file.
struct InOrder<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
    type Value = Patterns<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table of numbers by layer")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Patterns(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_key_counts_whatever_the_alphabet_says() {
        let text = r#"{"q_proj": 1, "layers.0.*_proj": 2, ".*_proj": 3, "^model.up": 4}"#;
        let patterns: Patterns<usize> = serde_json::from_str(text).unwrap();
        let matcher = patterns.matcher("rank_pattern").unwrap();
        let find = |path: &str| matcher.find(path).unwrap();
        assert_eq!(find("model.layers.0.self_attn.q_proj"), Some(1));
        assert_eq!(find("model.layers.0.mlp.up_proj"), Some(2));
        assert_eq!(find("model.layers.1.mlp.up_proj"), Some(3));
        assert_eq!(find("model.up"), Some(4));
        assert_eq!(find("other.model.up"), None);
        assert_eq!(find("model.norm"), None);
        assert_eq!(
            serde_json::to_string(&patterns).unwrap(),
            text.replace(": ", ":").replace(", ", ",")
        );
    }

    #[test]
    fn a_name_matches_after_a_dot_only() {
        let patterns: Patterns<usize> = [("proj".to_owned(), 1)].into_iter().collect();
        let matcher = patterns.matcher("rank_pattern").unwrap();
        assert_eq!(matcher.find("a.q_proj").unwrap(), None);
        assert_eq!(matcher.find("a.proj").unwrap(), Some(1));
    }
}
