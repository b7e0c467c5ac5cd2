//! Text to token ids and back, and conversations to prompts; no tensors.
//!
//! A [`Tokenizer`] is what a model folder in Hugging Face layout says about text: `tokenizer.json`
//! (run by the `tokenizers` crate), the special tokens of `tokenizer_config.json` and the chat
//! template, a Jinja template run by `minijinja` as transformers runs it. [`train_byte_level_bpe`]
//! makes one from texts, for models trained from scratch.

mod byte_level_bpe;
mod chat_template;
mod decode_stream;
mod files;
mod generation_marks;
mod jinja;
mod message;
mod python_json;
mod python_methods;
mod special_tokens;
mod template_source;

use std::path::Path;

pub use byte_level_bpe::{BpeConfig, CHATML_TEMPLATE, train_byte_level_bpe};
pub use chat_template::ChatOptions;
pub use decode_stream::DecodeStream;
pub use generation_marks::MarkedChat;
pub use message::{Message, Role};

use crate::error::{Error, Result};
use chat_template::ChatTemplate;
use files::TokenizerFiles;
use special_tokens::SpecialTokens;

/// The tokenizer of a model folder, with its special tokens and its chat template.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    vocabulary: tokenizers::Tokenizer,
    special_tokens: SpecialTokens,
    chat_template: Option<ChatTemplate>,
    files: TokenizerFiles,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` of a model folder;
    /// only the first must be there. A template in `chat_template.jinja` wins over the
    /// configuration's. Templates are compiled when they are first used.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be; the message names it.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::from_files(TokenizerFiles::read(folder)?)
    }

    /// Writes the tokenizer into `folder`, byte for byte as it was read.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.files.write(folder)
    }

    /// The ids of `text`. With `add_special_tokens` the tokenizer adds what its model expects
    /// around a text, such as a beginning-of-text token; special tokens spelled out in the text
    /// are recognised either way. Never truncates or pads.
    ///
    /// # Errors
    /// When the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self.vocabulary.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(tokenizer_error)?.get_ids().to_vec())
    }

    /// The ids of each text as [`Tokenizer::encode`] gives them, computed in parallel.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_batch(&self, texts: &[&str], add_special_tokens: bool) -> Result<Vec<Vec<u32>>> {
        let encodings = self
            .vocabulary
            .encode_batch_fast(texts.to_vec(), add_special_tokens)
            .map_err(tokenizer_error)?;
        Ok(encodings.iter().map(|e| e.get_ids().to_vec()).collect())
    }

    /// The text of `ids`. Bytes that are no UTF-8 become U+FFFD; ids without a token, such as the
    /// padding rows of an embedding, give nothing.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let text = self.vocabulary.decode(ids, skip_special_tokens);
        text.map_err(tokenizer_error)
    }

    /// A decoder that takes ids one by one and gives text as soon as it is certain.
    pub fn decode_stream(&self, skip_special_tokens: bool) -> DecodeStream<'_> {
        DecodeStream::new(self, skip_special_tokens)
    }

    /// The number of tokens, added ones included. A model's embedding may have more rows.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.get_vocab_size(true)
    }

    /// The id of a token as the vocabulary spells it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.vocabulary.token_to_id(token)
    }

    /// A token as the vocabulary spells it: byte-level vocabularies write a space as `Ġ`.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.vocabulary.id_to_token(id)
    }

    /// The id that ends a turn or a text.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.special_tokens.eos
    }

    /// The id that begins a text.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.special_tokens.bos
    }

    /// The id that fills short rows of a batch.
    pub fn pad_token_id(&self) -> Option<u32> {
        self.special_tokens.pad
    }

    /// Whether conversations can be rendered.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    /// The same tokenizer with `source` as its only chat template.
    ///
    /// # Errors
    /// When the configuration cannot be rewritten.
    pub fn with_chat_template(self, source: &str) -> Result<Self> {
        Self::from_files(self.files.with_chat_template(source)?)
    }

    /// The text of a conversation, as the chat template writes it.
    ///
    /// # Errors
    /// When there is no template or no message, or the template is broken or refuses the
    /// conversation.
    pub fn render_chat(&self, messages: &[Message], options: &ChatOptions) -> Result<String> {
        let variables = &self.special_tokens.variables;
        self.chat_template()?.render(variables, messages, options)
    }

    /// The ids of a conversation: the rendered text, to which no special tokens are added, for
    /// the template has written them already.
    ///
    /// # Errors
    /// As [`Tokenizer::render_chat`] and [`Tokenizer::encode`].
    pub fn encode_chat(&self, messages: &[Message], options: &ChatOptions) -> Result<Vec<u32>> {
        self.encode(&self.render_chat(messages, options)?, false)
    }

    fn chat_template(&self) -> Result<&ChatTemplate> {
        let place = self.files.config_path();
        self.chat_template.as_ref().ok_or_else(|| Error::ChatTemplate {
            problem: format!(
                "there is none, neither `chat_template.jinja` nor `chat_template` in `{}`; give \
                 prompts as plain text",
                place.display()
            ),
        })
    }

    fn from_files(files: TokenizerFiles) -> Result<Self> {
        let vocabulary = files.vocabulary()?;
        let config = files.config()?;
        Ok(Self {
            special_tokens: SpecialTokens::new(&config, &vocabulary)
                .map_err(|problem| Error::file(files.config_path(), problem))?,
            chat_template: files.chat_template(&config)?,
            vocabulary,
            files,
        })
    }
}

fn tokenizer_error(error: tokenizers::Error) -> Error {
    Error::Tokenizer {
        problem: error.to_string(),
    }
}
