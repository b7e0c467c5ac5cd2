//! Modular arithmetic: remainders of sums, products and powers, and division where it is defined.
//!
//! The answer is the one number from 0 to the modulus less 1; a number that only leaves the same
//! remainder is wrong.

mod exercise;

use rand::Rng;
use serde::{Deserialize, Serialize};

use self::exercise::Exercise;
use super::question::{Question, Wording};
use super::rational::read_integer;
use super::recorded::{foreign, recorded};
use super::traces::{Attempt, Author, Traces};
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::Result;
use crate::seed::Seed;

/// The hardest level.
const HIGHEST_LEVEL: u8 = 5;

/// Settings of [`ModularArithmetic`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModularArithmeticConfig {
    /// Difficulty levels, drawn evenly.
    ///
    /// 1: `(47+38) mod 7`. 2: `(47*8) mod 11`. 3: `(47*38-95) mod 23`, which may be below 0.
    /// 4: `7^19 mod 23`. 5: `8*x=5 mod 31`, with exactly one `x`.
    pub levels: Vec<u8>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces.
    pub traces: Traces,
}

impl Default for ModularArithmeticConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of modular arithmetic.
#[derive(Clone, Debug)]
pub struct ModularArithmetic {
    config: ModularArithmeticConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remainder {
    exercise: Exercise,
    modulus: i64,
    value: i64,
}

impl ModularArithmetic {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: ModularArithmeticConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("modular_arithmetic");
        Ok(Self { config, seed })
    }
}

impl Task for ModularArithmetic {
    fn name(&self) -> &'static str {
        "modular_arithmetic"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, Remainder::random(level, rng))
        };
        let canonical = |(_, remainder): &(u8, Remainder)| remainder.canonical();
        let (level, remainder) = split.draw(self.seed, index, draft, canonical);
        Problem {
            prompt: self.config.wording.prompt(remainder.question()),
            answer: serde_json::json!(remainder),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        Ok(read_integer(answer) == Some(Remainder::of(problem)?.value))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let remainder = Remainder::of(problem)?;
        let (exercise, modulus) = (remainder.exercise, remainder.modulus);
        if exercise.value(modulus).is_none() {
            let reason = "expected a modulus and operands that some problem has";
            return Err(foreign(self.name(), problem, reason));
        }
        let attempt = |author: &mut Author<'_>| {
            let worked = exercise.work_out(modulus, author);
            Attempt {
                thinking: worked.steps,
                answer: worked.value.to_string(),
                check: exercise.check(modulus, worked.value),
            }
        };
        Ok(self.config.traces.write(rng, attempt))
    }
}

impl Remainder {
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str =
            "{\"exercise\":{\"kind\":\"sum\",\"a\":47,\"b\":38},\"modulus\":7,\"value\":1}";
        recorded("modular_arithmetic", problem, EXAMPLE)
    }

    fn random(level: u8, rng: &mut dyn Rng) -> Self {
        loop {
            let (exercise, modulus) = Exercise::random(level, rng);
            if let Some(value) = exercise.value(modulus) {
                return Self {
                    exercise,
                    modulus,
                    value,
                };
            }
        }
    }

    /// The same text for problems that differ in the order of operands alone.
    fn canonical(&self) -> String {
        format!("{} mod {}", self.exercise.canonical(), self.modulus)
    }

    fn question(&self) -> Question {
        let (exercise, modulus, largest) = (&self.exercise, self.modulus, self.modulus - 1);
        let asked = match exercise {
            Exercise::Division { .. } => format!("Which x solves {exercise} (mod {modulus})?"),
            _ => format!("What is {exercise} mod {modulus}?"),
        };
        let short = match exercise {
            Exercise::Division { .. } => format!("{exercise} mod {modulus} x=?"),
            _ => format!("{exercise} mod {modulus}=?"),
        };
        Question {
            short,
            full: format!(
                "{asked} Return a whole number from 0 to {largest} in <answer> </answer> tags."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], seed: u64) -> Box<dyn Task> {
        let config = ModularArithmeticConfig {
            levels: levels.to_vec(),
            seed,
            traces: Traces::careful(),
            ..ModularArithmeticConfig::default()
        };
        Box::new(ModularArithmetic::new(config).unwrap())
    }

    const ALL: [u8; 5] = [1, 2, 3, 4, 5];

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(task(&ALL, 1).as_ref(), 5000, |problem, answer| {
            let remainder = Remainder::of(problem).unwrap();
            assert!((0..remainder.modulus).contains(&remainder.value));
            let (value, modulus) = (remainder.value, remainder.modulus);
            vec![
                (value + 1).to_string(),
                (value - 1).to_string(),
                (value + modulus).to_string(),
                (value - modulus).to_string(),
                format!("{answer}.0"),
                format!("x={answer}"),
                format!("{answer}{answer}1"),
            ]
        });
    }

    #[test]
    fn sides_share_no_problem() {
        for level in ALL {
            let canonical = |problem: &Problem| Remainder::of(problem).unwrap().canonical();
            checks::assert_sides_disjoint(|seed| task(&[level], seed), 1000, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        checks::assert_deterministic(|seed| task(&ALL, seed));
        checks::assert_levels_grow(5, |level| task(&[level], 1));
        for level in ALL {
            let distinct = checks::distinct_prompts(task(&[level], 4).as_ref());
            assert!(distinct > 930, "level {level}: {distinct} of 1000");
        }
        checks::assert_refuses_foreign(task(&ALL, 1).as_ref());
    }

    #[test]
    fn first_problem_stays_as_it_is() {
        let problem = task(&[3], 0).problem(Split::Train, 0);
        assert_eq!(checks::prompt_of(&problem), "(40*30-33) mod 26=?\n");
    }

    #[test]
    fn record_that_no_problem_has_is_refused_without_a_trace() {
        for (a, modulus) in [(3, 0), (i64::MAX, 7), (3, -5)] {
            let exercise = Exercise::Product { a, b: 3 };
            let answer =
                serde_json::json!({ "exercise": exercise, "modulus": modulus, "value": 1 });
            let problem = Problem {
                answer,
                ..task(&[1], 0).problem(Split::Train, 0)
            };
            let trace = task(&[1], 0).trace(&problem, &mut Seed::new(1).rng());
            assert!(
                trace
                    .unwrap_err()
                    .to_string()
                    .contains("that some problem has")
            );
        }
    }
}
