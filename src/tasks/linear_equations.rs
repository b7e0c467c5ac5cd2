//! Linear equations in one or two unknowns, with one solution each.
//!
//! The solution is whole or a fraction. An answer names each unknown once, in any order:
//! `x=3, y=-1/2`; where there is only `x`, its value alone will do. Values are compared exactly,
//! so `-0.5` is `-1/2` and a rounded decimal is wrong.

mod equation;
mod trace;

use std::collections::BTreeMap;

use num_rational::Ratio;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use self::equation::{Equation, Side};
use super::question::{Question, Wording};
use super::rational::read_rational;
use super::recorded::{foreign, recorded};
use super::traces::Traces;
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::Result;
use crate::seed::Seed;

/// Longest answer looked at, in bytes.
const MAX_ANSWER_BYTES: usize = 200;
/// The hardest level.
const HIGHEST_LEVEL: u8 = 5;

/// Settings of [`LinearEquations`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearEquationsConfig {
    /// Difficulty levels, drawn evenly.
    ///
    /// 1: `3x+5=20`, whole solution. 2: `3x+5=5x-7`, whole solution. 3: `4(x-2)=3x+1`, solution
    /// whole or a fraction. 4: two equations in `x` and `y`, whole solution. 5: two equations,
    /// fractions in the solution.
    pub levels: Vec<u8>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces.
    pub traces: Traces,
}

impl Default for LinearEquationsConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of linear equations.
#[derive(Clone, Debug)]
pub struct LinearEquations {
    config: LinearEquationsConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct System {
    equations: Vec<Equation>,
    /// The value of each unknown, as text.
    solution: BTreeMap<String, String>,
}

impl LinearEquations {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: LinearEquationsConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("linear_equations");
        Ok(Self { config, seed })
    }
}

impl Task for LinearEquations {
    fn name(&self) -> &'static str {
        "linear_equations"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, System::random(level, rng))
        };
        let canonical = |(_, system): &(u8, System)| system.canonical();
        let (level, system) = split.draw(self.seed, index, draft, canonical);
        Problem {
            prompt: self.config.wording.prompt(system.question()),
            answer: serde_json::json!(system),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        Ok(System::of(problem)?.is_solved_by(answer))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let equations = System::of(problem)?.equations;
        let trace = match equations.as_slice() {
            [equation] if equation.difference().is_some_and(|sides| sides.x != 0) => self
                .config
                .traces
                .write(rng, |author| trace::solve_one(equation, author)),
            [one, other] if equation::solve(&equations).is_some() => self
                .config
                .traces
                .write(rng, |author| trace::solve_two(one, other, author)),
            _ => {
                let reason = "expected one or two equations with one solution";
                return Err(foreign("linear_equations", problem, reason));
            }
        };
        Ok(trace)
    }
}

impl System {
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str = "{\"equations\":[..],\"solution\":{\"x\":\"5\"}}";
        recorded("linear_equations", problem, EXAMPLE)
    }

    /// A system of `level` with exactly one solution.
    fn random(level: u8, rng: &mut dyn Rng) -> Self {
        loop {
            let equations = match level {
                1..=3 => vec![one_unknown(level, rng)],
                _ => two_unknowns(level, rng),
            };
            let Some(values) = equation::solve(&equations) else {
                continue;
            };
            let is_whole = values.iter().all(Ratio::is_integer);
            if (matches!(level, 2 | 4) && !is_whole) || (level == 5 && is_whole) {
                continue;
            }
            let names = ["x", "y"].map(String::from);
            let texts = values.iter().map(Ratio::to_string);
            return Self {
                solution: names.into_iter().zip(texts).collect(),
                equations,
            };
        }
    }

    /// The same text for systems that differ in the order of equations, sides or terms.
    fn canonical(&self) -> String {
        let mut texts: Vec<String> = self.equations.iter().map(Equation::canonical).collect();
        texts.sort_unstable();
        texts.join(" ")
    }

    fn question(&self) -> Question {
        let texts: Vec<String> = self.equations.iter().map(Equation::to_string).collect();
        let (unknowns, example) = match texts.len() {
            1 => ("x", "x=3"),
            _ => ("x and y", "x=3, y=-1/2"),
        };
        Question {
            short: format!("{} {}=?", texts.join(", "), unknowns.replace(" and ", ",")),
            full: format!(
                "Solve {} for {unknowns}. Give exact values, fractions where they are not whole, \
                 in <answer> </answer> tags, for example <answer> {example} </answer>.",
                texts.join(" and ")
            ),
        }
    }

    /// Whether `answer` gives every unknown its value and says nothing else.
    fn is_solved_by(&self, answer: &str) -> bool {
        let answer = answer.trim();
        if answer.len() > MAX_ANSWER_BYTES {
            return false;
        }
        if let (1, Some(value)) = (self.solution.len(), read_rational(answer)) {
            return self
                .solution
                .values()
                .all(|text| read_rational(text) == Some(value));
        }
        let answer = answer.replace(" and ", ",");
        let mut left = self.solution.clone();
        let are_right = answer.split([',', ';', '\n']).all(|part| {
            let Some((name, value)) = part.split_once('=') else {
                return false;
            };
            let expected = left.remove(&name.trim().to_ascii_lowercase());
            let expected = expected.and_then(|text| read_rational(&text));
            expected.is_some() && expected == read_rational(value)
        });
        are_right && left.is_empty()
    }
}

/// A whole number from `-largest` to `largest` that is not 0.
fn nonzero(largest: i64, rng: &mut dyn Rng) -> i64 {
    let size = rng.random_range(1..=largest);
    if rng.random_bool(0.5) { size } else { -size }
}

fn one_unknown(level: u8, rng: &mut dyn Rng) -> Equation {
    match level {
        1 => {
            let (x, constant) = (rng.random_range(2..=12), nonzero(30, rng));
            let left = Side::x(x, constant);
            let value = left.x * rng.random_range(-9..=12) + constant;
            Equation::new(left, Side::x(0, value))
        }
        2 => {
            let left = Side::x(nonzero(9, rng), nonzero(30, rng));
            Equation::new(left, Side::x(nonzero(9, rng), nonzero(30, rng)))
        }
        _ => {
            let bracket = Side {
                factor: rng.random_range(2..=9),
                ..Side::x(nonzero(5, rng), nonzero(9, rng))
            };
            Equation::new(bracket, Side::x(nonzero(9, rng), nonzero(20, rng)))
        }
    }
}

fn two_unknowns(level: u8, rng: &mut dyn Rng) -> Vec<Equation> {
    let solution = [rng.random_range(-9..=9), rng.random_range(-9..=9)];
    let mut equation = || {
        let (x, y) = (nonzero(9, rng), nonzero(9, rng));
        let value = match level {
            4 => x * solution[0] + y * solution[1],
            _ => nonzero(20, rng),
        };
        let left = Side { y, ..Side::x(x, 0) };
        Equation::new(left, Side::x(0, value))
    };
    vec![equation(), equation()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], seed: u64) -> Box<dyn Task> {
        let config = LinearEquationsConfig {
            levels: levels.to_vec(),
            seed,
            traces: Traces::careful(),
            ..LinearEquationsConfig::default()
        };
        Box::new(LinearEquations::new(config).unwrap())
    }

    const ALL: [u8; 5] = [1, 2, 3, 4, 5];

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(task(&ALL, 1).as_ref(), 3000, |problem, answer| {
            let system = System::of(problem).unwrap();
            let mut wrong = vec![
                answer.replace("x=", "z="),
                answer.replace('=', ""),
                format!("{answer}, x=1"),
                format!("{answer},"),
                answer.replacen("=", "=1+", 1),
            ];
            for (name, value) in &system.solution {
                let value = read_rational(value).unwrap();
                let mut others = system.solution.clone();
                others.insert(name.clone(), (value + Ratio::new(1, 7)).to_string());
                let texts = others.iter().map(|(name, value)| format!("{name}={value}"));
                wrong.push(texts.collect::<Vec<_>>().join(", "));
            }
            wrong.retain(|text| text != answer && text.contains('x'));
            wrong
        });
    }

    #[test]
    fn every_system_has_the_solution_it_records_and_no_other() {
        for (problem, _) in checks::solved(task(&ALL, 2).as_ref(), 2000) {
            let system = System::of(&problem).unwrap();
            let values = equation::solve(&system.equations).unwrap();
            let texts: Vec<String> = values.iter().map(Ratio::to_string).collect();
            assert_eq!(system.solution.values().cloned().collect::<Vec<_>>(), texts);
            for equation in &system.equations {
                let y = values.get(1).copied().unwrap_or_default();
                assert_eq!(
                    equation.left.value(values[0], y),
                    equation.right.value(values[0], y)
                );
            }
        }
    }

    #[test]
    fn answers_are_read_in_any_order_and_spelling() {
        let system = System {
            equations: Vec::new(),
            solution: BTreeMap::from([("x".into(), "3".into()), ("y".into(), "-1/2".into())]),
        };
        for answer in [
            "x=3, y=-1/2",
            "y = −0.5 ; x = 6/2",
            "X=3 and Y=-2/4",
            "x=3\ny=-1/2",
        ] {
            assert!(system.is_solved_by(answer), "{answer:?}");
        }
        for answer in [
            "x=3",
            "3, -1/2",
            "x=3, y=1/2",
            "x=3, y=-1/2, y=-1/2",
            "x=y=3",
            "x=3 y=-1/2",
        ] {
            assert!(!system.is_solved_by(answer), "{answer:?}");
        }
    }

    #[test]
    fn sides_share_no_problem() {
        for level in ALL {
            let canonical = |problem: &Problem| System::of(problem).unwrap().canonical();
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
        let problem = task(&[4], 0).problem(Split::Train, 0);
        assert_eq!(checks::prompt_of(&problem), "-3x-8y=-8, -x+4y=-16 x,y=?\n");
    }

    #[test]
    fn record_without_a_solution_has_no_trace() {
        let flat = Equation::new(Side::x(2, 1), Side::x(2, 1));
        let problem = Problem {
            answer: serde_json::json!({ "equations": [flat], "solution": {} }),
            ..task(&[1], 0).problem(Split::Train, 0)
        };
        let message = task(&[1], 0)
            .trace(&problem, &mut Seed::new(1).rng())
            .unwrap_err();
        assert!(
            message.to_string().contains("with one solution"),
            "{message}"
        );
    }
}
