//! The unit that a completion's length is measured in.

use serde::{Deserialize, Serialize};

use super::Attempt;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// Tokens, the end token included.
    #[default]
    Tokens,
    /// Unicode code points of the text, as open-r1.
    Characters,
}

impl LengthUnit {
    /// The length of `attempt` in this unit.
    pub fn of(self, attempt: &Attempt<'_>) -> usize {
        match self {
            Self::Tokens => attempt.token_count(),
            Self::Characters => attempt.completion.chars().count(),
        }
    }
}
