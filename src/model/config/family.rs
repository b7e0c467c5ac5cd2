//! Families of decoders and what `transformers` takes for keys their `config.json` leaves out.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A family of decoders: which optional parts a layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Qwen2 and Qwen2.5: biases on the q, k and v projections.
    Qwen2,
    /// Qwen3: norms on queries and keys.
    Qwen3,
    /// Llama 2 and 3.
    Llama,
    /// Mistral without a sliding window.
    Mistral,
}

/// What a model says of each final state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Head {
    /// How likely each token of the vocabulary is next.
    #[default]
    Vocabulary,
    /// One number: what the state is worth. `…ForSequenceClassification` with one label.
    Score,
}

/// What `transformers` takes for keys left out; `None` where the key's absence has its own meaning.
pub(super) struct Defaults {
    pub vocab_size: usize,
    pub intermediate_size: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub max_position_embeddings: usize,
    pub sliding_window: Option<usize>,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<u32>,
}

impl Family {
    const ALL: [Self; 4] = [Self::Qwen2, Self::Qwen3, Self::Llama, Self::Mistral];

    /// The `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
        }
    }

    /// The entry of `architectures` in `config.json` of a model with this head.
    pub fn architecture(self, head: Head) -> String {
        let family = match self {
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
        };
        match head {
            Head::Vocabulary => format!("{family}ForCausalLM"),
            Head::Score => format!("{family}ForSequenceClassification"),
        }
    }

    /// The family and the head that `config.json` names by `model_type` and, where given,
    /// `architectures`.
    pub(super) fn named(
        model_type: Option<&str>,
        architectures: &[String],
    ) -> Result<(Self, Head)> {
        let Some(model_type) = model_type else {
            return Err(Error::setting(
                "model_type",
                format!("is missing, expected one of {}", Self::supported()),
            ));
        };
        let family = Self::ALL
            .into_iter()
            .find(|family| family.model_type() == model_type)
            .ok_or_else(|| {
                let problem = format!("is `{model_type}`, supported are {}", Self::supported());
                Error::setting("model_type", problem)
            })?;
        let Some(named) = architectures.first() else {
            return Ok((family, Head::Vocabulary));
        };
        let supported =
            [Head::Vocabulary, Head::Score].map(|head| (family.architecture(head), head));
        match supported.iter().find(|(name, _)| name == named) {
            Some((_, head)) => Ok((family, *head)),
            None => {
                let [(language, _), (score, _)] = supported;
                let problem = format!("is `{named}`, supported are {language} and {score}");
                Err(Error::setting("architectures", problem))
            }
        }
    }

    fn supported() -> String {
        Self::ALL.map(Self::model_type).join(", ")
    }

    /// Whether `attention_bias` of `config.json` counts.
    pub(super) fn reads_attention_bias(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Llama)
    }

    /// Whether `mlp_bias` of `config.json` counts.
    pub(super) fn reads_mlp_bias(self) -> bool {
        self == Self::Llama
    }

    pub(super) fn defaults(self) -> Defaults {
        let qwen = Defaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            num_key_value_heads: Some(32),
            head_dim: None,
            max_position_embeddings: 32_768,
            sliding_window: Some(4096),
            bos_token_id: None,
            eos_token_id: None,
        };
        let llama = Defaults {
            vocab_size: 32_000,
            intermediate_size: 11_008,
            num_key_value_heads: None,
            head_dim: None,
            max_position_embeddings: 2048,
            sliding_window: None,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
        };
        match self {
            Self::Qwen2 => qwen,
            Self::Qwen3 => Defaults {
                head_dim: Some(128),
                ..qwen
            },
            Self::Llama => llama,
            Self::Mistral => Defaults {
                intermediate_size: 14_336,
                num_key_value_heads: Some(8),
                max_position_embeddings: 131_072,
                sliding_window: Some(4096),
                ..llama
            },
        }
    }
}
