//! Linear equations with whole coefficients, as people write them, and their exact solution.

use std::fmt;

use num_rational::Ratio;
use serde::{Deserialize, Serialize};

/// Largest coefficient a record may hold: products of four fit `i64`.
const MAX_COEFFICIENT: i64 = 10_000;

/// `left = right`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Equation {
    pub left: Side,
    pub right: Side,
}

/// `factor · (x·X + y·Y + constant)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Side {
    pub factor: i64,
    pub x: i64,
    pub y: i64,
    pub constant: i64,
}

impl Side {
    /// `x·X + constant`.
    pub(super) fn x(x: i64, constant: i64) -> Self {
        Self {
            factor: 1,
            x,
            y: 0,
            constant,
        }
    }

    /// The same without a bracket.
    pub(super) fn expanded(&self) -> Self {
        Self {
            factor: 1,
            x: self.factor * self.x,
            y: self.factor * self.y,
            constant: self.factor * self.constant,
        }
    }

    /// The value where the unknowns are `x` and `y`.
    pub(super) fn value(&self, x: Ratio<i128>, y: Ratio<i128>) -> Ratio<i128> {
        let whole = |number: i64| Ratio::from_integer(i128::from(number));
        whole(self.factor) * (whole(self.x) * x + whole(self.y) * y + whole(self.constant))
    }

    fn is_bounded(&self) -> bool {
        let parts = [self.factor, self.x, self.y, self.constant];
        let bounds = -MAX_COEFFICIENT..=MAX_COEFFICIENT;
        parts.iter().all(|part| bounds.contains(part))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (coefficient, unknown) in [(self.x, "x"), (self.y, "y"), (self.constant, "")] {
            if coefficient == 0 {
                continue;
            }
            let sign = match (coefficient < 0, text.is_empty()) {
                (true, _) => "-",
                (false, true) => "",
                (false, false) => "+",
            };
            let size = coefficient.abs();
            let number = match (size, unknown) {
                (1, "x" | "y") => String::new(),
                _ => size.to_string(),
            };
            text.push_str(&format!("{sign}{number}{unknown}"));
        }
        match (self.factor, text.as_str()) {
            (_, "") => f.write_str("0"),
            (1, text) => f.write_str(text),
            (factor, text) => write!(f, "{factor}({text})"),
        }
    }
}

impl Equation {
    pub(super) fn new(left: Side, right: Side) -> Self {
        Self { left, right }
    }

    /// `left - right`, which is zero where the equation holds; `None` for coefficients that no
    /// problem has.
    pub(super) fn difference(&self) -> Option<Side> {
        (self.left.is_bounded() && self.right.is_bounded()).then_some(())?;
        let (left, right) = (self.left.expanded(), self.right.expanded());
        Some(Side {
            factor: 1,
            x: left.x - right.x,
            y: left.y - right.y,
            constant: left.constant - right.constant,
        })
    }

    /// The same text whichever side is written first.
    pub(super) fn canonical(&self) -> String {
        let mut sides = [self.left.to_string(), self.right.to_string()];
        sides.sort_unstable();
        sides.join("=")
    }
}

impl fmt::Display for Equation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.left, self.right)
    }
}

/// The values of `x` and, for two equations, `y`; `None` unless there is exactly one solution.
pub(super) fn solve(equations: &[Equation]) -> Option<Vec<Ratio<i128>>> {
    let ratio = |numerator: i64, denominator: i64| {
        (denominator != 0).then(|| Ratio::new(i128::from(numerator), i128::from(denominator)))
    };
    match equations {
        [equation] => {
            let Side { x, y, constant, .. } = equation.difference()?;
            (y == 0).then_some(())?;
            Some(vec![ratio(-constant, x)?])
        }
        [one, other] => {
            // Cramer's rule on x·X + y·Y = -constant.
            let (one, other) = (one.difference()?, other.difference()?);
            let determinant = one.x * other.y - other.x * one.y;
            let x = other.constant * one.y - one.constant * other.y;
            let y = other.x * one.constant - one.x * other.constant;
            Some(vec![ratio(x, determinant)?, ratio(y, determinant)?])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_read_as_people_write_them() {
        let side = |factor, x, y, constant| Side {
            factor,
            x,
            y,
            constant,
        };
        assert_eq!(side(1, 1, -1, 0).to_string(), "x-y");
        assert_eq!(side(4, -3, 0, 7).to_string(), "4(-3x+7)");
        assert_eq!(side(1, 0, 0, -12).to_string(), "-12");
        assert_eq!(side(1, 0, 0, 0).to_string(), "0");
        let one = Equation::new(side(1, 2, 0, 3), side(1, 0, 0, 7));
        let other = Equation::new(one.right, one.left);
        assert_eq!(one.to_string(), "2x+3=7");
        assert_eq!(one.canonical(), other.canonical());
    }

    #[test]
    fn solutions_are_exact_or_none() {
        let equation = |x, y, value| {
            let left = Side { y, ..Side::x(x, 0) };
            Equation::new(left, Side::x(0, value))
        };
        // 2x+3y=7 and 4x-y=1: 14x=7+3=10, x=5/7, y=4x-1=13/7.
        let values = solve(&[equation(2, 3, 7), equation(4, -1, 1)]).unwrap();
        assert_eq!(values, [Ratio::new(5, 7), Ratio::new(13, 7)]);
        assert_eq!(solve(&[equation(2, 3, 7), equation(4, 6, 1)]), None);
        assert_eq!(solve(&[equation(0, 0, 7)]), None);
        assert_eq!(solve(&[equation(2, 3, 7)]), None);
        assert_eq!(solve(&[equation(i64::MAX, 0, 7)]), None);
        assert_eq!(solve(&[]), None);
    }
}
