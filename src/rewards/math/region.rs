//! Sets of real numbers as sorted pieces, to compare intervals, unions and inequalities.

use super::expression::{
    Comparison, Constant, Expression, Function, Interval, NamedSet, Relation, SetOperation, Value,
};
use super::limits::Steps;
use super::numeric::{Point, evaluate};

/// Difference up to which two ends are the same, relative to the larger.
const SAME_END: f64 = 1e-9;

/// A set of real numbers: disjoint pieces in rising order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Region(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    low: f64,
    high: f64,
    low_closed: bool,
    high_closed: bool,
}

impl Region {
    /// The set that `value` describes; `None` when it is none of real numbers.
    pub fn of(value: &Value, steps: &mut Steps) -> Option<Self> {
        match value {
            Value::Expression(number) => Self::point(number, steps),
            Value::Interval(interval) => Self::interval(interval, steps),
            Value::Tuple(ends) => {
                let [Value::Expression(low), Value::Expression(high)] = ends.as_slice() else {
                    return None;
                };
                let (low, high) = (end(low, steps)?, end(high, steps)?);
                let piece = Piece {
                    low,
                    high,
                    low_closed: false,
                    high_closed: false,
                };
                (low < high).then(|| Self(vec![piece]))
            }
            Value::List(values) => Self::list(values, steps),
            Value::Named(NamedSet::Empty) => Some(Self(Vec::new())),
            Value::Named(NamedSet::Reals) => Some(Self::line()),
            Value::Combined(operation, sides) => {
                let left = Self::of(&sides.0, steps)?;
                let right = Self::of(&sides.1, steps)?;
                steps.take((left.0.len() * right.0.len()) as u64)?;
                Some(match operation {
                    SetOperation::Union => left.union(right),
                    SetOperation::Intersection => left.intersection(&right),
                    SetOperation::Difference => left.intersection(&right.complement()),
                })
            }
            Value::Relation(relation) => Self::solutions(relation, steps),
            Value::Named(_) | Value::Matrix(_) => None,
        }
    }

    /// Whether both have the same pieces.
    pub fn is(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= SAME_END * a.abs().max(b.abs());
        let same = |a: f64, b: f64| a == b || (a.is_finite() && b.is_finite() && near(a, b));
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(a, b)| {
                same(a.low, b.low)
                    && same(a.high, b.high)
                    && a.low_closed == b.low_closed
                    && a.high_closed == b.high_closed
            })
    }

    fn line() -> Self {
        Self::above(f64::NEG_INFINITY, false)
    }

    fn above(low: f64, low_closed: bool) -> Self {
        Self(vec![Piece {
            low,
            high: f64::INFINITY,
            low_closed,
            high_closed: false,
        }])
    }

    fn below(high: f64, high_closed: bool) -> Self {
        Self(vec![Piece {
            low: f64::NEG_INFINITY,
            high,
            low_closed: false,
            high_closed,
        }])
    }

    fn single(number: f64) -> Self {
        Self(vec![Piece {
            low: number,
            high: number,
            low_closed: true,
            high_closed: true,
        }])
    }

    fn point(number: &Expression, steps: &mut Steps) -> Option<Self> {
        end(number, steps)
            .filter(|number| number.is_finite())
            .map(Self::single)
    }

    fn interval(interval: &Interval, steps: &mut Steps) -> Option<Self> {
        let (low, high) = (end(&interval.low, steps)?, end(&interval.high, steps)?);
        let piece = Piece {
            low,
            high,
            low_closed: interval.low_closed && low.is_finite(),
            high_closed: interval.high_closed && high.is_finite(),
        };
        let is_point = low == high && piece.low_closed && piece.high_closed;
        (low < high || is_point).then(|| Self(vec![piece]))
    }

    /// Points; or relations of one symbol, of which any holds, or all where any would hold everywhere.
    fn list(values: &[Value], steps: &mut Steps) -> Option<Self> {
        steps.take((values.len() * values.len()) as u64)?;
        let parts = values.iter().map(|value| Self::of(value, steps));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        let symbols: Vec<_> = values.iter().map(symbol_of).collect();
        if symbols.windows(2).any(|pair| pair[0] != pair[1]) {
            return None;
        }
        let united = parts.iter().cloned().reduce(Self::union)?;
        let are_relations = values
            .iter()
            .all(|value| matches!(value, Value::Relation(_)));
        if are_relations && united.is(&Self::line()) {
            return parts
                .into_iter()
                .reduce(|all, part| all.intersection(&part));
        }
        Some(united)
    }

    /// The numbers for which a chain of comparisons, linear in its one symbol, holds.
    fn solutions(relation: &Relation, steps: &mut Steps) -> Option<Self> {
        let name = only_symbol(relation)?;
        let mut solutions = Self::line();
        let mut left = relation.first.expression()?;
        for (comparison, right) in &relation.links {
            let right = right.expression()?;
            steps.take(solutions.0.len() as u64)?;
            let holds = compared(left, *comparison, right, name, steps)?;
            solutions = solutions.intersection(&holds);
            left = right;
        }
        Some(solutions)
    }

    fn union(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.0.sort_by(|a, b| {
            a.low
                .total_cmp(&b.low)
                .then(b.low_closed.cmp(&a.low_closed))
        });
        let mut merged: Vec<Piece> = Vec::with_capacity(self.0.len());
        for piece in self.0 {
            match merged.last_mut() {
                Some(last) if touches(last, &piece) => {
                    if piece.high > last.high {
                        (last.high, last.high_closed) = (piece.high, piece.high_closed);
                    } else if piece.high == last.high {
                        last.high_closed |= piece.high_closed;
                    }
                }
                _ => merged.push(piece),
            }
        }
        Self(merged)
    }

    fn intersection(&self, other: &Self) -> Self {
        let pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| (a, b)));
        Self(pairs.filter_map(|(a, b)| common(a, b)).collect())
    }

    fn complement(&self) -> Self {
        let mut pieces = Vec::with_capacity(self.0.len() + 1);
        let (mut low, mut low_closed) = (f64::NEG_INFINITY, false);
        for piece in &self.0 {
            let gap = Piece {
                low,
                high: piece.low,
                low_closed,
                high_closed: !piece.low_closed,
            };
            pieces.push(gap);
            (low, low_closed) = (piece.high, !piece.high_closed);
        }
        let rest = Piece {
            low,
            high: f64::INFINITY,
            low_closed,
            high_closed: false,
        };
        pieces.push(rest);
        Self(pieces.into_iter().filter(is_filled).collect())
    }
}

/// Whether `next`, which begins no earlier, continues `last`.
fn touches(last: &Piece, next: &Piece) -> bool {
    next.low < last.high || (next.low == last.high && (next.low_closed || last.high_closed))
}

fn is_filled(piece: &Piece) -> bool {
    let is_point = piece.low == piece.high && piece.low_closed && piece.high_closed;
    piece.low < piece.high || (is_point && piece.low.is_finite())
}

fn common(a: &Piece, b: &Piece) -> Option<Piece> {
    let (low, low_closed) = match a.low.total_cmp(&b.low) {
        std::cmp::Ordering::Less => (b.low, b.low_closed),
        std::cmp::Ordering::Greater => (a.low, a.low_closed),
        std::cmp::Ordering::Equal => (a.low, a.low_closed && b.low_closed),
    };
    let (high, high_closed) = match a.high.total_cmp(&b.high) {
        std::cmp::Ordering::Less => (a.high, a.high_closed),
        std::cmp::Ordering::Greater => (b.high, b.high_closed),
        std::cmp::Ordering::Equal => (a.high, a.high_closed && b.high_closed),
    };
    Some(Piece {
        low,
        high,
        low_closed,
        high_closed,
    })
    .filter(is_filled)
}

/// The one symbol of a relation; none for other values.
fn symbol_of(value: &Value) -> Option<&str> {
    match value {
        Value::Relation(relation) => only_symbol(relation),
        _ => None,
    }
}

/// The one symbol of `relation`; `None` when it has none or several.
pub(super) fn only_symbol(relation: &Relation) -> Option<&str> {
    let mut names = Vec::new();
    let sides = relation.links.iter().map(|(_, side)| side);
    for side in std::iter::once(relation.first.as_ref()).chain(sides) {
        names.extend(side.expression()?.symbols());
    }
    let first = *names.first()?;
    names.iter().all(|name| *name == first).then_some(first)
}

/// Where `left` compares with `right` as said.
fn compared(
    left: &Expression,
    comparison: Comparison,
    right: &Expression,
    name: &str,
    steps: &mut Steps,
) -> Option<Region> {
    if let Expression::Apply(Function::Abs, inner) = left {
        return absolute(inner.first()?, comparison, right, name, steps);
    }
    if let Expression::Apply(Function::Abs, inner) = right {
        return absolute(inner.first()?, comparison.flipped(), left, name, steps);
    }
    let (slope, root) = line(&left.minus(right), name, steps)?;
    let comparison = if slope < 0.0 {
        comparison.flipped()
    } else {
        comparison
    };
    Some(match comparison {
        Comparison::Less => Region::below(root, false),
        Comparison::LessEqual => Region::below(root, true),
        Comparison::Greater => Region::above(root, false),
        Comparison::GreaterEqual => Region::above(root, true),
        Comparison::Equal => Region::single(root),
        Comparison::Unequal => Region::single(root).complement(),
    })
}

/// Where `|inner|` compares with the positive number `bound` as said.
fn absolute(
    inner: &Expression,
    comparison: Comparison,
    bound: &Expression,
    name: &str,
    steps: &mut Steps,
) -> Option<Region> {
    end(bound, steps).filter(|bound| *bound > 0.0)?;
    let upper = compared(inner, comparison, bound, name, steps)?;
    let lower = compared(
        inner,
        comparison.flipped(),
        &bound.clone().negated(),
        name,
        steps,
    )?;
    Some(match comparison {
        Comparison::Less | Comparison::LessEqual | Comparison::Unequal => {
            upper.intersection(&lower)
        }
        _ => upper.union(lower),
    })
}

/// Slope and root of `difference`, if it is linear in the symbol `name`.
fn line(difference: &Expression, name: &str, steps: &mut Steps) -> Option<(f64, f64)> {
    let symbol = Expression::Symbol(name.to_string());
    let mut at = |number| {
        let point = Point { number };
        let x = evaluate(&symbol, point, steps)?.value.re;
        let y = evaluate(difference, point, steps)?;
        (y.value.im == 0.0).then_some((x, y.value.re))
    };
    let (x0, y0) = at(0)?;
    let (x1, y1) = at(2)?;
    let slope = (y1 - y0) / (x1 - x0);
    let is_line = [1, 3, 4, 5, 6, 7].into_iter().all(|number| {
        at(number).is_some_and(|(x, y)| {
            let expected = y0 + slope * (x - x0);
            (y - expected).abs() <= SAME_END * (y0.abs() + y1.abs() + y.abs() + 1.0)
        })
    });
    let root = x0 - y0 / slope;
    (is_line && slope.is_normal() && root.is_finite()).then_some((slope, snapped(root)))
}

/// A root without the noise of its last digits, so that ends that meet do meet.
fn snapped(root: f64) -> f64 {
    let near = (root * 1e6).round() / 1e6;
    if (root - near).abs() <= 1e-12 * root.abs().max(1.0) {
        near
    } else {
        root
    }
}

/// The value of an end of an interval, which may be infinite.
fn end(expression: &Expression, steps: &mut Steps) -> Option<f64> {
    if let Some(sign) = infinite(expression) {
        return Some(f64::from(sign) * f64::INFINITY);
    }
    if !expression.symbols().is_empty() {
        return None;
    }
    let sample = evaluate(expression, Point { number: 0 }, steps)?;
    (sample.value.im.abs() <= sample.error).then_some(sample.value.re)
}

/// The sign of an infinity.
pub(super) fn infinite(expression: &Expression) -> Option<i8> {
    match expression {
        Expression::Constant(Constant::Infinity) => Some(1),
        Expression::Negative(inner) => infinite(inner).map(|sign| -sign),
        _ => None,
    }
}
