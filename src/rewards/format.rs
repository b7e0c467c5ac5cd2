//! Format: 1 for a completion of the asked-for shape, else 0.

use serde::{Deserialize, Serialize};

use super::{Attempt, Reward};
use crate::error::Result;

/// The shape asked for. The expressions are Python's, matched at the start, `.` taking line ends
/// and `$` standing before each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatStyle {
    /// open-r1's format, tags on lines of their own:
    /// `^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$`.
    #[default]
    ThinkAnswer,
    /// The same tags on one line, nothing around or between them, neither part empty, no angle
    /// bracket in the answer: `\A<think>.+?</think><answer>[^<>]+</answer>\Z`.
    ThinkAnswerInline,
    /// Each of the four tags once and in order, white space as one likes, neither part blank: what
    /// the R1-Zero template shows.
    ThinkAnswerLoose,
    /// TRL's think format: begins with thinking, once, and ends it: `^<think>(?!.*<think>)(.*?)</think>.*$`.
    Think,
}

impl FormatStyle {
    /// Whether `completion` has this shape.
    pub fn matches(self, completion: &str) -> bool {
        let matched = match self {
            Self::ThinkAnswer => think_answer(completion),
            Self::ThinkAnswerInline => think_answer_inline(completion),
            Self::ThinkAnswerLoose => think_answer_loose(completion),
            Self::Think => think(completion),
        };
        matched.unwrap_or(false)
    }
}

/// The format reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    style: FormatStyle,
}

impl Format {
    /// The reward for completions of `style`.
    pub fn new(style: FormatStyle) -> Self {
        Self { style }
    }
}

impl Reward for Format {
    fn name(&self) -> &str {
        "format"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let matches = self.style.matches(attempt.completion);
        Ok(Some(f64::from(u8::from(matches))))
    }
}

fn think_answer(text: &str) -> Option<bool> {
    answer_lines(text).map(ends_answer)
}

/// What follows `<answer>` in a text that begins `<think>\n…\n</think>\n<answer>\n`.
pub(super) fn answer_lines(text: &str) -> Option<&str> {
    let (_, answer) = text
        .strip_prefix("<think>\n")?
        .split_once("\n</think>\n<answer>\n")?;
    Some(answer)
}

/// Whether a `</answer>` has a line to itself in `answer`.
pub(super) fn ends_answer(answer: &str) -> bool {
    let mut after_answers = answer.split("\n</answer>").skip(1);
    after_answers.any(|after| after.is_empty() || after.starts_with('\n'))
}

fn think_answer_inline(text: &str) -> Option<bool> {
    let (thinking, answer) = text
        .strip_prefix("<think>")?
        .strip_suffix("</answer>")?
        .rsplit_once("</think><answer>")?;
    Some(!thinking.is_empty() && !answer.is_empty() && !answer.contains(['<', '>']))
}

fn think_answer_loose(text: &str) -> Option<bool> {
    let (before, rest) = text.split_once("<think>")?;
    let (thinking, rest) = rest.split_once("</think>")?;
    let (between, rest) = rest.split_once("<answer>")?;
    let (answer, after) = rest.split_once("</answer>")?;
    let is_tag_free = |part: &str| {
        ["<think>", "</think>", "<answer>", "</answer>"]
            .iter()
            .all(|tag| !part.contains(tag))
    };
    let is_blank = |part: &str| part.trim().is_empty();
    let are_filled = [thinking, answer]
        .iter()
        .all(|part| !is_blank(part) && is_tag_free(part));
    Some(are_filled && [before, between, after].into_iter().all(is_blank))
}

fn think(text: &str) -> Option<bool> {
    let rest = text.strip_prefix("<think>")?;
    Some(rest.contains("</think>") && !rest.contains("<think>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(style: FormatStyle, texts: &[&str]) -> Vec<bool> {
        texts.iter().map(|text| style.matches(text)).collect()
    }

    #[test]
    fn think_answer_wants_tags_on_lines_of_their_own() {
        let texts = [
            "<think>\nx\n</think>\n<answer>\n1\n</answer>",
            "<think>\nx\n</think>\n<answer>\n1\n</answer>\nmore lines",
            "<think>\nx\n</think>\n<answer>\n1\n</answer> more",
            "<think>\nx\n</think>\n<answer>\n1\n</answer> more\n</answer>",
            "<think>\nx\n</think>\n<answer>\n</answer>",
            "<think>\n</think>\n<answer>\n1\n</answer>",
            "<think>x</think><answer>1</answer>",
            "\n<think>\nx\n</think>\n<answer>\n1\n</answer>",
        ];
        let expected = [true, true, false, true, false, false, false, false];
        assert_eq!(matching(FormatStyle::ThinkAnswer, &texts), expected);
    }

    #[test]
    fn think_answer_inline_wants_nothing_around_the_tags() {
        let texts = [
            "<think>x</think><answer>1</answer>",
            "<think>x\ny</think><answer>1\n</answer>",
            "<think></think></think><answer>1</answer>",
            "<think></think><answer>1</answer>",
            "<think>x</think><answer></answer>",
            "<think>x</think><answer>1<2</answer>",
            "<think>x</think> <answer>1</answer>",
            "<think>x</think><answer>1</answer>\n",
            "<think>x</think><answer>1</answer><answer>2</answer>",
        ];
        let expected = [true, true, true, false, false, false, false, false, false];
        assert_eq!(matching(FormatStyle::ThinkAnswerInline, &texts), expected);
    }

    #[test]
    fn think_answer_loose_wants_each_tag_once_and_in_order() {
        let texts = [
            " <think> x </think> <answer> 1 </answer>\n",
            "<think>x</think><answer>1</answer>",
            "<think>x</think>so<answer>1</answer>",
            "<think> </think><answer>1</answer>",
            "<think>x</think><answer> </answer>",
            "<think>x<think>y</think><answer>1</answer>",
            "<think>x</think><answer>1</answer></answer>",
            "<answer>1</answer><think>x</think>",
            "<think>x<answer>1</answer></think><answer>1</answer>",
        ];
        let expected = [true, true, false, false, false, false, false, false, false];
        assert_eq!(matching(FormatStyle::ThinkAnswerLoose, &texts), expected);
    }

    #[test]
    fn think_wants_one_thinking_at_the_start() {
        let texts = [
            "<think>x</think> the answer",
            "<think></think>",
            "<think>x",
            " <think>x</think>",
            "<think>x</think><think>y</think>",
            "",
        ];
        let expected = [true, true, false, false, false, false];
        assert_eq!(matching(FormatStyle::Think, &texts), expected);
    }
}
