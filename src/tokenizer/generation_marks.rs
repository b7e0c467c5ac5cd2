//! Which tokens of a conversation the assistant wrote, by the `{% generation %}` blocks of the chat
//! template, as transformers finds them.
//!
//! Known differences to transformers, all where it loses track: a block inside a macro or a `set`
//! block counts from where its text stands; a block that wrote nothing marks nothing; where a
//! tokenizer leaves white space at the ends of a block out of its offsets, the tokens between count,
//! instead of none or of all that follow.

use std::ops::Range;

use tokenizers::Encoding;

use super::{ChatOptions, Message, Tokenizer, tokenizer_error};
use crate::error::Result;

/// Private-use characters, which marks are taken from.
const PRIVATE_USE: [Range<u32>; 2] = [0xE000..0xF8FF, 0x10_0000..0x10_FFFD];

/// A conversation as tokens that know whether the assistant wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedChat {
    /// The ids, as [`Tokenizer::encode_chat`] gives them.
    pub ids: Vec<u32>,
    /// Whether the assistant wrote each token: the template's `{% generation %}` blocks did.
    pub is_assistant: Vec<bool>,
}

impl Tokenizer {
    /// The ids of a conversation and which of them the assistant wrote.
    ///
    /// Of a block's last character that takes several tokens only the first counts, as in
    /// transformers.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_chat`], and when the template has no `{% generation %}` block or
    /// changes what its blocks wrote.
    pub fn encode_chat_marked(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<MarkedChat> {
        let template = self.chat_template()?;
        let variables = &self.special_tokens.variables;
        let (text, spans) = template.render_marked(variables, messages, options)?;
        let encoding = self.vocabulary.encode_char_offsets(text, false);
        let encoding = encoding.map_err(tokenizer_error)?;
        let mut is_assistant = vec![false; encoding.len()];
        for tokens in spans.iter().filter_map(|span| tokens_of(&encoding, span)) {
            is_assistant[tokens].fill(true);
        }
        Ok(MarkedChat {
            ids: encoding.get_ids().to_vec(),
            is_assistant,
        })
    }
}

/// The tokens from the one that has the span's first character to the first that has its last one.
fn tokens_of(encoding: &Encoding, span: &Range<usize>) -> Option<Range<usize>> {
    if span.is_empty() {
        return None;
    }
    let begins_inside = |(start, _): &(usize, usize)| span.contains(start);
    let offsets = encoding.get_offsets();
    let first = encoding.char_to_token(span.start, 0);
    let first = first.or_else(|| offsets.iter().position(begins_inside))?;
    let last = encoding.char_to_token(span.end - 1, 0);
    let last = last.or_else(|| offsets.iter().rposition(begins_inside))?;
    (first <= last).then_some(first..last + 1)
}

/// Two characters that `text` does not have.
pub(super) fn unused_marks(text: &str) -> Option<[char; 2]> {
    let mut unused = PRIVATE_USE
        .into_iter()
        .flatten()
        .filter_map(char::from_u32)
        .filter(|mark| !text.contains(*mark));
    Some([unused.next()?, unused.next()?])
}

/// `marked` without its marks, and which characters of that stood between them; none if the marks do
/// not follow each other in turn.
pub(super) fn spans(marked: &str, [start, end]: [char; 2]) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut open = None;
    let mut count = 0;
    for character in marked.chars() {
        if character == start {
            if open.replace(count).is_some() {
                return None;
            }
        } else if character == end {
            spans.push(open.take()?..count);
        } else {
            text.push(character);
            count += 1;
        }
    }
    open.is_none().then_some((text, spans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_characters_that_the_text_does_not_have() {
        assert_eq!(unused_marks("a"), Some(['\u{e000}', '\u{e001}']));
        assert_eq!(unused_marks("\u{e001}"), Some(['\u{e000}', '\u{e002}']));
        let all: String = PRIVATE_USE
            .into_iter()
            .flatten()
            .filter_map(char::from_u32)
            .collect();
        assert_eq!(unused_marks(&all), None);
    }

    #[test]
    fn spans_are_what_stands_between_marks_that_alternate() {
        let spans = |marked: &str| spans(marked, ['<', '>']);
        assert_eq!(spans("é<bc>d<>"), Some(("ébcd".into(), vec![1..3, 4..4])));
        for broken in ["<a", "a>", "<a<b>>", "<a>b>"] {
            assert_eq!(spans(broken), None);
        }
    }
}
