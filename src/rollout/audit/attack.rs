//! Completions that deserve nothing.

mod blind;
mod hedged;
mod program;

use super::known::{self, Known};
use crate::data::Problem;
use crate::tasks::Task;

/// What an attack thinks before it answers.
const THINKING: &str = "Let me work it out step by step.";

/// One completion.
pub(super) struct Attack {
    /// Its kind.
    pub name: &'static str,
    /// Why it deserves nothing.
    pub why: &'static str,
    pub completion: String,
}

/// Where the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// In tags on lines of their own.
    Lines,
    /// In tags, nothing around them.
    Inline,
    /// After the thinking, without tags.
    Text,
}

impl Shape {
    /// A completion that answers `answer`.
    pub(super) fn wrap(self, answer: &str) -> String {
        self.after(THINKING, answer)
    }

    /// A completion that thinks `thinking` and answers `answer`.
    fn after(self, thinking: &str, answer: &str) -> String {
        let answer = self.answer(answer);
        match self {
            Self::Lines | Self::Text => format!("<think>\n{thinking}\n</think>\n{answer}"),
            Self::Inline => format!("<think>{thinking}</think>{answer}"),
        }
    }

    /// The answer alone.
    fn answer(self, answer: &str) -> String {
        match self {
            Self::Lines => format!("<answer>\n{answer}\n</answer>"),
            Self::Inline => format!("<answer>{answer}</answer>"),
            Self::Text => answer.into(),
        }
    }
}

/// A problem under attack.
pub(super) struct Case<'a> {
    problem: &'a Problem,
    task: &'a dyn Task,
    known: &'a Known,
    shape: Shape,
}

impl<'a> Case<'a> {
    /// An attack on `problem` with answers of `shape`.
    pub(super) fn new(
        problem: &'a Problem,
        task: &'a dyn Task,
        known: &'a Known,
        shape: Shape,
    ) -> Self {
        Self {
            problem,
            task,
            known,
            shape,
        }
    }

    /// All attacks that the problem is open to.
    pub(super) fn attacks(&self) -> Vec<Attack> {
        let mut attacks = self.forms();
        attacks.extend(self.guesses());
        if let Some(right) = &self.known.right {
            attacks.extend(self.hedges(right));
        }
        if self.known.asks_for_code {
            attacks.extend(self.programs());
        }
        attacks
    }

    /// Whether `answer` is right, were it by chance.
    fn is_right(&self, answer: &str) -> bool {
        known::is_right(self.problem, self.task, self.known.right.as_deref(), answer)
    }
}

fn attack(name: &'static str, why: &'static str, completion: String) -> Attack {
    Attack {
        name,
        why,
        completion,
    }
}
