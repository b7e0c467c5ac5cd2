//! Equations and inequalities against each other: the same up to a factor and the side they stand on.

use super::compare::matches;
use super::expression::{Comparison, Expression, Relation, Value};
use super::limits::Steps;
use super::numeric::{Point, evaluate};

/// Points at which two differences are compared, and how many of them must be defined.
const POINTS: u64 = 8;
const FEWEST_POINTS: usize = 3;

/// Whether both say the same by the same steps, forwards or backwards.
pub(super) fn equivalent(one: &Relation, other: &Relation, steps: &mut Steps) -> bool {
    if one.is_assignment() && other.is_assignment() {
        let (one, other) = (ends(one), ends(other));
        return link(&one, &other, steps);
    }
    let (links, others) = (pairs(one), pairs(other));
    let same = |others: &[Link<'_>], steps: &mut Steps| {
        links.len() == others.len()
            && links
                .iter()
                .zip(others)
                .all(|(one, other)| link(one, other, steps))
    };
    let backwards: Vec<Link<'_>> = others.iter().rev().map(Link::flipped).collect();
    same(&others, steps) || (others.len() > 1 && same(&backwards, steps))
}

/// One comparison of a chain.
struct Link<'a> {
    left: &'a Value,
    comparison: Comparison,
    right: &'a Value,
}

impl Link<'_> {
    fn flipped(&self) -> Self {
        Self {
            left: self.right,
            comparison: self.comparison.flipped(),
            right: self.left,
        }
    }
}

/// An assignment from its name to its last side.
fn ends(relation: &Relation) -> Link<'_> {
    Link {
        left: &relation.first,
        comparison: Comparison::Equal,
        right: relation.last(),
    }
}

fn pairs(relation: &Relation) -> Vec<Link<'_>> {
    let rights = relation.links.iter().map(|(_, side)| side);
    let lefts = std::iter::once(relation.first.as_ref()).chain(rights);
    let links = relation.links.iter().zip(lefts);
    links
        .map(|((comparison, right), left)| Link {
            left,
            comparison: *comparison,
            right,
        })
        .collect()
}

fn link(one: &Link<'_>, other: &Link<'_>, steps: &mut Steps) -> bool {
    let sides = |one: &Link<'_>, other: &Link<'_>, steps: &mut Steps| {
        one.comparison == other.comparison
            && matches(one.left, other.left, steps)
            && matches(one.right, other.right, steps)
    };
    if sides(one, other, steps) || sides(one, &other.flipped(), steps) {
        return true;
    }
    let difference =
        |link: &Link<'_>| Some(link.left.expression()?.minus(link.right.expression()?));
    let (Some(first), Some(second)) = (difference(one), difference(other)) else {
        return false;
    };
    match ratio(&first, &second, steps) {
        Some(ratio) if ratio > 0.0 => one.comparison == other.comparison,
        Some(_) => one.comparison == other.comparison.flipped(),
        None => false,
    }
}

/// The number that `one` is of `other` wherever both are defined.
fn ratio(one: &Expression, other: &Expression, steps: &mut Steps) -> Option<f64> {
    let mut first = None;
    let mut found = 0;
    for number in 0..POINTS {
        let point = Point { number };
        let (Some(one), Some(other)) = (evaluate(one, point, steps), evaluate(other, point, steps))
        else {
            continue;
        };
        if one.is_zero() || other.is_zero() {
            return None;
        }
        let ratio = one.value / other.value;
        let error = one.error / one.value.norm() + other.error / other.value.norm();
        let allowed = ratio.norm() * (1e-9 + 32.0 * error);
        let expected = *first.get_or_insert(ratio.re);
        if ratio.im.abs() > allowed || (ratio.re - expected).abs() > allowed {
            return None;
        }
        found += 1;
    }
    first.filter(|_| found >= FEWEST_POINTS)
}
