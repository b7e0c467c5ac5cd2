//! The same arithmetic asked in English or in Chinese, in number words.
//!
//! Problems say which language they are asked in, pretraining traces are written in it, but for
//! the sentences that slip into the other one: so it can be measured how far a model mixes
//! languages, and rewarded when it does not. The answer is the number in digits, whatever the
//! language. A sum is on the same side of the train/test divide in both languages.

mod language;
mod trace;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::arithmetic::canonical;
use super::expression::Expression;
use super::question::{Question, Wording};
use super::rational::read_integer;
use super::recorded::{foreign, recorded};
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::seed::Seed;

pub use self::language::Language;
pub use self::trace::BilingualTraces;

/// The hardest level.
const HIGHEST_LEVEL: u8 = 5;
/// Largest value of a step, the largest that has words.
const MAX_VALUE: i64 = language::MAX_SPELLED;

/// Settings of [`Bilingual`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BilingualConfig {
    /// Difficulty levels, drawn evenly; no step's result is below 0 or above 9999.
    ///
    /// 1: `a+b` or `a-b` up to 40. 2: the same up to 99. 3: three numbers up to 99.
    /// 4: `a*b+c` or `a*b-c`, `b` of one digit. 5: four numbers up to 999.
    pub levels: Vec<u8>,
    /// Languages that problems are asked in, drawn evenly.
    pub languages: Vec<Language>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces.
    pub traces: BilingualTraces,
}

impl Default for BilingualConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            languages: vec![Language::English, Language::Chinese],
            seed: 0,
            wording: Wording::default(),
            traces: BilingualTraces::default(),
        }
    }
}

/// The bilingual task.
#[derive(Clone, Debug)]
pub struct Bilingual {
    config: BilingualConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    /// The chain of operations in digits.
    problem: String,
    /// Its value.
    value: i64,
    /// The language it is asked in.
    language: Language,
}

/// A problem before it is asked in a language.
struct Draft {
    level: u8,
    chain: Expression,
    language: Language,
}

impl Bilingual {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: BilingualConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        if config.languages.is_empty() {
            let problem = "is empty; give one or both of en, zh";
            return Err(Error::setting("languages", problem));
        }
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("bilingual");
        Ok(Self { config, seed })
    }
}

impl Task for Bilingual {
    fn name(&self) -> &'static str {
        "bilingual"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            let languages = &self.config.languages;
            Draft {
                level,
                chain: random_chain(level, rng),
                language: *languages.choose(rng).expect("`new` refuses an empty list"),
            }
        };
        let canonical = |draft: &Draft| canonical(&draft.chain);
        let draft = split.draw(self.seed, index, draft, canonical);
        let sum = Sum {
            problem: draft.chain.to_string(),
            value: draft.chain.integer().unwrap_or_default(),
            language: draft.language,
        };
        Problem {
            prompt: self.config.wording.prompt(question(&draft)),
            answer: serde_json::json!(sum),
            level: Some(draft.level.to_string()),
            language: Some(draft.language.code().into()),
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        Ok(read_integer(answer) == Some(Sum::of(problem)?.value))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let sum = Sum::of(problem)?;
        let chain = Expression::parse(&sum.problem).filter(is_spelled);
        let chain = chain.ok_or_else(|| {
            let reason = "expected a `problem` of whole numbers from 0 to 9999";
            foreign(self.name(), problem, reason)
        })?;
        Ok(self.config.traces.write(&chain, sum.language, rng))
    }
}

impl Sum {
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str = "{\"problem\":\"47+38\",\"value\":85,\"language\":\"zh\"}";
        recorded("bilingual", problem, EXAMPLE)
    }
}

/// A chain of `level` whose every step can be said in words.
fn random_chain(level: u8, rng: &mut dyn Rng) -> Expression {
    loop {
        let mut number = |low: i64, high: i64| rng.random_range(low..=high);
        let numbers: Vec<i64> = match level {
            1 => vec![number(1, 40), number(1, 40)],
            2 => vec![number(10, 99), number(10, 99)],
            3 => vec![number(10, 99), number(10, 99), number(10, 99)],
            4 => vec![number(10, 99), number(2, 9), number(10, 99)],
            _ => (0..4).map(|_| number(100, 999)).collect(),
        };
        let mut text = numbers[0].to_string();
        for (place, number) in numbers.iter().enumerate().skip(1) {
            let sign = match rng.random_bool(0.5) {
                _ if level == 4 && place == 1 => '*',
                true => '+',
                false => '-',
            };
            text.push_str(&format!("{sign}{number}"));
        }
        if let Some(chain) = Expression::parse(&text).filter(is_spelled) {
            return chain;
        }
    }
}

/// Whether every number and every step's result, from left to right, is from 0 to 9999.
fn is_spelled(chain: &Expression) -> bool {
    let mut rest = chain.clone();
    let is_small = |number: i64| (0..=MAX_VALUE).contains(&number);
    let mut all = chain.numbers().into_iter().all(is_small);
    while let Some(operation) = rest.first_operation().filter(|_| all) {
        match operation.integer() {
            Some(value) if is_small(value) => *operation = Expression::Number(value),
            _ => all = false,
        }
    }
    all
}

fn question(draft: &Draft) -> Question {
    let words = draft.language.spell(&draft.chain);
    match draft.language {
        Language::English => Question {
            short: format!("What is {words}?"),
            full: format!(
                "What is {words}? Think in English and return the number in digits in <answer> \
                 </answer> tags."
            ),
        },
        Language::Chinese => Question {
            short: format!("{words}等于多少？"),
            full: format!(
                "{words}等于多少？请用中文思考，并在 <answer> </answer> 标签中用数字写出答案。"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn bilingual(levels: &[u8], seed: u64) -> BilingualConfig {
        BilingualConfig {
            levels: levels.to_vec(),
            seed,
            traces: BilingualTraces::careful(),
            ..BilingualConfig::default()
        }
    }

    fn task(levels: &[u8], seed: u64) -> Box<dyn Task> {
        Box::new(Bilingual::new(bilingual(levels, seed)).unwrap())
    }

    const ALL: [u8; 5] = [1, 2, 3, 4, 5];

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(task(&ALL, 1).as_ref(), 4000, |problem, answer| {
            let sum = Sum::of(problem).unwrap();
            vec![
                (sum.value + 1).to_string(),
                (sum.value - 1).to_string(),
                (-1 - sum.value).to_string(),
                format!("{answer}1"),
                format!("{answer}."),
                format!("{answer}。"),
                sum.language.number(sum.value),
                sum.problem,
            ]
        });
    }

    #[test]
    fn problem_says_its_language_and_is_asked_in_it() {
        let mut chinese = 0;
        for (problem, _) in checks::solved(task(&ALL, 2).as_ref(), 500) {
            let prompt = checks::prompt_of(&problem);
            let has_letters = prompt.contains(|symbol: char| symbol.is_ascii_alphabetic());
            let code = if has_letters { "en" } else { "zh" };
            assert_eq!(problem.language.as_deref(), Some(code), "{prompt}");
            assert_eq!(prompt.is_ascii(), has_letters, "{prompt}");
            assert!(!prompt.contains(|symbol: char| symbol.is_ascii_digit()));
            chinese += usize::from(!has_letters);
        }
        assert!((200..300).contains(&chinese), "{chinese}");
    }

    #[test]
    fn sides_share_no_sum_even_across_languages() {
        for level in ALL {
            let build = |seed: u64| -> Box<dyn Task> {
                let language = if seed == 1 {
                    Language::English
                } else {
                    Language::Chinese
                };
                let config = BilingualConfig {
                    languages: vec![language],
                    ..bilingual(&[level], seed)
                };
                Box::new(Bilingual::new(config).unwrap())
            };
            let canonical = |problem: &Problem| {
                canonical(&Expression::parse(&Sum::of(problem).unwrap().problem).unwrap())
            };
            checks::assert_sides_disjoint(build, 1000, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        checks::assert_deterministic(|seed| task(&ALL, seed));
        checks::assert_levels_grow(5, |level| task(&[level], 1));
        for (level, least) in [(1, 750), (2, 900), (3, 990), (4, 990), (5, 999)] {
            let distinct = checks::distinct_prompts(task(&[level], 4).as_ref());
            assert!(distinct >= least, "level {level}: {distinct} of 1000");
        }
        checks::assert_refuses_foreign(task(&ALL, 1).as_ref());
    }

    #[test]
    fn first_problems_stay_as_they_are() {
        let task = task(&[4], 0);
        let prompts = [0, 1, 2, 3].map(|index| task.problem(Split::Train, index));
        let prompts = prompts.each_ref().map(checks::prompt_of);
        let expected = [
            "What is forty-eight times five minus twenty-nine?\n",
            "六十八乘以六减六十八等于多少？\n",
            "What is ninety-five times nine minus forty-four?\n",
            "二十七乘以三减五十一等于多少？\n",
        ];
        assert_eq!(prompts, expected);
    }

    #[test]
    fn record_that_cannot_be_said_has_no_trace() {
        for text in ["99999+1", "5-9", "1/0", "x", "9999*9"] {
            let answer = serde_json::json!({ "problem": text, "value": 1, "language": "en" });
            let problem = Problem {
                answer,
                ..task(&[1], 0).problem(Split::Train, 0)
            };
            let trace = task(&[1], 0).trace(&problem, &mut Seed::new(1).rng());
            assert!(trace.is_err(), "{text}");
        }
    }

    #[test]
    fn languages_are_named_by_their_codes() {
        let config: BilingualConfig = toml::from_str("languages = [\"zh\"]").unwrap();
        assert_eq!(config.languages, [Language::Chinese]);
        let none = BilingualConfig {
            languages: Vec::new(),
            ..BilingualConfig::default()
        };
        let message = Bilingual::new(none).unwrap_err().to_string();
        assert!(message.starts_with("`languages`: is empty"), "{message}");
    }
}
