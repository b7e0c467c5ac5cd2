//! The reward for a mathematical answer: 1 when it is the reference by value, else 0.

use serde_json::Value;

use super::{MathAnswer, extract};
use crate::data::Problem;
use crate::error::Result;
use crate::rewards::{Attempt, Reward};

/// Judges the answer in a completion by its value.
///
/// It does not apply to a problem whose reference is not a text or number that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Math {
    after_think: bool,
    words: bool,
}

impl Math {
    /// A judge that looks for the answer after `</think>` if `after_think` and there is one, else
    /// anywhere; with `words`, a word in a sentence can be the answer.
    pub fn new(after_think: bool, words: bool) -> Self {
        Self { after_think, words }
    }

    /// The answer in `completion`, if it gives one.
    pub fn extract(&self, completion: &str) -> Option<MathAnswer> {
        let text = match completion.split_once("</think>") {
            Some((_, after)) if self.after_think => after,
            _ => completion,
        };
        extract::extract(text, self.words)
    }
}

/// The problem's reference as it is compared; `None` when it cannot be read.
fn reference(problem: &Problem) -> Option<MathAnswer> {
    match &problem.answer {
        Value::String(text) => MathAnswer::parse(text),
        Value::Number(number) => MathAnswer::parse(&number.to_string()),
        _ => None,
    }
}

impl Reward for Math {
    fn name(&self) -> &str {
        "math"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let Some(reference) = reference(attempt.problem) else {
            return Ok(None);
        };
        let answer = self.extract(attempt.completion);
        let is_right = answer.is_some_and(|answer| reference.is_matched_by(&answer));
        Ok(Some(f64::from(u8::from(is_right))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::Prompt;

    fn score(reward: Math, reference: Value, completion: &str) -> Option<f64> {
        let problem = Problem {
            prompt: Prompt::Text("?".into()),
            answer: reference,
            level: None,
            language: None,
            part: None,
        };
        let attempt = Attempt {
            problem: &problem,
            completion,
            token_ids: &[0; 9],
            finished: true,
        };
        reward.score(&attempt).unwrap()
    }

    #[test]
    fn value_of_the_reference_earns_1_and_all_else_0() {
        let reward = Math::new(true, false);
        let half = || json!(r"\frac{1}{2}");
        assert_eq!(score(reward, half(), r"so \boxed{0.5}"), Some(1.0));
        assert_eq!(score(reward, half(), r"so \boxed{0.6}"), Some(0.0));
        assert_eq!(score(reward, half(), "no idea"), Some(0.0));
        assert_eq!(score(reward, json!(0.5), "<answer>1/2</answer>"), Some(1.0));
    }

    #[test]
    fn problem_without_a_reference_to_read_has_no_score() {
        let reward = Math::new(true, false);
        for reference in [json!(null), json!(""), json!([1, 2]), json!({"target": 1})] {
            assert_eq!(score(reward, reference, r"\boxed{1}"), None);
        }
    }

    #[test]
    fn answer_in_the_thinking_counts_only_where_asked_for() {
        let completion = r"<think>\boxed{42}</think> Done.";
        assert_eq!(
            score(Math::new(true, false), json!("42"), completion),
            Some(0.0)
        );
        assert_eq!(
            score(Math::new(false, false), json!("42"), completion),
            Some(1.0)
        );
    }

    #[test]
    fn word_in_a_sentence_counts_only_where_asked_for() {
        let completion = "The answer is B.";
        assert_eq!(
            score(Math::new(true, false), json!("B"), completion),
            Some(0.0)
        );
        assert_eq!(
            score(Math::new(true, true), json!("B"), completion),
            Some(1.0)
        );
        assert_eq!(
            score(Math::new(true, true), json!("C"), completion),
            Some(0.0)
        );
    }
}
