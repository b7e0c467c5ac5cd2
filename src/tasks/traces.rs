//! What a base model has read of a generated task: authors who work a problem out, well or badly.
//!
//! An author writes one step a line, may check the result and starts over when the check fails:
//!
//! ```text
//! <think>
//! 3x=20-5=14
//! x=14/3
//! check 3*14/3+5=19 no
//! 3x=20-5=15
//! x=15/3=5
//! check 3*5+5=20 yes
//! </think>
//! <answer>x=5</answer>
//! ```

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Attempts after which an author answers even if the check fails.
const MAX_ATTEMPTS: usize = 4;

/// Make-up of a generated task's pretraining traces; every field is a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// A step's result is a little wrong.
    pub slip: f64,
    /// The author checks a result, in tasks that have a check, and starts over when it fails.
    pub check: f64,
    /// The author stops without an answer.
    pub trail_off: f64,
    /// The whole trace has no tags.
    pub untagged: f64,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            slip: 0.05,
            check: 0.5,
            trail_off: 0.02,
            untagged: 0.2,
        }
    }
}

/// One way through a problem, right or wrong.
pub(super) struct Attempt {
    /// The steps, every line with its end.
    pub thinking: String,
    /// What the author would answer.
    pub answer: String,
    /// How the answer is checked, where the task has a check.
    pub check: Option<Check>,
}

/// The last line of an attempt.
pub(super) struct Check {
    /// What is worked out.
    pub text: String,
    /// Whether the answer passes.
    pub holds: bool,
}

/// Someone who works a problem out and slips now and then.
pub(super) struct Author<'a> {
    pub rng: &'a mut dyn Rng,
    /// Probability of a slip.
    pub slip: f64,
}

impl Author<'_> {
    /// Whether this step goes wrong.
    pub(super) fn slips(&mut self) -> bool {
        self.rng.random_bool(self.slip)
    }

    /// What the author takes `exact` for.
    pub(super) fn number(&mut self, exact: i64) -> i64 {
        if self.slips() {
            exact + *[-10, -1, 1, 10].choose(self.rng).expect("not empty")
        } else {
            exact
        }
    }
}

impl Traces {
    /// Checks the probabilities.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        validate_probabilities(&[
            ("traces.slip", self.slip),
            ("traces.check", self.check),
            ("traces.trail_off", self.trail_off),
            ("traces.untagged", self.untagged),
        ])
    }

    /// Writes one author's trace; `attempt` goes through the problem once.
    pub(super) fn write(
        &self,
        rng: &mut dyn Rng,
        attempt: impl Fn(&mut Author<'_>) -> Attempt,
    ) -> String {
        let tagged = !rng.random_bool(self.untagged);
        let mut thinking = String::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let slip = self.slip;
            let attempt = attempt(&mut Author { rng, slip });
            thinking.push_str(&attempt.thinking);
            if rng.random_bool(self.trail_off) {
                return enclose(&thinking, None, tagged);
            }
            if let Some(check) = attempt.check.filter(|_| rng.random_bool(self.check)) {
                let verdict = if check.holds { "yes" } else { "no" };
                thinking.push_str(&format!("check {} {verdict}\n", check.text));
                if !check.holds && attempts < MAX_ATTEMPTS {
                    continue;
                }
            }
            return enclose(&thinking, Some(&attempt.answer), tagged);
        }
    }

    /// An author who makes no mistake, always checks and always answers in tags.
    #[cfg(test)]
    pub(super) fn careful() -> Self {
        Self {
            slip: 0.0,
            check: 1.0,
            trail_off: 0.0,
            untagged: 0.0,
        }
    }
}

/// The whole trace: the thinking, whose lines have their ends, and the answer if there is one.
pub(super) fn enclose(thinking: &str, answer: Option<&str>, tagged: bool) -> String {
    match (answer, tagged) {
        (Some(answer), true) => format!("<think>\n{thinking}</think>\n<answer>{answer}</answer>"),
        (Some(answer), false) => format!("{thinking}answer {answer}"),
        (None, true) => format!("<think>\n{thinking}</think>"),
        (None, false) => thinking.into(),
    }
}

/// # Errors
/// Names the first of the named probabilities that is none.
pub(super) fn validate_probabilities(probabilities: &[(&str, f64)]) -> Result<()> {
    let wrong = probabilities.iter().find(|(_, p)| !(0.0..=1.0).contains(p));
    match wrong {
        Some((key, value)) => Err(Error::setting(*key, format!("is {value}, expected 0 to 1"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// Adds 2 and 3.
    fn sum(author: &mut Author<'_>) -> Attempt {
        let value = author.number(5);
        Attempt {
            thinking: format!("2+3={value}\n"),
            answer: value.to_string(),
            check: Some(Check {
                text: format!("{value}-3={}", value - 3),
                holds: value == 5,
            }),
        }
    }

    fn written(traces: &Traces) -> Vec<String> {
        let mut rng = Seed::new(1).rng();
        (0..1000).map(|_| traces.write(&mut rng, sum)).collect()
    }

    #[test]
    fn careful_author_answers_at_once() {
        let expected = "<think>\n2+3=5\ncheck 5-3=2 yes\n</think>\n<answer>5</answer>";
        assert!(
            written(&Traces::careful())
                .iter()
                .all(|trace| trace == expected)
        );
    }

    #[test]
    fn failed_check_starts_the_work_again() {
        let slipping = Traces {
            slip: 0.5,
            ..Traces::careful()
        };
        let traces = written(&slipping);
        let second: Vec<_> = traces
            .iter()
            .filter(|t| t.matches("2+3").count() == 2)
            .collect();
        assert!((150..350).contains(&second.len()), "{}", second.len());
        assert!(
            second
                .iter()
                .all(|t| t.contains(" no\n2+3=5\ncheck 5-3=2 yes\n"))
        );
        // Four slips in a row, 1 in 16, end in a wrong answer.
        let wrong = traces.iter().filter(|t| !t.contains("<answer>5<")).count();
        assert!((30..110).contains(&wrong), "{wrong}");
    }

    #[test]
    fn default_traces_are_of_varied_quality() {
        let traces = written(&Traces::default());
        let count = |holds: &dyn Fn(&str) -> bool| traces.iter().filter(|t| holds(t)).count();
        assert!((100..300).contains(&count(&|t| !t.contains("<think>"))));
        assert!((5..60).contains(&count(&|t| !t.contains("answer"))));
    }

    #[test]
    fn a_probability_above_one_is_refused_by_name() {
        let traces = Traces {
            check: 1.5,
            ..Traces::default()
        };
        let message = traces.validate().unwrap_err().to_string();
        assert_eq!(message, "`traces.check`: is 1.5, expected 0 to 1");
    }
}
