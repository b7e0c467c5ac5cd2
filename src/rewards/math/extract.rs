//! Where the answer stands in a completion.

use super::limits::{MAX_SEARCHED_BYTES, MAX_TEXT_BYTES};
use super::prose::{self, MAX_JOINED};
use super::reading::MathAnswer;
use super::token::Style;

/// Bytes after the word "answer" within which it must begin.
const AFTER_ANSWER: usize = 50;
/// The same after "final answer".
const AFTER_FINAL_ANSWER: usize = 100;
/// Most places of the word "answer" that are looked at, from the last.
const MAX_PHRASES: usize = 32;

/// The answer that `completion` gives: see [`MathAnswer::extract`]; with `words`, also a word alone or
/// after "answer".
pub(super) fn extract(completion: &str, words: bool) -> Option<MathAnswer> {
    let text = end_of(completion);
    if let Some(content) = last_tag(text) {
        return within_tag(content, words);
    }
    found(text, words)
}

fn found(text: &str, words: bool) -> Option<MathAnswer> {
    if let Some(boxes) = last_boxes(text) {
        return MathAnswer::styled(&boxes?, Style::Latex);
    }
    phrase(text, words)
        .or_else(|| whole(text, words))
        .or_else(|| prose::last_mathematics(text))
}

fn within_tag(content: &str, words: bool) -> Option<MathAnswer> {
    if content.contains("\\boxed") {
        return found(content, words);
    }
    if content.len() > MAX_TEXT_BYTES || prose::is_prose(content) {
        return found(content, words).or_else(|| MathAnswer::parse(content));
    }
    MathAnswer::parse(content)
}

/// The end of `completion` in which an answer is looked for.
fn end_of(completion: &str) -> &str {
    let mut start = completion.len().saturating_sub(MAX_SEARCHED_BYTES);
    while !completion.is_char_boundary(start) {
        start += 1;
    }
    &completion[start..]
}

/// The content of the last `<answer>…</answer>`.
fn last_tag(text: &str) -> Option<&str> {
    let close = text.rfind("</answer>")?;
    let open = text[..close].rfind("<answer>")?;
    Some(&text[open + "<answer>".len()..close])
}

/// What the last `\boxed{…}` holds, with those joined to it by "and", "or" or a comma; `Some(None)`
/// when the last box is not closed or is empty, which is no answer.
fn last_boxes(text: &str) -> Option<Option<String>> {
    let start = text.rfind("\\boxed")?;
    let Some((content, end)) = box_content(text, start) else {
        return Some(None);
    };
    if content.trim().is_empty() {
        return Some(None);
    }
    let mut parts = vec![content];
    let mut first = start;
    while let Some(start) = text[..first]
        .rfind("\\boxed")
        .filter(|_| parts.len() < MAX_JOINED)
    {
        match box_content(text, start) {
            Some((content, end)) if end <= first && prose::joins(&text[end..first]) => {
                parts.push(content);
                first = start;
            }
            _ => break,
        }
    }
    parts.reverse();
    let mut joined = parts.join(",\\ ");
    if prose::starts_with_percent(&text[end..]) {
        joined.push_str("\\%");
    }
    Some(Some(joined))
}

/// The content of the box whose command is at `start`, and the byte after the box.
fn box_content(text: &str, start: usize) -> Option<(&str, usize)> {
    let after = &text[start + "\\boxed".len()..];
    let inner = after.trim_start();
    let begin = text.len() - inner.len();
    let Some(inner) = inner.strip_prefix('{') else {
        let end = inner.find([' ', '$', '\n', '\\']).unwrap_or(inner.len());
        return Some((&inner[..end], begin + end));
    };
    let mut open = 1;
    for (index, letter) in inner.bytes().enumerate().take(MAX_TEXT_BYTES + 1) {
        match letter {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some((&inner[..index], begin + 1 + index + 1));
        }
    }
    None
}

/// The mathematics after the last "final answer", else after the last "answer".
fn phrase(text: &str, words: bool) -> Option<MathAnswer> {
    let lower = text.to_ascii_lowercase();
    let places: Vec<usize> = lower
        .rmatch_indices("answer")
        .map(|(at, _)| at)
        .take(MAX_PHRASES)
        .collect();
    let is_final = |at: &&usize| lower[..**at].ends_with("final ");
    let after = |at: usize| &text[at + "answer".len()..];
    let finals = places.iter().filter(is_final);
    finals
        .filter_map(|&at| after_phrase(after(at), AFTER_FINAL_ANSWER, words))
        .next()
        .or_else(|| {
            places
                .iter()
                .find_map(|&at| after_phrase(after(at), AFTER_ANSWER, words))
        })
}

/// The rest of the sentence if it is mathematics throughout, else the first mathematics in reach.
fn after_phrase(text: &str, window: usize, words: bool) -> Option<MathAnswer> {
    let sentence = first_sentence(text);
    let rest = sentence
        .find(" is ")
        .map_or(sentence, |at| &sentence[at + 4..]);
    let rest = rest.trim_matches([' ', ':', '*', '\n', '.']);
    let rest = match rest.strip_prefix("is") {
        Some(after) if !after.starts_with(char::is_alphabetic) => {
            after.trim_start_matches([' ', ':', '*'])
        }
        _ => rest,
    };
    whole(rest, words).or_else(|| prose::first_mathematics(text, window))
}

fn first_sentence(text: &str) -> &str {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let body = text.trim_start();
    let end = [". ", ".\n", "\n"]
        .iter()
        .filter_map(|end| body.find(end))
        .min();
    &body[..end.unwrap_or(body.len())]
}

/// `text` if it is mathematics throughout; with `words`, also if it is one word.
fn whole(text: &str, words: bool) -> Option<MathAnswer> {
    let text = text.trim();
    if text.len() > MAX_TEXT_BYTES || prose::is_prose(text) {
        return None;
    }
    let is_word = text
        .chars()
        .all(|letter| letter.is_alphabetic() || "()*.".contains(letter));
    if is_word {
        return words.then(|| MathAnswer::parse(text.trim_matches('*')))?;
    }
    MathAnswer::parse(text).filter(MathAnswer::is_mathematics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_gives(completion: &str, reference: &str) {
        let answer = extract(completion, false);
        let reference = MathAnswer::parse(reference).unwrap();
        let is_right = answer
            .as_ref()
            .is_some_and(|answer| reference.is_matched_by(answer));
        assert!(is_right, "{completion}: {answer:?}");
    }

    #[test]
    fn last_tag_comes_before_boxes_and_phrases() {
        assert_gives(
            r"<answer>1</answer> \boxed{3} <answer> 2 </answer> The answer is 4.",
            "2",
        );
        assert_gives(
            r"\boxed{3} <answer>The answer is \boxed{\frac12}.</answer>",
            "0.5",
        );
        assert_gives("<answer>x^2 + 1</answer>", "1+x^2");
    }

    #[test]
    fn last_box_counts_with_those_joined_to_it() {
        assert_gives(
            r"First \boxed{41}, but wait, $\boxed{42}$. Final answer: 7",
            "42",
        );
        assert_gives(r"$\boxed{1}$ and $\boxed{2}$", r"\{2,1\}");
        assert_gives(r"\boxed{x=\boxed{\frac{1}{2}}}", "1/2");
        assert_gives(r"\boxed 42 then", "42");
        assert_gives(r"$\boxed{50}\%$", "0.5");
    }

    #[test]
    fn box_that_is_cut_off_or_empty_is_no_answer() {
        for completion in [
            r"so 42: \boxed{42",
            r"\boxed{}",
            r"\boxed{41} \boxed{\frac{4",
            r"42 \boxed",
        ] {
            assert_eq!(extract(completion, false), None, "{completion}");
        }
    }

    #[test]
    fn final_answer_comes_before_answer_and_that_before_the_rest() {
        assert_gives(
            "The final answer is $42$. The answer 5 was wrong, as 6 shows.",
            "42",
        );
        assert_gives("**Answer:** 3 + 4 = 7\nI used 2 steps.", "7");
        assert_gives("answer 12 and then 42", "12");
        assert_gives("The answer is: 7", "7");
        assert_gives("The answer to the question is 2x+1.", "1+2x");
        assert_gives("The answer is (3, 4).", "(3,4)");
    }

    #[test]
    fn mathematics_that_ends_last_is_the_last_resort() {
        assert_gives("we add $2$ to $40$ and get 42 apples", "42");
        assert_gives("so 3 gives $x = 42$.", "42");
        assert_gives("The roots are $x=2$ and $x=3$.", "2,3");
        assert_gives(r"The probability is \frac{1}{2}.", "0.5");
        assert_gives("**42**", "42");
        assert_gives("It's 50 percent.", "50%");
        assert_gives("It costs $1,200.", "1200");
        assert_gives("So 5! = 120", "120");
    }

    #[test]
    fn text_without_mathematics_gives_none() {
        for completion in [
            "",
            "no number here",
            "forty-two",
            "XDY2K",
            "The answer is B.",
            "True",
        ] {
            assert_eq!(extract(completion, false), None, "{completion}");
        }
    }

    #[test]
    fn words_are_answers_where_asked_for() {
        let b = MathAnswer::parse("B").unwrap();
        for completion in ["The answer is B.", "**Answer: (B)**", "B"] {
            let answer = extract(completion, true).unwrap();
            assert!(b.is_matched_by(&answer), "{completion}: {answer:?}");
        }
    }
}
