//! Prompts and answers as the ids that a reward model reads.

use crate::data::Prompt;
use crate::error::Result;
use crate::rewards::{Reading, ScoredPart, TextForm};
use crate::tokenizer::{Message, Role, Tokenizer};
use crate::train::TrainingSample;
use crate::train::example_tokens::{
    chat, chat_prompt, continued_text, shared_tokens, tokenizer_problem,
};

/// The id after a text, whose place the score is read before; which one it is does not matter.
const AFTER: u32 = 0;

/// A text to be scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScoredText {
    /// Prompt and answer; the score is that of the state at the last id.
    pub ids: Vec<u32>,
    /// Tokens of the answer.
    pub answer_tokens: usize,
}

impl Reading {
    /// The text of `prompt` and `completion`, as TRL's `RewardTrainer` makes it: a text ends with the
    /// end-of-text token, a conversation as its chat template ends it.
    ///
    /// # Errors
    /// When the chat template is missing or refuses the conversation, or nothing is left to score.
    pub(super) fn put(
        self,
        tokenizer: &Tokenizer,
        prompt: &Prompt,
        completion: &Prompt,
    ) -> Result<ScoredText> {
        let (given, ids) = match (prompt, completion, self.texts) {
            (Prompt::Text(prompt), Prompt::Text(completion), TextForm::Plain) => {
                let completion = self.scores.of(completion);
                (
                    tokenizer.encode(prompt, true)?,
                    continued_text(tokenizer, prompt, completion)?,
                )
            }
            _ => {
                let prompt = messages(prompt, Message::user);
                let completion = messages(completion, Message::assistant);
                let completion = completion.into_iter().map(|message| self.shown(message));
                let whole: Vec<Message> = prompt.iter().cloned().chain(completion).collect();
                (chat_prompt(tokenizer, &prompt)?, chat(tokenizer, &whole)?)
            }
        };
        if ids.is_empty() {
            return Err(tokenizer_problem(
                "a prompt and its answer are no token to score",
            ));
        }
        Ok(ScoredText {
            answer_tokens: ids.len() - shared_tokens(&given, &ids),
            ids,
        })
    }

    /// What is scored of a message.
    fn shown(self, mut message: Message) -> Message {
        if message.role == Role::Assistant && self.scores == ScoredPart::Answer {
            let content = message.content.as_deref();
            message.content = content.map(|content| self.scores.of(content).to_owned());
        }
        message
    }
}

fn messages(prompt: &Prompt, speaker: impl Fn(String) -> Message) -> Vec<Message> {
    match prompt {
        Prompt::Text(text) => vec![speaker(text.clone())],
        Prompt::Messages(messages) => messages.clone(),
    }
}

/// A sample whose one trained token comes after the last id that is not `pad`: as transformers finds the
/// end of a text. Without any such id it is the first.
pub(super) fn scored_sample(ids: &[u32], pad: Option<u32>) -> TrainingSample {
    let last = ids.iter().rposition(|id| Some(*id) != pad).unwrap_or(0);
    TrainingSample::new(&ids[..=last], &[AFTER])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    /// Every byte is a token.
    fn tokenizer() -> Tokenizer {
        let config = BpeConfig {
            vocabulary_size: 256 + 7,
            ..BpeConfig::default()
        };
        train_byte_level_bpe(["a"].iter(), &config).unwrap()
    }

    const COMPLETION: &str = "<think>a</think><answer>b</answer>";

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.into())
    }

    /// What is read, as text, and the answer's tokens.
    fn read(reading: Reading, prompt: &Prompt, completion: &Prompt) -> (String, usize) {
        let tokenizer = tokenizer();
        let put = reading.put(&tokenizer, prompt, completion).unwrap();
        (
            tokenizer.decode(&put.ids, false).unwrap(),
            put.answer_tokens,
        )
    }

    const fn reading(scores: ScoredPart, texts: TextForm) -> Reading {
        Reading { scores, texts }
    }

    #[test]
    fn texts_are_put_one_after_the_other_or_as_messages() {
        let plain = reading(ScoredPart::Answer, TextForm::Plain);
        let found = read(plain, &text("q? "), &text(COMPLETION));
        assert_eq!(found, ("q? b<|im_end|>".into(), 2));
        let chat = reading(ScoredPart::Answer, TextForm::Chat);
        let as_messages = "<|im_start|>user\nq?<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n";
        let found = read(chat, &text("q?"), &text(COMPLETION));
        assert_eq!(found, (as_messages.into(), 3));
        // Messages are messages, with the completion's text for the assistant.
        let messages = Prompt::Messages(vec![Message::user("q?")]);
        assert_eq!(read(plain, &messages, &text(COMPLETION)).0, as_messages);
        let completion = Prompt::Messages(vec![Message::assistant(COMPLETION)]);
        assert_eq!(read(plain, &messages, &completion).0, as_messages);
    }

    #[test]
    fn a_response_is_read_whole() {
        let whole = reading(ScoredPart::Response, TextForm::Plain);
        let (found, _) = read(whole, &text("q? "), &text(COMPLETION));
        assert_eq!(found, format!("q? {COMPLETION}<|im_end|>"));
    }

    #[test]
    fn the_score_is_read_at_the_last_token_that_is_no_padding() {
        let sample = scored_sample(&[3, 9, 4, 9, 9], Some(9));
        assert_eq!(
            (&sample.ids[..], sample.prompt_tokens),
            (&[3, 9, 4, AFTER][..], 3)
        );
        assert_eq!(sample.loss_mask, [true]);
        assert_eq!(scored_sample(&[3, 9], None).ids, [3, 9, AFTER]);
        assert_eq!(scored_sample(&[9, 9], Some(9)).ids, [9, AFTER]);
    }
}
