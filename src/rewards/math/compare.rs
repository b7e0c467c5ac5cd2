//! Whether a value is the reference: kinds of values against each other.

use num_rational::BigRational;
use num_traits::One;

use super::equality::equal;
use super::expression::{Comparison, Constant, Expression, Interval, Relation, Value};
use super::limits::Steps;
use super::region::{Region, only_symbol};
use super::relations;

/// Whether `answer` is `reference`.
pub(super) fn matches(reference: &Value, answer: &Value, steps: &mut Steps) -> bool {
    if steps.take(1).is_none() {
        return false;
    }
    let (reference, answer) = unwrapped(reference, answer);
    match (reference, answer) {
        (Value::Expression(one), Value::Expression(other)) => equal(one, other, steps),
        (Value::Relation(one), Value::Relation(other)) => {
            relations::equivalent(one, other, steps) || same_solutions(one, other, steps)
        }
        (Value::Matrix(one), Value::Matrix(other)) => matrices(one, other, steps),
        (Value::Tuple(one), Value::Tuple(other) | Value::List(other)) => {
            in_order(one, other, steps)
        }
        (Value::List(one), Value::List(other) | Value::Tuple(other)) => {
            without_order(one, other, steps) || same_region(reference, answer, steps)
        }
        (Value::List(several), one) | (one, Value::List(several)) if is_single(one) => {
            several.iter().all(|value| matches(value, one, steps))
                || same_region(reference, answer, steps)
        }
        (Value::Interval(one), Value::Interval(other)) => {
            intervals(one, other, steps) || same_region(reference, answer, steps)
        }
        (Value::Named(one), Value::Named(other)) => one == other,
        (Value::Expression(_) | Value::Matrix(_), _)
        | (_, Value::Expression(_) | Value::Matrix(_)) => false,
        (Value::Combined(one, left), Value::Combined(other, right)) if one == other => {
            matches(&left.0, &right.0, steps) && matches(&left.1, &right.1, steps)
                || same_region(reference, answer, steps)
        }
        _ => same_region(reference, answer, steps),
    }
}

/// Both without the `x =` that only one of them has.
///
/// An answer's equation stands for its right side unless the reference is an equation too; a
/// reference's only if its left side is made of names alone.
fn unwrapped<'a>(reference: &'a Value, answer: &'a Value) -> (&'a Value, &'a Value) {
    let is_equation = |value: &Value| matches!(value, Value::Relation(r) if r.is_equation());
    match (reference, answer) {
        (Value::Relation(one), _) if one.is_assignment() && !is_equation(answer) => {
            (one.last(), answer)
        }
        (_, Value::Relation(other)) if other.is_equation() && !is_equation(reference) => {
            (reference, other.last())
        }
        _ => (reference, answer),
    }
}

impl Relation {
    /// What stands right of the last sign.
    pub fn last(&self) -> &Value {
        self.links.last().map_or(&self.first, |(_, value)| value)
    }

    /// Whether all its signs are `=`.
    pub fn is_equation(&self) -> bool {
        self.links
            .iter()
            .all(|(comparison, _)| *comparison == Comparison::Equal)
    }

    /// Whether it is an equation that begins with names alone: `x = 5`, `f(x) = x^2`, `a + b = 5`,
    /// `(x, y) = (1, 2)`.
    pub fn is_assignment(&self) -> bool {
        let is_name = match self.first.as_ref() {
            Value::Tuple(names) => names
                .iter()
                .all(|name| name.expression().is_some_and(is_name)),
            Value::Expression(expression) => is_name(expression),
            _ => false,
        };
        is_name && self.is_equation()
    }
}

/// Whether `expression` is made of nothing but symbols.
fn is_name(expression: &Expression) -> bool {
    match expression {
        Expression::Symbol(_) | Expression::Constant(Constant::E | Constant::I) => true,
        Expression::Sum(parts) | Expression::Product(parts) => parts.iter().all(is_name),
        Expression::Power(base, exponent) => {
            is_name(base)
                && matches!(exponent.as_ref(), Expression::Number(n) if *n == -BigRational::one())
        }
        _ => false,
    }
}

fn is_single(value: &Value) -> bool {
    matches!(
        value,
        Value::Expression(_) | Value::Matrix(_) | Value::Relation(_)
    )
}

fn same_solutions(one: &Relation, other: &Relation, steps: &mut Steps) -> bool {
    let same_symbol = only_symbol(one).is_some() && only_symbol(one) == only_symbol(other);
    // Equations of one symbol are compared as they stand: most have more solutions than a line.
    let are_inequalities = !one.is_equation() && !other.is_equation();
    let regions = |steps: &mut Steps| {
        let one = Region::of(&Value::Relation(one.clone()), steps)?;
        Some(one.is(&Region::of(&Value::Relation(other.clone()), steps)?))
    };
    same_symbol && are_inequalities && regions(steps).unwrap_or(false)
}

fn same_region(one: &Value, other: &Value, steps: &mut Steps) -> bool {
    let one = Region::of(one, steps);
    let other = Region::of(other, steps);
    matches!((one, other), (Some(one), Some(other)) if one.is(&other))
}

fn matrices(one: &[Vec<Expression>], other: &[Vec<Expression>], steps: &mut Steps) -> bool {
    let same_shape =
        one.len() == other.len() && one.first().map(Vec::len) == other.first().map(Vec::len);
    let mut entries = one.iter().flatten().zip(other.iter().flatten());
    same_shape && entries.all(|(one, other)| equal(one, other, steps))
}

fn intervals(one: &Interval, other: &Interval, steps: &mut Steps) -> bool {
    (one.low_closed, one.high_closed) == (other.low_closed, other.high_closed)
        && equal(&one.low, &other.low, steps)
        && equal(&one.high, &other.high, steps)
}

fn in_order(one: &[Value], other: &[Value], steps: &mut Steps) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| matches(one, other, steps))
}

/// Whether each value of either is one of the other's.
fn without_order(one: &[Value], other: &[Value], steps: &mut Steps) -> bool {
    one.iter()
        .all(|value| other.iter().any(|found| matches(value, found, steps)))
        && other
            .iter()
            .all(|value| one.iter().any(|found| matches(found, value, steps)))
}
