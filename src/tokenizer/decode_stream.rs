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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::files::TokenizerFiles;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};
    use serde_json::json;

    fn bytes_only() -> Tokenizer {
        train_byte_level_bpe([""].iter(), &BpeConfig::default()).unwrap()
    }

    fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut stream = tokenizer.decode_stream(false);
        let mut pieces: Vec<_> = ids
            .iter()
            .filter_map(|id| stream.push(*id).unwrap())
            .collect();
        pieces.extend(stream.flush().unwrap());
        pieces
    }

    #[test]
    fn characters_come_out_whole() {
        let tokenizer = bytes_only();
        let ids = tokenizer.encode("a你🙂b", false).unwrap();
        assert_eq!(ids.len(), 9);
        assert_eq!(pieces(&tokenizer, &ids), ["a", "你", "🙂", "b"]);
    }

    #[test]
    fn bytes_that_are_no_text_come_out_as_the_whole_decoding_shows_them() {
        let tokenizer = bytes_only();
        let mut state = 1u32;
        for length in 0..200 {
            let ids: Vec<_> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16) % tokenizer.vocabulary_size() as u32
                })
                .collect();
            let whole = tokenizer.decode(&ids, false).unwrap();
            assert_eq!(pieces(&tokenizer, &ids).concat(), whole);
        }
    }

    #[test]
    fn an_unfinished_character_appears_only_at_the_end() {
        let tokenizer = bytes_only();
        let ids = tokenizer.encode("a🙂", false).unwrap();
        assert_eq!(pieces(&tokenizer, &ids[..4]), ["a", "\u{fffd}"]);
    }

    /// A vocabulary as SentencePiece makes it: `▁` for spaces, the first of which is dropped, and
    /// bytes as `<0xE4>`.
    fn with_byte_fallback() -> Tokenizer {
        let tokens = ["▁a", "▁b", "c", "▁", "<0xC3>", "<0xA9>", "<0xFF>"];
        let vocabulary: serde_json::Map<_, _> = (0..)
            .zip(tokens)
            .map(|(id, token)| (token.into(), json!(id)))
            .collect();
        let content = json!({
            "version": "1.0", "added_tokens": [],
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ]},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": true},
        });
        Tokenizer::from_files(TokenizerFiles::new(content.to_string(), &json!({}))).unwrap()
    }

    #[test]
    fn leading_spaces_and_fallback_bytes_are_those_of_the_whole_decoding() {
        let tokenizer = with_byte_fallback();
        for (ids, expected) in [
            (vec![0, 1, 2, 0], "a bc a"),
            (vec![3, 3, 0, 3, 3, 2], " a  c"),
            (vec![0, 4, 5, 1], "aé b"),
            (vec![0, 4, 5, 6, 1], "a\u{fffd}\u{fffd}\u{fffd} b"),
        ] {
            assert_eq!(
                pieces(&tokenizer, &ids).concat(),
                tokenizer.decode(&ids, false).unwrap()
            );
            assert_eq!(
                tokenizer.decode(&ids, false).unwrap().trim_start(),
                expected.trim_start()
            );
        }
    }
}
