//! Difficulty levels of Countdown: what is given and how a person would try to combine it.

use std::collections::HashSet;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::tasks::expression::{Expression, Operator};

/// How hard a Countdown problem is; written `1` to `4`.
///
/// | level | numbers | operations | shape | largest value |
/// |---|---|---|---|---|
/// | 1 | 3 of 1 to 12 | `+ -` | left to right | 99 |
/// | 2 | 4 of 1 to 9 | `+ -` | left to right | 99 |
/// | 3 | 4 of 1 to 12 | `+ - *` | any | 99 |
/// | 4 | 4 of 1 to 50 | `+ - * /` | any | 999 |
///
/// Every value on the way to the target is a whole number from 1 to the largest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Level {
    /// Three numbers, sums and differences.
    One,
    /// Four numbers, sums and differences.
    Two,
    /// Four numbers, also products, in any order.
    Three,
    /// Four larger numbers, all operations, in any order.
    Four,
}

impl TryFrom<u8> for Level {
    type Error = String;

    fn try_from(level: u8) -> Result<Self, String> {
        match level {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            3 => Ok(Self::Three),
            4 => Ok(Self::Four),
            _ => Err(format!("level {level} is none of 1, 2, 3, 4")),
        }
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        match level {
            Level::One => 1,
            Level::Two => 2,
            Level::Three => 3,
            Level::Four => 4,
        }
    }
}

/// An expression over all given numbers and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub expression: Expression,
    pub value: i64,
}

impl Level {
    /// Draws the given numbers.
    pub(super) fn numbers(self, rng: &mut dyn Rng) -> Vec<i64> {
        let (count, largest) = match self {
            Self::One => (3, 12),
            Self::Two => (4, 9),
            Self::Three => (4, 12),
            Self::Four => (4, 50),
        };
        (0..count).map(|_| rng.random_range(1..=largest)).collect()
    }

    /// Combines all of `numbers` at random; every value on the way is whole and in bounds.
    ///
    /// `None` if a draw met an operation that breaks this; another draw may succeed.
    pub(super) fn attempt(self, numbers: &[i64], rng: &mut dyn Rng) -> Option<Attempt> {
        let mut parts: Vec<Attempt> = numbers.iter().copied().map(Attempt::number).collect();
        parts.shuffle(rng);
        while parts.len() > 1 {
            if self.in_any_order() {
                parts.shuffle(rng);
            }
            let operator = *self.operators().choose(rng)?;
            let right = parts.remove(1);
            let left = parts.remove(0);
            parts.insert(0, self.joined(left, operator, right)?);
        }
        parts.pop()
    }

    /// The largest value on the way to a target, the target included.
    fn largest_value(self) -> i64 {
        match self {
            Self::One | Self::Two | Self::Three => 99,
            Self::Four => 999,
        }
    }

    /// Every way to combine all of `numbers` from left to right, in a fixed order, each value once:
    /// the orders of the numbers one after the other, and for each the operators.
    pub(super) fn every_attempt(self, numbers: &[i64]) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let mut reached = HashSet::new();
        for order in orders(numbers) {
            let Some((first, others)) = order.split_first() else {
                continue;
            };
            self.extend_attempt(Attempt::number(*first), others, &mut |attempt| {
                if reached.insert(attempt.value) {
                    attempts.push(attempt);
                }
            });
        }
        attempts
    }

    /// Hands `found` every way to go on from `begun` with `others` in their order.
    fn extend_attempt(self, begun: Attempt, others: &[i64], found: &mut impl FnMut(Attempt)) {
        let Some((next, others)) = others.split_first() else {
            return found(begun);
        };
        for operator in self.operators() {
            let joined = self.joined(begun.clone(), *operator, Attempt::number(*next));
            if let Some(joined) = joined {
                self.extend_attempt(joined, others, found);
            }
        }
    }

    /// `left operator right`, if its value is whole and in bounds.
    fn joined(self, left: Attempt, operator: Operator, right: Attempt) -> Option<Attempt> {
        let expression = Expression::binary(left.expression, operator, right.expression);
        let value = expression.integer()?;
        let in_bounds = (1..=self.largest_value()).contains(&value);
        in_bounds.then_some(Attempt { expression, value })
    }

    fn operators(self) -> &'static [Operator] {
        use Operator::{Add, Divide, Multiply, Subtract};
        match self {
            Self::One | Self::Two => &[Add, Subtract],
            Self::Three => &[Add, Subtract, Multiply],
            Self::Four => &[Add, Subtract, Multiply, Divide],
        }
    }

    fn in_any_order(self) -> bool {
        matches!(self, Self::Three | Self::Four)
    }
}

impl Attempt {
    fn number(number: i64) -> Self {
        Self {
            expression: Expression::Number(number),
            value: number,
        }
    }

    /// All of `numbers` added up: possible whatever they are.
    pub(super) fn sum(numbers: &[i64]) -> Self {
        let terms = numbers.iter().copied().map(Expression::Number);
        let sum = terms.reduce(|left, right| Expression::binary(left, Operator::Add, right));
        Self {
            expression: sum.unwrap_or(Expression::Number(0)),
            value: numbers.iter().sum(),
        }
    }
}

/// Every order of `numbers`; the given one comes first.
fn orders(numbers: &[i64]) -> Vec<Vec<i64>> {
    if numbers.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..numbers.len() {
        let mut others = numbers.to_vec();
        let number = others.remove(first);
        for mut order in orders(&others) {
            order.insert(0, number);
            all.push(order);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn attempts_use_every_number_once_and_stay_positive_and_whole() {
        let mut rng = Seed::new(1).rng();
        for level in [Level::One, Level::Two, Level::Three, Level::Four] {
            let mut found = 0;
            for _ in 0..500 {
                let mut numbers = level.numbers(&mut rng);
                let Some(attempt) = level.attempt(&numbers, &mut rng) else {
                    continue;
                };
                found += 1;
                let mut used = attempt.expression.numbers();
                numbers.sort_unstable();
                used.sort_unstable();
                assert_eq!(numbers, used);
                assert!(attempt.value > 0);
            }
            assert!(found > 20, "{level:?} found only {found}");
        }
    }

    #[test]
    fn every_attempt_reaches_each_value_once_in_a_fixed_order() {
        let attempts = Level::One.every_attempt(&[3, 5, 7]);
        let texts: Vec<String> = attempts
            .iter()
            .map(|attempt| format!("{}={}", attempt.expression, attempt.value))
            .collect();
        assert_eq!(texts, ["3+5+7=15", "3+5-7=1", "3+7-5=5", "5-3+7=9"]);
    }

    #[test]
    fn level_outside_one_to_four_is_refused() {
        let error = serde_json::from_str::<Level>("5").expect_err("no such level");
        assert!(error.to_string().contains("level 5 is none of 1, 2, 3, 4"));
    }
}
