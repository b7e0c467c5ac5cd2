//! Decoding while tokens arrive: text comes out as soon as no later token can change it.

use super::Tokenizer;
use crate::error::{Error, Result};

/// Takes ids one by one; the pieces it gives, put together, are the decoding of all ids.
///
/// A piece never ends inside a character: bytes of an unfinished one are held back.
#[derive(Clone, Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    /// The ids of the last piece, which some decoders need as context, then those held back.
    window: Vec<u32>,
    /// How many ids of the window have been given as text.
    given_ids: usize,
    /// How many bytes of the window's text have been given.
    given_bytes: usize,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            window: Vec::new(),
            given_ids: 0,
            given_bytes: 0,
        }
    }

    /// Takes the next id and gives the text that has become certain, if any.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.window.push(id);
        if self.is_lone_byte(id) {
            return Ok(None);
        }
        let text = self.decode(&self.window)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        self.give(&text)
    }

    /// Ends the stream and gives what was held back, if anything; the stream can be used anew.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn flush(&mut self) -> Result<Option<String>> {
        let text = self.decode(&self.window)?;
        let piece = self.give(&text)?;
        *self = Self::new(self.tokenizer, self.skip_special_tokens);
        Ok(piece)
    }

    fn give(&mut self, text: &str) -> Result<Option<String>> {
        let piece = text
            .get(self.given_bytes..)
            .ok_or_else(|| Error::Tokenizer {
                problem: "the decoder takes back text that it gave for fewer tokens, so its \
                          output cannot be streamed"
                    .into(),
            })?;
        if piece.is_empty() {
            return Ok(None);
        }
        self.window.drain(..self.given_ids);
        self.given_ids = self.window.len();
        self.given_bytes = self.decode(&self.window)?.len();
        Ok(Some(piece.to_owned()))
    }

    /// Whether `id` is a byte of a byte-fallback vocabulary, `<0xE4>`: a byte after it can turn
    /// what it gave into something else.
    fn is_lone_byte(&self, id: u32) -> bool {
        let token = self.tokenizer.id_to_token(id);
        token.is_some_and(|token| {
            token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
        })
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, self.skip_special_tokens)
    }
}
