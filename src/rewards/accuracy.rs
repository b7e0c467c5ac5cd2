//! Accuracy: 1 for a right answer, 0 for a wrong one or none.
//!
//! The task's verifier judges when there is one, else the answer must be the problem's reference.
//! TRL's shipped accuracy reward looks for mathematics anywhere in the completion; here the answer
//! stands where [`AnswerSource`] says.

use std::sync::Arc;

use super::{AnswerSource, Attempt, Reward};
use crate::data::Problem;
use crate::error::Result;
use crate::tasks::Task;

/// The judge of answers, as a reward and for evaluation.
#[derive(Clone)]
pub struct Accuracy {
    source: AnswerSource,
    verifier: Option<Arc<dyn Task>>,
}

impl Accuracy {
    /// A judge that takes the answer from `source` and asks `verifier`, or compares it with the reference.
    pub fn new(source: AnswerSource, verifier: Option<Arc<dyn Task>>) -> Self {
        Self { source, verifier }
    }

    /// The answer in `completion`, if it gives one.
    pub fn extract<'a>(&self, completion: &'a str) -> Option<&'a str> {
        self.source.extract(completion)
    }

    /// Whether `answer` is right; `None` when the problem has no reference to compare it with.
    ///
    /// # Errors
    /// When the verifier fails by itself.
    pub fn is_right(&self, problem: &Problem, answer: &str) -> Result<Option<bool>> {
        match &self.verifier {
            Some(_) if problem.answer.is_null() => Ok(None),
            Some(task) => task.verify(problem, answer).map(Some),
            None => Ok(problem.is_answered_by(answer)),
        }
    }
}

impl Reward for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let verdict = match self.extract(attempt.completion) {
            Some(answer) => self.is_right(attempt.problem, answer)?,
            None if attempt.problem.answer.is_null() => None,
            None => Some(false),
        };
        Ok(verdict.map(|is_right| f64::from(u8::from(is_right))))
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use serde_json::{Value, json};

    use super::*;
    use crate::data::Prompt;
    use crate::error::Error;
    use crate::tasks::Split;

    /// Judges an answer right when it is as long as the reference number; fails without one.
    struct Length;

    impl Task for Length {
        fn name(&self) -> &'static str {
            "length"
        }

        fn problem(&self, _: Split, _: u64) -> Problem {
            problem(json!(1))
        }

        fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
            let length = problem.answer.as_u64().ok_or_else(|| Error::Reward {
                reward: "accuracy".into(),
                problem: "the reference is not a number".into(),
            })?;
            Ok(answer.len() as u64 == length)
        }

        fn trace(&self, _: &Problem, _: &mut dyn Rng) -> Result<String> {
            Ok(String::new())
        }
    }

    fn problem(answer: Value) -> Problem {
        let prompt = Prompt::Text("?".into());
        Problem {
            prompt,
            answer,
            level: None,
            language: None,
            part: None,
        }
    }

    fn score(
        verifier: Option<Arc<dyn Task>>,
        reference: Value,
        completion: &str,
    ) -> Result<Option<f64>> {
        Accuracy::new(AnswerSource::AfterThink, verifier).score(&Attempt {
            problem: &problem(reference),
            completion,
            token_ids: &[0; 9],
            finished: true,
        })
    }

    #[test]
    fn reference_is_matched_without_a_verifier() {
        let reference = || json!("161");
        let right = "<think>70+91</think><answer> 161 </answer>";
        assert_eq!(score(None, reference(), right).unwrap(), Some(1.0));
        assert_eq!(
            score(None, reference(), "<answer>61</answer>").unwrap(),
            Some(0.0)
        );
        assert_eq!(score(None, reference(), "161").unwrap(), Some(0.0));
    }

    #[test]
    fn problem_without_reference_has_no_accuracy() {
        for completion in ["<answer>1</answer>", "no answer"] {
            assert_eq!(score(None, Value::Null, completion).unwrap(), None);
        }
    }

    #[test]
    fn verifier_is_asked_before_the_reference() {
        let right = "<answer>abc</answer>";
        assert_eq!(
            score(Some(Arc::new(Length)), json!(3), right).unwrap(),
            Some(1.0)
        );
        let wrong = "<answer>3</answer>";
        assert_eq!(
            score(Some(Arc::new(Length)), json!(3), wrong).unwrap(),
            Some(0.0)
        );
    }

    #[test]
    fn failure_of_the_verifier_is_an_error() {
        let verdict = score(
            Some(Arc::new(Length)),
            json!("three"),
            "<answer>abc</answer>",
        );
        assert!(verdict.is_err());
    }
}
