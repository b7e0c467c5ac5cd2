//! The special tokens that `tokenizer_config.json` names.

use serde_json::{Map, Value};

/// Ids of the special tokens a trainer needs, and all of them as chat templates see them.
#[derive(Clone, Debug)]
pub(super) struct SpecialTokens {
    /// Ends a turn or a text.
    pub eos: Option<u32>,
    /// Begins a text.
    pub bos: Option<u32>,
    /// Fills short rows.
    pub pad: Option<u32>,
    /// `eos_token`, `bos_token` and so on, with the tokens' texts.
    pub variables: Map<String, Value>,
}

impl SpecialTokens {
    /// Takes every `…_token` of the configuration; the problem names the one that is not usable.
    pub fn new(
        config: &Map<String, Value>,
        vocabulary: &tokenizers::Tokenizer,
    ) -> Result<Self, String> {
        let variables: Map<_, _> = config
            .iter()
            .filter(|(key, _)| key.ends_with("_token"))
            .filter_map(|(key, value)| Some((key.clone(), Value::from(token_text(value)?))))
            .collect();
        let id = |key: &str| match variables.get(key).and_then(Value::as_str) {
            None => Ok(None),
            Some(token) => vocabulary.token_to_id(token).map(Some).ok_or_else(|| {
                format!("`{key}` is `{token}`, which is not in the vocabulary of `tokenizer.json`")
            }),
        };
        Ok(Self {
            eos: id("eos_token")?,
            bos: id("bos_token")?,
            pad: id("pad_token")?,
            variables,
        })
    }
}

/// A token is written as its text or as an object with the text as `content`; flags such as
/// `add_bos_token` are no tokens.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}
