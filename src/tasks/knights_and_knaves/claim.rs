//! What people say of each other.

use rand::seq::index;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Something said about the company; people are told by their places in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Claim {
    /// This one is a knight.
    Knight { who: usize },
    /// This one is a knave.
    Knave { who: usize },
    /// Both are knights or both are knaves.
    Alike { one: usize, other: usize },
    /// One is a knight, the other a knave.
    Different { one: usize, other: usize },
    /// Both are knights.
    BothKnights { one: usize, other: usize },
    /// Both are knaves.
    BothKnaves { one: usize, other: usize },
    /// At least one is a knight.
    SomeKnight { one: usize, other: usize },
    /// At least one is a knave.
    SomeKnave { one: usize, other: usize },
    /// If the one is a knight, so is the other.
    IfKnight { one: usize, other: usize },
    /// So many of the company are knights.
    Count { knights: usize },
}

impl Claim {
    /// Something that `speaker` may say in a company of `count`; a claim about one is about
    /// another than the speaker.
    pub(super) fn random(speaker: usize, count: usize, rng: &mut dyn Rng) -> Self {
        let pair = index::sample(rng, count, 2);
        let (one, other) = (pair.index(0), pair.index(1));
        let who = if one == speaker { other } else { one };
        let (low, high) = (one.min(other), one.max(other));
        match rng.random_range(0..10) {
            0 => Self::Knight { who },
            1 => Self::Knave { who },
            2 => Self::Alike {
                one: low,
                other: high,
            },
            3 => Self::Different {
                one: low,
                other: high,
            },
            4 => Self::BothKnights {
                one: low,
                other: high,
            },
            5 => Self::BothKnaves {
                one: low,
                other: high,
            },
            6 => Self::SomeKnight {
                one: low,
                other: high,
            },
            7 => Self::SomeKnave {
                one: low,
                other: high,
            },
            8 => Self::IfKnight { one, other },
            _ => Self::Count {
                knights: rng.random_range(0..=count),
            },
        }
    }

    /// Whether the claim is true where the people with a bit in `knights` are knights.
    pub(super) fn holds(self, knights: u32) -> bool {
        let is_knight = |who: usize| knights >> who & 1 == 1;
        match self {
            Self::Knight { who } => is_knight(who),
            Self::Knave { who } => !is_knight(who),
            Self::Alike { one, other } => is_knight(one) == is_knight(other),
            Self::Different { one, other } => is_knight(one) != is_knight(other),
            Self::BothKnights { one, other } => is_knight(one) && is_knight(other),
            Self::BothKnaves { one, other } => !is_knight(one) && !is_knight(other),
            Self::SomeKnight { one, other } => is_knight(one) || is_knight(other),
            Self::SomeKnave { one, other } => !is_knight(one) || !is_knight(other),
            Self::IfKnight { one, other } => !is_knight(one) || is_knight(other),
            Self::Count { knights: count } => knights.count_ones() as usize == count,
        }
    }

    /// The last place in a company of `count` that the claim is about.
    pub(super) fn last_place(self, count: usize) -> usize {
        match self {
            Self::Knight { who } | Self::Knave { who } => who,
            Self::Alike { one, other }
            | Self::Different { one, other }
            | Self::BothKnights { one, other }
            | Self::BothKnaves { one, other }
            | Self::SomeKnight { one, other }
            | Self::SomeKnave { one, other }
            | Self::IfKnight { one, other } => one.max(other),
            Self::Count { .. } => count - 1,
        }
    }

    /// The claim in words.
    pub(super) fn text(self, people: &[String]) -> String {
        let name = |who: usize| people[who].as_str();
        match self {
            Self::Knight { who } => format!("{} is a knight", name(who)),
            Self::Knave { who } => format!("{} is a knave", name(who)),
            Self::Alike { one, other } => format!("{} and {} are alike", name(one), name(other)),
            Self::Different { one, other } => {
                format!("{} and {} are different", name(one), name(other))
            }
            Self::BothKnights { one, other } => {
                format!("{} and {} are both knights", name(one), name(other))
            }
            Self::BothKnaves { one, other } => {
                format!("{} and {} are both knaves", name(one), name(other))
            }
            Self::SomeKnight { one, other } => {
                format!(
                    "at least one of {} and {} is a knight",
                    name(one),
                    name(other)
                )
            }
            Self::SomeKnave { one, other } => {
                format!(
                    "at least one of {} and {} is a knave",
                    name(one),
                    name(other)
                )
            }
            Self::IfKnight { one, other } => {
                format!("if {} is a knight, so is {}", name(one), name(other))
            }
            Self::Count { knights: 1 } => "exactly 1 of us is a knight".into(),
            Self::Count { knights } => format!("exactly {knights} of us are knights"),
        }
    }

    /// A number that tells the claim from every other, with everyone at the place `places` gives.
    pub(super) fn code(self, places: &[usize]) -> u32 {
        let code = |form: u32, one: usize, other: usize| form << 8 | (one << 4 | other) as u32;
        let pair = |form: u32, one: usize, other: usize| {
            let (one, other) = (places[one], places[other]);
            code(form, one.min(other), one.max(other))
        };
        match self {
            Self::Knight { who } => code(0, places[who], 0),
            Self::Knave { who } => code(1, places[who], 0),
            Self::Alike { one, other } => pair(2, one, other),
            Self::Different { one, other } => pair(3, one, other),
            Self::BothKnights { one, other } => pair(4, one, other),
            Self::BothKnaves { one, other } => pair(5, one, other),
            Self::SomeKnight { one, other } => pair(6, one, other),
            Self::SomeKnave { one, other } => pair(7, one, other),
            Self::IfKnight { one, other } => code(8, places[one], places[other]),
            Self::Count { knights } => code(9, knights, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_hold_where_they_say() {
        let pair = (0, 1);
        let (one, other) = pair;
        // Knights by bits: nobody, the first, the second, both.
        let truth = |claim: Claim| [0, 1, 2, 3].map(|knights| claim.holds(knights));
        let (t, f) = (true, false);
        assert_eq!(truth(Claim::Knight { who: 0 }), [f, t, f, t]);
        assert_eq!(truth(Claim::Knave { who: 1 }), [t, t, f, f]);
        assert_eq!(truth(Claim::Alike { one, other }), [t, f, f, t]);
        assert_eq!(truth(Claim::Different { one, other }), [f, t, t, f]);
        assert_eq!(truth(Claim::BothKnights { one, other }), [f, f, f, t]);
        assert_eq!(truth(Claim::BothKnaves { one, other }), [t, f, f, f]);
        assert_eq!(truth(Claim::SomeKnight { one, other }), [f, t, t, t]);
        assert_eq!(truth(Claim::SomeKnave { one, other }), [t, t, t, f]);
        assert_eq!(truth(Claim::IfKnight { one, other }), [t, f, t, t]);
        assert_eq!(truth(Claim::Count { knights: 1 }), [f, t, t, f]);
    }

    #[test]
    fn codes_tell_claims_apart_but_not_the_order_of_equals() {
        let places = [0, 1, 2];
        let claim = Claim::Alike { one: 0, other: 2 };
        let turned = Claim::Alike { one: 2, other: 0 };
        assert_eq!(claim.code(&places), turned.code(&places));
        let (one, other) = (
            Claim::IfKnight { one: 0, other: 2 },
            Claim::IfKnight { one: 2, other: 0 },
        );
        assert_ne!(one.code(&places), other.code(&places));
        assert_eq!(one.code(&places), other.code(&[2, 1, 0]));
    }
}
