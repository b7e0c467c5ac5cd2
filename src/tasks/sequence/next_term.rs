//! The next term of a sequence: by which rules the terms may go on, and where the rules agree.

use rand::{Rng, RngExt};

use super::spelled;
use crate::tasks::traces::Author;

/// Terms of which a rule must explain at least one that it was not made from.
const LEAST_TERMS: usize = 4;

/// What a sequence may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Equal differences.
    Arithmetic,
    /// Equal whole quotients.
    Geometric,
    /// Equal differences of the differences.
    Quadratic,
    /// Two arithmetic sequences, term by term; six terms or more.
    Interleaved,
}

/// How a sequence goes on by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Continuation {
    pub rule: Rule,
    pub next: i64,
}

/// The terms of a sequence of `level`.
pub(super) fn random(level: u8, rng: &mut dyn Rng) -> Vec<i64> {
    match level {
        1 => arithmetic(rng.random_range(-20..=50), nonzero(20, rng), 5),
        2 => {
            let (first, ratio) = (nonzero(150, rng), nonzero(5, rng));
            let ratio = ratio + ratio.signum();
            (0..5).map(|place| first * i64::pow(ratio, place)).collect()
        }
        3 => {
            let (mut term, mut step, bend) = (nonzero(30, rng), nonzero(12, rng), nonzero(6, rng));
            let next = |_| {
                let shown = term;
                term += step;
                step += bend;
                shown
            };
            (0..6).map(next).collect()
        }
        _ => {
            let one = arithmetic(rng.random_range(0..=60), nonzero(15, rng), 4);
            let other = arithmetic(rng.random_range(0..=60), nonzero(15, rng), 4);
            let pairs = one.into_iter().zip(other);
            pairs.flat_map(|(one, other)| [one, other]).collect()
        }
    }
}

fn arithmetic(first: i64, step: i64, count: i64) -> Vec<i64> {
    (0..count).map(|place| first + place * step).collect()
}

fn nonzero(largest: i64, rng: &mut dyn Rng) -> i64 {
    let size = rng.random_range(1..=largest);
    if rng.random_bool(0.5) { size } else { -size }
}

/// How `terms` go on by every rule that they follow.
pub(super) fn continuations(terms: &[i64]) -> Vec<Continuation> {
    if terms.len() < LEAST_TERMS {
        return Vec::new();
    }
    let by = |rule, next: Option<i64>| next.map(|next| Continuation { rule, next });
    let found = [
        by(Rule::Arithmetic, after_equal_differences(terms)),
        by(Rule::Geometric, after_equal_quotients(terms)),
        by(Rule::Quadratic, after_bending(terms)),
        by(Rule::Interleaved, after_interleaved(terms)),
    ];
    found.into_iter().flatten().collect()
}

/// The next term if `terms` follow a rule and all they follow agree.
pub(super) fn only_next(terms: &[i64]) -> Option<i64> {
    let found = continuations(terms);
    let first = found.first()?.next;
    found
        .iter()
        .all(|other| other.next == first)
        .then_some(first)
}

fn differences(terms: &[i64]) -> Vec<i64> {
    terms
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect()
}

fn after_equal_differences(terms: &[i64]) -> Option<i64> {
    let differences = differences(terms);
    let first = *differences.first()?;
    let are_equal = differences.iter().all(|difference| *difference == first);
    are_equal.then(|| terms.last()?.checked_add(first))?
}

fn after_equal_quotients(terms: &[i64]) -> Option<i64> {
    let (first, second) = (*terms.first()?, *terms.get(1)?);
    (first != 0 && second % first == 0).then_some(())?;
    let ratio = second / first;
    let follow = |pair: &[i64]| pair[0].checked_mul(ratio) == Some(pair[1]);
    terms
        .windows(2)
        .all(follow)
        .then(|| terms.last()?.checked_mul(ratio))?
}

fn after_bending(terms: &[i64]) -> Option<i64> {
    let step = after_equal_differences(&differences(terms))?;
    terms.last()?.checked_add(step)
}

/// Every other term, from the one at `first`.
fn every_other(terms: &[i64], first: usize) -> Vec<i64> {
    terms.iter().skip(first).step_by(2).copied().collect()
}

fn after_interleaved(terms: &[i64]) -> Option<i64> {
    (terms.len() >= 6).then_some(())?;
    let next = [0, 1].map(|first| after_equal_differences(&every_other(terms, first)));
    let [even, odd] = next;
    let (even, odd) = (even?, odd?);
    Some(if terms.len().is_multiple_of(2) {
        even
    } else {
        odd
    })
}

/// Finds the next term in writing; the author may slip. `None` where [`only_next`] finds none.
pub(super) fn work_out(
    terms: &[i64],
    author: &mut Author<'_>,
    thinking: &mut String,
) -> Option<i64> {
    let found = *continuations(terms).first()?;
    let last = *terms.last()?;
    Some(match found.rule {
        Rule::Arithmetic => add_step(terms, author, thinking),
        Rule::Geometric => {
            let ratio = terms[1] / terms[0];
            let quotients = terms
                .windows(2)
                .map(|pair| format!("{}/{}={ratio}", pair[1], pair[0]));
            let quotients = quotients.collect::<Vec<_>>().join(" ");
            let next = author.number(found.next);
            thinking.push_str(&format!("quotients: {quotients}\n{last}*{ratio}={next}\n"));
            next
        }
        Rule::Quadratic => {
            let differences = differences(terms);
            thinking.push_str(&format!("differences: {}\n", spelled(&differences)));
            let step = add_step(&differences, author, thinking);
            let next = author.number(last + step);
            thinking.push_str(&format!("{last}{step:+}={next}\n"));
            next
        }
        Rule::Interleaved => {
            let ours = every_other(terms, terms.len() % 2);
            thinking.push_str(&format!("every other: {}\n", spelled(&ours)));
            add_step(&ours, author, thinking)
        }
    })
}

/// Writes the equal differences of `terms` and adds one more.
fn add_step(terms: &[i64], author: &mut Author<'_>, thinking: &mut String) -> i64 {
    let differences = differences(terms);
    let (last, step) = (terms[terms.len() - 1], author.number(differences[0]));
    let next = author.number(last + step);
    let texts = spelled(&differences);
    thinking.push_str(&format!("differences: {texts}\n{last}{step:+}={next}\n"));
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn rules_go_on_as_they_began() {
        assert_eq!(only_next(&[5, 8, 11, 14]), Some(17));
        assert_eq!(only_next(&[-2, -6, -18, -54, -162]), Some(-486));
        // Differences 1 3 5 7, then 9.
        assert_eq!(only_next(&[0, 1, 4, 9, 16]), Some(25));
        assert_eq!(only_next(&[1, 50, 3, 45, 5, 40]), Some(7));
        assert_eq!(only_next(&[1, 50, 3, 45, 5, 40, 7]), Some(35));
        assert_eq!(only_next(&[1, 2, 3]), None);
        assert_eq!(only_next(&[3, 1, 4, 1, 5]), None);
    }

    #[test]
    fn rules_that_agree_make_the_next_term_sure() {
        // 2 2 2 2 follows three rules that agree. 0 0 1 0 2 0, once 0 1 2 and once 0 0 0, goes on
        // with 3 alone.
        let both = continuations(&[2, 2, 2, 2]);
        assert_eq!(both.len(), 3);
        assert_eq!(only_next(&[2, 2, 2, 2]), Some(2));
        assert_eq!(only_next(&[0, 0, 1, 0, 2, 0]), Some(3));
        assert_eq!(only_next(&[i64::MAX - 1, i64::MAX, 0, 0]), None);
        assert_eq!(only_next(&[1, i64::MAX, 1, i64::MIN, 1, 1]), None);
        assert_eq!(only_next(&[]), None);
    }

    #[test]
    fn drawn_sequences_mostly_have_one_next_term() {
        let mut rng = Seed::new(1).rng();
        for level in 1..=4 {
            let sure = (0..500)
                .filter(|_| only_next(&random(level, &mut rng)).is_some())
                .count();
            assert!(sure > 400, "level {level}: {sure}");
        }
    }

    #[test]
    fn careful_work_finds_the_next_term() {
        let mut rng = Seed::new(1).rng();
        let mut author = Author {
            rng: &mut rng,
            slip: 0.0,
        };
        let mut write = |terms: &[i64]| {
            let mut thinking = String::new();
            let next = work_out(terms, &mut author, &mut thinking);
            assert_eq!(next, only_next(terms));
            thinking
        };
        assert_eq!(write(&[5, 3, 1, -1]), "differences: -2, -2, -2\n-1-2=-3\n");
        assert_eq!(
            write(&[1, 3, 9, 27]),
            "quotients: 3/1=3 9/3=3 27/9=3\n27*3=81\n"
        );
        let bending = "differences: 1, 3, 5, 7\ndifferences: 2, 2, 2\n7+2=9\n16+9=25\n";
        assert_eq!(write(&[0, 1, 4, 9, 16]), bending);
        let interleaved = "every other: 1, 3, 5\ndifferences: 2, 2\n5+2=7\n";
        assert_eq!(write(&[1, 50, 3, 45, 5, 40]), interleaved);
    }
}
