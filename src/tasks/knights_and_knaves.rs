//! Knights and knaves: who always tells the truth, and who always lies?
//!
//! Two to six people each say one thing about the company. Knights say only what is true, knaves
//! only what is false. Every puzzle fits exactly one way of dealing out the roles. An answer gives
//! everyone one role, in any order: `Ada: knight, Ben: knave`.

mod claim;
mod puzzle;

use rand::Rng;
use serde::{Deserialize, Serialize};

use self::puzzle::Puzzle;
use super::question::{Question, Wording};
use super::recorded::{foreign, recorded};
use super::traces::Traces;
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::Result;
use crate::seed::Seed;

/// Longest answer looked at, in bytes.
const MAX_ANSWER_BYTES: usize = 500;
/// The hardest level.
const HIGHEST_LEVEL: u8 = 5;

/// Settings of [`KnightsAndKnaves`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnightsAndKnavesConfig {
    /// Difficulty levels, 1 to 5, drawn evenly: a level has one person more than its number.
    ///
    /// Two people have few things to say: level 1 has puzzles that differ in the names alone, which
    /// stay on one side of the train/test divide.
    pub levels: Vec<u8>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces; who slips takes a statement for its opposite.
    pub traces: Traces,
}

impl Default for KnightsAndKnavesConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of knights and knaves.
#[derive(Clone, Debug)]
pub struct KnightsAndKnaves {
    config: KnightsAndKnavesConfig,
    seed: Seed,
}

impl KnightsAndKnaves {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: KnightsAndKnavesConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("knights_and_knaves");
        Ok(Self { config, seed })
    }
}

impl Task for KnightsAndKnaves {
    fn name(&self) -> &'static str {
        "knights_and_knaves"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, Puzzle::random(usize::from(level) + 1, rng))
        };
        let canonical = |(_, puzzle): &(u8, Puzzle)| puzzle.canonical();
        let (level, puzzle) = split.draw(self.seed, index, draft, canonical);
        Problem {
            prompt: self.config.wording.prompt(question(&puzzle)),
            answer: serde_json::json!(puzzle),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        let puzzle = puzzle_of(problem)?;
        Ok(answer.len() <= MAX_ANSWER_BYTES && roles(answer, &puzzle.people) == puzzle.solution())
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let puzzle = puzzle_of(problem)?;
        Ok(self
            .config
            .traces
            .write(rng, |author| puzzle.search(author)))
    }
}

/// The puzzle of `problem`, with exactly one solution.
fn puzzle_of(problem: &Problem) -> Result<Puzzle> {
    const EXAMPLE: &str = "{\"people\":[\"Ada\",\"Ben\"],\"claims\":[..]}";
    const TASK: &str = "knights_and_knaves";
    let puzzle: Puzzle = recorded(TASK, problem, EXAMPLE)?;
    match puzzle.is_sound() && puzzle.solution().is_some() {
        true => Ok(puzzle),
        false => {
            let reason = "expected a claim for each of 2 to 6 people that fit one dealing of roles";
            Err(foreign(TASK, problem, reason))
        }
    }
}

fn question(puzzle: &Puzzle) -> Question {
    let lines = |says: &str, end: &str| -> Vec<String> {
        let said = puzzle.people.iter().zip(&puzzle.claims);
        said.map(|(name, claim)| format!("{name}{says}{}{end}", claim.text(&puzzle.people)))
            .collect()
    };
    let (first, second) = (&puzzle.people[0], &puzzle.people[1]);
    Question {
        short: lines(": ", "").join("\n"),
        full: format!(
            "Each of {} is either a knight, who only says what is true, or a knave, who only says \
             what is false. {} Who is what? Return everyone's role in <answer> </answer> tags, for \
             example <answer> {first}: knight, {second}: knave </answer>.",
            puzzle.people.join(", "),
            lines(" says: ", ".").join(" ")
        ),
    }
}

/// Who is a knight by `answer`, in the order of `people`; `None` unless it gives everyone one role
/// and says nothing else.
fn roles(answer: &str, people: &[String]) -> Option<Vec<bool>> {
    let answer = answer.trim();
    let answer = answer.strip_suffix('.').unwrap_or(answer).to_lowercase();
    let answer = answer.replace(" and ", ",");
    let mut roles = vec![None; people.len()];
    for part in answer.split([',', ';', '\n']) {
        let part = part.replacen([':', '='], " is ", 1);
        let words: Vec<&str> = part.split_whitespace().collect();
        let (name, role) = match words.as_slice() {
            [name, "is", "a", role] | [name, "is", role] => (*name, *role),
            _ => return None,
        };
        let is_knight = match role {
            "knight" => true,
            "knave" => false,
            _ => return None,
        };
        let place = people
            .iter()
            .position(|person| person.to_lowercase() == name)?;
        let is_first = roles[place].replace(is_knight).is_none();
        is_first.then_some(())?;
    }
    roles.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], seed: u64) -> Box<dyn Task> {
        let config = KnightsAndKnavesConfig {
            levels: levels.to_vec(),
            seed,
            traces: Traces::careful(),
            ..KnightsAndKnavesConfig::default()
        };
        Box::new(KnightsAndKnaves::new(config).unwrap())
    }

    const ALL: [u8; 5] = [1, 2, 3, 4, 5];

    #[test]
    fn recorded_answers_are_right_and_every_other_dealing_is_wrong() {
        checks::assert_judged(task(&ALL, 1).as_ref(), 2000, |problem, answer| {
            let puzzle = puzzle_of(problem).unwrap();
            let count = puzzle.people.len();
            let text = |roles: &[bool]| {
                let names = puzzle.people.iter().zip(roles);
                let part = |(name, role): (&String, &bool)| {
                    format!("{name}: {}", if *role { "knight" } else { "knave" })
                };
                names.map(part).collect::<Vec<_>>().join(", ")
            };
            let dealings = (0..1_usize << count).map(|mask| {
                (0..count)
                    .map(|who| mask >> who & 1 == 1)
                    .collect::<Vec<_>>()
            });
            let mut wrong: Vec<String> = dealings.map(|roles| text(&roles)).collect();
            wrong.retain(|text| text != answer);
            assert_eq!(wrong.len(), (1 << count) - 1);
            wrong.push(format!("{answer}, {}: knave", puzzle.people[0]));
            wrong.push(answer.split_once(", ").unwrap().1.into());
            wrong.push(answer.replacen(&puzzle.people[0], "Zoe", 1));
            wrong
        });
    }

    #[test]
    fn answers_are_read_in_any_order_and_spelling() {
        let people = ["Ada", "Ben"].map(String::from);
        for answer in [
            "Ada: knight, Ben: knave",
            "ben = KNAVE; ada=knight.",
            "Ada is a knight and Ben is a knave",
            "Ben is knave\n Ada is a knight",
        ] {
            assert_eq!(roles(answer, &people), Some(vec![true, false]), "{answer}");
        }
        for answer in [
            "Ada: knight",
            "Ada: knight, Ben: knave, Ada: knight",
            "Ada: knight or knave, Ben: knave",
            "knight, knave",
            "Ada: knight, Ben: knave, Cleo: knight",
            "Ada: not knight, Ben: knave",
            "Ada: knight,, Ben: knave",
        ] {
            assert_eq!(roles(answer, &people), None, "{answer}");
        }
    }

    #[test]
    fn sides_share_no_puzzle_whatever_the_names() {
        for level in ALL {
            let canonical = |problem: &Problem| puzzle_of(problem).unwrap().canonical();
            checks::assert_sides_disjoint(|seed| task(&[level], seed), 500, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        checks::assert_deterministic(|seed| task(&ALL, seed));
        checks::assert_levels_grow(5, |level| task(&[level], 1));
        for (level, least) in [(1, 900), (2, 980), (3, 999), (4, 999), (5, 999)] {
            let distinct = checks::distinct_prompts(task(&[level], 4).as_ref());
            assert!(distinct >= least, "level {level}: {distinct} of 1000");
        }
        checks::assert_refuses_foreign(task(&ALL, 1).as_ref());
    }

    #[test]
    fn first_problem_stays_as_it_is() {
        let problem = task(&[2], 0).problem(Split::Train, 0);
        assert_eq!(
            checks::prompt_of(&problem),
            "Cleo: Cleo and Lea are both knights\nKai: exactly 2 of us are knights\n\
             Lea: Kai and Lea are alike\n"
        );
    }

    #[test]
    fn puzzle_with_several_solutions_is_the_verifiers_failure() {
        let claim = serde_json::json!({ "says": "knight", "who": 0 });
        for claims in [vec![claim.clone(); 2], vec![claim; 9]] {
            let problem = Problem {
                answer: serde_json::json!({ "people": ["Ada", "Ben"], "claims": claims }),
                ..task(&[1], 0).problem(Split::Train, 0)
            };
            let error = task(&[1], 0)
                .verify(&problem, "Ada: knight, Ben: knight")
                .unwrap_err();
            assert!(
                error.to_string().contains("one dealing of roles"),
                "{error}"
            );
        }
    }
}
