//! Training a byte-level BPE tokenizer from texts, for models trained from scratch.
//!
//! The layout is Qwen's, so that transformers and others read it: 256 bytes, merges, then special
//! and added tokens at the end. There is no normalizer, so every text comes back as it was.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::files::TokenizerFiles;
use super::{Tokenizer, tokenizer_error};
use crate::error::{Error, Result};

/// Turns between `<|im_start|>role` and `<|im_end|>`, as Qwen models have them.
pub const CHATML_TEMPLATE: &str = "\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// What is trained; the default is a small ChatML vocabulary for reasoning models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BpeConfig {
    /// Tokens in all: bytes, merges, special and added ones. Fewer come out if the texts have too
    /// few pairs to merge.
    pub vocabulary_size: usize,
    /// How often a pair must occur to become a token.
    pub minimum_frequency: u64,
    /// Whether every digit is a token of its own, as in Qwen; else up to three form one, as in
    /// Llama 3.
    pub single_digits: bool,
    /// Tokens that decoding can leave out.
    pub special_tokens: Vec<String>,
    /// Tokens that are never split but are text like any other.
    pub added_tokens: Vec<String>,
    /// The special token that ends a turn or a text.
    pub eos_token: String,
    /// The special token that fills short rows of a batch.
    pub pad_token: String,
    /// The Jinja template of conversations.
    pub chat_template: Option<String>,
}

impl Default for BpeConfig {
    fn default() -> Self {
        let tokens = |tokens: &[&str]| tokens.iter().map(ToString::to_string).collect();
        Self {
            vocabulary_size: 1024,
            minimum_frequency: 2,
            single_digits: true,
            special_tokens: tokens(&["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
            added_tokens: tokens(&["<think>", "</think>", "<answer>", "</answer>"]),
            eos_token: "<|im_end|>".into(),
            pad_token: "<|endoftext|>".into(),
            chat_template: Some(CHATML_TEMPLATE.into()),
        }
    }
}

impl BpeConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// Names the field and what would be right.
    pub fn validate(&self) -> Result<()> {
        let smallest = BYTES + self.special_tokens.len() + self.added_tokens.len();
        if self.vocabulary_size < smallest {
            return Err(Error::setting(
                "vocabulary_size",
                format!(
                    "is {}, but the bytes and the listed tokens alone are {smallest}",
                    self.vocabulary_size
                ),
            ));
        }
        for (key, token) in [
            ("eos_token", &self.eos_token),
            ("pad_token", &self.pad_token),
        ] {
            if !self.special_tokens.contains(token) {
                let problem = format!("is `{token}`, which is not one of `special_tokens`");
                return Err(Error::setting(key, problem));
            }
        }
        let mut tokens: Vec<_> = self.unsplit_tokens().collect();
        tokens.sort_unstable();
        if tokens.first().is_some_and(|token| token.is_empty()) {
            return Err(Error::setting("added_tokens", "has an empty token"));
        }
        match tokens.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::setting(
                "added_tokens",
                format!("`{}` is listed twice", pair[0]),
            )),
            None => Ok(()),
        }
    }

    fn unsplit_tokens(&self) -> impl Iterator<Item = &str> {
        let tokens = self.special_tokens.iter().chain(&self.added_tokens);
        tokens.map(String::as_str)
    }
}

const BYTES: usize = 256;

/// Trains a tokenizer on `texts`; the same texts in any order give the same tokenizer.
///
/// # Errors
/// When the configuration is not valid.
pub fn train_byte_level_bpe<T>(
    texts: impl Iterator<Item = T> + Send,
    config: &BpeConfig,
) -> Result<Tokenizer>
where
    T: AsRef<str> + Send,
{
    config.validate()?;
    let mut vocabulary = untrained(config)?;
    let mut trainer = TrainerWrapper::from(
        BpeTrainerBuilder::new()
            .vocab_size(config.vocabulary_size - config.unsplit_tokens().count())
            .min_frequency(config.minimum_frequency)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build(),
    );
    let pieces = texts.flat_map(|text| without_unsplit_tokens(text.as_ref(), config));
    vocabulary
        .train(&mut trainer, pieces)
        .map_err(tokenizer_error)?;
    let added = |token: &String| AddedToken::from(token, false).normalized(false);
    let special = |token: &String| AddedToken::from(token, true).normalized(false);
    vocabulary.add_special_tokens(
        &config
            .special_tokens
            .iter()
            .map(special)
            .collect::<Vec<_>>(),
    );
    vocabulary.add_tokens(&config.added_tokens.iter().map(added).collect::<Vec<_>>());
    let vocabulary = vocabulary.to_string(true).map_err(tokenizer_error)?;
    Tokenizer::from_files(TokenizerFiles::new(
        vocabulary,
        &transformers_config(config),
    ))
}

/// A tokenizer that splits texts into words and bytes but has no vocabulary yet.
fn untrained(config: &BpeConfig) -> Result<tokenizers::Tokenizer> {
    let words = SplitPattern::Regex(word_pattern(config.single_digits));
    let words = Split::new(words, SplitDelimiterBehavior::Isolated, false);
    let bytes = ByteLevel::new(false, true, false);
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(Sequence::new(vec![
            PreTokenizerWrapper::Split(words.map_err(tokenizer_error)?),
            PreTokenizerWrapper::ByteLevel(bytes),
        ])))
        .with_decoder(Some(bytes))
        .with_post_processor(Some(ByteLevel::new(false, false, false)));
    Ok(tokenizer)
}

/// How Qwen 2 and Llama 3 split text into words before merging: English contractions, letters with
/// one leading sign, digits, other signs, line breaks, spaces.
fn word_pattern(single_digits: bool) -> String {
    let digits = if single_digits {
        r"\p{N}"
    } else {
        r"\p{N}{1,3}"
    };
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        digits,
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
    .join("|")
}

/// `text` cut at the tokens that are never split, so that no merges are spent on their letters.
fn without_unsplit_tokens(text: &str, config: &BpeConfig) -> Vec<String> {
    let mut pieces = vec![text];
    for token in config.unsplit_tokens() {
        pieces = pieces.iter().flat_map(|piece| piece.split(token)).collect();
    }
    pieces.into_iter().map(str::to_owned).collect()
}

fn transformers_config(config: &BpeConfig) -> serde_json::Value {
    let mut settings = json!({
        "bos_token": null,
        "clean_up_tokenization_spaces": false,
        "eos_token": config.eos_token,
        "pad_token": config.pad_token,
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": null,
    });
    if let Some(template) = &config.chat_template {
        settings["chat_template"] = json!(template);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{ChatOptions, Message};

    const TEXTS: [&str; 4] = [
        "<think>12 + 34 = 46, so the answer is 46.</think><answer>46</answer>",
        "the answer to the question is the answer",
        "naïve café, naïve café: 12 34 12 34",
        "你好，世界！你好，世界！",
    ];

    fn train(config: &BpeConfig) -> Tokenizer {
        train_byte_level_bpe(TEXTS.iter(), config).unwrap()
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        let tokenizer = train(&BpeConfig::default());
        for text in [
            "",
            " \t\r\n\u{0}\u{7f} ",
            "the answer <think> is</think>\n\n46",
            "e\u{301} and \u{e9} stay apart; ﬁ, Ω, \u{fffd}, 🙂👩‍👩‍👧, עברית",
            "<|im_start|>user<|im_end|>",
        ] {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
    }

    #[test]
    fn every_byte_has_a_token_and_listed_tokens_come_last() {
        let config = BpeConfig::default();
        let tokenizer = train(&config);
        for byte in ByteLevel::alphabet() {
            assert!(tokenizer.token_to_id(&byte.to_string()).is_some());
        }
        let first = tokenizer.vocabulary_size() - config.unsplit_tokens().count();
        let ids: Vec<_> = (first..tokenizer.vocabulary_size())
            .map(|id| tokenizer.id_to_token(id as u32).unwrap())
            .collect();
        assert_eq!(ids, config.unsplit_tokens().collect::<Vec<_>>());
        assert_eq!(
            tokenizer.eos_token_id(),
            tokenizer.token_to_id("<|im_end|>")
        );
        assert_eq!(
            tokenizer.pad_token_id(),
            tokenizer.token_to_id("<|endoftext|>")
        );
        assert_eq!(tokenizer.bos_token_id(), None);
    }

    #[test]
    fn the_order_of_the_texts_does_not_matter() {
        let backwards = TEXTS.iter().rev();
        let backwards = train_byte_level_bpe(backwards, &BpeConfig::default()).unwrap();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        train(&BpeConfig::default()).save(one.path()).unwrap();
        backwards.save(other.path()).unwrap();
        let read = |folder: &tempfile::TempDir| {
            std::fs::read_to_string(folder.path().join("tokenizer.json")).unwrap()
        };
        assert_eq!(read(&one), read(&other));
    }

    #[test]
    fn vocabulary_size_counts_every_token() {
        let config = BpeConfig {
            vocabulary_size: 270,
            ..BpeConfig::default()
        };
        assert_eq!(train(&config).vocabulary_size(), 270);
    }

    #[test]
    fn no_merges_are_spent_on_listed_tokens() {
        let texts = ["<think></think><answer></answer><|im_start|><|im_end|>"; 9];
        let tokenizer = train_byte_level_bpe(texts.iter(), &BpeConfig::default()).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), 256 + 7);
    }

    #[test]
    fn digits_stand_alone_unless_asked_otherwise() {
        let grouped = BpeConfig {
            single_digits: false,
            ..BpeConfig::default()
        };
        let count = |config: &BpeConfig| train(config).encode("12", true).unwrap().len();
        assert_eq!(count(&BpeConfig::default()), 2);
        assert_eq!(count(&grouped), 1);
    }

    #[test]
    fn special_tokens_can_be_left_out_of_text_and_added_ones_stay() {
        let tokenizer = train(&BpeConfig::default());
        let chat = [Message::user("a"), Message::assistant("<think>b</think>c")];
        let ids = tokenizer
            .encode_chat(&chat, &ChatOptions::default())
            .unwrap();
        assert_eq!(
            tokenizer.decode(&ids, true).unwrap(),
            "user\na\nassistant\n<think>b</think>c\n"
        );
    }

    #[test]
    fn a_saved_tokenizer_reads_back_equal() {
        let tokenizer = train(&BpeConfig::default());
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(&folder.path().join("new")).unwrap();
        let read = Tokenizer::load(&folder.path().join("new")).unwrap();
        assert_eq!(
            read.encode(TEXTS[0], false).unwrap(),
            tokenizer.encode(TEXTS[0], false).unwrap()
        );
        assert_eq!(read.eos_token_id(), tokenizer.eos_token_id());
        let chat = [Message::user("a")];
        let options = ChatOptions::default();
        assert_eq!(
            read.render_chat(&chat, &options).unwrap(),
            tokenizer.render_chat(&chat, &options).unwrap()
        );
    }

    #[test]
    fn a_configuration_that_cannot_work_names_the_field() {
        let wrong = [
            BpeConfig {
                vocabulary_size: 262,
                ..BpeConfig::default()
            },
            BpeConfig {
                eos_token: "<eos>".into(),
                ..BpeConfig::default()
            },
            BpeConfig {
                pad_token: "<think>".into(),
                ..BpeConfig::default()
            },
            BpeConfig {
                added_tokens: vec!["<|im_end|>".into()],
                ..BpeConfig::default()
            },
            BpeConfig {
                added_tokens: vec![String::new()],
                ..BpeConfig::default()
            },
        ];
        let fields = [
            "vocabulary_size",
            "eos_token",
            "pad_token",
            "added_tokens",
            "added_tokens",
        ];
        for (config, field) in wrong.iter().zip(fields) {
            let error = train_byte_level_bpe(TEXTS.iter(), config).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{field}`: ")));
        }
    }
}
