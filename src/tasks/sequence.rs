//! Sequences: sort, reverse, rotate or filter a list of numbers, or find the next term.
//!
//! Operations follow each other from left to right. The answer is the list that is left, in order:
//! `3, 7, 12`, with or without brackets. The next term of a sequence is the same by every rule that
//! the given terms follow.

mod next_term;
mod operation;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use self::operation::Operation;
use super::question::{Question, Wording};
use super::rational::read_integer;
use super::recorded::{foreign, recorded};
use super::traces::{Attempt, Author, Traces};
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Longest answer looked at, in bytes.
const MAX_ANSWER_BYTES: usize = 1000;
/// Most numbers of a record.
const MAX_NUMBERS: usize = 100;
/// Largest number of a record.
const MAX_NUMBER: i64 = 1 << 40;
/// The hardest level.
const HIGHEST_LEVEL: u8 = 4;

/// Settings of [`Sequence`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceConfig {
    /// Difficulty levels, drawn evenly.
    ///
    /// | level | list | operations | next term of a sequence that is |
    /// |---|---|---|---|
    /// | 1 | 5 numbers below 50 | 1 | arithmetic |
    /// | 2 | 7 numbers below 100 | 1 | geometric |
    /// | 3 | 9 numbers below 100 | 2 | of second differences that are equal |
    /// | 4 | 11 numbers below 1000 | 3 | of two arithmetic ones, term by term |
    pub levels: Vec<u8>,
    /// Kinds of operations drawn from.
    pub operations: Vec<SequenceOperation>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces.
    pub traces: Traces,
}

/// A kind of operation on a list of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceOperation {
    /// Put the numbers in rising or falling order.
    Sort,
    /// Turn the list around.
    Reverse,
    /// Move numbers from one end to the other.
    Rotate,
    /// Keep the numbers with a property.
    Filter,
    /// Find the number that follows; never together with another operation.
    NextTerm,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        use SequenceOperation::{Filter, NextTerm, Reverse, Rotate, Sort};
        Self {
            levels: vec![1],
            operations: vec![Sort, Reverse, Rotate, Filter, NextTerm],
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of sequences.
#[derive(Clone, Debug)]
pub struct Sequence {
    config: SequenceConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exercise {
    numbers: Vec<i64>,
    operations: Vec<Operation>,
    result: Vec<i64>,
}

impl Sequence {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: SequenceConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        if config.operations.is_empty() {
            let problem = "is empty; give one or more of sort, reverse, rotate, filter, next_term";
            return Err(Error::setting("operations", problem));
        }
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("sequence");
        Ok(Self { config, seed })
    }

    fn exercise(&self, level: u8, rng: &mut dyn Rng) -> Exercise {
        let kinds = &self.config.operations;
        loop {
            let first = *kinds.choose(rng).expect("`new` refuses an empty list");
            let exercise = if first == SequenceOperation::NextTerm {
                next_term(level, rng)
            } else {
                self.operations(first, level, rng)
            };
            if let Some(exercise) = exercise {
                return exercise;
            }
        }
    }

    /// A list and operations on it, each of which changes it and leaves two numbers or more;
    /// `None` when a draw breaks this.
    fn operations(
        &self,
        first: SequenceOperation,
        level: u8,
        rng: &mut dyn Rng,
    ) -> Option<Exercise> {
        let (count, largest, steps) = match level {
            1 => (5, 49, 1),
            2 => (7, 99, 1),
            3 => (9, 99, 2),
            _ => (11, 999, 3),
        };
        let numbers: Vec<i64> = (0..count).map(|_| rng.random_range(0..=largest)).collect();
        let mut kinds = self.config.operations.clone();
        kinds.retain(|kind| *kind != SequenceOperation::NextTerm);
        let mut list = numbers.clone();
        let mut operations = Vec::new();
        for step in 0..steps {
            let drawn = *kinds.choose(rng)?;
            let kind = if step == 0 { first } else { drawn };
            let operation = Operation::random(kind, &list, rng);
            let next = operation.apply(&list)?;
            (next.len() >= 2 && next != list).then_some(())?;
            operations.push(operation);
            list = next;
        }
        Some(Exercise {
            numbers,
            operations,
            result: list,
        })
    }
}

/// A sequence whose next term is sure.
fn next_term(level: u8, rng: &mut dyn Rng) -> Option<Exercise> {
    let numbers = next_term::random(level, rng);
    let next = next_term::only_next(&numbers)?;
    Some(Exercise {
        numbers,
        operations: vec![Operation::NextTerm],
        result: vec![next],
    })
}

impl Task for Sequence {
    fn name(&self) -> &'static str {
        "sequence"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, self.exercise(level, rng))
        };
        let canonical = |(_, exercise): &(u8, Exercise)| exercise.canonical();
        let (level, exercise) = split.draw(self.seed, index, draft, canonical);
        Problem {
            prompt: self.config.wording.prompt(exercise.question()),
            answer: serde_json::json!(exercise),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        Ok(read_list(answer) == Some(Exercise::of(problem)?.result))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let exercise = Exercise::of(problem)?;
        Ok(self
            .config
            .traces
            .write(rng, |author| exercise.work_out(author)))
    }
}

impl Exercise {
    /// The record of `problem`, whose operations can be applied.
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str =
            "{\"numbers\":[3,1],\"operations\":[{\"kind\":\"reverse\"}],\"result\":[1,3]}";
        let exercise: Self = recorded("sequence", problem, EXAMPLE)?;
        let is_bounded = |number: &i64| number.abs() <= MAX_NUMBER;
        let fits = exercise.numbers.len() <= MAX_NUMBERS && exercise.numbers.iter().all(is_bounded);
        if fits && exercise.lists().is_some() {
            Ok(exercise)
        } else {
            let reason = "expected at most 100 numbers and operations that can be applied";
            Err(foreign("sequence", problem, reason))
        }
    }

    /// The list after each operation.
    fn lists(&self) -> Option<Vec<Vec<i64>>> {
        let mut list = self.numbers.clone();
        let mut lists = Vec::new();
        for operation in &self.operations {
            list = operation.apply(&list)?;
            lists.push(list.clone());
        }
        Some(lists)
    }

    /// The same text for problems whose lists are the same on the whole way.
    fn canonical(&self) -> String {
        format!("{:?} {:?}", self.numbers, self.lists())
    }

    fn question(&self) -> Question {
        let texts: Vec<String> = self.operations.iter().map(Operation::to_string).collect();
        let texts = texts.join(", then ");
        let numbers = spelled(&self.numbers);
        let full = if self.operations == [Operation::NextTerm] {
            format!(
                "Which number comes next in the sequence {numbers}? Return the number in <answer> \
                 </answer> tags."
            )
        } else {
            format!(
                "Take the list {numbers} and do this, step by step: {texts}. Return the list that \
                 is left in <answer> </answer> tags, for example <answer> 1, 2, 3 </answer>."
            )
        };
        Question {
            short: format!("{texts}: {numbers}"),
            full,
        }
    }

    /// One way through the operations, which can be applied as long as nobody slips.
    fn work_out(&self, author: &mut Author<'_>) -> Attempt {
        let mut list = self.numbers.clone();
        let mut thinking = String::new();
        for operation in &self.operations {
            let Some(next) = operation.work_out(&list, author, &mut thinking) else {
                break;
            };
            list = next;
        }
        Attempt {
            thinking,
            answer: spelled(&list),
            check: None,
        }
    }
}

fn spelled(numbers: &[i64]) -> String {
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    texts.join(", ")
}

/// Reads whole numbers between commas or blanks, perhaps in brackets.
fn read_list(text: &str) -> Option<Vec<i64>> {
    let text = text.trim();
    (text.len() <= MAX_ANSWER_BYTES).then_some(())?;
    let text = match text.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']')?.trim(),
        None => text,
    };
    let is_between_commas = text.contains(',');
    let parts: Vec<&str> = if is_between_commas {
        text.split(',').collect()
    } else {
        text.split_whitespace().collect()
    };
    parts.into_iter().map(read_integer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], operations: &[SequenceOperation], seed: u64) -> Box<dyn Task> {
        let config = SequenceConfig {
            levels: levels.to_vec(),
            operations: operations.to_vec(),
            seed,
            traces: Traces::careful(),
            ..SequenceConfig::default()
        };
        Box::new(Sequence::new(config).unwrap())
    }

    fn all(levels: &[u8], seed: u64) -> Box<dyn Task> {
        task(levels, &SequenceConfig::default().operations, seed)
    }

    const ALL: [u8; 4] = [1, 2, 3, 4];

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(all(&ALL, 1).as_ref(), 4000, |problem, answer| {
            let exercise = Exercise::of(problem).unwrap();
            let result = &exercise.result;
            let mut wrong = vec![
                format!("{answer}, 0"),
                format!("0, {answer}"),
                format!("({answer})"),
            ];
            for place in 0..result.len() {
                let mut list = result.clone();
                list[place] += 1;
                wrong.push(spelled(&list));
                list.remove(place);
                wrong.push(spelled(&list));
                if place > 0 && result[place] != result[place - 1] {
                    let mut list = result.clone();
                    list.swap(place, place - 1);
                    wrong.push(spelled(&list));
                }
            }
            wrong.retain(|text| !text.is_empty());
            wrong
        });
    }

    #[test]
    fn lists_are_read_with_commas_blanks_or_brackets() {
        for text in [
            "3, -7,12",
            "3 -7 12",
            "[3, -7, 12]",
            "[3 -7 12]",
            "3\n-7\n12",
            "[ 3,-7,12 ]",
        ] {
            assert_eq!(read_list(text), Some(vec![3, -7, 12]), "{text:?}");
        }
        for text in [
            "3, 7,", "[3, 7", "3; 7", "[[3]]", "3 .. 7", "3,,7", "three", "3, 7 9", "[]]",
        ] {
            assert_eq!(read_list(text), None, "{text:?}");
        }
    }

    #[test]
    fn sides_share_no_problem() {
        for level in ALL {
            let canonical = |problem: &Problem| Exercise::of(problem).unwrap().canonical();
            checks::assert_sides_disjoint(|seed| all(&[level], seed), 1000, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        use SequenceOperation::{Filter, NextTerm, Reverse, Rotate, Sort};
        checks::assert_deterministic(|seed| all(&ALL, seed));
        checks::assert_levels_grow(4, |level| all(&[level], 1));
        for level in ALL {
            let lists = task(&[level], &[Sort, Reverse, Rotate, Filter], 1);
            let distinct = checks::distinct_prompts(lists.as_ref());
            assert!(distinct >= 999, "level {level}: {distinct} of 1000");
            let distinct = checks::distinct_prompts(task(&[level], &[NextTerm], 1).as_ref());
            assert!(
                distinct >= 800,
                "next term, level {level}: {distinct} of 1000"
            );
        }
        checks::assert_refuses_foreign(all(&ALL, 1).as_ref());
    }

    #[test]
    fn next_term_is_the_same_by_every_rule() {
        let task = task(&ALL, &[SequenceOperation::NextTerm], 3);
        for (problem, _) in checks::solved(task.as_ref(), 2000) {
            let exercise = Exercise::of(&problem).unwrap();
            let next = next_term::continuations(&exercise.numbers);
            assert!(
                next.iter().all(|found| [found.next] == exercise.result[..]),
                "{exercise:?}"
            );
        }
    }

    #[test]
    fn first_problem_stays_as_it_is() {
        let problem = all(&[3], 0).problem(Split::Train, 0);
        assert_eq!(
            checks::prompt_of(&problem),
            "sort down, then keep below 84: 84, 93, 74, 35, 83, 15, 85, 79, 43\n"
        );
    }

    #[test]
    fn no_operation_is_refused_by_name() {
        let config = SequenceConfig {
            operations: Vec::new(),
            ..SequenceConfig::default()
        };
        let message = Sequence::new(config).unwrap_err().to_string();
        assert!(message.starts_with("`operations`: is empty"), "{message}");
    }

    #[test]
    fn record_with_operations_that_cannot_be_applied_is_refused() {
        let record = serde_json::json!({
            "numbers": [1, i64::MAX], "operations": [{"kind": "next_term"}], "result": [1],
        });
        let problem = Problem {
            answer: record,
            ..all(&[1], 0).problem(Split::Train, 0)
        };
        let error = all(&[1], 0).verify(&problem, "1").unwrap_err().to_string();
        assert!(error.contains("that can be applied"), "{error}");
    }
}
