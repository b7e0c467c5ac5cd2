//! What a base model has read: people trying Countdown problems, well or badly.
//!
//! An author writes one attempt a line, worked out step by step and compared with the target:
//!
//! ```text
//! <think>
//! 3+5-7=8-7=1 no
//! 3+5+7=8+7=15 yes
//! </think>
//! <answer>3+5+7</answer>
//! ```
//!
//! A methodical author tries one combination after the other in a fixed order, others try what
//! comes to mind, again and again. A persistent author goes on until an attempt fits, others give
//! up and answer with a miss, or trail off. Anyone slips in arithmetic, anyone forgets the tags.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::Goal;
use super::level::{Attempt, Level};
use crate::error::{Error, Result};
use crate::tasks::Language;
use crate::tasks::expression::Expression;
use crate::tasks::traces::validate_probabilities;

/// Make-up of pretraining traces; every field but the last is a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountdownTraces {
    /// The author is methodical: tries the combinations in a fixed order, each value once.
    pub methodical: f64,
    /// The author is persistent: stops only when an attempt fits.
    pub persistent: f64,
    /// The author mixes languages.
    pub mix: f64,
    /// An author who mixes languages is persistent; unset is `persistent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_mixing: Option<f64>,
    /// An author who goes on after a miss says `wait`.
    pub wait: f64,
    /// After a miss, an author who is not persistent gives up and answers with the miss.
    pub give_up: f64,
    /// After a miss, an author who is not persistent stops without an answer.
    pub trail_off: f64,
    /// A step's result is a little wrong.
    pub slip: f64,
    /// The whole trace has no tags.
    pub untagged: f64,
    /// Attempts after which even a persistent author stops, at least 1.
    pub max_attempts: usize,
}

impl Default for CountdownTraces {
    fn default() -> Self {
        Self {
            methodical: 0.9,
            persistent: 0.3,
            mix: 0.0,
            persistent_mixing: None,
            wait: 0.0,
            give_up: 0.65,
            trail_off: 0.04,
            slip: 0.002,
            untagged: 0.5,
            max_attempts: 12,
        }
    }
}

/// One line of thinking.
struct Line {
    expression: Expression,
    /// The expression and its steps, as in `3+5-7=8-7=1`.
    steps: String,
    /// The value the author arrived at.
    value: i64,
}

/// What authors say in a language beside numbers.
struct Words {
    yes: &'static str,
    no: &'static str,
    wait: &'static str,
    answer: &'static str,
}

impl Words {
    fn of(language: Language) -> Self {
        match language {
            Language::English => Self {
                yes: "yes",
                no: "no",
                wait: "wait",
                answer: "answer",
            },
            Language::Chinese => Self {
                yes: "是",
                no: "否",
                wait: "等等",
                answer: "答案",
            },
        }
    }
}

/// What the author writes after the thinking.
enum Ending {
    Answer(Expression),
    Nothing,
}

impl CountdownTraces {
    /// Checks the probabilities.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        validate_probabilities(&[
            ("traces.methodical", self.methodical),
            ("traces.persistent", self.persistent),
            ("traces.mix", self.mix),
            ("traces.persistent_mixing", self.persistent_mixing()),
            ("traces.wait", self.wait),
            ("traces.give_up", self.give_up),
            ("traces.trail_off", self.trail_off),
            ("traces.slip", self.slip),
            ("traces.untagged", self.untagged),
        ])?;
        if self.max_attempts == 0 {
            return Err(Error::setting(
                "traces.max_attempts",
                "is 0, expected 1 or more",
            ));
        }
        Ok(())
    }

    fn persistent_mixing(&self) -> f64 {
        self.persistent_mixing.unwrap_or(self.persistent)
    }

    /// Writes the trace of one author.
    pub(super) fn write(&self, goal: &Goal, level: Level, rng: &mut dyn Rng) -> String {
        let tagged = !rng.random_bool(self.untagged);
        let (thinking, ending) = self.think(goal, level, rng);
        match (ending, tagged) {
            (Ending::Answer(answer), true) => {
                format!("<think>\n{thinking}</think>\n<answer>{answer}</answer>")
            }
            (Ending::Answer(answer), false) => {
                format!("{thinking}{} {answer}", Words::of(goal.language).answer)
            }
            (Ending::Nothing, true) => format!("<think>\n{thinking}</think>"),
            (Ending::Nothing, false) => thinking,
        }
    }

    fn think(&self, goal: &Goal, level: Level, rng: &mut dyn Rng) -> (String, Ending) {
        let mixes = happens(self.mix, rng);
        let persistent = match mixes {
            true => rng.random_bool(self.persistent_mixing()),
            false => rng.random_bool(self.persistent),
        };
        let plan = rng
            .random_bool(self.methodical)
            .then(|| level.every_attempt(&goal.numbers));
        let mut planned = plan.unwrap_or_default().into_iter();
        let mut thinking = String::new();
        let mut tried = 0;
        loop {
            tried += 1;
            let attempt = planned.next();
            let attempt = attempt.unwrap_or_else(|| impulsive_attempt(goal, level, rng));
            let line = self.work_out(attempt.expression, rng);
            let words = match mixes && rng.random_bool(0.5) {
                true => Words::of(goal.language.other()),
                false => Words::of(goal.language),
            };
            if line.value == goal.target {
                thinking.push_str(&format!("{} {}\n", line.steps, words.yes));
                return (thinking, Ending::Answer(line.expression));
            }
            thinking.push_str(&format!("{} {}", line.steps, words.no));
            let stops = tried >= self.max_attempts;
            if stops || (!persistent && rng.random_bool(self.give_up)) {
                thinking.push('\n');
                return (thinking, Ending::Answer(line.expression));
            }
            if !persistent && rng.random_bool(self.trail_off) {
                thinking.push('\n');
                return (thinking, Ending::Nothing);
            }
            if happens(self.wait, rng) {
                thinking.push_str(&format!(" {}", words.wait));
            }
            thinking.push('\n');
        }
    }

    /// Works `expression` out step by step, with a slip now and then.
    fn work_out(&self, expression: Expression, rng: &mut dyn Rng) -> Line {
        let mut rest = expression.clone();
        let mut steps = rest.to_string();
        while let Some(operation) = rest.first_operation() {
            let mut value = operation.integer().unwrap_or(0);
            if rng.random_bool(self.slip) {
                value += if rng.random_bool(0.5) { 1 } else { -1 };
            }
            *operation = Expression::Number(value.max(0));
            steps.push_str(&format!("={rest}"));
        }
        Line {
            expression,
            steps,
            value: rest.integer().unwrap_or(0),
        }
    }
}

/// Draws only for what can happen, so that a make-up without it reads as it always did.
fn happens(probability: f64, rng: &mut dyn Rng) -> bool {
    probability > 0.0 && rng.random_bool(probability)
}

/// The first combination that comes to mind and stays in bounds.
fn impulsive_attempt(goal: &Goal, level: Level, rng: &mut dyn Rng) -> Attempt {
    const DRAWS: usize = 100;
    let attempt = (0..DRAWS).find_map(|_| level.attempt(&goal.numbers, rng));
    attempt.unwrap_or_else(|| Attempt::sum(&goal.numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn goal() -> Goal {
        Goal {
            numbers: vec![3, 5, 7, 2],
            target: 13,
            language: Language::English,
        }
    }

    fn traces(config: &CountdownTraces) -> Vec<String> {
        let mut rng = Seed::new(2).rng();
        let mut write = |_| config.write(&goal(), Level::Two, &mut rng);
        (0..2000).map(&mut write).collect()
    }

    fn is_right(trace: &str) -> bool {
        let answer = trace.split_once("<answer>").map(|(_, rest)| rest);
        let answer = answer.and_then(|rest| rest.strip_suffix("</answer>"));
        answer.is_some_and(|answer| goal().is_reached_by(answer))
    }

    #[test]
    fn a_methodical_and_persistent_author_who_never_slips_is_right() {
        let config = CountdownTraces {
            methodical: 1.0,
            persistent: 1.0,
            max_attempts: 24,
            slip: 0.0,
            untagged: 0.0,
            ..CountdownTraces::default()
        };
        for trace in traces(&config) {
            assert!(is_right(&trace), "{trace}");
        }
    }

    #[test]
    fn default_traces_are_of_varied_quality() {
        let traces = traces(&CountdownTraces::default());
        let count = |holds: &dyn Fn(&str) -> bool| traces.iter().filter(|t| holds(t)).count();
        let right = count(&is_right);
        assert!((200..1000).contains(&right), "{right} of 2000 are right");
        let untagged = count(&|trace| !trace.contains("<think>"));
        assert!(untagged > 200, "{untagged} of 2000 have no tags");
        let unanswered = count(&|trace| trace.contains("<think>") && !trace.contains("answer"));
        assert!(unanswered > 5, "{unanswered} of 2000 have no answer");
        let gave_up = count(&|trace| trace.contains("no\n</think>\n<answer>"));
        assert!(gave_up > 200, "{gave_up} of 2000 gave up");
    }

    #[test]
    fn authors_who_mix_take_words_of_both_languages_and_others_keep_to_the_prompts() {
        let config = CountdownTraces {
            mix: 0.5,
            persistent: 0.0,
            persistent_mixing: Some(1.0),
            wait: 0.5,
            ..CountdownTraces::default()
        };
        let traces = traces(&config);
        let has_chinese = |trace: &&String| ["是", "否", "等等"].iter().any(|w| trace.contains(*w));
        let (mixed, pure): (Vec<_>, Vec<_>) = traces.iter().partition(has_chinese);
        assert!((700..1000).contains(&mixed.len()), "{}", mixed.len());
        assert!(mixed.iter().any(|trace| trace.contains(" no\n")));
        let waits = |traces: &[&String], word: &str| traces.iter().any(|t| t.contains(word));
        assert!(waits(&pure, " no wait\n") && waits(&mixed, " 否 等等\n"));
        let lines = |traces: &[&String]| traces.iter().map(|t| t.lines().count()).sum::<usize>();
        let mean = |traces: &[&String]| lines(traces) as f64 / traces.len() as f64;
        assert!(mean(&mixed) > 1.3 * mean(&pure));
    }

    #[test]
    fn every_attempt_shows_its_steps() {
        let config = CountdownTraces {
            slip: 0.0,
            untagged: 1.0,
            ..CountdownTraces::default()
        };
        for trace in traces(&config) {
            for line in trace.lines().filter(|line| line.contains('=')) {
                let (steps, verdict) = line.rsplit_once(' ').expect("a verdict");
                let values: Vec<_> = steps
                    .split('=')
                    .map(|step| Expression::parse(step).and_then(|step| step.integer()))
                    .collect();
                assert!(values.len() == 4 && values.iter().all(|value| *value == values[0]));
                assert_eq!(verdict == "yes", values[0] == Some(13), "{line}");
            }
        }
    }

    #[test]
    fn a_probability_above_one_is_refused_by_name() {
        let config = CountdownTraces {
            slip: 1.5,
            ..CountdownTraces::default()
        };
        let error = config.validate().expect_err("a refusal");
        assert_eq!(error.to_string(), "`traces.slip`: is 1.5, expected 0 to 1");
    }
}
