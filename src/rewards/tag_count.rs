//! Tag count: a quarter for each of four tags that stands on a line of its own exactly once.
//!
//! open-r1's `tag_count`: the pieces counted are `<think>\n`, `\n</think>\n`, `\n<answer>\n` and
//! `\n</answer>`. It looks at no order, so it helps a model towards [`Format`](super::Format) and does
//! not replace it.

use super::{Attempt, Reward};
use crate::error::Result;

const PIECES: [&str; 4] = ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"];

/// The tag count reward: 0, 0.25, 0.5, 0.75 or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagCount;

impl TagCount {
    /// The share of tags that are in `completion` exactly once.
    pub fn of(completion: &str) -> f64 {
        let is_once = |piece: &&&str| completion.matches(**piece).take(2).count() == 1;
        PIECES.iter().filter(is_once).count() as f64 / PIECES.len() as f64
    }
}

impl Reward for TagCount {
    fn name(&self) -> &str {
        "tag_count"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        Ok(Some(Self::of(attempt.completion)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_on_its_line_earns_a_quarter() {
        let whole = "<think>\nx\n</think>\n<answer>\n1\n</answer>";
        assert_eq!(TagCount::of(whole), 1.0);
        assert_eq!(TagCount::of("<think>\nx\n</think>\n1"), 0.5);
        assert_eq!(TagCount::of("<think>x</think><answer>1</answer>"), 0.0);
        assert_eq!(TagCount::of(""), 0.0);
    }

    #[test]
    fn repeated_tag_earns_nothing() {
        let twice = "<think>\n<think>\nx\n</think>\n<answer>\n1\n</answer>";
        assert_eq!(TagCount::of(twice), 0.75);
        assert_eq!(TagCount::of(&"<think>\n".repeat(100_000)), 0.0);
    }
}
