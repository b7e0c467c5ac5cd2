//! The answer in a completion: where it stands, and whether it is the reference.

use serde::{Deserialize, Serialize};

/// Longest answer that is looked at, in bytes; a longer one counts as none.
const MAX_ANSWER_BYTES: usize = 65_536;

/// Where in a completion the answer is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerSource {
    /// The last `<answer>…</answer>` after the first `</think>`, or of the whole completion
    /// when it has no `</think>`: what is written while thinking is not the answer.
    #[default]
    AfterThink,
    /// The last `<answer>…</answer>` of the whole completion.
    Anywhere,
    /// All that follows the first `</think>`, or the whole completion when it has none: for models
    /// that were not taught answer tags.
    Text,
}

impl AnswerSource {
    /// The answer in `completion` without surrounding white space, if there is one; no form falls
    /// back to another.
    pub fn extract(self, completion: &str) -> Option<&str> {
        let answer = match self {
            Self::AfterThink => last_answer(after_think(completion))?,
            Self::Anywhere => last_answer(completion)?,
            Self::Text => after_think(completion),
        };
        let answer = answer.trim();
        (answer.len() <= MAX_ANSWER_BYTES).then_some(answer)
    }
}

/// The part of a completion that is meant for its reader: what follows the first `</think>`, or
/// nothing when it is not there and the thinking began, or all when there is no thinking; of that the
/// last `<answer>…</answer>`, or all when there is none. Without surrounding white space.
pub fn summary(completion: &str) -> &str {
    let shown = match completion.split_once("</think>") {
        Some((_, rest)) => rest,
        None if completion.contains("<think>") => "",
        None => completion,
    };
    last_answer(shown).unwrap_or(shown).trim()
}

fn after_think(completion: &str) -> &str {
    completion
        .split_once("</think>")
        .map_or(completion, |(_, rest)| rest)
}

/// The content of the last answer; an answer ends at the first `</answer>` after its `<answer>`.
fn last_answer(text: &str) -> Option<&str> {
    let mut rest = text;
    let mut last = None;
    while let Some((answer, after)) = next_answer(rest) {
        last = Some(answer);
        rest = after;
    }
    last
}

fn next_answer(text: &str) -> Option<(&str, &str)> {
    text.split_once("<answer>")?.1.split_once("</answer>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_what_is_left_for_the_reader() {
        for (completion, expected) in [
            (
                "<think>a <answer>1</answer></think> so <answer> 2 </answer>.",
                "2",
            ),
            ("<think>a</think>\nIt is 2.\n", "It is 2."),
            // The prompt had opened the thinking.
            ("a</think>It is 2.", "It is 2."),
            ("<think>a <answer>1</answer>", ""),
            (" It is 2.", "It is 2."),
            ("<answer>1", "<answer>1"),
            ("", ""),
        ] {
            assert_eq!(summary(completion), expected, "{completion}");
        }
    }

    #[test]
    fn last_answer_after_the_thinking_counts() {
        let completion =
            "<think><answer>1</answer></think> <answer>2</answer><answer>\n 3 </answer> so";
        assert_eq!(AnswerSource::AfterThink.extract(completion), Some("3"));
    }

    #[test]
    fn answer_given_while_thinking_counts_only_anywhere() {
        let completion = "<think><answer>1</answer></think> done";
        assert_eq!(AnswerSource::AfterThink.extract(completion), None);
        assert_eq!(AnswerSource::Anywhere.extract(completion), Some("1"));
        assert_eq!(AnswerSource::Text.extract(completion), Some("done"));
    }

    #[test]
    fn completion_without_thinking_is_searched_whole() {
        let completion = "<answer>4</answer>";
        assert_eq!(AnswerSource::AfterThink.extract(completion), Some("4"));
        assert_eq!(AnswerSource::Text.extract(" 4\n"), Some("4"));
    }

    #[test]
    fn answer_that_is_not_closed_is_none() {
        for completion in [
            "",
            "<answer>",
            "<answer>5",
            "5</answer>",
            "</answer><answer>5",
        ] {
            assert_eq!(
                AnswerSource::Anywhere.extract(completion),
                None,
                "{completion}"
            );
        }
        let second_is_open = "<answer>5</answer><answer>6";
        assert_eq!(AnswerSource::Anywhere.extract(second_is_open), Some("5"));
    }

    #[test]
    fn answer_begins_at_the_first_of_two_open_tags() {
        // As the regular expression <answer>(.*?)</answer> reads it.
        let completion = "<answer>5<answer>6</answer>";
        assert_eq!(
            AnswerSource::Anywhere.extract(completion),
            Some("5<answer>6")
        );
    }

    #[test]
    fn answer_without_content_is_empty_not_missing() {
        assert_eq!(
            AnswerSource::Anywhere.extract("<answer> </answer>"),
            Some("")
        );
    }

    #[test]
    fn endless_answer_is_none() {
        let completion = format!("<answer>{}</answer>", "9".repeat(MAX_ANSWER_BYTES + 1));
        assert_eq!(AnswerSource::Anywhere.extract(&completion), None);
        let tags = "<answer>".repeat(100_000);
        assert_eq!(AnswerSource::Anywhere.extract(&tags), None);
    }
}
