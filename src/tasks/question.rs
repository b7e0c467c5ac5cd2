//! How a question is put to the model.

use serde::{Deserialize, Serialize};

use crate::data::Prompt;

/// How a question is put to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// The question on a line of its own, as a model pretrained on such lines continues it.
    #[default]
    Plain,
    /// DeepSeek-R1-Zero's template for a pretrained base model (arXiv:2501.12948, table 1).
    R1Zero,
}

/// A question in the two forms it can be asked.
pub(super) struct Question {
    /// The fewest words.
    pub short: String,
    /// A full instruction, for a model that reads English.
    pub full: String,
}

impl PromptStyle {
    /// The prompt that asks `question`.
    pub(super) fn prompt(self, question: &Question) -> Prompt {
        Prompt::Text(match self {
            Self::Plain => format!("{}\n", question.short),
            Self::R1Zero => format!("{R1_ZERO} User: {} Assistant:", question.full),
        })
    }
}

const R1_ZERO: &str = "A conversation between User and Assistant. The user asks a question, and the \
    Assistant solves it. The assistant first thinks about the reasoning process in the mind and \
    then provides the user with the answer. The reasoning process and answer are enclosed within \
    <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process \
    here </think> <answer> answer here </answer>.";
