//! What is to be worked out modulo a number, and how people do it.

use std::fmt;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::tasks::traces::{Author, Check};

/// Largest modulus of a record.
const MAX_MODULUS: i64 = 1000;
/// Largest operand of a record.
const MAX_OPERAND: i64 = 10_000;

/// What is to be worked out modulo a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Exercise {
    /// `a + b`.
    Sum { a: i64, b: i64 },
    /// `a · b`.
    Product { a: i64, b: i64 },
    /// `a · b - c`.
    Mixed { a: i64, b: i64, c: i64 },
    /// `base` to the power of `exponent`.
    Power { base: i64, exponent: i64 },
    /// The `x` with `a · x = b`.
    Division { a: i64, b: i64 },
}

/// The steps to a value.
pub(super) struct Worked {
    pub steps: String,
    pub value: i64,
}

impl Exercise {
    /// An exercise of `level` and its modulus; a division may have no or many solutions.
    pub(super) fn random(level: u8, rng: &mut dyn Rng) -> (Self, i64) {
        let mut number = |low, high| rng.random_range(low..=high);
        match level {
            1 => {
                let (a, b) = (number(10, 99), number(10, 99));
                (Self::Sum { a, b }, number(3, 12))
            }
            2 => {
                let (a, b) = (number(10, 99), number(3, 12));
                (Self::Product { a, b }, number(3, 20))
            }
            3 => {
                let (a, b, c) = (number(10, 99), number(10, 99), number(10, 999));
                (Self::Mixed { a, b, c }, number(7, 50))
            }
            4 => {
                let (base, exponent) = (number(2, 50), number(6, 40));
                (Self::Power { base, exponent }, number(11, 60))
            }
            _ => {
                let modulus = number(17, 60);
                let (a, b) = (number(3, modulus - 1), number(1, modulus - 1));
                (Self::Division { a, b }, modulus)
            }
        }
    }

    /// The one value from 0 to `modulus` less 1; `None` for operands or a modulus out of bounds
    /// and for a division that is not defined.
    pub(super) fn value(&self, modulus: i64) -> Option<i64> {
        let is_bounded = |operand: &i64| (0..=MAX_OPERAND).contains(operand);
        let fits = (2..=MAX_MODULUS).contains(&modulus) && self.operands().iter().all(is_bounded);
        fits.then_some(())?;
        Some(match *self {
            Self::Sum { a, b } => (a + b) % modulus,
            Self::Product { a, b } => (a * b) % modulus,
            Self::Mixed { a, b, c } => (a * b - c).rem_euclid(modulus),
            Self::Power { base, exponent } => {
                (0..exponent).fold(1, |power, _| power * base % modulus)
            }
            Self::Division { a, b } => {
                let mut solutions = (0..modulus).filter(|x| a * x % modulus == b % modulus);
                let solution = solutions.next()?;
                solutions.next().is_none().then_some(solution)?
            }
        })
    }

    /// The same text whatever the order of terms or factors.
    pub(super) fn canonical(&self) -> String {
        match *self {
            Self::Sum { a, b } => format!("{}+{}", a.min(b), a.max(b)),
            Self::Product { a, b } => format!("{}*{}", a.min(b), a.max(b)),
            Self::Mixed { a, b, c } => format!("{}*{}-{c}", a.min(b), a.max(b)),
            Self::Power { .. } | Self::Division { .. } => self.to_string(),
        }
    }

    fn operands(&self) -> Vec<i64> {
        match *self {
            Self::Sum { a, b } | Self::Product { a, b } | Self::Division { a, b } => vec![a, b],
            Self::Mixed { a, b, c } => vec![a, b, c],
            Self::Power { base, exponent } => vec![base, exponent],
        }
    }

    /// Works the exercise out, which has a value; the author may slip.
    pub(super) fn work_out(&self, modulus: i64, author: &mut Author<'_>) -> Worked {
        let mut work = Work {
            modulus,
            author,
            steps: String::new(),
        };
        let value = match *self {
            Self::Sum { a, b } => {
                let sum = work.step(&format!("{a}+{b}"), a + b);
                work.reduce(sum)
            }
            Self::Product { a, b } => {
                let product = work.step(&format!("{a}*{b}"), a * b);
                work.reduce(product)
            }
            Self::Mixed { a, b, c } => {
                let product = work.step(&format!("{a}*{b}"), a * b);
                let difference = work.step(&format!("{product}-{c}"), product - c);
                work.reduce(difference)
            }
            Self::Power { base, exponent } => work.power(base, exponent),
            Self::Division { a, b } => work.division(a, b),
        };
        Worked {
            steps: work.steps,
            value,
        }
    }

    /// How an author checks `value`: only a division has a check that is not the work once more.
    pub(super) fn check(&self, modulus: i64, value: i64) -> Option<Check> {
        let Self::Division { a, b } = *self else {
            return None;
        };
        let found = (a * value).rem_euclid(modulus);
        Some(Check {
            text: format!("{a}*{value}={}={found}", a * value),
            holds: found == b % modulus,
        })
    }
}

impl fmt::Display for Exercise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum { a, b } => write!(f, "({a}+{b})"),
            Self::Product { a, b } => write!(f, "({a}*{b})"),
            Self::Mixed { a, b, c } => write!(f, "({a}*{b}-{c})"),
            Self::Power { base, exponent } => write!(f, "{base}^{exponent}"),
            Self::Division { a, b } => write!(f, "{a}*x={b}"),
        }
    }
}

/// An author at work, and what stands on the paper.
struct Work<'a, 'b> {
    modulus: i64,
    author: &'a mut Author<'b>,
    steps: String,
}

impl Work<'_, '_> {
    /// Writes `text=value` and returns what the author takes the value for.
    fn step(&mut self, text: &str, exact: i64) -> i64 {
        let value = self.author.number(exact);
        self.steps.push_str(&format!("{text}={value}\n"));
        value
    }

    /// Takes off the multiple of the modulus, in writing where there is one.
    fn reduce(&mut self, number: i64) -> i64 {
        let times = number.div_euclid(self.modulus);
        if times == 0 {
            return number;
        }
        let (sign, size) = if times < 0 {
            ('+', -times)
        } else {
            ('-', times)
        };
        let text = format!("{number}{sign}{size}*{}", self.modulus);
        let rest = self.step(&text, number.rem_euclid(self.modulus));
        // Whoever slips out of the range sees it.
        rest.rem_euclid(self.modulus)
    }

    /// Squares again and again, then multiplies the squares that the exponent is made of.
    fn power(&mut self, base: i64, exponent: i64) -> i64 {
        let mut square = self.reduce(base);
        let mut squares = Vec::new();
        let mut bit = 1;
        while bit <= exponent {
            if exponent & bit != 0 {
                squares.push(square);
            }
            bit *= 2;
            if bit <= exponent {
                let text = format!("{base}^{bit}={square}*{square}");
                let product = self.step(&text, square * square);
                square = self.reduce(product);
            }
        }
        let mut factors = squares.into_iter();
        let first = factors.next().unwrap_or(1);
        factors.fold(first, |power, factor| {
            let product = self.step(&format!("{power}*{factor}"), power * factor);
            self.reduce(product)
        })
    }

    /// Finds the inverse of `a` in its multiples, then multiplies by it.
    fn division(&mut self, a: i64, b: i64) -> i64 {
        let mut multiple = 0;
        let mut inverse = 0;
        // A slip may pass the inverse by; the modulus bounds the search.
        while inverse < self.modulus && multiple != 1 {
            inverse += 1;
            let next = self.author.number(multiple + a).rem_euclid(self.modulus);
            self.steps.push_str(&format!("{a}*{inverse}={next} "));
            multiple = next;
        }
        self.steps.push('\n');
        let product = self.step(&format!("x={b}*{inverse}"), b * inverse);
        self.reduce(product)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn careful(exercise: &Exercise, modulus: i64) -> String {
        let mut rng = Seed::new(1).rng();
        let mut author = Author {
            rng: &mut rng,
            slip: 0.0,
        };
        let worked = exercise.work_out(modulus, &mut author);
        assert_eq!(Some(worked.value), exercise.value(modulus));
        worked.steps
    }

    #[test]
    fn values_are_remainders_from_zero() {
        assert_eq!(Exercise::Sum { a: 47, b: 38 }.value(7), Some(1));
        // 12*11-200 = -68 = -4*23+24 = -3*23+1.
        assert_eq!(
            Exercise::Mixed {
                a: 12,
                b: 11,
                c: 200
            }
            .value(23),
            Some(1)
        );
        // 3^5 = 243 = 34*7+5.
        let power = Exercise::Power {
            base: 3,
            exponent: 5,
        };
        assert_eq!(power.value(7), Some(5));
        // 3*5 = 15 = 2*7+1.
        assert_eq!(Exercise::Division { a: 3, b: 1 }.value(7), Some(5));
        assert_eq!(Exercise::Division { a: 4, b: 2 }.value(6), None);
        assert_eq!(Exercise::Division { a: 4, b: 1 }.value(6), None);
    }

    #[test]
    fn steps_end_in_the_value() {
        assert_eq!(
            careful(&Exercise::Sum { a: 47, b: 38 }, 7),
            "47+38=85\n85-12*7=1\n"
        );
        let mixed = Exercise::Mixed {
            a: 12,
            b: 11,
            c: 200,
        };
        assert_eq!(careful(&mixed, 23), "12*11=132\n132-200=-68\n-68+3*23=1\n");
        let power = Exercise::Power {
            base: 3,
            exponent: 5,
        };
        let steps = "3^2=3*3=9\n9-1*7=2\n3^4=2*2=4\n3*4=12\n12-1*7=5\n";
        assert_eq!(careful(&power, 7), steps);
        let division = Exercise::Division { a: 3, b: 4 };
        let steps = "3*1=3 3*2=6 3*3=2 3*4=5 3*5=1 \nx=4*5=20\n20-2*7=6\n";
        assert_eq!(careful(&division, 7), steps);
    }

    #[test]
    fn slipping_author_ends_within_bounds() {
        let mut rng = Seed::new(8).rng();
        for level in 1..=5 {
            for _ in 0..300 {
                let (exercise, modulus) = Exercise::random(level, &mut rng);
                if exercise.value(modulus).is_none() {
                    continue;
                }
                let mut author = Author {
                    rng: &mut rng,
                    slip: 0.5,
                };
                let worked = exercise.work_out(modulus, &mut author);
                assert!(worked.steps.len() < 2000, "{}", worked.steps);
            }
        }
    }
}
