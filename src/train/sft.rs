//! Supervised fine-tuning on JSON Lines examples.

use serde::{Deserialize, Serialize};

use super::loss::{SupervisedLoss, SupervisedLossKind};
use super::supervised::{SupervisedPlan, Trained, train_supervised};
use super::{
    Batching, LossOn, OptimConfig, StageContext, TrainingSample, WorstCase, supervised_sample,
};
use crate::data::{DataFiles, EpochOrder, pack, read_examples, reads_stage};
use crate::error::{Error, Result};
use crate::model::{Decoder, LoraConfig};
use crate::tokenizer::Tokenizer;

/// Settings of an SFT stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// The stage's name; unset is `sft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The stage whose model is trained, or `model` for the run's first; unset is the nearest earlier
    /// stage that makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The examples, JSON Lines: one file, or several that are read one after another.
    pub data: DataFiles,
    /// Learns from so many examples, the first; unset learns from all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// Passes over the examples. The paper takes 2 to 3.
    #[serde(default = "default_epochs")]
    pub epochs: usize,
    /// Examples a step, or rows of examples with `packing`. The paper takes 128.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Longest example in tokens; longer ones are cut.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Which tokens are learned.
    #[serde(default)]
    pub loss_on: LossOn,
    /// Packs the examples into rows of at most `max_tokens`, by best fit decreasing, so that every
    /// step has about as many tokens. An example is never split and never sees another one: a row
    /// only says which examples share a step, which are fed sorted by length, with little padding.
    #[serde(default)]
    pub packing: bool,
    /// Trains a low-rank adapter in place of all weights; unset trains all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
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
            ("examples", self.examples.unwrap_or(usize::MAX), 1),
            ("epochs", self.epochs, 1),
            ("batch", self.batch, 1),
            ("max_tokens", self.max_tokens, 2),
        ];
        match counts.into_iter().find(|(_, value, least)| value < least) {
            Some((name, _, least)) => {
                let problem = format!("must be at least {least}");
                Err(Error::setting(format!("{key}.{name}"), problem))
            }
            None => {
                self.data.validate(&format!("{key}.data"))?;
                if let Some(lora) = &self.lora {
                    lora.validate(&format!("{key}.lora"))?;
                }
                self.optim.validate(&format!("{key}.optim"))
            }
        }
    }
}

impl SftConfig {
    /// The largest step on these samples.
    pub(super) fn worst_case(&self, samples: &[TrainingSample]) -> WorstCase {
        // A row holds no fewer tokens than the longest sample, and at most `max_tokens`.
        let sequences = match self.packing {
            true => {
                let tokens: usize = samples.iter().map(|sample| sample.ids.len()).sum();
                let mean = tokens.div_ceil(samples.len().max(1)).max(1);
                self.batch.saturating_mul(self.max_tokens.div_ceil(mean))
            }
            false => self.batch,
        };
        WorstCase::of(samples, sequences.min(samples.len()), 1)
    }

    /// The largest step on examples that a stage has yet to make, none longer than `longest`; none
    /// when all are there.
    pub(super) fn foretold(&self, longest: usize) -> Option<WorstCase> {
        reads_stage(&self.data).then(|| WorstCase::unseen(self.batch, 1, longest))
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
    let samples = read_samples(config, tokenizer, longest)?;
    let rows = match config.packing {
        true => {
            let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
            pack(&lengths, longest)
        }
        false => (0..samples.len()).map(|index| vec![index]).collect(),
    };
    let too_long = || {
        let problem = "every example begins to teach only after `max_tokens`";
        Error::file(config.data.first(), problem)
    };
    let order = EpochOrder::new(rows.len(), context.seed.named("order")).ok_or_else(too_long)?;
    let batch = config.batch.min(rows.len());
    let plan = SupervisedPlan {
        steps: (rows.len() * config.epochs).div_ceil(batch),
        objective: &SupervisedLoss { kind: config.loss },
        optim: &config.optim,
        batching: config.batching,
        worst: config.worst_case(&samples),
    };
    train_supervised(context, decoder, plan, &mut |step| {
        let indices = order.indices((step * batch) as u64, batch);
        let places = indices.into_iter().flat_map(|row| &rows[row]);
        Ok(places.map(|place| samples[*place].clone()).collect())
    })
}

/// The first `config.examples`, cut to `longest` tokens; those that have none to learn then are left out.
pub(super) fn read_samples(
    config: &SftConfig,
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Vec<TrainingSample>> {
    let mut samples = Vec::new();
    let mut left = config.examples.unwrap_or(usize::MAX);
    for path in config.data.paths() {
        for (index, example) in read_examples(path)?.iter().take(left).enumerate() {
            left -= 1;
            let sample = supervised_sample(tokenizer, example, config.loss_on);
            let blame = |error| Error::file(path, format!("example {}: {error}", index + 1));
            let mut sample = sample.map_err(blame)?;
            if sample.prompt_tokens < longest {
                sample.ids.truncate(longest);
                sample.loss_mask.truncate(longest - sample.prompt_tokens);
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    const TEMPLATE: &str = "\
{%- for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }};\
{% endgeneration %}{% else %}{{ m.content }};{% endif %}{% endfor %}";

    const DATA: &str = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "defgh"}]}
{"messages": [{"role": "user", "content": "a question that takes all the room"}, {"role": "assistant", "content": "b"}]}
"#;

    #[test]
    fn a_cut_conversation_is_learned_in_its_turns_and_one_without_any_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("chats.jsonl");
        std::fs::write(&data, DATA).unwrap();
        // Every byte is a token.
        let vocabulary = BpeConfig {
            vocabulary_size: 256 + 7,
            ..BpeConfig::default()
        };
        let tokenizer = train_byte_level_bpe(["a"].iter(), &vocabulary).unwrap();
        let tokenizer = tokenizer.with_chat_template(TEMPLATE).unwrap();
        let text = format!("data = '{}'\nloss_on = 'assistant'", data.display());
        let config: SftConfig = toml::from_str(&text).unwrap();
        let samples = read_samples(&config, &tokenizer, 39).unwrap();
        assert_eq!(samples.len(), 1);
        // `user:a;assistant:` is 17 tokens, `b;` 2 and `user:c;assistant:` 17: three are left.
        assert_eq!((samples[0].ids.len(), samples[0].prompt_tokens), (39, 17));
        let learned: Vec<bool> = [vec![true; 2], vec![false; 17], vec![true; 3]].concat();
        assert_eq!(samples[0].loss_mask, learned);
    }

    #[test]
    fn the_first_examples_of_all_files_are_learned() {
        let folder = tempfile::tempdir().unwrap();
        let texts = |name: &str, lines: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, lines).unwrap();
            path.display().to_string()
        };
        let first = texts("first.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"abc\"}\n");
        let second = texts(
            "second.jsonl",
            "{\"text\": \"abcd\"}\n{\"text\": \"abcde\"}\n",
        );
        // Every byte is a token.
        let vocabulary = BpeConfig {
            vocabulary_size: 256 + 7,
            ..BpeConfig::default()
        };
        let tokenizer = train_byte_level_bpe(["a"].iter(), &vocabulary).unwrap();
        let learned = |setting: &str| {
            let text = format!("data = ['{first}', '{second}']\nloss_on = 'all'\n{setting}");
            let config: SftConfig = toml::from_str(&text).unwrap();
            config.validate("stage.sft").unwrap();
            read_samples(&config, &tokenizer, 39).unwrap().len()
        };
        assert_eq!(learned(""), 4);
        assert_eq!(learned("examples = 3"), 3);
        assert_eq!(learned("examples = 9"), 4);
    }

    #[test]
    fn an_example_that_cannot_be_learned_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("texts.jsonl");
        std::fs::write(&data, "{\"text\": \"ab\"}\n").unwrap();
        let tokenizer = train_byte_level_bpe(["a"].iter(), &BpeConfig::default()).unwrap();
        let text = format!("data = '{}'\nloss_on = 'assistant'", data.display());
        let config: SftConfig = toml::from_str(&text).unwrap();
        let error = read_samples(&config, &tokenizer, 9)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("texts.jsonl: example 1: tokenizer: a text has no"),
            "{error}"
        );
    }
}
