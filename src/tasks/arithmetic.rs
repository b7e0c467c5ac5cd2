//! Arithmetic: work out a chain of sums, differences and products.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::expression::{Expression, Operator};
use super::question::{Question, Wording};
use super::{Split, Task};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Settings of [`Arithmetic`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArithmeticConfig {
    /// Most digits of an operand, 1 to 6.
    pub digits: u32,
    /// Operands of a problem, 2 to 6.
    pub terms: usize,
    /// Operations drawn from: `+`, `-`, `*`.
    pub operators: Vec<ArithmeticOperator>,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// Probability that a pretraining trace gets a step a little wrong.
    pub slip: f64,
    /// Probability that a pretraining trace has no tags.
    pub untagged: f64,
}

/// An operation of [`Arithmetic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArithmeticOperator {
    /// Addition.
    #[serde(rename = "+")]
    Add,
    /// Subtraction; results may be negative.
    #[serde(rename = "-")]
    Subtract,
    /// Multiplication.
    #[serde(rename = "*")]
    Multiply,
}

impl Default for ArithmeticConfig {
    fn default() -> Self {
        Self {
            digits: 2,
            terms: 2,
            operators: vec![ArithmeticOperator::Add],
            seed: 0,
            wording: Wording::default(),
            slip: 0.2,
            untagged: 0.2,
        }
    }
}

/// The arithmetic task.
#[derive(Clone, Debug)]
pub struct Arithmetic {
    config: ArithmeticConfig,
    seed: Seed,
}

impl Arithmetic {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: ArithmeticConfig) -> Result<Self> {
        config.validate()?;
        let seed = Seed::new(config.seed).named("arithmetic");
        Ok(Self { config, seed })
    }

    /// A random chain of operations, as people write it.
    fn chain(&self, rng: &mut dyn Rng) -> Expression {
        let largest = 10_i64.pow(self.config.digits) - 1;
        let mut text = rng.random_range(0..=largest).to_string();
        for _ in 1..self.config.terms {
            let operator = self.config.operators.choose(rng).copied();
            let operator = operator.expect("`validate` refuses an empty list").symbol();
            text.push_str(&format!("{operator}{}", rng.random_range(0..=largest)));
        }
        Expression::parse(&text).expect("six numbers of six digits and operators are readable")
    }
}

impl Task for Arithmetic {
    fn name(&self) -> &'static str {
        "arithmetic"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let mut rng = split.seed(self.seed, index).rng();
        let (chain, value) = loop {
            let chain = self.chain(&mut rng);
            let value = chain
                .integer()
                .expect("`validate` bounds the digits of a product");
            if Split::of(&canonical(&chain)) == split {
                break (chain, value);
            }
        };
        let question = Question {
            short: format!("{chain}=?"),
            full: format!("What is {chain}? Return the number in <answer> </answer> tags."),
        };
        Problem {
            prompt: self.config.wording.prompt(question),
            answer: serde_json::json!({ "problem": chain.to_string(), "value": value }),
            level: Some(level(&chain)),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        let expected = Sum::of(problem)?.value;
        Ok(answer.trim().parse() == Ok(expected))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let sum = Sum::of(problem)?;
        let chain = Expression::parse(&sum.problem)
            .ok_or_else(|| foreign(problem, "`problem` is no expression"))?;
        let (steps, value) = self.config.work_out(chain, rng);
        Ok(if rng.random_bool(self.config.untagged) {
            format!("{steps}\nanswer {value}")
        } else {
            format!("<think>\n{steps}\n</think>\n<answer>{value}</answer>")
        })
    }
}

impl ArithmeticOperator {
    fn symbol(self) -> Operator {
        match self {
            Self::Add => Operator::Add,
            Self::Subtract => Operator::Subtract,
            Self::Multiply => Operator::Multiply,
        }
    }
}

impl ArithmeticConfig {
    fn validate(&self) -> Result<()> {
        /// Digits of the largest product the verifier holds exactly.
        const PRODUCT_DIGITS: usize = 14;
        let refuse = |key: &str, problem: String| Err(Error::setting(key, problem));
        if !(1..=6).contains(&self.digits) {
            return refuse("digits", format!("is {}, expected 1 to 6", self.digits));
        }
        if !(2..=6).contains(&self.terms) {
            return refuse("terms", format!("is {}, expected 2 to 6", self.terms));
        }
        if self.operators.is_empty() {
            return refuse("operators", "is empty; give one or more of + - *".into());
        }
        let multiplies = self.operators.contains(&ArithmeticOperator::Multiply);
        if multiplies && self.digits as usize * self.terms > PRODUCT_DIGITS {
            let limit = PRODUCT_DIGITS / self.digits as usize;
            return refuse(
                "terms",
                format!("is {}, expected at most {limit} with `*`", self.terms),
            );
        }
        for (key, value) in [("slip", self.slip), ("untagged", self.untagged)] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(key, format!("is {value}, expected 0 to 1"));
            }
        }
        Ok(())
    }

    /// The steps to the value, as in `4+5-3=9-3=6`, and the value the author arrived at.
    fn work_out(&self, mut rest: Expression, rng: &mut dyn Rng) -> (String, i64) {
        let mut steps = rest.to_string();
        while let Some(operation) = rest.first_operation() {
            let mut value = operation.integer().unwrap_or(0);
            if rng.random_bool(self.slip) {
                value += *[-10, -1, 1, 10].choose(rng).expect("not empty");
            }
            *operation = Expression::Number(value);
            steps.push_str(&format!("={rest}"));
        }
        (steps, rest.integer().unwrap_or(0))
    }
}

/// What the verifier needs to know of a problem; the `answer` of its [`Problem`].
#[derive(Deserialize)]
struct Sum {
    /// The chain of operations.
    problem: String,
    /// Its value.
    value: i64,
}

impl Sum {
    fn of(problem: &Problem) -> Result<Self> {
        Self::deserialize(&problem.answer).map_err(|error| foreign(problem, &error.to_string()))
    }
}

fn foreign(problem: &Problem, reason: &str) -> Error {
    Error::Reward {
        reward: "arithmetic".into(),
        problem: format!(
            "`answer` is {}, expected like {{\"problem\":\"2+3\",\"value\":5}}: {reason}",
            problem.answer
        ),
    }
}

/// How hard `chain` is: the digits of its operands together, and its products.
fn level(chain: &Expression) -> String {
    let digits = |number: &i64| number.to_string().len();
    let digits: usize = chain.numbers().iter().map(digits).sum();
    let products = chain.to_string().matches('*').count();
    format!("{digits} digits, {products} products")
}

/// The same text for chains that differ only in the order of terms or factors.
pub(super) fn canonical(chain: &Expression) -> String {
    let mut terms = Vec::new();
    collect_terms(chain, '+', &mut terms);
    terms.sort_unstable();
    terms.concat()
}

/// The terms of a sum with their signs, each with its factors in order.
fn collect_terms(sum: &Expression, sign: char, terms: &mut Vec<String>) {
    match sum {
        Expression::Binary(left, Operator::Add, right) => {
            collect_terms(left, sign, terms);
            collect_terms(right, sign, terms);
        }
        Expression::Binary(left, Operator::Subtract, right) => {
            collect_terms(left, sign, terms);
            collect_terms(right, if sign == '+' { '-' } else { '+' }, terms);
        }
        product => {
            let mut factors = product.numbers();
            factors.sort_unstable();
            terms.push(format!("{sign}{factors:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::data::Prompt;

    use ArithmeticOperator::{Add, Multiply, Subtract};

    fn arithmetic(digits: u32, terms: usize, operators: &[ArithmeticOperator]) -> Arithmetic {
        let config = ArithmeticConfig {
            digits,
            terms,
            operators: operators.to_vec(),
            ..ArithmeticConfig::default()
        };
        Arithmetic::new(config).expect("valid settings")
    }

    #[test]
    fn sides_share_no_problem_even_in_the_smallest_spaces() {
        for operators in [
            &[Add][..],
            &[Subtract],
            &[Multiply],
            &[Add, Subtract, Multiply],
        ] {
            let task = arithmetic(1, 2, operators);
            let canonical = |split| -> HashSet<String> {
                let sum = |index| Sum::of(&task.problem(split, index)).expect("a sum");
                let chain = |index| Expression::parse(&sum(index).problem).expect("a chain");
                (0..500).map(|index| canonical(&chain(index))).collect()
            };
            assert!(canonical(Split::Train).is_disjoint(&canonical(Split::Test)));
        }
    }

    #[test]
    fn chains_that_differ_in_order_alone_are_one_problem() {
        let text = |text: &str| canonical(&Expression::parse(text).expect("a chain"));
        assert_eq!(text("47+38"), text("38+47"));
        assert_eq!(text("9-2*3+4"), text("4+9-3*2"));
        assert_ne!(text("9-4"), text("4-9"));
    }

    #[test]
    fn answer_is_the_whole_number_and_nothing_else() {
        let problem = Problem {
            prompt: Prompt::Text("9-12*2=?\n".into()),
            answer: serde_json::json!({ "problem": "9-12*2", "value": -15 }),
            level: None,
            language: None,
            part: None,
        };
        let task = arithmetic(2, 3, &[Subtract]);
        let judge = |answer| task.verify(&problem, answer).expect("a verdict");
        assert!(judge("-15") && judge(" -15\n"));
        for answer in ["15", "9-12*2", "-15.0", "-15 or 15", "", "--15"] {
            assert!(!judge(answer), "{answer:?}");
        }
    }

    #[test]
    fn level_counts_digits_and_products() {
        let level = |text: &str| level(&Expression::parse(text).expect("a chain"));
        assert_eq!(level("47+3"), "3 digits, 0 products");
        assert_eq!(level("9-12*2"), "4 digits, 1 products");
        let task = arithmetic(2, 3, &[Multiply]);
        let problem = task.problem(Split::Train, 0);
        let found = problem.level.expect("a level");
        assert!(found.ends_with(" digits, 2 products"), "{found}");
    }

    #[test]
    fn trace_without_slips_shows_its_steps_and_ends_right() {
        let mut task = arithmetic(2, 3, &[Add, Subtract, Multiply]);
        task.config.slip = 0.0;
        task.config.untagged = 0.0;
        let mut rng = Seed::new(4).rng();
        for index in 0..50 {
            let problem = task.problem(Split::Train, index);
            let trace = task.trace(&problem, &mut rng).expect("a trace");
            let (_, answer) = trace.split_once("<answer>").expect("an answer");
            let answer = answer.strip_suffix("</answer>").expect("an answer");
            assert!(task.verify(&problem, answer).expect("a verdict"), "{trace}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refuse = |config: ArithmeticConfig| {
            let error = Arithmetic::new(config).expect_err("a refusal");
            error.to_string()
        };
        let default = ArithmeticConfig::default;
        let products = ArithmeticConfig {
            digits: 6,
            terms: 3,
            operators: vec![Multiply],
            ..default()
        };
        assert!(refuse(products).contains("`terms`: is 3, expected at most 2"));
        assert!(
            refuse(ArithmeticConfig {
                digits: 0,
                ..default()
            })
            .contains("`digits`")
        );
        assert!(
            refuse(ArithmeticConfig {
                slip: 1.5,
                ..default()
            })
            .contains("`slip`")
        );
        let none = ArithmeticConfig {
            operators: vec![],
            ..default()
        };
        assert!(refuse(none).contains("`operators`"));
    }
}
