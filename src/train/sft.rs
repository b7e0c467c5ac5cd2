//! Supervised fine-tuning on JSON Lines examples.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::loss::SupervisedLossKind;
use super::supervised::{SupervisedPlan, Trained, train_supervised};
use super::{Batching, OptimConfig, StageContext, TrainingSample};
use crate::data::{EpochOrder, Example, read_examples};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::tokenizer::{ChatOptions, Message, Tokenizer};

/// Settings of an SFT stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// The stage's name; unset is `sft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The examples, JSON Lines.
    pub data: PathBuf,
    /// Passes over the examples. The paper takes 2 to 3.
    #[serde(default = "default_epochs")]
    pub epochs: usize,
    /// Examples a step. The paper takes 128.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Longest example in tokens; longer ones are cut.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// The loss.
    #[serde(default)]
    pub loss: SupervisedLossKind,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Micro-batches.
    #[serde(default)]
    pub batching: Batching,
}

fn default_epochs() -> usize {
    2
}

fn default_batch() -> usize {
    128
}

fn default_max_tokens() -> usize {
    1024
}

impl SftConfig {
    /// Checks the ranges; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let counts = [
            ("epochs", self.epochs, 1),
            ("batch", self.batch, 1),
            ("max_tokens", self.max_tokens, 2),
        ];
        match counts.into_iter().find(|(_, value, least)| value < least) {
            Some((name, _, least)) => {
                let problem = format!("must be at least {least}");
                Err(Error::setting(format!("{key}.{name}"), problem))
            }
            None => self.optim.validate(&format!("{key}.optim")),
        }
    }
}

/// Trains `decoder` on the examples of `config.data`.
///
/// # Errors
/// When the data is broken, a file cannot be written, the device fails or the user stops.
pub fn train_sft(
    context: StageContext<'_>,
    config: &SftConfig,
    tokenizer: &Tokenizer,
    decoder: Decoder,
) -> Result<Trained> {
    let longest = config
        .max_tokens
        .min(decoder.config().max_position_embeddings);
    let mut samples = Vec::new();
    for example in read_examples(&config.data)? {
        let mut sample = supervised_sample(tokenizer, &example)?;
        if sample.prompt_tokens < longest {
            sample.ids.truncate(longest);
            sample.loss_mask.truncate(longest - sample.prompt_tokens);
            samples.push(sample);
        }
    }
    let too_long = || Error::file(&config.data, "every prompt is longer than `max_tokens`");
    let order = EpochOrder::new(samples.len(), context.seed.named("order")).ok_or_else(too_long)?;
    let batch = config.batch.min(samples.len());
    let plan = SupervisedPlan {
        steps: (samples.len() * config.epochs).div_ceil(batch),
        loss: config.loss,
        optim: &config.optim,
        batching: config.batching,
    };
    train_supervised(context, decoder, plan, &mut |step| {
        let indices = order.indices((step * batch) as u64, batch);
        Ok(indices
            .into_iter()
            .map(|index| samples[index].clone())
            .collect())
    })
}

/// An example as token ids, with the loss on its completion, or on all of it when it has no prompt.
///
/// Texts that do not end with the end-of-text token get one, as in TRL.
///
/// # Errors
/// When the chat template refuses a conversation or an example has fewer than two tokens.
pub fn supervised_sample(tokenizer: &Tokenizer, example: &Example) -> Result<TrainingSample> {
    let (ids, prompt_tokens) = match example {
        Example::Text(text) => (ended(tokenizer, tokenizer.encode(text, true)?), 1),
        Example::Chat(messages) => (tokenizer.encode_chat(messages, &ChatOptions::default())?, 1),
        Example::TextCompletion { prompt, completion } => {
            let tokens = tokenizer.encode(prompt, true)?.len();
            let whole = tokenizer.encode(&format!("{prompt}{completion}"), true)?;
            (ended(tokenizer, whole), tokens)
        }
        Example::ChatCompletion { prompt, completion } => {
            let options = ChatOptions {
                add_generation_prompt: true,
                ..ChatOptions::default()
            };
            let tokens = tokenizer.encode_chat(prompt, &options)?.len();
            let all: Vec<Message> = prompt.iter().chain(completion).cloned().collect();
            (
                tokenizer.encode_chat(&all, &ChatOptions::default())?,
                tokens,
            )
        }
    };
    let prompt_tokens = prompt_tokens.max(1);
    if ids.len() <= prompt_tokens {
        let problem = "an example has no token to learn, expected a completion".to_string();
        return Err(Error::Tokenizer { problem });
    }
    Ok(TrainingSample::new(
        &ids[..prompt_tokens],
        &ids[prompt_tokens..],
    ))
}

fn ended(tokenizer: &Tokenizer, mut ids: Vec<u32>) -> Vec<u32> {
    let eos = tokenizer.eos_token_id();
    if ids.last().copied() != eos {
        ids.extend(eos);
    }
    ids
}
