//! What a decoder looks like: the numbers of a Hugging Face `config.json`.
//!
//! Reads both the older hub spelling (`rope_theta`, `rope_scaling`, `torch_dtype`) and that of
//! transformers 5 (`rope_parameters`, `dtype`), writes the latter. Keys left out mean what
//! `transformers` takes them to mean; keys it does not know are kept; values it cannot honour are
//! refused.

mod family;
mod generation_defaults;
mod json;
pub(super) mod keys;
mod parameters;
mod rope;

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

pub use self::family::{Family, Head};
pub use self::generation_defaults::GenerationDefaults;
pub(super) use self::parameters::SCORE;
pub use self::rope::{Rope, RopeScaling};
use super::weight_dtype::WeightDtype;
use crate::error::{Error, Result};

/// The numbers that make a decoder. Equal configs describe the same decoder, whatever else their
/// files hold.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family, which decides a layer's optional parts.
    pub family: Family,
    /// What it says of each final state.
    pub head: Head,
    /// Tokens in the vocabulary: rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Longest sequence the model is made for, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Whether the head shares the embedding's weight.
    pub tie_word_embeddings: bool,
    /// Biases on q, k, v and output projection; read for Qwen3 and Llama, see [`Self::qkv_bias`].
    pub attention_bias: bool,
    /// Biases in the feed-forward block; read for Llama.
    pub mlp_bias: bool,
    /// Number type of the stored weights.
    pub dtype: WeightDtype,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills up shorter rows.
    pub pad_token_id: Option<u32>,
    /// What the file held, to be written back.
    pub source: SourceKeys,
}

/// The keys of the file a config was read from; empty for a model made from scratch.
#[derive(Clone, Debug, Default)]
pub struct SourceKeys(Map<String, Value>);

impl PartialEq for SourceKeys {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl ModelConfig {
    /// The decoder that `transformers` makes of `family` when no key is given: of 7B size, for the
    /// caller to change. [`Self::validate`] checks the result.
    pub fn of_family(family: Family) -> Self {
        Self::from_keys(&Map::new(), family).expect("the defaults are valid values")
    }

    /// Reads `config.json` of the model folder `dir`.
    ///
    /// # Errors
    /// When the file cannot be read, or as [`Self::from_json`].
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        Self::from_json(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is only for error messages.
    ///
    /// # Errors
    /// When the text is no JSON object, a key holds a value that is out of range or contradicts
    /// another, or the model needs what this decoder lacks.
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let map = parse_object(text, path)?;
        Self::from_map(map).map_err(|error| in_file(error, path))
    }

    /// The inverse frequencies of the rotary embedding, in radians per token: `head_dim / 2` numbers.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        self.rope.inverse_frequencies(self.head_dim)
    }

    /// Checks that the numbers are in range and fit each other.
    ///
    /// # Errors
    /// Names the first key at fault.
    pub fn validate(&self) -> Result<()> {
        for (key, value, largest) in self.counts() {
            if value == 0 || value > largest {
                let problem = format!("is {value}, expected a number from 1 to {largest}");
                return Err(Error::setting(key, problem));
            }
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            let problem = format!("is {}, expected a number in (0, 1)", self.rms_norm_eps);
            return Err(Error::setting("rms_norm_eps", problem));
        }
        self.rope.validate()?;
        self.validate_heads()?;
        self.validate_token_ids()
    }

    /// Every size with its key and the largest value that can be meant.
    fn counts(&self) -> [(&'static str, usize, usize); 8] {
        [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 12),
            ("num_attention_heads", self.num_attention_heads, 1 << 14),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 14),
            ("head_dim", self.head_dim, 1 << 14),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                1 << 30,
            ),
        ]
    }

    fn validate_heads(&self) -> Result<()> {
        let (heads, groups) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(groups) {
            let problem =
                format!("is {groups}, expected a divisor of num_attention_heads ({heads})");
            return Err(Error::setting("num_key_value_heads", problem));
        }
        if !self.head_dim.is_multiple_of(2) {
            let problem = format!("is {}, expected an even number", self.head_dim);
            return Err(Error::setting("head_dim", problem));
        }
        if self.family == Family::Llama && !self.hidden_size.is_multiple_of(heads) {
            let problem = format!(
                "is {}, expected a multiple of num_attention_heads ({heads})",
                self.hidden_size
            );
            return Err(Error::setting("hidden_size", problem));
        }
        Ok(())
    }

    fn validate_token_ids(&self) -> Result<()> {
        let ids = (self.bos_token_id.iter().map(|id| ("bos_token_id", id)))
            .chain(self.eos_token_ids.iter().map(|id| ("eos_token_id", id)))
            .chain(self.pad_token_id.iter().map(|id| ("pad_token_id", id)));
        for (key, &id) in ids {
            if id as usize >= self.vocab_size {
                let problem = format!(
                    "is {id}, expected less than vocab_size ({})",
                    self.vocab_size
                );
                return Err(Error::setting(key, problem));
            }
        }
        Ok(())
    }
}

pub(super) fn parse_object(text: &str, path: &Path) -> Result<Map<String, Value>> {
    serde_json::from_str(text)
        .map_err(|error| Error::file(path, format!("expected a JSON object: {error}")))
}

/// Says in which file the key of a setting error stands.
pub(super) fn in_file(error: Error, path: &Path) -> Error {
    match error {
        Error::Setting { key, problem } => Error::file(path, format!("`{key}`: {problem}")),
        other => other,
    }
}
