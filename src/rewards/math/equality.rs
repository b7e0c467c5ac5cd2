//! Whether two expressions are equal: exactly where that can be decided, else at several points.

use num_rational::BigRational;
use num_traits::Zero;

use super::exact::{self, rounded};
use super::expression::{Constant, Expression};
use super::limits::Steps;
use super::numeric::{Point, evaluate};
use super::region::infinite;

/// Decimals that count where one side is written with a decimal point.
const PLACES: u32 = 6;
/// Points at which expressions with symbols are compared, and how many of them must be defined.
const POINTS: u64 = 10;
const FEWEST_POINTS: usize = 3;

/// Whether both expressions have the same value, everywhere if they have symbols.
pub(super) fn equal(reference: &Expression, answer: &Expression, steps: &mut Steps) -> bool {
    let ends = (infinite(reference), infinite(answer));
    if ends != (None, None) {
        return ends.0 == ends.1;
    }
    if reference == answer {
        return true;
    }
    if is_word(reference) || is_word(answer) {
        return matches!((spelled(reference), spelled(answer)), (Some(one), Some(other)) if one == other);
    }
    if let Some(verdict) = as_numbers(reference, answer, steps) {
        return verdict;
    }
    exact::equal(reference, answer, steps).unwrap_or_else(|| at_points(reference, answer, steps))
}

/// Whether it is a symbol of several letters, such as a `\text{…}` leaves.
fn is_word(expression: &Expression) -> bool {
    matches!(expression, Expression::Symbol(name) if name.chars().nth(1).is_some())
}

/// The letters of a product of symbols, when it may be a word: `odd` beside `\text{odd}`.
fn spelled(expression: &Expression) -> Option<String> {
    match expression {
        Expression::Symbol(name) => Some(name.to_lowercase()),
        Expression::Constant(Constant::E) => Some("e".into()),
        Expression::Constant(Constant::I) => Some("i".into()),
        Expression::Product(letters) => letters.iter().map(spelled).collect(),
        _ => None,
    }
}

/// A number as it is written, not computed.
struct Written {
    value: BigRational,
    percent: bool,
    decimal: bool,
}

impl Written {
    fn of(expression: &Expression) -> Option<Self> {
        match expression {
            Expression::Number(value) => Some(Self {
                value: value.clone(),
                percent: false,
                decimal: false,
            }),
            Expression::Decimal(value) => Some(Self {
                value: value.clone(),
                percent: false,
                decimal: true,
            }),
            Expression::Negative(inner) => {
                let inner = Self::of(inner)?;
                Some(Self {
                    value: -inner.value,
                    ..inner
                })
            }
            Expression::Percent(inner) => {
                let inner = Self::of(inner).filter(|inner| !inner.percent)?;
                Some(Self {
                    percent: true,
                    ..inner
                })
            }
            _ => None,
        }
    }
}

/// The verdict on numbers of which one at least is written out.
///
/// Where one is written with a decimal point both are rounded to six decimals, as Math-Verify does;
/// two whole numbers are compared without regard to a percent sign. Unlike there, two different
/// numbers that both round to zero differ.
fn as_numbers(reference: &Expression, answer: &Expression, steps: &mut Steps) -> Option<bool> {
    let (one, other) = (Written::of(reference), Written::of(answer));
    if let (Some(one), Some(other)) = (&one, &other) {
        let are_whole = one.value.is_integer() && other.value.is_integer();
        if are_whole && !one.decimal && !other.decimal {
            return Some(one.value == other.value);
        }
    }
    let is_decimal = |side: &Option<Written>| side.as_ref().is_some_and(|side| side.decimal);
    if !is_decimal(&one) && !is_decimal(&other) {
        return None;
    }
    let one = number(reference, steps)?;
    let other = number(answer, steps)?;
    let places = rounded(&one, PLACES);
    Some(one == other || (places == rounded(&other, PLACES) && !places.is_zero()))
}

/// The value of a real constant, from `f64` where it is not rational.
fn number(expression: &Expression, steps: &mut Steps) -> Option<BigRational> {
    if !expression.symbols().is_empty() {
        return None;
    }
    if let Some(value) = exact::value(expression, steps) {
        return Some(value);
    }
    let sample = evaluate(expression, Point { number: 0 }, steps)?;
    let is_real = sample.value.im.abs() <= sample.error;
    is_real.then(|| BigRational::from_float(sample.value.re))?
}

/// Whether both agree at all points where both are defined, of which there must be enough.
fn at_points(reference: &Expression, answer: &Expression, steps: &mut Steps) -> bool {
    let is_constant = reference.symbols().is_empty() && answer.symbols().is_empty();
    let (points, fewest) = if is_constant {
        (1, 1)
    } else {
        (POINTS, FEWEST_POINTS)
    };
    let mut agreed = 0;
    for number in 0..points {
        let point = Point { number };
        let one = evaluate(reference, point, steps);
        let other = evaluate(answer, point, steps);
        if let (Some(one), Some(other)) = (one, other) {
            if !one.agrees(other) {
                return false;
            }
            agreed += 1;
        }
    }
    agreed >= fewest
}
