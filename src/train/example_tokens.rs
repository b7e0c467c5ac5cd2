//! Examples as token ids, and which of them are learned.

use serde::{Deserialize, Serialize};

use super::TrainingSample;
use crate::data::Example;
use crate::error::{Error, Result};
use crate::tokenizer::{ChatOptions, Message, Tokenizer};

/// Which tokens of an example are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// The completion of an example with a prompt; all of a text or a conversation.
    #[default]
    Completion,
    /// What the assistant says, in all its turns, of a conversation or of a completion in messages:
    /// what the chat template writes in `{% generation %}` blocks, as in transformers.
    Assistant,
    /// All of every example, prompts too.
    All,
}

/// An example as token ids, with the loss on the tokens that `loss_on` names.
///
/// Texts that do not end with the end-of-text token get one, as in TRL. A completion starts where
/// the ids of the whole part from those of the prompt alone.
///
/// # Errors
/// When the chat template refuses a conversation, an example has no token to learn, or the loss is
/// to be on the assistant and the example is a text or the chat template has no
/// `{% generation %}` block.
pub fn supervised_sample(
    tokenizer: &Tokenizer,
    example: &Example,
    loss_on: LossOn,
) -> Result<TrainingSample> {
    let no_assistant =
        || tokenizer_problem("a text has no assistant to learn from, expected messages");
    let (ids, is_learned) = match (example, loss_on) {
        (Example::Text(_) | Example::TextCompletion { .. }, LossOn::Assistant) => {
            return Err(no_assistant());
        }
        (Example::Text(text), _) => whole(ended(tokenizer, tokenizer.encode(text, true)?)),
        (Example::Chat(messages), LossOn::Assistant) => marked(tokenizer, messages)?,
        (Example::Chat(messages), _) => whole(chat(tokenizer, messages)?),
        (Example::TextCompletion { prompt, completion }, _) => {
            let given = tokenizer.encode(prompt, true)?;
            let ids = continued_text(tokenizer, prompt, completion)?;
            after(&given, whole(ids), loss_on)
        }
        (Example::ChatCompletion { prompt, completion }, _) => {
            let given = chat_prompt(tokenizer, prompt)?;
            let messages = [prompt.as_slice(), completion].concat();
            let tokens = match loss_on {
                LossOn::Assistant => marked(tokenizer, &messages)?,
                LossOn::Completion | LossOn::All => whole(chat(tokenizer, &messages)?),
            };
            after(&given, tokens, loss_on)
        }
    };
    // The first token has no prediction.
    let first = (1..ids.len()).find(|position| is_learned[*position]);
    let first = first.ok_or_else(|| match loss_on {
        LossOn::Assistant => tokenizer_problem(
            "the chat template's `{% generation %}` blocks write nothing to learn, expected what \
             the assistant says",
        ),
        LossOn::Completion | LossOn::All => {
            tokenizer_problem("an example has no token to learn, expected a completion")
        }
    })?;
    Ok(TrainingSample {
        loss_mask: is_learned[first..].to_vec(),
        ..TrainingSample::new(&ids[..first], &ids[first..])
    })
}

/// Ids, and whether each is learned.
type Tokens = (Vec<u32>, Vec<bool>);

fn whole(ids: Vec<u32>) -> Tokens {
    let is_learned = vec![true; ids.len()];
    (ids, is_learned)
}

/// `tokens` without loss on the prompt, whose ids alone are `given`, unless all are learned.
fn after(given: &[u32], (ids, mut is_learned): Tokens, loss_on: LossOn) -> Tokens {
    if loss_on != LossOn::All {
        is_learned[..shared_tokens(given, &ids)].fill(false);
    }
    (ids, is_learned)
}

fn marked(tokenizer: &Tokenizer, messages: &[Message]) -> Result<Tokens> {
    let chat = tokenizer.encode_chat_marked(messages, &ChatOptions::default())?;
    Ok((chat.ids, chat.is_assistant))
}

/// The ids of a whole conversation.
pub(super) fn chat(tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
    tokenizer.encode_chat(messages, &ChatOptions::default())
}

/// The ids of a conversation that the assistant is to continue.
pub(super) fn chat_prompt(tokenizer: &Tokenizer, prompt: &[Message]) -> Result<Vec<u32>> {
    let options = ChatOptions {
        add_generation_prompt: true,
        ..ChatOptions::default()
    };
    tokenizer.encode_chat(prompt, &options)
}

/// The ids of a text and its continuation, with the token that ends a text.
pub(super) fn continued_text(
    tokenizer: &Tokenizer,
    prompt: &str,
    completion: &str,
) -> Result<Vec<u32>> {
    let ids = tokenizer.encode(&format!("{prompt}{completion}"), true)?;
    Ok(ended(tokenizer, ids))
}

/// Tokens that both begin with.
pub(super) fn shared_tokens(one: &[u32], other: &[u32]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

/// An error about what the tokenizer made of an example.
pub(super) fn tokenizer_problem(problem: &str) -> Error {
    Error::Tokenizer {
        problem: problem.to_string(),
    }
}

fn ended(tokenizer: &Tokenizer, mut ids: Vec<u32>) -> Vec<u32> {
    let eos = tokenizer.eos_token_id();
    if ids.last().copied() != eos {
        ids.extend(eos);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    const TEMPLATE: &str = "\
{%- for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }};\
{% endgeneration %}{% else %}{{ m.content }};{% endif %}{% endfor %}\
{% if add_generation_prompt %}assistant:{% endif %}";

    /// Every byte is a token.
    fn tokenizer(template: &str) -> Tokenizer {
        let config = BpeConfig {
            vocabulary_size: 256 + 7,
            ..BpeConfig::default()
        };
        let tokenizer = train_byte_level_bpe(["a"].iter(), &config).unwrap();
        tokenizer.with_chat_template(template).unwrap()
    }

    /// The text of the learned tokens, with `_` for each that is not.
    fn learned(example: &Example, loss_on: LossOn) -> String {
        let tokenizer = tokenizer(TEMPLATE);
        let sample = supervised_sample(&tokenizer, example, loss_on).unwrap();
        let mut text = "_".repeat(sample.prompt_tokens);
        let completion = &sample.ids[sample.prompt_tokens..];
        for (id, is_learned) in completion.iter().zip(&sample.loss_mask) {
            match is_learned {
                true => text.push_str(&tokenizer.decode(&[*id], false).unwrap()),
                false => text.push('_'),
            }
        }
        text
    }

    fn turns() -> Vec<Message> {
        vec![
            Message::user("a"),
            Message::assistant("b"),
            Message::user("c"),
            Message::assistant("de"),
        ]
    }

    #[test]
    fn a_conversation_is_learned_whole_or_where_the_assistant_speaks() {
        let example = Example::Chat(turns());
        let all = "_ser:a;assistant:b;user:c;assistant:de;";
        assert_eq!(learned(&example, LossOn::Completion), all);
        assert_eq!(learned(&example, LossOn::All), all);
        let assistant = "_________________b;_________________de;";
        assert_eq!(learned(&example, LossOn::Assistant), assistant);
    }

    #[test]
    fn a_completion_is_learned_alone_or_with_its_prompt() {
        let (prompt, completion) = (turns()[..1].to_vec(), turns()[1..].to_vec());
        let example = Example::ChatCompletion { prompt, completion };
        assert_eq!(
            learned(&example, LossOn::Completion),
            "_________________b;user:c;assistant:de;"
        );
        assert_eq!(
            learned(&example, LossOn::Assistant),
            "_________________b;_________________de;"
        );
        assert_eq!(
            learned(&example, LossOn::All),
            "_ser:a;assistant:b;user:c;assistant:de;"
        );
        // The assistant of the prompt is not learned.
        let (prompt, completion) = (turns()[..3].to_vec(), turns()[3..].to_vec());
        let example = Example::ChatCompletion { prompt, completion };
        assert_eq!(
            learned(&example, LossOn::Assistant),
            "____________________________________de;"
        );
        let example = Example::TextCompletion {
            prompt: "ab".into(),
            completion: "cd".into(),
        };
        assert_eq!(learned(&example, LossOn::Completion), "__cd<|im_end|>");
        assert_eq!(learned(&example, LossOn::All), "_bcd<|im_end|>");
    }

    #[test]
    fn the_assistant_needs_messages_marks_and_a_turn() {
        let problem = |template: &str, example: &Example| {
            let sample = supervised_sample(&tokenizer(template), example, LossOn::Assistant);
            sample.unwrap_err().to_string()
        };
        let text = Example::Text("ab".into());
        assert!(problem(TEMPLATE, &text).contains("a text has no assistant"));
        let user = Example::Chat(vec![Message::user("a")]);
        assert!(problem(TEMPLATE, &user).contains("blocks write nothing to learn"));
        let unmarked = problem("{{ messages[0].content }}", &user);
        assert!(
            unmarked.contains("no `{% generation %}` block"),
            "{unmarked}"
        );
    }
}
