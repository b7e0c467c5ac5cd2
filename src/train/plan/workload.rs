//! What a stage does, as far as memory depends on it.

use std::collections::HashSet;

use super::activations::SliceShape;
use super::sizes::numbers;
use super::{Machine, Sizes, WorstCase};
use crate::error::Result;
use crate::generation::{MAX_ROWS, SamplingParams};
use crate::model::{LoraConfig, ModelConfig};
use crate::rewards::RewardConfig;
use crate::rollout::{EvalConfig, PROBLEMS_AT_ONCE};
use crate::tasks::{Split, Task};
use crate::tokenizer::Tokenizer;
use crate::train::dpo::read_pairs;
use crate::train::sft::read_samples;
use crate::train::{
    Batching, DpoConfig, OptimConfig, Prepared, PretrainConfig, RewardModelConfig, RlConfig,
    SftConfig, TrainingSample, reward_samples,
};

/// Problems of a task whose prompts are measured.
const PROMPTS_MEASURED: usize = 512;

/// Bytes of a sample in memory beside its tokens.
const SAMPLE_BYTES: usize = 300;

/// What a stage does.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// The model that is trained.
    pub model: &'a ModelConfig,
    /// The adapter that is trained in place of its weights.
    pub lora: Option<&'a LoraConfig>,
    /// The optimiser.
    pub optim: &'a OptimConfig,
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
            rows: prompts,
            columns: self.prompt_tokens,
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
        let samples = read_samples(self, tokenizer, longest)?;
        let worst = self.worst_case(&samples);
        Ok(Workload {
            lora: self.lora.as_ref(),
            data_bytes: data_bytes(&samples),
            ..Workload::of(model, &self.optim, self.batching, worst)
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
        let samples = read_pairs(self, tokenizer, longest)?.concat();
        let worst = self.worst_case(&samples);
        Ok(Workload {
            lora: self.lora.as_ref(),
            has_reference: true,
            is_scored: true,
            data_bytes: data_bytes(&samples),
            ..Workload::of(model, &self.optim, self.batching, worst)
        })
    }
}

impl RewardModelConfig {
    /// What the stage does to a model with a score.
    ///
    /// # Errors
    /// When the data is broken.
    pub fn workload<'a>(
        &'a self,
        model: &'a ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Workload<'a>> {
        let longest = self.longest(model.max_position_embeddings);
        let samples = reward_samples(self, tokenizer, longest)?;
        let worst = self.worst_case(&samples);
        Ok(Workload {
            is_scored: self.held_out > 0.0,
            data_bytes: data_bytes(&samples),
            ..Workload::of(model, &self.optim, self.batching, worst)
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
        let task = self.task.build()?;
        let prompts = self.prompt_tokens(tokenizer, task.as_ref())?;
        let positions = model.max_position_embeddings;
        let rollouts = |rows, group, sampling: &SamplingParams| Rollouts {
            rows,
            group,
            prompt_tokens: prompts.longest,
            completion_tokens: sampling.max_completion_tokens.min(positions),
        };
        let held_out = task.size(Split::Test).unwrap_or(eval.problems);
        let problems = held_out.min(eval.problems).min(PROBLEMS_AT_ONCE);
        let together = self.groups_per_batch().min(self.prompts_per_step) * self.group_size;
        let worst = self.worst_case(prompts, positions);
        Ok(Workload {
            lora: self.lora.as_ref(),
            critic,
            reward_model_weights: self.reward_model_weights(model),
            has_reference: self.needs_reference(),
            mixes_reference: self.needs_reference()
                && self.reference.update_every > 0
                && self.reference.mix < 1.0,
            is_scored: self.needs_reference() || self.needs_old_logprobs() || critic.is_some(),
            rollouts: Some(rollouts(together, self.group_size, &self.sampling)),
            evaluation: Some(rollouts(
                problems * eval.samples,
                eval.samples,
                &eval.sampling,
            )),
            ..Workload::of(model, &self.optim, self.batching, worst)
        })
    }

    /// Numbers of the weights of all reward models; one that is not there yet is taken to be as large
    /// as `model`.
    fn reward_model_weights(&self, model: &ModelConfig) -> usize {
        let weights = |config: &ModelConfig| -> usize {
            let shapes = config.parameter_shapes().into_iter();
            shapes.map(|(_, shape)| numbers(&shape)).sum()
        };
        let rewards = self.rewards.iter().filter_map(|reward| match reward {
            RewardConfig::RewardModel(config) => Some(&config.model),
            _ => None,
        });
        rewards
            .map(|folder| {
                ModelConfig::load(folder).map_or_else(|_| weights(model), |c| weights(&c))
            })
            .sum()
    }

    /// Lengths of the prompts of the first problems.
    ///
    /// # Errors
    /// When a prompt cannot be encoded.
    pub(in crate::train) fn prompt_tokens(
        &self,
        tokenizer: &Tokenizer,
        task: &dyn Task,
    ) -> Result<PromptTokens> {
        let count = task.size(Split::Train).unwrap_or(PROMPTS_MEASURED);
        let mut lengths = HashSet::new();
        for index in 0..count.min(PROMPTS_MEASURED) as u64 {
            let problem = task.problem(Split::Train, index);
            lengths.insert(self.template.encode(tokenizer, &problem.prompt)?.len());
        }
        Ok(PromptTokens {
            shortest: lengths.iter().copied().min().unwrap_or(1).max(1),
            longest: lengths.iter().copied().max().unwrap_or(1).max(1),
        })
    }
}

/// Lengths of prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::train) struct PromptTokens {
    /// Tokens of the shortest.
    pub shortest: usize,
    /// Tokens of the longest.
    pub longest: usize,
}

impl<'a> Workload<'a> {
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
            optim,
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
        }
    }
}

fn data_bytes(samples: &[TrainingSample]) -> usize {
    let tokens: usize = samples.iter().map(|sample| sample.ids.len()).sum();
    // An id and whether it is learned.
    5 * tokens + SAMPLE_BYTES * samples.len()
}
