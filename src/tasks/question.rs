//! How a question is put to the model.

use serde::{Deserialize, Serialize};

use crate::data::Prompt;
use crate::tokenizer::Message;

/// How a question is put to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// The question on a line of its own, as a model pretrained on such lines continues it.
    #[default]
    Plain,
    /// DeepSeek-R1-Zero's template for a pretrained base model (arXiv:2501.12948, table 1).
    R1Zero,
    /// A user's message, for a model with a chat template.
    Chat,
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
        let Question { short, full } = question;
        match self {
            Self::Plain => Prompt::Text(format!("{short}\n")),
            Self::R1Zero => Prompt::Text(format!("{R1_ZERO} User: {full} Assistant:")),
            Self::Chat => Prompt::Messages(vec![Message::user(full)]),
        }
    }
}

const R1_ZERO: &str = "A conversation between User and Assistant. The user asks a question, and the \
    Assistant solves it. The assistant first thinks about the reasoning process in the mind and \
    then provides the user with the answer. The reasoning process and answer are enclosed within \
    <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process \
    here </think> <answer> answer here </answer>.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_style_puts_the_question_in_its_own_form() {
        let question = Question {
            short: "2+3=?".into(),
            full: "What is 2+3?".into(),
        };
        let text = |style: PromptStyle| match style.prompt(&question) {
            Prompt::Text(text) => text,
            Prompt::Messages(messages) => format!("{messages:?}"),
        };
        assert_eq!(text(PromptStyle::Plain), "2+3=?\n");
        let r1_zero = text(PromptStyle::R1Zero);
        assert!(r1_zero.starts_with("A conversation between User and Assistant."));
        assert!(r1_zero.ends_with("User: What is 2+3? Assistant:"));
        let message = format!("{:?}", vec![Message::user("What is 2+3?")]);
        assert_eq!(text(PromptStyle::Chat), message);
    }
}
