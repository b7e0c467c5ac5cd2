//! How a prompt becomes the text, and the text the ids, that a model continues.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::data::Prompt;
use crate::error::{Error, Result};
use crate::tokenizer::{ChatOptions, Message, Role, Tokenizer};

/// The text around a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptTemplate {
    /// The prompt's text as it is.
    #[default]
    Plain,
    /// The model's chat template, ready for the assistant's turn; a text is the user's one message.
    Chat,
    /// The template of DeepSeek-R1-Zero (arXiv:2501.12948, table 1), for base models; nothing is
    /// pre-filled after `Assistant:`.
    R1Zero,
}

impl PromptTemplate {
    /// The text that the model continues.
    ///
    /// # Errors
    /// When a template for a text meets a conversation of more than the user's one message, or the
    /// chat template is missing or refuses the conversation.
    pub fn render(self, tokenizer: &Tokenizer, prompt: &Prompt) -> Result<String> {
        match self {
            Self::Plain => self.question(prompt).map(str::to_string),
            Self::Chat => tokenizer.render_chat(&messages(prompt), &assistant_next()),
            Self::R1Zero => self
                .question(prompt)
                .map(|question| format!("{R1_ZERO} User: {question}. Assistant:")),
        }
    }

    /// The ids of the rendered prompt.
    ///
    /// The tokenizer adds its special tokens to a text; a chat template has written them itself.
    ///
    /// # Errors
    /// As [`Self::render`], or when the text cannot be tokenized.
    pub fn encode(self, tokenizer: &Tokenizer, prompt: &Prompt) -> Result<Vec<u32>> {
        let text = self.render(tokenizer, prompt)?;
        tokenizer.encode(&text, self != Self::Chat)
    }

    /// The one text that `prompt` comes down to.
    fn question(self, prompt: &Prompt) -> Result<&str> {
        match prompt {
            Prompt::Text(text) => Ok(text),
            Prompt::Messages(messages) => lone_question(messages).ok_or_else(|| {
                let problem = "is for texts, but a prompt has messages other than one of the user; \
                               expected `chat`";
                Error::setting("prompt_template", problem)
            }),
        }
    }
}

const R1_ZERO: &str = "A conversation between User and Assistant. The user asks a question, and the \
    Assistant solves it. The assistant first thinks about the reasoning process in the mind and \
    then provides the user with the answer. The reasoning process and answer are enclosed within \
    <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process \
    here </think> <answer> answer here </answer>.";

fn lone_question(messages: &[Message]) -> Option<&str> {
    match messages {
        [message] if message.role == Role::User => message.content.as_deref(),
        _ => None,
    }
}

fn messages(prompt: &Prompt) -> Cow<'_, [Message]> {
    match prompt {
        Prompt::Text(text) => Cow::Owned(vec![Message::user(text)]),
        Prompt::Messages(messages) => Cow::Borrowed(messages),
    }
}

fn assistant_next() -> ChatOptions {
    ChatOptions {
        add_generation_prompt: true,
        ..ChatOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    fn tokenizer() -> Tokenizer {
        train_byte_level_bpe(["1+1=2"].into_iter(), &BpeConfig::default()).unwrap()
    }

    fn text() -> Prompt {
        Prompt::Text("1+1=?".into())
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let (tokenizer, template) = (tokenizer(), PromptTemplate::Plain);
        assert_eq!(template.render(&tokenizer, &text()).unwrap(), "1+1=?");
        let ids = template.encode(&tokenizer, &text()).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), "1+1=?");
    }

    #[test]
    fn chat_text_is_the_users_message() {
        let (tokenizer, template) = (tokenizer(), PromptTemplate::Chat);
        let rendered = template.render(&tokenizer, &text()).unwrap();
        assert_eq!(
            rendered,
            "<|im_start|>user\n1+1=?<|im_end|>\n<|im_start|>assistant\n"
        );
        let messages = Prompt::Messages(vec![Message::user("1+1=?")]);
        assert_eq!(template.render(&tokenizer, &messages).unwrap(), rendered);
        let ids = template.encode(&tokenizer, &text()).unwrap();
        assert_eq!(Some(ids[0]), tokenizer.token_to_id("<|im_start|>"));
    }

    #[test]
    fn r1_zero_ends_where_the_assistant_begins() {
        let rendered = PromptTemplate::R1Zero
            .render(&tokenizer(), &text())
            .unwrap();
        assert!(rendered.starts_with("A conversation between User and Assistant. The user asks"));
        assert!(rendered.ends_with(
            "<think> reasoning process here </think> <answer> answer here </answer>. \
             User: 1+1=?. Assistant:"
        ));
    }

    #[test]
    fn users_lone_message_is_a_text() {
        let prompt = Prompt::Messages(vec![Message::user("1+1=?")]);
        let rendered = PromptTemplate::Plain.render(&tokenizer(), &prompt).unwrap();
        assert_eq!(rendered, "1+1=?");
    }

    #[test]
    fn conversation_is_no_plain_text() {
        let prompt = Prompt::Messages(vec![Message::system("s"), Message::user("u")]);
        for template in [PromptTemplate::Plain, PromptTemplate::R1Zero] {
            let error = template.render(&tokenizer(), &prompt).unwrap_err();
            assert!(error.to_string().contains("expected `chat`"), "{error}");
        }
    }
}
