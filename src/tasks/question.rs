//! In how many words a question is asked.

use serde::{Deserialize, Serialize};

use crate::data::Prompt;

/// In how many words a question is asked; the stage's template goes around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wording {
    /// The fewest, on a line of their own, as a model pretrained on such lines continues it.
    #[default]
    Short,
    /// A full instruction, for a model that reads English.
    Full,
}

/// A question in both wordings.
pub(super) struct Question {
    /// The fewest words.
    pub short: String,
    /// A full instruction.
    pub full: String,
}

impl Wording {
    /// The prompt that asks `question`.
    pub(super) fn prompt(self, question: Question) -> Prompt {
        Prompt::Text(match self {
            Self::Short => question.short + "\n",
            Self::Full => question.full,
        })
    }
}
