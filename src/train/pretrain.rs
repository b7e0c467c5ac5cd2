//! Pretraining: a model from nothing, on the traces of a task.

use std::sync::Arc;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::loss::SupervisedLoss;
use super::supervised::{SupervisedPlan, Trained, train_supervised};
use super::{Batching, OptimConfig, StageContext, TrainingSample, WorstCase};
use crate::data::Prompt;
use crate::error::{Error, Result};
use crate::model::{Decoder, Family, ModelConfig};
use crate::seed::Seed;
use crate::tasks::{Split, Task, TaskConfig};
use crate::tokenizer::{BpeConfig, Tokenizer, train_byte_level_bpe};

/// Documents that the tokenizer is trained on.
const TOKENIZER_DOCUMENTS: u64 = 2_000;

/// Batches whose documents are sorted by length together, so that a batch's rows are of a kind.
const BATCHES_SORTED_TOGETHER: usize = 16;

/// Settings of a pretraining stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// The stage's name; unset is `pretrain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Optimiser steps.
    pub steps: usize,
    /// Documents a step.
    pub batch: usize,
    /// The model's shape.
    pub model: NewModelConfig,
    /// The tokenizer, trained on the first documents.
    #[serde(default)]
    pub tokenizer: BpeConfig,
    /// Whose problems and traces the documents are.
    pub task: TaskConfig,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Micro-batches.
    #[serde(default)]
    pub batching: Batching,
}

/// The shape of a model made from nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewModelConfig {
    /// Family, which decides biases and norms.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the feed-forward block.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of fresh matrices; the narrower the model, the larger it should be.
    pub initializer_range: f64,
}

impl Default for NewModelConfig {
    fn default() -> Self {
        Self {
            family: Family::Qwen2,
            hidden_size: 96,
            intermediate_size: 192,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            max_position_embeddings: 512,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            initializer_range: 0.02,
        }
    }
}

impl NewModelConfig {
    fn model_config(&self, tokenizer: &Tokenizer) -> Result<ModelConfig> {
        let mut config = ModelConfig::of_family(self.family);
        config.vocab_size = tokenizer.vocabulary_size();
        config.hidden_size = self.hidden_size;
        config.intermediate_size = self.intermediate_size;
        config.num_hidden_layers = self.layers;
        config.num_attention_heads = self.heads;
        config.num_key_value_heads = self.kv_heads;
        config.head_dim = self.hidden_size / self.heads.max(1);
        config.max_position_embeddings = self.max_position_embeddings;
        config.rope.theta = self.rope_theta;
        config.tie_word_embeddings = self.tie_word_embeddings;
        config.bos_token_id = tokenizer.bos_token_id();
        config.eos_token_ids = tokenizer.eos_token_id().into_iter().collect();
        config.pad_token_id = tokenizer.pad_token_id();
        config.validate()?;
        Ok(config)
    }
}

impl PretrainConfig {
    /// Checks the ranges; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        for (name, value) in [("steps", self.steps), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::setting(
                    format!("{key}.{name}"),
                    "must be at least 1",
                ));
            }
        }
        if !(self.model.initializer_range.is_finite() && self.model.initializer_range > 0.0) {
            let problem = "must be above 0";
            return Err(Error::setting(
                format!("{key}.model.initializer_range"),
                problem,
            ));
        }
        self.tokenizer.validate()?;
        self.optim.validate(&format!("{key}.optim"))
    }
}

/// Trains a tokenizer and a model from nothing.
///
/// # Errors
/// When a setting is wrong, a file cannot be written, the device fails or the user stops.
pub fn pretrain(
    context: StageContext<'_>,
    config: &PretrainConfig,
) -> Result<(Tokenizer, Trained)> {
    let prepared = config.prepare(context.seed)?;
    let (model, tokenizer) = (prepared.model.clone(), &prepared.tokenizer);
    let deviation = config.model.initializer_range;
    let decoder = Decoder::random(
        model,
        deviation,
        context.seed.named("weights"),
        context.device,
    );
    let decoder = decoder.with_precision(context.precision)?;
    let plan = SupervisedPlan {
        steps: config.steps,
        objective: &SupervisedLoss::default(),
        optim: &config.optim,
        batching: config.batching,
        worst: config.worst_case(prepared.longest),
    };
    let mut sorted = SortedBatches {
        documents: &prepared.documents,
        tokenizer,
        batch: config.batch,
        longest: config.model.max_position_embeddings,
        part: None,
        batches: Vec::new(),
    };
    let trained = train_supervised(context, decoder, plan, &mut |step| sorted.batch(step))?;
    Ok((prepared.tokenizer, trained))
}

/// What a pretraining stage trains on, and the model's shape.
pub struct Prepared {
    /// The tokenizer, trained on the first documents.
    pub tokenizer: Tokenizer,
    /// The model's shape.
    pub model: ModelConfig,
    /// Tokens of the longest of the first documents.
    pub(super) longest: usize,
    documents: Documents,
}

impl PretrainConfig {
    /// Trains the tokenizer; `seed` is the stage's.
    ///
    /// # Errors
    /// When a setting is wrong or the task cannot make documents.
    pub fn prepare(&self, seed: Seed) -> Result<Prepared> {
        let documents = Documents {
            task: Arc::from(self.task.build()?),
            seed: seed.named("documents"),
        };
        let texts: Result<Vec<String>> = (0..TOKENIZER_DOCUMENTS)
            .map(|index| documents.text(index))
            .collect();
        let texts = texts?;
        let tokenizer = train_byte_level_bpe(texts.iter(), &self.tokenizer)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = tokenizer.encode_batch(&texts, true)?;
        // The end-of-text token follows.
        let longest = encoded.iter().map(|ids| ids.len() + 1).max();
        let longest = longest.unwrap_or(2);
        Ok(Prepared {
            model: self.model.model_config(&tokenizer)?,
            longest: longest.min(self.model.max_position_embeddings),
            tokenizer,
            documents,
        })
    }

    /// The largest step, if no document is longer than `longest` tokens.
    pub(super) fn worst_case(&self, longest: usize) -> WorstCase {
        WorstCase {
            sequences: self.batch,
            together: 1,
            longest,
            shortest: 2,
            prompt_tokens: 1,
            group: 1,
            longest_prompt: 1,
        }
    }
}

/// The documents: a problem and a trace of it, one after the other.
struct Documents {
    task: Arc<dyn Task>,
    seed: Seed,
}

impl Documents {
    fn text(&self, index: u64) -> Result<String> {
        let problem = self.task.problem(Split::Train, index);
        let mut rng = self.seed.child(index).rng();
        let trace = self.task.trace(&problem, &mut rng)?;
        match problem.prompt {
            Prompt::Text(prompt) => Ok(prompt + &trace),
            Prompt::Messages(_) => {
                let problem = "asks in messages, expected a task that asks in plain text";
                Err(Error::setting("task", problem))
            }
        }
    }
}

/// Batches of documents of like length, made part by part.
struct SortedBatches<'a> {
    documents: &'a Documents,
    tokenizer: &'a Tokenizer,
    batch: usize,
    longest: usize,
    part: Option<usize>,
    batches: Vec<Vec<TrainingSample>>,
}

impl SortedBatches<'_> {
    /// The batch of `step`, a function of the step alone.
    fn batch(&mut self, step: usize) -> Result<Vec<TrainingSample>> {
        let part = step / BATCHES_SORTED_TOGETHER;
        if self.part != Some(part) {
            self.batches = self.make(part)?;
            self.part = Some(part);
        }
        Ok(self.batches[step % BATCHES_SORTED_TOGETHER].clone())
    }

    fn make(&self, part: usize) -> Result<Vec<Vec<TrainingSample>>> {
        let count = (self.batch * BATCHES_SORTED_TOGETHER) as u64;
        let first = part as u64 * count;
        let mut samples = Vec::with_capacity(count as usize);
        for index in first..first + count {
            let mut ids = self.tokenizer.encode(&self.documents.text(index)?, true)?;
            ids.extend(self.tokenizer.eos_token_id());
            ids.truncate(self.longest);
            samples.push(TrainingSample::new(&ids[..1], &ids[1..]));
        }
        samples.sort_by_key(|sample| sample.ids.len());
        let mut batches: Vec<_> = samples.chunks(self.batch).map(<[_]>::to_vec).collect();
        let seed = self.documents.seed.named("batches").child(part as u64);
        batches.shuffle(&mut seed.rng());
        Ok(batches)
    }
}
