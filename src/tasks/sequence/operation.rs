//! Operations on a list of numbers, and how people do them.

use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{SequenceOperation, next_term, spelled};
use crate::tasks::traces::Author;

/// One operation on a list of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Operation {
    /// The smallest first.
    SortUp,
    /// The largest first.
    SortDown,
    /// The last first.
    Reverse,
    /// The first `by` numbers go to the end.
    RotateLeft { by: usize },
    /// The last `by` numbers go to the start.
    RotateRight { by: usize },
    /// Even numbers stay.
    KeepEven,
    /// Odd numbers stay.
    KeepOdd,
    /// Numbers above `limit` stay.
    KeepAbove { limit: i64 },
    /// Numbers below `limit` stay.
    KeepBelow { limit: i64 },
    /// The number that follows is all that is left.
    NextTerm,
}

impl Operation {
    /// An operation of `kind` for `list`.
    pub(super) fn random(kind: SequenceOperation, list: &[i64], rng: &mut dyn Rng) -> Self {
        let by = rng.random_range(1..list.len().max(2));
        let limit = list.choose(rng).copied().unwrap_or(0);
        let choices: &[Self] = match kind {
            SequenceOperation::Sort => &[Self::SortUp, Self::SortDown],
            SequenceOperation::Reverse => &[Self::Reverse],
            SequenceOperation::Rotate => &[Self::RotateLeft { by }, Self::RotateRight { by }],
            SequenceOperation::Filter => &[
                Self::KeepEven,
                Self::KeepOdd,
                Self::KeepAbove { limit },
                Self::KeepBelow { limit },
            ],
            SequenceOperation::NextTerm => &[Self::NextTerm],
        };
        *choices.choose(rng).expect("every kind has an operation")
    }

    /// What is left of `list`; `None` for the next term of a list that has none for sure.
    pub(super) fn apply(&self, list: &[i64]) -> Option<Vec<i64>> {
        let mut list = list.to_vec();
        let count = list.len().max(1);
        match *self {
            Self::SortUp => list.sort_unstable(),
            Self::SortDown => list.sort_unstable_by(|a, b| b.cmp(a)),
            Self::Reverse => list.reverse(),
            Self::RotateLeft { by } => list.rotate_left(by % count),
            Self::RotateRight { by } => list.rotate_right(by % count),
            Self::KeepEven | Self::KeepOdd | Self::KeepAbove { .. } | Self::KeepBelow { .. } => {
                list.retain(|number| self.keeps(*number));
            }
            Self::NextTerm => return next_term::only_next(&list).map(|next| vec![next]),
        }
        Some(list)
    }

    fn keeps(&self, number: i64) -> bool {
        match *self {
            Self::KeepEven => number % 2 == 0,
            Self::KeepOdd => number % 2 != 0,
            Self::KeepAbove { limit } => number > limit,
            Self::KeepBelow { limit } => number < limit,
            _ => true,
        }
    }

    /// Does what [`Self::apply`] does, in writing; the author may slip.
    pub(super) fn work_out(
        &self,
        list: &[i64],
        author: &mut Author<'_>,
        thinking: &mut String,
    ) -> Option<Vec<i64>> {
        match self {
            Self::SortUp | Self::SortDown => Some(self.insert_one_by_one(list, author, thinking)),
            Self::KeepEven | Self::KeepOdd | Self::KeepAbove { .. } | Self::KeepBelow { .. } => {
                Some(self.judge_one_by_one(list, author, thinking))
            }
            Self::NextTerm => next_term::work_out(list, author, thinking).map(|next| vec![next]),
            Self::Reverse | Self::RotateLeft { .. } | Self::RotateRight { .. } => {
                let mut moved = self.apply(list)?;
                if author.slips() && moved.len() > 1 {
                    let place = author.rng.random_range(1..moved.len());
                    moved.swap(place - 1, place);
                }
                thinking.push_str(&format!("{self}: {}\n", spelled(&moved)));
                Some(moved)
            }
        }
    }

    /// Sorts by putting each number where it belongs among those before it.
    fn insert_one_by_one(
        &self,
        list: &[i64],
        author: &mut Author<'_>,
        thinking: &mut String,
    ) -> Vec<i64> {
        thinking.push_str(&format!("{self}:\n"));
        let mut sorted: Vec<i64> = Vec::new();
        for number in list {
            let precedes = |other: &i64| match self {
                Self::SortDown => other >= number,
                _ => other <= number,
            };
            let mut place = sorted.iter().take_while(|other| precedes(other)).count();
            if author.slips() {
                place = author.rng.random_range(0..=sorted.len());
            }
            sorted.insert(place, *number);
            thinking.push_str(&format!("{}\n", spelled(&sorted)));
        }
        sorted
    }

    fn judge_one_by_one(
        &self,
        list: &[i64],
        author: &mut Author<'_>,
        thinking: &mut String,
    ) -> Vec<i64> {
        let mut kept = Vec::new();
        thinking.push_str(&format!("{self}:"));
        for number in list {
            let keeps = self.keeps(*number) != author.slips();
            thinking.push_str(&format!(
                " {number}{}",
                if keeps { " stays" } else { " goes" }
            ));
            if keeps {
                kept.push(*number);
            }
        }
        thinking.push_str(&format!("\n{}\n", spelled(&kept)));
        kept
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SortUp => f.write_str("sort up"),
            Self::SortDown => f.write_str("sort down"),
            Self::Reverse => f.write_str("reverse"),
            Self::RotateLeft { by } => write!(f, "rotate left by {by}"),
            Self::RotateRight { by } => write!(f, "rotate right by {by}"),
            Self::KeepEven => f.write_str("keep even"),
            Self::KeepOdd => f.write_str("keep odd"),
            Self::KeepAbove { limit } => write!(f, "keep above {limit}"),
            Self::KeepBelow { limit } => write!(f, "keep below {limit}"),
            Self::NextTerm => f.write_str("next"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn operations_do_what_they_say() {
        let list = [5, 2, 8, 3];
        let after = |operation: Operation| operation.apply(&list).unwrap();
        assert_eq!(after(Operation::SortUp), [2, 3, 5, 8]);
        assert_eq!(after(Operation::SortDown), [8, 5, 3, 2]);
        assert_eq!(after(Operation::Reverse), [3, 8, 2, 5]);
        assert_eq!(after(Operation::RotateLeft { by: 1 }), [2, 8, 3, 5]);
        assert_eq!(after(Operation::RotateRight { by: 5 }), [3, 5, 2, 8]);
        assert_eq!(after(Operation::KeepEven), [2, 8]);
        assert_eq!(after(Operation::KeepOdd), [5, 3]);
        assert_eq!(after(Operation::KeepAbove { limit: 3 }), [5, 8]);
        assert_eq!(after(Operation::KeepBelow { limit: 5 }), [2, 3]);
        assert_eq!(Operation::RotateLeft { by: 3 }.apply(&[]), Some(vec![]));
    }

    #[test]
    fn careful_work_is_the_operation() {
        let mut rng = Seed::new(1).rng();
        let mut author = Author {
            rng: &mut rng,
            slip: 0.0,
        };
        let mut write = |operation: Operation| {
            let mut thinking = String::new();
            let worked = operation.work_out(&[5, 2, 8], &mut author, &mut thinking);
            assert_eq!(worked, operation.apply(&[5, 2, 8]));
            thinking
        };
        assert_eq!(write(Operation::SortUp), "sort up:\n5\n2, 5\n2, 5, 8\n");
        assert_eq!(write(Operation::SortDown), "sort down:\n5\n5, 2\n8, 5, 2\n");
        let filtered = "keep even: 5 goes 2 stays 8 stays\n2, 8\n";
        assert_eq!(write(Operation::KeepEven), filtered);
        assert_eq!(write(Operation::Reverse), "reverse: 8, 2, 5\n");
    }
}
