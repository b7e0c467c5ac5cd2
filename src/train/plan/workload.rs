//! What a stage does, as far as memory depends on it.

use super::activations::SliceShape;
use super::asked::Asked;
use super::sizes::numbers;
use super::{Machine, Sizes, WorstCase};
use crate::error::Result;
use crate::generation::MAX_ROWS;
use crate::model::{LoraConfig, ModelConfig};
use crate::rewards::{RewardConfig, RewardKind};
use crate::rollout::EvalConfig;
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;
use crate::train::dpo::read_pairs;
use crate::train::layout::Extent;
use crate::train::sft::read_samples;
use crate::train::{
    Batching, DpoConfig, OptimConfig, Prepared, PretrainConfig, RewardModelConfig, RlConfig,
    SampleConfig, SftConfig, TrainingSample, reward_samples,
};

/// Bytes of a sample in memory beside its tokens.
const SAMPLE_BYTES: usize = 300;

/// Said of data that another stage makes.
const UNSEEN_DATA: &str =
    "the data is made by another stage: foretold from `batch` and `max_tokens`";

/// What a stage does.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// The model that is trained.
    pub model: &'a ModelConfig,
    /// The adapter that is trained in place of its weights.
    pub lora: Option<&'a LoraConfig>,
    /// The optimiser; none where nothing is learned.
    pub optim: Option<&'a OptimConfig>,
    /// The critic's, if there is one.
    pub critic: Option<&'a OptimConfig>,
    /// Micro-batches.
    pub batching: Batching,
    /// The largest step.
    pub worst: WorstCase,
    /// Numbers of the weights of all reward models.
    pub reward_model_weights: usize,
    /// Whether a reference is scored.
    pub has_reference: bool,
    /// Whether the reference is moved by a share of the policy.
    pub mixes_reference: bool,
    /// Whether samples are scored without learning.
    pub is_scored: bool,
    /// Completions that are made to learn from.
    pub rollouts: Option<Rollouts>,
    /// Completions that are made to evaluate.
    pub evaluation: Option<Rollouts>,
    /// Bytes of a number in the files that the weights are read from; 0 if they are made.
    pub stored_bytes: usize,
    /// Bytes of the data in memory.
    pub data_bytes: usize,
    /// What could not be looked at and what was taken in its place.
    pub notes: Vec<String>,
}

/// Completions that are made together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollouts {
    /// Completions.
    pub rows: usize,
    /// Completions of each prompt.
    pub group: usize,
    /// Tokens of the longest prompt.
    pub prompt_tokens: usize,
    /// Most tokens of a completion.
    pub completion_tokens: usize,
}

/// What generation holds, in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generating {
    /// Keys and values.
    pub cache: usize,
    /// All else.
    pub passing: usize,
}

impl Rollouts {
    /// What all workers hold together.
    pub(super) fn in_flight(&self, sizes: &Sizes, machine: Machine) -> Generating {
        let workers = if machine.is_cpu { machine.workers } else { 1 };
        let share = self.rows.div_ceil(workers).max(1);
        let busy = self.rows.div_ceil(share);
        let rows = share.min(MAX_ROWS);
        let prompts = rows.div_ceil(self.group.max(1)).min(rows);
        let layer = 2 * sizes.keys * (self.prompt_tokens + self.completion_tokens);
        // While a prompt's cache is handed to its rows, one buffer is there twice.
        let cache = layer * (sizes.blocks * rows) + layer * rows / 2;
        let prefill = SliceShape {
            extent: Extent::whole(prompts, self.prompt_tokens),
            trained: 0,
        };
        let logits = 3 * rows * sizes.vocabulary;
        let passing = sizes.passing_block(prefill).max(logits);
        Generating {
            cache: busy * cache,
            passing: busy * passing,
        }
    }
}

impl PretrainConfig {
    /// What the stage does with what [`Prepared`] holds.
    pub fn workload<'a>(&'a self, prepared: &'a Prepared) -> Workload<'a> {
        let worst = self.worst_case(prepared.longest);
        Workload::of(&prepared.model, &self.optim, self.batching, worst)
    }
}

impl SftConfig {
    /// What the stage does to a model.
    ///
    /// # Errors
    /// When the data is broken.
    pub fn workload<'a>(
        &'a self,
        model: &'a ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Workload<'a>> {
        let longest = self.max_tokens.min(model.max_position_embeddings);
        let samples = Samples {
            foretold: self.foretold(longest),
            read: || read_samples(self, tokenizer, longest),
            worst: |samples: &[TrainingSample]| self.worst_case(samples),
        };
        Ok(Workload {
            lora: self.lora.as_ref(),
            ..Workload::over(samples, model, &self.optim, self.batching)?
        })
    }
}

impl DpoConfig {
    /// What the stage does to a model.
    ///
    /// # Errors
    /// When the data is broken.
    pub fn workload<'a>(
        &'a self,
        model: &'a ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Workload<'a>> {
        let longest = self.max_tokens.min(model.max_position_embeddings);
        let samples = Samples {
            foretold: self.foretold(longest),
            read: || Ok(read_pairs(self, tokenizer, longest)?.concat()),
            worst: |samples: &[TrainingSample]| self.worst_case(samples),
        };
        Ok(Workload {
            lora: self.lora.as_ref(),
            has_reference: true,
            is_scored: true,
            ..Workload::over(samples, model, &self.optim, self.batching)?
        })
    }
}

impl RewardModelConfig {
    /// What the stage does to a model with a score; `seed` is the stage's.
    ///
    /// # Errors
    /// When the data is broken.
    pub fn workload<'a>(
        &'a self,
        model: &'a ModelConfig,
        tokenizer: &Tokenizer,
        seed: Seed,
    ) -> Result<Workload<'a>> {
        let longest = self.longest(model.max_position_embeddings);
        let samples = Samples {
            foretold: self.foretold(longest),
            read: || reward_samples(self, tokenizer, longest, seed),
            worst: |samples: &[TrainingSample]| self.worst_case(samples),
        };
        Ok(Workload {
            is_scored: self.held_out > 0.0,
            ..Workload::over(samples, model, &self.optim, self.batching)?
        })
    }
}

impl RlConfig {
    /// What a `grpo` stage does to a model, or a `ppo` stage if it `has_critic`, and how the model
    /// is evaluated around it.
    ///
    /// # Errors
    /// When the task cannot be made or a prompt cannot be encoded.
    pub fn workload<'a>(
        &'a self,
        model: &'a ModelConfig,
        tokenizer: &Tokenizer,
        critic: Option<&'a OptimConfig>,
        eval: &EvalConfig,
    ) -> Result<Workload<'a>> {
        let positions = model.max_position_embeddings;
        let asked = Asked::of(
            &self.task,
            self.template,
            &self.sampling,
            positions,
            tokenizer,
        )?;
        let prompts = asked.prompts;
        let together = self.completions_together();
        let worst = self.worst_case(prompts, positions);
        Ok(Workload {
            lora: self.lora.as_ref(),
            critic,
            reward_model_weights: reward_model_weights(&self.rewards, model),
            has_reference: self.needs_reference(),
            mixes_reference: self.needs_reference()
                && self.reference.update_every > 0
                && self.reference.mix < 1.0,
            is_scored: self.needs_reference() || self.needs_old_logprobs() || critic.is_some(),
            rollouts: Some(asked.rollouts(together, self.group_size, &self.sampling, positions)),
            evaluation: Some(asked.evaluation(eval, positions)),
            notes: asked.notes,
            ..Workload::of(model, &self.optim, self.batching, worst)
        })
    }
}

impl SampleConfig {
    /// What the stage does with a model, and how models are evaluated by its task if they are after
    /// each stage.
    ///
    /// # Errors
    /// When the task cannot be made or a prompt cannot be encoded.
    pub fn workload<'a>(
        &'a self,
        model: &'a ModelConfig,
        tokenizer: &Tokenizer,
        eval: &EvalConfig,
    ) -> Result<Workload<'a>> {
        let positions = model.max_position_embeddings;
        let asked = Asked::of(
            &self.task,
            self.template,
            &self.sampling,
            positions,
            tokenizer,
        )?;
        let together = self.completions_per_batch();
        Ok(Workload {
            model,
            lora: None,
            optim: None,
            critic: None,
            reward_model_weights: reward_model_weights(&self.rewards, model),
            batching: Batching::default(),
            worst: WorstCase {
                prompt_tokens: asked.prompts.shortest,
                ..WorstCase::unseen(0, 1, asked.prompts.longest)
            },
            has_reference: false,
            mixes_reference: false,
            is_scored: false,
            rollouts: Some(asked.rollouts(together, self.samples, &self.sampling, positions)),
            evaluation: eval
                .evaluates_stages()
                .then(|| asked.evaluation(eval, positions)),
            stored_bytes: 0,
            data_bytes: 0,
            notes: asked.notes,
        })
    }
}

/// Numbers of the weights of all reward models; one that is not there yet is taken to be as large
/// as `model`.
fn reward_model_weights(rewards: &[RewardConfig], model: &ModelConfig) -> usize {
    let weights = |config: &ModelConfig| -> usize {
        let shapes = config.parameter_shapes().into_iter();
        shapes.map(|(_, shape)| numbers(&shape)).sum()
    };
    let models = rewards.iter().filter_map(|reward| match &reward.kind {
        RewardKind::RewardModel(config) => Some(&config.model),
        _ => None,
    });
    models
        .map(|folder| ModelConfig::load(folder).map_or_else(|_| weights(model), |c| weights(&c)))
        .sum()
}

/// The samples of a stage that reads them from files.
struct Samples<R, W> {
    /// The largest step, where an earlier stage has yet to make the files.
    foretold: Option<WorstCase>,
    /// Reads them.
    read: R,
    /// The largest step on them.
    worst: W,
}

impl<'a> Workload<'a> {
    /// A stage over `samples`.
    ///
    /// # Errors
    /// When they cannot be read.
    fn over(
        samples: Samples<
            impl FnOnce() -> Result<Vec<TrainingSample>>,
            impl FnOnce(&[TrainingSample]) -> WorstCase,
        >,
        model: &'a ModelConfig,
        optim: &'a OptimConfig,
        batching: Batching,
    ) -> Result<Self> {
        if let Some(worst) = samples.foretold {
            return Ok(Self {
                notes: vec![UNSEEN_DATA.to_owned()],
                ..Self::of(model, optim, batching, worst)
            });
        }
        let read = (samples.read)()?;
        let worst = (samples.worst)(&read);
        Ok(Self {
            data_bytes: data_bytes(&read),
            ..Self::of(model, optim, batching, worst)
        })
    }

    /// A stage that only learns, all weights, from files of f32 if it reads any.
    pub(super) fn of(
        model: &'a ModelConfig,
        optim: &'a OptimConfig,
        batching: Batching,
        worst: WorstCase,
    ) -> Self {
        Self {
            model,
            lora: None,
            optim: Some(optim),
            critic: None,
            reward_model_weights: 0,
            batching,
            worst,
            has_reference: false,
            mixes_reference: false,
            is_scored: false,
            rollouts: None,
            evaluation: None,
            stored_bytes: 0,
            data_bytes: 0,
            notes: Vec::new(),
        }
    }
}

fn data_bytes(samples: &[TrainingSample]) -> usize {
    let tokens: usize = samples.iter().map(|sample| sample.ids.len()).sum();
    // An id and whether it is learned.
    5 * tokens + SAMPLE_BYTES * samples.len()
}
