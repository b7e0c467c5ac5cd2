//! Words that deny the mathematics beside them: `not 72` and `72 is not it` do not answer 72.

use super::prose::Span;
use super::units::is_unit;

/// Words that deny what stands beside them; so do all that end in `n't`.
const DENYING: [&str; 8] = [
    "not", "no", "never", "neither", "nor", "none", "nothing", "cannot",
];

/// The same in Chinese, within a word: there is no space between two.
const DENYING_PARTS: [&str; 8] = [
    "不是", "不等", "不为", "不會", "不会", "并非", "並非", "绝非",
];

/// Words after which something else is said than before.
const TURNS: [&str; 9] = [
    "but",
    "so",
    "then",
    "thus",
    "hence",
    "therefore",
    "instead",
    "rather",
    "because",
];

/// Where a clause ends and another begins.
const ENDS: [&str; 17] = [
    ". ", ".\n", "\n", ", ", "; ", ": ", "? ", "! ", "。", "，", "；", "：", "？", "！", "而是",
    "所以", "因此",
];

/// What says "unequal" before a number.
const UNEQUAL: [&str; 5] = ["≠", "\\ne", "\\neq", "!=", "=/="];

/// Words of a clause after a number in which it can be denied: `72 is not it`.
const WORDS_AFTER: usize = 2;

/// Whether `text` denies the mathematics at `place` in it.
///
/// Before the mathematics all words of its clause count, up to one that turns to something else (`not 71
/// but 72`); after it the first ones, which are about it (`72 is not it`, but neither `72 because it is no square`
/// nor `72 (not 71)`).
pub(super) fn is_denied(text: &str, place: Span) -> bool {
    let before = &text[..place.start];
    let after = &text[place.end..];
    says_unequal(before) || is_denied_before(last_clause(before)) || is_denied_after(after)
}

/// Whether there is a word in `text` that denies.
pub(super) fn denies(text: &str) -> bool {
    words(text).any(is_denying)
}

fn says_unequal(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '$', '*', '(', '{']);
    UNEQUAL.iter().any(|sign| before.ends_with(sign))
}

fn last_clause(before: &str) -> &str {
    let ends = ENDS.iter();
    let ends = ends.filter_map(|end| Some(before.rfind(end)? + end.len()));
    &before[ends.max().unwrap_or(0)..]
}

fn is_denied_before(clause: &str) -> bool {
    let is_turn = |word: &str| TURNS.contains(&word.to_lowercase().as_str());
    let mut denied = false;
    for word in words(clause) {
        denied = (denied || is_denying(word)) && !is_turn(word);
    }
    denied
}

fn is_denied_after(after: &str) -> bool {
    let ends = ENDS.iter().filter_map(|end| after.find(end));
    let clause = &after[..ends.min().unwrap_or(after.len())];
    let is_about_another = clause.contains(|c: char| c.is_ascii_digit());
    let mut said = words(clause)
        .filter(|word| !is_unit(word))
        .take(WORDS_AFTER);
    !is_about_another && said.any(is_denying)
}

fn is_denying(word: &str) -> bool {
    let word = word.to_lowercase().replace('’', "'");
    let is_one = DENYING.contains(&word.as_str()) || word.ends_with("n't");
    is_one || DENYING_PARTS.iter().any(|part| word.contains(part))
}

/// Runs of letters and apostrophes.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_alphabetic() || "'’".contains(c)));
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::MathAnswer;

    /// Whether `content` answers 72 in tags, in a box and as a data set's own answer.
    fn is_72(content: &str) -> [bool; 3] {
        let reference = MathAnswer::parse("72").unwrap();
        let is_72 = |answer: Option<MathAnswer>| {
            answer.is_some_and(|answer| reference.is_matched_by(&answer))
        };
        let tagged = format!("<think>72</think><answer>{content}</answer>");
        let boxed = format!("So \\boxed{{{content}}}");
        [
            is_72(MathAnswer::extract(&tagged)),
            is_72(MathAnswer::extract(&boxed)),
            is_72(MathAnswer::parse(content)),
        ]
    }

    #[test]
    fn a_number_that_words_deny_is_no_answer() {
        for content in [
            "not 72",
            "Not $72$",
            "never 72",
            "no 72",
            "it is not 72",
            "it isn't 72",
            "it isn’t 72",
            "It is **not** 72.",
            "neither 71 nor 72",
            "anything, but not 72",
            "72 is not it",
            "72 cm is not the length",
            "72 isn't the answer",
            "$72$ is never right",
            "≠ 72",
            "≠72",
            "x ≠ 72",
            "$x \\ne 72$",
            "x \\neq 72",
            "anything != 72",
            "\\text{not } 72",
            "72\\text{ is not it}",
            "不是 72",
            "不是72",
            "答案不是 72",
            "答案不等于 72",
            "72 不是答案",
        ] {
            assert_eq!(is_72(content), [false; 3], "{content}");
        }
    }

    #[test]
    fn words_that_deny_something_else_do_not_count() {
        for content in [
            "not 71 but 72",
            "Since 71 is not even, it is 72.",
            "It is not 71. It is 72.",
            "x is not negative, so x = 72",
            "72 because it is no square",
            "72 notes",
            "72 cm",
            "72 dollars",
            "答案不是 71，而是 72",
            "答案是 72",
        ] {
            assert_eq!(is_72(content), [true; 3], "{content}");
        }
    }

    #[test]
    fn what_is_denied_in_a_sentence_outside_of_tags_is_no_answer() {
        let reference = MathAnswer::parse("72").unwrap();
        let is_72 = |completion: &str| {
            let answer = MathAnswer::extract(completion);
            answer.is_some_and(|answer| reference.is_matched_by(&answer))
        };
        assert!(!is_72("The answer is not 72."));
        assert!(!is_72("I would say it's not 72"));
        assert!(is_72("Not everybody can do it. The answer is 72."));
        assert!(is_72("The final answer is 72 (not 71)."));
    }

    #[test]
    fn an_answer_of_words_may_deny() {
        let reference = MathAnswer::parse("\\text{no solution}").unwrap();
        let answer = MathAnswer::extract("<answer>No solution</answer>").unwrap();
        assert!(reference.is_matched_by(&answer));
    }
}
