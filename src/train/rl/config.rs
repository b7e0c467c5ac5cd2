//! Settings of a reinforcement-learning stage: GRPO and its kin, and PPO.

use serde::{Deserialize, Serialize};

use super::critic::CriticConfig;
use super::reference::ReferenceConfig;
use super::watch::WatchConfig;
use crate::data::PromptTemplate;
use crate::error::{Error, Result};
use crate::generation::SamplingParams;
use crate::model::LoraConfig;
use crate::rewards::{RewardConfig, RewardContext, Rubric};
use crate::rollout::{AdvantageEstimator, CurriculumConfig, DynamicSampling, KlPenalty};
use crate::tasks::TaskConfig;
use crate::train::loss::PolicyLossConfig;
use crate::train::plan::PromptTokens;
use crate::train::{Batching, OptimConfig, SamplerCorrection, WorstCase};

/// Settings of a `grpo` or `ppo` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// The stage's name; unset is its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The stage whose model is trained, or `model` for the run's first; unset is the nearest earlier
    /// stage that makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Rollout steps. R1-Zero took 10,400.
    pub steps: usize,
    /// Problems a step. R1-Zero took 32.
    #[serde(default = "default_prompts")]
    pub prompts_per_step: usize,
    /// Completions of each problem: at least 2 where they are compared with each other. R1-Zero
    /// took 16.
    #[serde(default = "default_group")]
    pub group_size: usize,
    /// Completions generated together; 0 takes all of a step. What is generated is kept on disk, so
    /// that an interrupted rollout goes on between two such batches.
    #[serde(default)]
    pub rollout_batch: usize,
    /// How prompts are put to the model.
    #[serde(default)]
    pub template: PromptTemplate,
    /// Passes over each rollout.
    #[serde(default = "one")]
    pub inner_epochs: usize,
    /// Random parts that a rollout is split in, one optimiser step each. R1-Zero took 16.
    #[serde(default = "one")]
    pub mini_batches: usize,
    /// What rewards are compared with; a critic's values take its place in PPO.
    #[serde(default)]
    pub advantage: AdvantageEstimator,
    /// Divergence from the reference that is subtracted from the reward; unset is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_in_reward: Option<KlPenalty>,
    /// How the reference follows the policy.
    #[serde(default)]
    pub reference: ReferenceConfig,
    /// Drops groups that teach nothing and asks for others (DAPO); unset keeps them, as TRL does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_sampling: Option<DynamicSampling>,
    /// Prefers problems that are solved about half of the time; unset takes them as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<CurriculumConfig>,
    /// Looks at held-out problems every so many steps, and says so when the reward rises while their
    /// accuracy falls; unset does not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchConfig>,
    /// Corrects for a sampler whose probabilities differ from the trainer's; unset does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler_correction: Option<SamplerCorrection>,
    /// Leaves completions that ran out of tokens out of the loss (DAPO's overlong filter).
    #[serde(default)]
    pub mask_truncated: bool,
    /// The critic of a `ppo` stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<CriticConfig>,
    /// Trains a low-rank adapter in place of all weights; unset trains all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
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

/// Most rollout steps.
const MOST_STEPS: usize = 1 << 32;

/// Most of anything else that is counted.
const MOST: usize = 1 << 15;

fn default_prompts() -> usize {
    32
}

fn default_group() -> usize {
    16
}

fn one() -> usize {
    1
}

impl RlConfig {
    /// Checks the settings of a `grpo` stage; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value that is wrong.
    pub fn validate_grpo(&self, key: &str) -> Result<()> {
        if self.critic.is_some() {
            let problem = "only a `ppo` stage has a critic";
            return Err(Error::setting(format!("{key}.critic"), problem));
        }
        let compares = !matches!(self.advantage, AdvantageEstimator::ReinforcePlusPlus { .. });
        self.validate(key, if compares { 2 } else { 1 })
    }

    /// Checks the settings of a `ppo` stage; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value that is wrong.
    pub fn validate_ppo(&self, key: &str) -> Result<()> {
        if self.advantage != AdvantageEstimator::default() {
            let problem = "has no place in a `ppo` stage, whose critic gives the advantages";
            return Err(Error::setting(format!("{key}.advantage"), problem));
        }
        if let Some(critic) = &self.critic {
            critic.validate(&format!("{key}.critic"))?;
        }
        self.validate(key, 1)
    }

    fn validate(&self, key: &str, least_group: usize) -> Result<()> {
        let setting = |name: &str, problem: String| {
            let key = format!("{key}.{name}");
            Err(Error::setting(key, problem))
        };
        let counts = [
            ("steps", self.steps, 1, MOST_STEPS),
            ("prompts_per_step", self.prompts_per_step, 1, MOST),
            ("group_size", self.group_size, least_group, MOST),
            ("inner_epochs", self.inner_epochs, 1, MOST),
            ("mini_batches", self.mini_batches, 1, MOST),
        ];
        for (name, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                return setting(name, format!("is {value}, expected {least} to {most}"));
            }
        }
        if self.mini_batches > self.prompts_per_step * self.group_size {
            return setting(
                "mini_batches",
                "more than there are completions in a step".into(),
            );
        }
        if self.sampling.temperature as f32 == 0.0 {
            let problem = "is 0, a policy that samples greedily cannot learn from its samples";
            return setting("sampling.temperature", problem.into());
        }
        if let Some((name, problem)) = self.contradiction() {
            return setting(name, problem.into());
        }
        self.validate_parts(key)
    }

    /// A setting that another one leaves without meaning.
    fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let moves = self.reference.update_every > 0;
        let rules = [
            (
                moves && self.lora.is_some(),
                "reference.update_every",
                "the reference of an adapter is the model without it, which stays",
            ),
            (
                moves && !self.needs_reference(),
                "reference.update_every",
                "nothing is compared with a reference; set `loss.kl_coef` or `kl_in_reward`",
            ),
            (
                !moves && self.reference.mix != ReferenceConfig::default().mix,
                "reference.mix",
                "means nothing while `update_every` is 0",
            ),
            (
                self.dynamic_sampling.is_some() && self.group_size < 2,
                "dynamic_sampling",
                "drops every group of one completion, wants a `group_size` of at least 2",
            ),
            (
                self.sampler_correction.is_some() && self.sampling.filters(),
                "sampler_correction",
                "would take top-p, top-k, min-p or the repetition penalty for a sampler's error",
            ),
            (
                self.loss.off_policy_threshold.is_some() && self.sampling.filters(),
                "loss.off_policy_threshold",
                "would take top-p, top-k, min-p or the repetition penalty for a moved policy",
            ),
            (
                self.critic
                    .as_ref()
                    .is_some_and(|critic| critic.warmup_steps >= self.steps),
                "critic.warmup_steps",
                "leaves the policy no step",
            ),
        ];
        let broken = rules.into_iter().find(|(is_broken, ..)| *is_broken);
        broken.map(|(_, name, problem)| (name, problem))
    }

    fn validate_parts(&self, key: &str) -> Result<()> {
        let key = |name: &str| format!("{key}.{name}");
        let inside = |error: Error| error.inside(&key(""));
        Rubric::build(&self.rewards, &RewardContext::default()).map_err(inside)?;
        for reward in &self.rewards {
            reward.validate_parts(&self.task).map_err(inside)?;
            let steps = Some(self.steps);
            reward.validate_steps(steps).map_err(inside)?;
        }
        self.sampling.validate(&key("sampling"))?;
        self.loss.validate(&key("loss"))?;
        self.optim.validate(&key("optim"))?;
        self.advantage.validate(&key("advantage"))?;
        self.reference.validate(&key("reference"))?;
        if let Some(penalty) = &self.kl_in_reward {
            penalty.validate(&key("kl_in_reward"))?;
        }
        if let Some(sampling) = &self.dynamic_sampling {
            sampling.validate(&key("dynamic_sampling"))?;
        }
        if let Some(curriculum) = &self.curriculum {
            curriculum.validate(&key("curriculum"))?;
        }
        if let Some(watch) = &self.watch {
            watch.validate(&key("watch"))?;
        }
        if let Some(correction) = &self.sampler_correction {
            correction.validate(&key("sampler_correction"), self.loss.kind)?;
        }
        match &self.lora {
            Some(lora) => lora.validate(&key("lora")),
            None => Ok(()),
        }
    }

    /// Problems whose completions are generated together.
    pub(in crate::train) fn groups_per_batch(&self) -> usize {
        match self.rollout_batch {
            0 => self.prompts_per_step,
            batch => (batch / self.group_size).max(1),
        }
    }

    /// Completions that are generated together, at most; those of a held-out problem always are.
    pub(in crate::train) fn completions_together(&self) -> usize {
        let groups = self.groups_per_batch().min(self.prompts_per_step);
        let of_a_look = self.watch.map_or(0, |watch| watch.samples);
        (groups * self.group_size).max(of_a_look)
    }

    /// The largest optimiser step, of a model with room for so many positions.
    pub(in crate::train) fn worst_case(
        &self,
        prompts: PromptTokens,
        positions: usize,
    ) -> WorstCase {
        let completions = self.prompts_per_step * self.group_size;
        let longest = prompts.longest + self.sampling.max_completion_tokens;
        WorstCase {
            sequences: completions.div_ceil(self.mini_batches),
            together: 1,
            longest: longest.min(positions),
            shortest: prompts.shortest + 1,
            prompt_tokens: prompts.shortest,
            group: self.group_size,
            longest_prompt: prompts.longest,
        }
    }

    /// Optimiser steps of one rollout.
    pub(super) fn updates_per_step(&self) -> usize {
        self.inner_epochs * self.mini_batches
    }

    /// The divergence that is subtracted from the reward, if there is one.
    pub(super) fn kl_penalty(&self) -> Option<KlPenalty> {
        self.kl_in_reward.filter(|penalty| penalty.coef != 0.0)
    }

    /// Whether something is compared with the policy's log-probabilities before its updates.
    pub(in crate::train) fn needs_old_logprobs(&self) -> bool {
        self.updates_per_step() > 1
            || self.sampler_correction.is_some()
            || self.kl_penalty().is_some()
    }

    /// Whether something is compared with a reference model.
    pub(in crate::train) fn needs_reference(&self) -> bool {
        self.loss.kl_coef != 0.0 || self.kl_penalty().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &str) -> RlConfig {
        let task = "task = { kind = \"countdown\" }";
        let text = format!("{task}\nprompts_per_step = 3\ngroup_size = 4\n{settings}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_reward_that_would_never_count_is_named() {
        let late = "rewards = [{ kind = \"accuracy\", name = \"late\", from_step = 4 }]";
        let check = |steps: usize| {
            let config = config(&format!("steps = {steps}\n{late}"));
            config.validate_grpo("stage.grpo")
        };
        check(4).unwrap();
        assert_eq!(
            check(3).unwrap_err().to_string(),
            "`stage.grpo.rewards.late.from_step`: is 4, expected 0 to 3"
        );
    }

    #[test]
    fn settings_of_the_watch_are_checked_and_its_samples_counted() {
        let with = |settings: &str| {
            let rewards = "steps = 1\nrewards = [{ kind = \"format\" }]";
            config(&format!("{rewards}\n{settings}"))
        };
        let error = with("watch = { every = 0 }").validate_grpo("stage.grpo");
        assert_eq!(
            error.unwrap_err().to_string(),
            "`stage.grpo.watch.every`: is 0, expected 1 to 32768"
        );
        let together = |settings: &str| with(settings).completions_together();
        assert_eq!(together(""), 12);
        assert_eq!(together("watch = {}"), 12);
        assert_eq!(together("watch = { samples = 16 }"), 16);
        assert_eq!(together("rollout_batch = 8"), 8);
    }
}
