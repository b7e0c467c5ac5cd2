//! Settings of a GRPO stage.

use serde::{Deserialize, Serialize};

use super::loss::PolicyLossConfig;
use super::{Batching, OptimConfig};
use crate::data::PromptTemplate;
use crate::error::{Error, Result};
use crate::generation::SamplingParams;
use crate::rewards::RewardConfig;
use crate::rollout::{RewardAggregation, RewardScale};
use crate::tasks::TaskConfig;

/// Settings of a GRPO stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpoConfig {
    /// The stage's name; unset is `grpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Rollout steps. R1-Zero took 10,400.
    pub steps: usize,
    /// Problems a step. R1-Zero took 32.
    #[serde(default = "default_prompts")]
    pub prompts_per_step: usize,
    /// Completions of each problem, at least 2. R1-Zero took 16.
    #[serde(default = "default_group")]
    pub group_size: usize,
    /// How prompts are put to the model.
    #[serde(default)]
    pub template: PromptTemplate,
    /// Passes over each rollout.
    #[serde(default = "one")]
    pub inner_epochs: usize,
    /// Random parts that a rollout is split in, one optimiser step each. R1-Zero took 16.
    #[serde(default = "one")]
    pub mini_batches: usize,
    /// What divides the centred reward.
    #[serde(default)]
    pub scale_rewards: RewardScale,
    /// How several rewards become one.
    #[serde(default)]
    pub aggregation: RewardAggregation,
    /// Leaves completions that ran out of tokens out of the loss.
    #[serde(default)]
    pub mask_truncated: bool,
    /// Where problems come from.
    pub task: TaskConfig,
    /// What completions are graded by.
    pub rewards: Vec<RewardConfig>,
    /// How completions are sampled.
    #[serde(default)]
    pub sampling: SamplingParams,
    /// The loss.
    #[serde(default)]
    pub loss: PolicyLossConfig,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Micro-batches.
    #[serde(default)]
    pub batching: Batching,
}

fn default_prompts() -> usize {
    32
}

fn default_group() -> usize {
    16
}

fn one() -> usize {
    1
}

impl GrpoConfig {
    /// Checks the ranges; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let counts = [
            ("steps", self.steps, 1),
            ("prompts_per_step", self.prompts_per_step, 1),
            ("group_size", self.group_size, 2),
            ("inner_epochs", self.inner_epochs, 1),
            ("mini_batches", self.mini_batches, 1),
        ];
        for (name, value, least) in counts {
            if value < least {
                let problem = format!("is {value}, must be at least {least}");
                return Err(Error::setting(format!("{key}.{name}"), problem));
            }
        }
        if self.mini_batches > self.prompts_per_step * self.group_size {
            let problem = "more than there are completions in a step";
            return Err(Error::setting(format!("{key}.mini_batches"), problem));
        }
        if self.sampling.temperature == 0.0 {
            let problem = "is 0, a policy that samples greedily cannot learn from its samples";
            return Err(Error::setting(
                format!("{key}.sampling.temperature"),
                problem,
            ));
        }
        self.sampling.validate(&format!("{key}.sampling"))?;
        self.loss.validate(&format!("{key}.loss"))?;
        self.optim.validate(&format!("{key}.optim"))
    }

    /// Optimiser steps of the whole stage.
    pub(super) fn optimizer_steps(&self) -> usize {
        self.steps * self.inner_epochs * self.mini_batches
    }

    /// Whether the policy moves between a rollout and its last use.
    pub(super) fn reuses_rollouts(&self) -> bool {
        self.inner_epochs * self.mini_batches > 1
    }
}
