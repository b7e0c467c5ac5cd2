//! What a model folder's `generation_config.json` says about generation.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::keys::Keys;
use super::{in_file, parse_object};
use crate::error::{Error, Result};

/// Settings of `generation_config.json`; empty where the file or the key is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end a completion.
    pub eos_token_ids: Vec<u32>,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The token that fills up shorter rows.
    pub pad_token_id: Option<u32>,
    /// Divides positive and multiplies negative logits of tokens already in the row.
    pub repetition_penalty: Option<f64>,
}

impl GenerationDefaults {
    /// Reads `generation_config.json` of the model folder `dir`; a folder without it has no defaults.
    ///
    /// # Errors
    /// When the file is there but cannot be read, is no JSON object, or holds other values than it should.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("generation_config.json");
        match fs::read_to_string(&path) {
            Ok(text) => Self::from_json(&text, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(&path, "read")(error)),
        }
    }

    /// Reads the text of a `generation_config.json`; `path` is only for error messages.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let map = parse_object(text, path)?;
        let keys = Keys::new(&map);
        let ids = |key| keys.token_ids_or(key, None);
        let read = || {
            Ok(Self {
                eos_token_ids: ids("eos_token_id")?,
                bos_token_id: ids("bos_token_id")?.first().copied(),
                pad_token_id: ids("pad_token_id")?.first().copied(),
                repetition_penalty: keys.optional("repetition_penalty", "a number")?,
            })
        };
        read().map_err(|error| in_file(error, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GenerationDefaults> {
        GenerationDefaults::from_json(text, Path::new("generation_config.json"))
    }

    #[test]
    fn one_end_token_and_several_are_read_alike() {
        let one = read(r#"{"eos_token_id": 7, "pad_token_id": 9}"#).unwrap();
        assert_eq!(one.eos_token_ids, [7]);
        assert_eq!((one.bos_token_id, one.pad_token_id), (None, Some(9)));
        assert_eq!(one.repetition_penalty, None);
        let several =
            read(r#"{"eos_token_id": [7, 8], "bos_token_id": 1, "repetition_penalty": 2}"#)
                .unwrap();
        assert_eq!(several.repetition_penalty, Some(2.0));
        assert_eq!(several.eos_token_ids, [7, 8]);
        assert_eq!(several.bos_token_id, Some(1));
    }

    #[test]
    fn an_end_token_that_is_no_id_is_named() {
        let error = read(r#"{"eos_token_id": "</s>"}"#).unwrap_err().to_string();
        assert!(error.contains("generation_config.json: `eos_token_id`: is \"</s>\""));
    }

    #[test]
    fn a_folder_without_the_file_has_no_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let defaults = GenerationDefaults::load(dir.path()).unwrap();
        assert_eq!(defaults, GenerationDefaults::default());
    }
}
