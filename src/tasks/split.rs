//! The train/test divide: decided by the problem itself, so that no draw can cross it.

use rand::Rng;

use crate::seed::Seed;

/// One problem in this many is held out.
const HELD_OUT_ONE_IN: u64 = 8;

/// Which side of the train/test divide a problem is drawn from; the sides share no problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Problems a model may be trained on.
    Train,
    /// Problems held out.
    Test,
}

impl Split {
    /// The side that the problem with this canonical text is on, whatever the task's seed:
    /// texts that mean the same problem must be equal.
    pub fn of(canonical: &str) -> Self {
        match Seed::new(0).named(canonical).value() % HELD_OUT_ONE_IN {
            0 => Self::Test,
            _ => Self::Train,
        }
    }

    /// The seed of problem `index` on this side.
    pub(super) fn seed(self, task: Seed, index: u64) -> Seed {
        let side = match self {
            Self::Train => "train",
            Self::Test => "test",
        };
        task.named(side).child(index)
    }

    /// Problem `index` on this side: the first draft from its seed whose canonical text is on it.
    pub(super) fn draw<T>(
        self,
        task: Seed,
        index: u64,
        draft: impl Fn(&mut dyn Rng) -> T,
        canonical: impl Fn(&T) -> String,
    ) -> T {
        let mut rng = self.seed(task, index).rng();
        loop {
            let draft = draft(&mut rng);
            if Self::of(&canonical(&draft)) == self {
                return draft;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_problem_in_eight_is_held_out() {
        let held_out = (0..8000)
            .filter(|number| Split::of(&number.to_string()) == Split::Test)
            .count();
        assert!((900..1100).contains(&held_out), "{held_out}");
    }
}
