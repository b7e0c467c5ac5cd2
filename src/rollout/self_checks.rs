//! Self-checks in a completion's reasoning: where a model stops, doubts and goes back.
//!
//! DeepSeek-R1 (arXiv:2501.12948) follows words of reflection, such as "wait", over training. [`MARKS`]
//! is a list of ours: words that stop and look back, in English and Chinese, without those as common
//! elsewhere as "but" or "wrong".

use serde::{Deserialize, Serialize};

/// What marks a self-check. Latin letters match in either case and as whole words, so that neither
/// "checker" nor "await" counts; between two words stands any white space. Chinese is written
/// without spaces and matches anywhere. Where one mark holds another, the longer counts alone.
pub const MARKS: [&str; 13] = [
    "let me check",
    "start over",
    "start again",
    "actually",
    "verify",
    "check",
    "wait",
    "hmm",
    "no,",
    "等等",
    "检查",
    "不对",
    "重新",
];

/// One mark in a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfCheck {
    /// Which of [`MARKS`].
    pub mark: &'static str,
    /// Where in the completion it begins, in bytes.
    pub place: usize,
}

/// Self-checks of many completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfCheckStats {
    /// Marks in a completion, on average.
    pub mean: f64,
    /// Share of completions with any mark.
    pub share: f64,
}

/// The marks in the reasoning of `completion`, in order: in what stands before the first
/// `</think>`, or in all of it when there is none.
pub fn self_checks(completion: &str) -> Vec<SelfCheck> {
    let reasoning = completion.split("</think>").next().unwrap_or(completion);
    // Changes no length, so that places are those of the completion.
    let text = reasoning.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut end = 0;
    let mut before = None;
    for (place, letter) in text.char_indices() {
        let mark = match place >= end {
            true => mark_at(&text[place..], before),
            false => None,
        };
        if let Some((mark, bytes)) = mark {
            found.push(SelfCheck { mark, place });
            end = place + bytes;
        }
        before = Some(letter);
    }
    found
}

impl SelfCheckStats {
    /// Those of `completions`; zeros when there are none.
    pub fn of<'a>(completions: impl IntoIterator<Item = &'a str>) -> Self {
        let counts = completions.into_iter().map(|text| self_checks(text).len());
        let (mut completions, mut marks, mut with_any) = (0_usize, 0, 0_usize);
        for count in counts {
            completions += 1;
            marks += count;
            with_any += usize::from(count > 0);
        }
        let completions = completions.max(1) as f64;
        Self {
            mean: marks as f64 / completions,
            share: with_any as f64 / completions,
        }
    }
}

/// The longest mark that `text` begins with, and its length in bytes; `before` is the letter that
/// stands in front.
fn mark_at(text: &str, before: Option<char>) -> Option<(&'static str, usize)> {
    let ends = |mark: &'static str| {
        let bytes = length_at(mark, text)?;
        let after = text[bytes..].chars().next();
        let goes_on = mark.ends_with(is_of_word) && after.is_some_and(is_of_word);
        let is_part = before.is_some_and(is_of_word) || goes_on;
        (!mark.is_ascii() || !is_part).then_some((mark, bytes))
    };
    let marks = MARKS.iter().copied().filter_map(ends);
    marks.max_by_key(|(_, bytes)| *bytes)
}

/// How many bytes of `text` are `mark`, if it begins with it.
fn length_at(mark: &str, text: &str) -> Option<usize> {
    let mut words = mark.split(' ');
    let mut rest = text.strip_prefix(words.next()?)?;
    for word in words {
        let next = rest.trim_start();
        if next.len() == rest.len() {
            return None;
        }
        rest = next.strip_prefix(word)?;
    }
    Some(text.len() - rest.len())
}

/// Whether a letter goes on with a word; Chinese around an English word does not.
fn is_of_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric() && !('\u{4e00}'..='\u{9fff}').contains(&letter)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn marks(completion: &str) -> Vec<&'static str> {
        let found = self_checks(completion).into_iter();
        found.map(|check| check.mark).collect()
    }

    #[test]
    fn words_are_found_in_either_case_and_in_order() {
        let text = "WAIT, that is 7. Hmm... Actually I should verify. No, start\n  over.";
        let expected = ["wait", "hmm", "actually", "verify", "no,", "start over"];
        assert_eq!(marks(text), expected);
    }

    #[test]
    fn parts_of_other_words_do_not_count() {
        assert!(
            marks("await waiter checker recheck casino, nodes no letmecheck wait_for").is_empty()
        );
        assert_eq!(marks("double-check (wait)"), ["check", "wait"]);
    }

    #[test]
    fn the_longer_of_two_marks_counts_alone() {
        assert_eq!(marks("Let me check it, let me think"), ["let me check"]);
    }

    #[test]
    fn chinese_needs_no_space_around() {
        let text = "等等，这不对，我重新检查wait一下";
        assert_eq!(marks(text), ["等等", "不对", "重新", "检查", "wait"]);
    }

    #[test]
    fn only_the_reasoning_counts_and_places_are_the_completions() {
        let completion = "<think>é wait</think> wait <answer>check</answer>";
        // `<think>` is 7 bytes, é 2 and the space 1.
        let expected = SelfCheck {
            mark: "wait",
            place: 10,
        };
        assert_eq!(self_checks(completion), [expected]);
        assert_eq!(marks("3+4=8 check no, 7"), ["check", "no,"]);
    }

    #[test]
    fn stats_are_the_mean_count_and_the_share_with_any() {
        let stats = SelfCheckStats::of(["wait, check", "7", "hmm", ""]);
        // 2, 0, 1 and 0 marks.
        assert_eq!((stats.mean, stats.share), (0.75, 0.5));
        assert_eq!(SelfCheckStats::of([]), SelfCheckStats::default());
    }

    #[test]
    fn hostile_text_is_searched_quickly() {
        let spaced = format!("let{}", " ".repeat(1_000_000));
        let pieces = ["wait", "no,", "let  ", "let me ", "检", "等等", "\u{301}"];
        let texts = pieces.map(|piece| piece.repeat(200_000));
        for text in texts.iter().chain([&spaced]) {
            let start = Instant::now();
            assert!(self_checks(text).len() <= 200_000);
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }
}
