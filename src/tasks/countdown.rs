//! Countdown: reach a target from given numbers, each used at most once.
//!
//! A problem is made from a solution, so every problem has one. Answers are judged exactly, by
//! this crate's own bounded parser and rationals.

mod level;
mod trace;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use self::level::Attempt;
use super::expression::Expression;
use super::question::{Question, Wording};
use super::{Language, Split, Task};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::seed::Seed;

pub use self::level::Level;
pub use self::trace::CountdownTraces;

/// Settings of [`Countdown`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountdownConfig {
    /// Difficulty levels, 1 to 4; every problem is of one of them, drawn evenly. See [`Level`].
    pub levels: Vec<Level>,
    /// Languages that problems are asked in, drawn evenly. A problem is on the same side of the
    /// train/test divide in all.
    pub languages: Vec<Language>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces.
    pub traces: CountdownTraces,
}

impl Default for CountdownConfig {
    fn default() -> Self {
        Self {
            levels: vec![Level::One],
            languages: vec![Language::English],
            seed: 0,
            wording: Wording::default(),
            traces: CountdownTraces::default(),
        }
    }
}

/// The Countdown task.
#[derive(Clone, Debug)]
pub struct Countdown {
    config: CountdownConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem; the `answer` of its [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Goal {
    /// The given numbers.
    numbers: Vec<i64>,
    /// The value to reach.
    target: i64,
    /// The language it is asked in.
    #[serde(default = "english", skip_serializing_if = "is_english")]
    language: Language,
}

fn english() -> Language {
    Language::English
}

fn is_english(language: &Language) -> bool {
    *language == Language::English
}

impl Countdown {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// When no level is given or a trace probability is not one.
    pub fn new(config: CountdownConfig) -> Result<Self> {
        if config.levels.is_empty() {
            return Err(Error::setting(
                "levels",
                "is empty; give one or more of 1 to 4",
            ));
        }
        if config.languages.is_empty() {
            let problem = "is empty; give one or both of en, zh";
            return Err(Error::setting("languages", problem));
        }
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("countdown");
        Ok(Self { config, seed })
    }

    /// One of the configured levels.
    fn level(&self, rng: &mut dyn Rng) -> Level {
        *self
            .config
            .levels
            .choose(rng)
            .expect("`new` refuses an empty list")
    }

    /// One of the configured languages; draws only where there is a choice.
    fn language(&self, rng: &mut dyn Rng) -> Language {
        match self.config.languages[..] {
            [only] => only,
            _ => *self
                .config
                .languages
                .choose(rng)
                .expect("`new` refuses an empty list"),
        }
    }

    /// A goal of `level` with a solution: the value of a random expression over random numbers.
    fn goal(level: Level, language: Language, rng: &mut dyn Rng) -> Goal {
        loop {
            let numbers = level.numbers(rng);
            let Some(Attempt { value: target, .. }) = level.attempt(&numbers, rng) else {
                continue;
            };
            if !numbers.contains(&target) {
                return Goal {
                    numbers,
                    target,
                    language,
                };
            }
        }
    }
}

impl Task for Countdown {
    fn name(&self) -> &'static str {
        "countdown"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let mut rng = split.seed(self.seed, index).rng();
        let language = self.language(&mut rng);
        let (level, goal) = loop {
            let level = self.level(&mut rng);
            let goal = Self::goal(level, language, &mut rng);
            if Split::of(&goal.canonical()) == split {
                break (level, goal);
            }
        };
        Problem {
            prompt: self.config.wording.prompt(goal.question()),
            answer: serde_json::json!(goal),
            level: Some(u8::from(level).to_string()),
            language: Some(language.code().into()),
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        Ok(Goal::of(problem)?.is_reached_by(answer))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let goal = Goal::of(problem)?;
        let level = self.level(rng);
        Ok(self.config.traces.write(&goal, level, rng))
    }
}

impl Goal {
    fn of(problem: &Problem) -> Result<Self> {
        Self::deserialize(&problem.answer).map_err(|error| Error::Reward {
            reward: "countdown".into(),
            problem: format!(
                "`answer` is {}, expected like {{\"numbers\":[3,5,7],\"target\":15}}: {error}",
                problem.answer
            ),
        })
    }

    /// The same text for the same problem, however its numbers are ordered.
    fn canonical(&self) -> String {
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        format!("{numbers:?} {}", self.target)
    }

    fn question(&self) -> Question {
        let numbers: Vec<String> = self.numbers.iter().map(i64::to_string).collect();
        let target = self.target;
        match self.language {
            Language::English => Question {
                short: format!("Make {target} from {}.", numbers.join(" ")),
                full: format!(
                    "Using the numbers [{}], create an expression that equals {target}. You can \
                     use + - * / and parentheses, and each number at most once. Return the \
                     expression in <answer> </answer> tags, for example <answer> (1 + 2) / 3 \
                     </answer>.",
                    numbers.join(", ")
                ),
            },
            Language::Chinese => Question {
                short: format!("用 {} 得到 {target}。", numbers.join(" ")),
                full: format!(
                    "用数字 [{}] 写出一个等于 {target} 的算式。可以使用 + - * / 和括号，每个数字最多用一次。\
                     请在 <answer> </answer> 标签中给出算式，例如 <answer> (1 + 2) / 3 </answer>。",
                    numbers.join(", ")
                ),
            },
        }
    }

    /// Whether `answer` is an expression over the given numbers, each at most once, with the
    /// target as its exact value. A trailing `= target` is allowed if it is the target.
    fn is_reached_by(&self, answer: &str) -> bool {
        let (text, claim) = match answer.split_once('=') {
            Some((text, claim)) => (text, Some(claim.trim())),
            None => (answer, None),
        };
        if claim.is_some_and(|claim| claim != self.target.to_string()) {
            return false;
        }
        let Some(expression) = Expression::parse(text.trim()) else {
            return false;
        };
        expression.integer() == Some(self.target) && self.affords(&expression)
    }

    fn affords(&self, expression: &Expression) -> bool {
        let mut left = self.numbers.clone();
        expression.numbers().iter().all(|number| {
            let place = left.iter().position(|given| given == number);
            place.map(|place| left.swap_remove(place)).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::data::Prompt;

    const LEVELS: [Level; 4] = [Level::One, Level::Two, Level::Three, Level::Four];

    fn countdown(levels: &[Level], seed: u64) -> Countdown {
        let config = CountdownConfig {
            levels: levels.to_vec(),
            seed,
            ..CountdownConfig::default()
        };
        Countdown::new(config).expect("valid settings")
    }

    fn judge(numbers: &[i64], target: i64, answer: &str) -> bool {
        let goal = Goal {
            numbers: numbers.to_vec(),
            target,
            language: Language::English,
        };
        goal.is_reached_by(answer)
    }

    #[test]
    fn no_problem_is_on_both_sides_whatever_the_seeds() {
        for level in LEVELS {
            let canonical = |split, seed| -> HashSet<String> {
                let task = countdown(&[level], seed);
                let goal = |index| Goal::of(&task.problem(split, index)).expect("a goal");
                (0..1000).map(|index| goal(index).canonical()).collect()
            };
            let (train, test) = (canonical(Split::Train, 1), canonical(Split::Test, 2));
            assert!(train.is_disjoint(&test), "{level:?} shares a problem");
            assert!(
                test.len() > 100,
                "{level:?} has {} test problems",
                test.len()
            );
        }
    }

    #[test]
    fn every_problem_is_solved_by_some_attempt_of_its_level() {
        let mut rng = Seed::new(5).rng();
        for level in LEVELS {
            let task = countdown(&[level], 3);
            for index in 0..25 {
                let problem = task.problem(Split::Test, index);
                let goal = Goal::of(&problem).expect("a goal");
                let solved = (0..2_000_000).any(|_| {
                    let attempt = level.attempt(&goal.numbers, &mut rng);
                    attempt.is_some_and(|attempt| {
                        attempt.value == goal.target
                            && goal.is_reached_by(&attempt.expression.to_string())
                    })
                });
                assert!(solved, "{level:?}: {goal:?}");
            }
        }
    }

    #[test]
    fn problem_says_its_level() {
        let task = countdown(&[Level::One, Level::Four], 3);
        let problems: Vec<Problem> = (0..40).map(|i| task.problem(Split::Train, i)).collect();
        for problem in &problems {
            let count = Goal::of(problem).expect("a goal").numbers.len();
            let level = if count == 3 { "1" } else { "4" };
            assert_eq!(problem.level.as_deref(), Some(level), "{problem:?}");
        }
        assert!(
            problems
                .iter()
                .any(|problem| problem.level != problems[0].level)
        );
    }

    #[test]
    fn a_problem_depends_on_seed_split_and_index_alone() {
        let task = countdown(&LEVELS, 9);
        let first = task.problem(Split::Train, 4);
        task.problem(Split::Train, 5);
        assert_eq!(first, countdown(&LEVELS, 9).problem(Split::Train, 4));
        assert_ne!(first, countdown(&LEVELS, 10).problem(Split::Train, 4));
        assert_ne!(first, task.problem(Split::Test, 4));
    }

    #[test]
    fn problem_is_asked_in_its_language_and_shares_its_side_with_the_other() {
        let asked = |languages: &[Language], split| -> Vec<Problem> {
            let config = CountdownConfig {
                languages: languages.to_vec(),
                ..CountdownConfig::default()
            };
            let task = Countdown::new(config).expect("valid settings");
            (0..500).map(|index| task.problem(split, index)).collect()
        };
        let both = asked(&[Language::English, Language::Chinese], Split::Train);
        let mut chinese = 0;
        for problem in &both {
            let is_chinese = problem.language.as_deref() == Some("zh");
            let Prompt::Text(prompt) = &problem.prompt else {
                panic!("a text");
            };
            let begins = if is_chinese { "用 " } else { "Make " };
            assert!(prompt.starts_with(begins), "{prompt}");
            chinese += usize::from(is_chinese);
        }
        assert!((200..300).contains(&chinese), "{chinese}");
        let goals = |problems: &[Problem]| -> HashSet<String> {
            let goals = problems
                .iter()
                .map(|problem| Goal::of(problem).expect("a goal"));
            goals.map(|goal| goal.canonical()).collect()
        };
        let test = asked(&[Language::Chinese], Split::Test);
        assert!(goals(&both).is_disjoint(&goals(&test)));
    }

    #[test]
    fn right_expressions_are_accepted_in_any_spelling() {
        for answer in [
            "3+5+7",
            " 7 + (5+3) ",
            "3+5+7=15",
            "3 + 5 + 7 = 15",
            "((3)+5)+7",
        ] {
            assert!(judge(&[3, 5, 7], 15, answer), "{answer:?}");
        }
        assert!(judge(&[2, 6, 9], 27, "9×6÷2"));
        assert!(judge(&[3, 5, 7, 5], 10, "5+5"));
    }

    #[test]
    fn wrong_or_cheating_answers_are_refused() {
        let answers = [
            "",
            "15",
            "3+5",
            "3*5",
            "5+5+5",
            "3+5+7+0",
            "3+5+7=16",
            "3+5+7=15=15",
            "=15",
            "8+7",
            "3+5+7 or 15",
            "3+5+7;",
            "7+8",
            "35-20",
            "15*1",
        ];
        for answer in answers {
            let right = answer == "3*5";
            assert_eq!(judge(&[3, 5, 7], 15, answer), right, "{answer:?}");
        }
        assert!(!judge(&[3, 3, 7], 9, "3*3*1"));
        assert!(!judge(&[3, 7, 8], 9, "3*3"));
    }

    #[test]
    fn a_foreign_problem_is_the_verifiers_failure() {
        let problem = Problem {
            answer: serde_json::json!("15"),
            ..countdown(&[Level::One], 0).problem(Split::Train, 0)
        };
        let result = countdown(&[Level::One], 0).verify(&problem, "3+5+7");
        assert!(matches!(result, Err(Error::Reward { .. })));
    }
}
