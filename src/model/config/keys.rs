//! Typed reading of the keys of a JSON object, with errors that name key and value.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The most characters of an offending value that an error message repeats.
const SHOWN_CHARACTERS: usize = 60;

/// A JSON object whose keys are read one by one.
#[derive(Clone, Copy)]
pub(in crate::model) struct Keys<'a> {
    map: &'a Map<String, Value>,
    /// The object's own key, if it lies in another object.
    parent: Option<&'a str>,
}

impl<'a> Keys<'a> {
    pub(in crate::model) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, parent: None }
    }

    /// The value at `key`; absent and `null` are `None`. `expected` says what the value should be.
    pub(in crate::model) fn optional<T: DeserializeOwned>(
        self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.required(key, expected).map(Some),
        }
    }

    /// The value at `key`, or `default` where the key is absent; `null` is an error.
    pub(in crate::model) fn or<T: DeserializeOwned>(
        self,
        key: &str,
        default: T,
        expected: &str,
    ) -> Result<T> {
        if self.map.contains_key(key) {
            self.required(key, expected)
        } else {
            Ok(default)
        }
    }

    /// The value at `key`.
    pub(in crate::model) fn required<T: DeserializeOwned>(
        self,
        key: &str,
        expected: &str,
    ) -> Result<T> {
        let value = self.map.get(key).ok_or_else(|| {
            let problem = format!("is missing, expected {expected}");
            Error::setting(self.full(key), problem)
        })?;
        T::deserialize(value).map_err(|_| self.wrong(key, expected))
    }

    /// A whole number, or `default` where the key is absent.
    pub(in crate::model) fn count_or(self, key: &str, default: usize) -> Result<usize> {
        self.or(key, default, COUNT)
    }

    /// A whole number, if the key is there and not `null`.
    pub(in crate::model) fn count(self, key: &str) -> Result<Option<usize>> {
        self.optional(key, COUNT)
    }

    /// True or false, or `default` where the key is absent.
    pub(in crate::model) fn flag_or(self, key: &str, default: bool) -> Result<bool> {
        self.or(key, default, "true or false")
    }

    /// Token ids: one, a list, or none for `null`; `default` where the key is absent. Negative ids,
    /// which some published configs hold for "none", are left out.
    pub(in crate::model) fn token_ids_or(
        self,
        key: &str,
        default: Option<u32>,
    ) -> Result<Vec<u32>> {
        let expected = "a token id, a list of token ids or null";
        let entries = match self.map.get(key) {
            None => return Ok(default.into_iter().collect()),
            Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(entries)) => entries.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let id = entry.as_i64().ok_or_else(|| self.wrong(key, expected))?;
            if id >= 0 {
                ids.push(u32::try_from(id).map_err(|_| self.wrong(key, expected))?);
            }
        }
        Ok(ids)
    }

    /// The object at `key`; absent, `null` and `{}` are `None`.
    pub(in crate::model) fn object(self, key: &'a str) -> Result<Option<Self>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) if map.is_empty() => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                map,
                parent: Some(key),
            })),
            Some(_) => Err(self.wrong(key, "an object or null")),
        }
    }

    /// The first key whose value is itself an object.
    pub(in crate::model) fn nested(self) -> Option<&'a str> {
        let mut entries = self.map.iter();
        entries.find_map(|(key, value)| value.is_object().then_some(key.as_str()))
    }

    /// The error about a value at `key` that is not what was `expected`.
    pub(in crate::model) fn wrong(self, key: &str, expected: &str) -> Error {
        let value = self.map.get(key).unwrap_or(&Value::Null).to_string();
        let shown: String = value.chars().take(SHOWN_CHARACTERS).collect();
        let dots = if shown.len() < value.len() { "…" } else { "" };
        let problem = format!("is {shown}{dots}, expected {expected}");
        Error::setting(self.full(key), problem)
    }

    fn full(self, key: &str) -> String {
        match self.parent {
            Some(parent) => format!("{parent}.{key}"),
            None => key.to_owned(),
        }
    }
}

const COUNT: &str = "a whole number";
