//! One file or several that are read one after another.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Files that are read one after another; a recipe gives one path or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFiles(Vec<PathBuf>);

impl DataFiles {
    /// The files, in order.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// Checks that there is a file; `key` names the setting in the message.
    ///
    /// # Errors
    /// When there is none.
    pub fn validate(&self, key: &str) -> Result<()> {
        match self.0.is_empty() {
            true => Err(Error::setting(key, "no files, expected at least one")),
            false => Ok(()),
        }
    }

    /// What complaints about all of them name: the first.
    pub fn first(&self) -> &Path {
        self.0.first().map_or(Path::new("data"), PathBuf::as_path)
    }
}

impl Serialize for DataFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [path] => path.serialize(serializer),
            paths => paths.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DataFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

/// Reads both spellings.
struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = DataFiles;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a path or a list of paths")
    }

    fn visit_str<E>(self, path: &str) -> Result<DataFiles, E> {
        Ok(DataFiles(vec![path.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<DataFiles, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = items.next_element()? {
            paths.push(path);
        }
        Ok(DataFiles(paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        data: DataFiles,
    }

    #[test]
    fn one_path_and_a_list_are_read_and_written_as_they_were() {
        for (text, count) in [("data = \"a\"\n", 1), ("data = [\"a\", \"b\"]\n", 2)] {
            let settings: Settings = toml::from_str(text).unwrap();
            assert_eq!(settings.data.paths().len(), count);
            assert_eq!(toml::to_string(&settings).unwrap(), text);
        }
    }

    #[test]
    fn anything_else_is_told_what_would_be_right() {
        let error = toml::from_str::<Settings>("data = 3").unwrap_err();
        let expected = "invalid type: integer `3`, expected a path or a list of paths";
        assert_eq!(error.message(), expected);
        let none: Settings = toml::from_str("data = []").unwrap();
        assert!(none.data.validate("stage.sft.data").is_err());
    }
}
