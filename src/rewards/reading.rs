//! What a reward model reads of a prompt and its answer.

use serde::{Deserialize, Serialize};

use super::summary;

/// What a reward model was taught to read; it is written beside its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The part of an answer that is scored.
    pub scores: ScoredPart,
    /// How texts are put.
    pub texts: TextForm,
}

/// The part of a completion that is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoredPart {
    /// What is left for the reader without the thinking, see [`summary`]: so the paper's helpfulness
    /// model, which leaves the thinking free.
    Answer,
    /// All: so the paper's safety model.
    Response,
}

/// How a prompt and a completion that are texts are put; messages go through the chat template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextForm {
    /// One after the other.
    #[default]
    Plain,
    /// As the user's and the assistant's messages, by the model's chat template.
    Chat,
}

impl ScoredPart {
    /// The part of `completion`.
    pub fn of(self, completion: &str) -> &str {
        match self {
            Self::Answer => summary(completion),
            Self::Response => completion,
        }
    }
}
