//! A company, what everyone in it says, and the one way of dealing out the roles that fits.

use rand::Rng;
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use super::claim::Claim;
use crate::tasks::traces::{Attempt, Author, Check};

/// Names that share no letters at their start.
const NAMES: [&str; 16] = [
    "Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kai", "Lea", "Max",
    "Nora", "Otto", "Pia",
];

/// People, and what each of them says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Puzzle {
    pub people: Vec<String>,
    pub claims: Vec<Claim>,
}

impl Puzzle {
    /// A puzzle for `count` people with exactly one solution.
    pub(super) fn random(count: usize, rng: &mut dyn Rng) -> Self {
        let names = NAMES.sample(rng, count);
        let people: Vec<String> = names.map(|name| (*name).to_string()).collect();
        loop {
            let knights = rng.random_range(0..1_u32 << count);
            let speak = |speaker| loop {
                let claim = Claim::random(speaker, count, rng);
                if claim.holds(knights) == (knights >> speaker & 1 == 1) {
                    return claim;
                }
            };
            let claims = (0..count).map(speak).collect();
            let puzzle = Self {
                people: people.clone(),
                claims,
            };
            if puzzle.solution().is_some() {
                return puzzle;
            }
        }
    }

    /// Whether there is a claim for each of 2 to 6 different people and all are about them.
    pub(super) fn is_sound(&self) -> bool {
        let count = self.people.len();
        let is_new = |place: usize| !self.people[..place].contains(&self.people[place]);
        (2..=6).contains(&count)
            && self.claims.len() == count
            && (0..count).all(is_new)
            && self
                .claims
                .iter()
                .all(|claim| claim.last_place(count) < count)
    }

    /// Who is a knight; `None` unless exactly one way of dealing out the roles fits.
    pub(super) fn solution(&self) -> Option<Vec<bool>> {
        let count = self.people.len();
        let mut fitting = (0..1_u32 << count).filter(|knights| self.fits(*knights));
        let knights = fitting.next()?;
        let roles = (0..count).map(|who| knights >> who & 1 == 1).collect();
        fitting.next().is_none().then_some(roles)
    }

    fn fits(&self, knights: u32) -> bool {
        let mut said = self.claims.iter().enumerate();
        said.all(|(who, claim)| claim.holds(knights) == (knights >> who & 1 == 1))
    }

    /// The same text for puzzles that differ in names or in who speaks first.
    pub(super) fn canonical(&self) -> String {
        let mut places: Vec<usize> = (0..self.people.len()).collect();
        let mut least: Option<Vec<u32>> = None;
        for_each_order(&mut places, 0, &mut |places| {
            let mut codes = vec![0; places.len()];
            for (who, claim) in self.claims.iter().enumerate() {
                codes[places[who]] = claim.code(places);
            }
            if least.as_ref().is_none_or(|least| codes < *least) {
                least = Some(codes);
            }
        });
        format!("{:?}", least.unwrap_or_default())
    }

    /// One way through the puzzle: suppose a role for one after the other, go back on what cannot
    /// be. Who slips takes a claim that contradicts for one that does not, or the reverse.
    pub(super) fn search(&self, author: &mut Author<'_>) -> Attempt {
        let mut search = Search {
            puzzle: self,
            author,
            thinking: String::new(),
        };
        let found = search.suppose(0, 0);
        let thinking = search.thinking;
        // Whoever finds nothing answers that all lie.
        let knights = found.unwrap_or(0);
        Attempt {
            thinking,
            answer: self.dealing(knights, self.people.len()),
            check: Some(self.check(knights)),
        }
    }

    /// The roles of the first `count` people.
    fn dealing(&self, knights: u32, count: usize) -> String {
        let role = |who: usize| {
            if knights >> who & 1 == 1 {
                "knight"
            } else {
                "knave"
            }
        };
        let parts = self.people[..count].iter().enumerate();
        let texts: Vec<String> = parts
            .map(|(who, name)| format!("{name}: {}", role(who)))
            .collect();
        texts.join(", ")
    }

    fn check(&self, knights: u32) -> Check {
        let said = self.people.iter().zip(&self.claims);
        let truths = said.map(|(name, claim)| format!("{name} {}", truth(claim.holds(knights))));
        Check {
            text: truths.collect::<Vec<_>>().join(", "),
            holds: self.fits(knights),
        }
    }
}

/// An author who goes through the roles.
struct Search<'a, 'b> {
    puzzle: &'a Puzzle,
    author: &'a mut Author<'b>,
    thinking: String,
}

impl Search<'_, '_> {
    /// Supposes roles for person `who` and all later ones; the earlier ones' are in `knights`.
    fn suppose(&mut self, who: usize, knights: u32) -> Option<u32> {
        if who == self.puzzle.people.len() {
            return Some(knights);
        }
        for supposed in [knights | 1 << who, knights] {
            let roles = self.puzzle.dealing(supposed, who + 1);
            match self.contradiction(who, supposed) {
                Some(complaint) => self.thinking.push_str(&format!("{roles}? {complaint}\n")),
                None => {
                    self.thinking.push_str(&format!("{roles}?\n"));
                    if let Some(found) = self.suppose(who + 1, supposed) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    /// What cannot be when the first people up to `who` have their supposed roles: the first claim
    /// that is decided by them, was not before, and does not go with its speaker's role.
    fn contradiction(&mut self, who: usize, knights: u32) -> Option<String> {
        let puzzle = self.puzzle;
        let count = puzzle.people.len();
        for (speaker, claim) in puzzle.claims.iter().enumerate() {
            if claim.last_place(count).max(speaker) != who {
                continue;
            }
            let holds = claim.holds(knights) != self.author.slips();
            if holds != (knights >> speaker & 1 == 1) {
                return Some(format!("{} said {}", puzzle.people[speaker], truth(holds)));
            }
        }
        None
    }
}

fn truth(holds: bool) -> &'static str {
    if holds { "true" } else { "false" }
}

/// Calls `visit` with every order of `items`, the part from `fixed` on being turned around.
fn for_each_order(items: &mut [usize], fixed: usize, visit: &mut impl FnMut(&[usize])) {
    if fixed == items.len() {
        return visit(items);
    }
    for place in fixed..items.len() {
        items.swap(fixed, place);
        for_each_order(items, fixed + 1, visit);
        items.swap(fixed, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::tasks::traces::Traces;

    fn puzzle() -> Puzzle {
        // Ada: Ben is a knave. Ben: Ada and Ben are both knaves. If Ben told the truth he would be
        // a knave who does; so he lies, and Ada is right.
        Puzzle {
            people: ["Ada", "Ben"].map(String::from).to_vec(),
            claims: vec![
                Claim::Knave { who: 1 },
                Claim::BothKnaves { one: 0, other: 1 },
            ],
        }
    }

    #[test]
    fn solution_is_the_one_dealing_that_fits() {
        assert_eq!(puzzle().solution(), Some(vec![true, false]));
        let mut several = puzzle();
        // Each calls the other a knight: both are knights or both are knaves.
        several.claims = vec![Claim::Knight { who: 1 }, Claim::Knight { who: 0 }];
        assert_eq!(several.solution(), None);
    }

    #[test]
    fn names_and_order_make_no_other_puzzle() {
        let turned = Puzzle {
            people: ["Cleo", "Dan"].map(String::from).to_vec(),
            claims: vec![
                Claim::BothKnaves { one: 0, other: 1 },
                Claim::Knave { who: 0 },
            ],
        };
        assert_eq!(puzzle().canonical(), turned.canonical());
        let mut other = puzzle();
        other.claims[0] = Claim::Knight { who: 1 };
        assert_ne!(puzzle().canonical(), other.canonical());
    }

    #[test]
    fn search_goes_back_on_what_cannot_be() {
        let mut rng = Seed::new(1).rng();
        let trace = Traces::careful().write(&mut rng, |author| puzzle().search(author));
        let expected = "<think>\nAda: knight?\nAda: knight, Ben: knight? Ada said false\n\
                        Ada: knight, Ben: knave?\ncheck Ada true, Ben false yes\n</think>\n\
                        <answer>Ada: knight, Ben: knave</answer>";
        assert_eq!(trace, expected);
    }

    #[test]
    fn drawn_puzzles_are_sound_and_of_every_size() {
        let mut rng = Seed::new(2).rng();
        for count in 2..=6 {
            for _ in 0..100 {
                let puzzle = Puzzle::random(count, &mut rng);
                assert!(puzzle.is_sound() && puzzle.people.len() == count);
            }
        }
    }
}
