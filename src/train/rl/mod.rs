//! Reinforcement learning: sample completions of a problem, grade them, and make the better ones
//! likelier.
//!
//! Group-relative policy optimisation (GRPO, arXiv:2402.03300; DeepSeek-R1, arXiv:2501.12948) and its
//! kin compare the completions of a problem with each other; PPO (arXiv:1707.06347) compares each
//! with what a critic expected. All else is one loop. A stage can rest between any two batches of
//! completions, micro-batches and optimiser steps, and goes on from there bit by bit.

mod collect;
mod config;
mod critic;
mod describe;
mod first_seen;
mod journal;
mod learn;
mod look;
mod reference;
mod rehearsal;
mod samples;
mod state;
mod watch;

pub use config::RlConfig;
pub use critic::CriticConfig;
pub use reference::ReferenceConfig;
pub use watch::WatchConfig;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use self::describe::{StepOutcome, keep_last, log_samples, show};
use self::first_seen::FirstSeen;
use self::look::{Watcher, summarize};
use self::state::{Restored, RlProgress};
use super::loss::PolicyLoss;
use super::supervised::Trained;
use super::{StageContext, StepRecord};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::rewards::{RewardContext, Rubric};
use crate::rollout::{Curriculum, RolloutGroup};
use crate::seed::Seed;
use crate::tasks::Task;
use crate::tokenizer::Tokenizer;

/// A stage at work.
struct Rl<'a> {
    context: StageContext<'a>,
    config: &'a RlConfig,
    critic: Option<CriticConfig>,
    tokenizer: &'a Tokenizer,
    eos_ids: Vec<u32>,
    task: Arc<dyn Task>,
    rubric: Rubric,
    watcher: Option<Watcher>,
    objective: PolicyLoss,
}

/// Trains `policy` without a critic; the reference, if there is one, is the policy as it came.
///
/// # Errors
/// When a setting is wrong, a file cannot be written, the device fails or the user stops.
pub fn train_grpo(
    context: StageContext<'_>,
    config: &RlConfig,
    tokenizer: &Tokenizer,
    eos_ids: Vec<u32>,
    policy: Decoder,
) -> Result<Trained> {
    Rl::new(context, config, None, tokenizer, eos_ids)?.train(policy)
}

/// Trains `policy` with a critic that starts as it.
///
/// # Errors
/// As [`train_grpo`].
pub fn train_ppo(
    context: StageContext<'_>,
    config: &RlConfig,
    tokenizer: &Tokenizer,
    eos_ids: Vec<u32>,
    policy: Decoder,
) -> Result<Trained> {
    let critic = config.critic.clone().unwrap_or_default();
    Rl::new(context, config, Some(critic), tokenizer, eos_ids)?.train(policy)
}

impl<'a> Rl<'a> {
    fn new(
        context: StageContext<'a>,
        config: &'a RlConfig,
        critic: Option<CriticConfig>,
        tokenizer: &'a Tokenizer,
        eos_ids: Vec<u32>,
    ) -> Result<Self> {
        let task: Arc<dyn Task> = Arc::from(config.task.build()?);
        let scorers = context.reward_models();
        let needed = RewardContext {
            verifier: Some(task.clone()),
            scorers: Some(&scorers),
            folder: Some(context.folder),
        };
        let mut rubric = Rubric::build(&config.rewards, &needed)?;
        for added in context.rewards {
            rubric = rubric.with(added.weight, added.reward.clone())?;
        }
        if let Some(curriculum) = &config.curriculum
            && !rubric.names().contains(&curriculum.reward.as_str())
        {
            let names = rubric.names().join("`, `");
            let problem = format!("no reward is called so, expected one of `{names}`");
            let key = format!("stage.{}.curriculum.reward", context.name);
            return Err(Error::setting(key, problem));
        }
        let watcher = Watcher::new(config, &task, &format!("stage.{}.watch", context.name))?;
        Ok(Self {
            context,
            config,
            critic,
            tokenizer,
            eos_ids,
            task,
            rubric,
            watcher,
            objective: PolicyLoss::new(
                config.loss.clone(),
                config.sampling.temperature,
                config.sampling.max_completion_tokens,
            ),
        })
    }

    fn train(&self, policy: Decoder) -> Result<Trained> {
        let (context, steps) = (self.context, self.config.steps);
        let Restored {
            mut actors,
            mut progress,
            mut samples,
        } = self.restore(policy)?;
        if progress.step < steps {
            self.rehearse(&actors)?;
        }
        let mut metrics = context.log("metrics.jsonl", progress.step)?;
        let mut samples_log = context.log("samples.jsonl", progress.step)?;
        let mut first_seen = FirstSeen::open(context.folder, progress.step)?;
        let mut bar = context
            .screen
            .begin(context.name, progress.step as u64, steps as u64);
        let mut totals = BTreeMap::new();
        while progress.step < steps {
            let step = progress.step + 1;
            self.look(&actors, &mut progress, samples.is_some())?;
            let mut record = StepRecord::begin(context.name, step);
            let collected = self.collect(&actors, &progress, samples.is_some())?;
            record.lap("rollout_seconds");
            let waited = collected.grading_wait.as_secs_f64();
            record.set("grading_wait_seconds", waited);
            let mut samples = match samples.take() {
                Some(samples) => samples,
                None => self.score(&actors, &collected)?,
            };
            let advantages = self.assign(&actors, &collected, &mut samples);
            log_samples(&mut samples_log, step, &collected, &advantages)?;
            first_seen.note(step, &collected.groups)?;
            self.learn(&mut actors, &mut progress, &samples)?;
            record.lap("learn_seconds");
            let outcome = StepOutcome {
                collected: &collected,
                advantages: &advantages,
                progress: &progress,
                divergence: self.mean_divergence(&samples),
            };
            let speed = self.describe(&mut record, &outcome);
            metrics.append(record.fields())?;
            metrics.flush()?;
            self.observe(&mut progress, &collected.groups)?;
            self.note_reward(&mut progress, &collected.groups);
            progress.advance(collected.next_problem);
            if let Some(reference) = &mut actors.reference {
                reference.follow(actors.policy.decoder(), step);
            }
            if context.is_save_due(step, steps) {
                self.save(actors.parts(), &progress, None)?;
            }
            show(&mut bar, step, record.fields(), speed);
            keep_last(&mut totals, record.fields());
        }
        summarize(&progress.watch, &mut totals);
        Ok(Trained {
            decoder: actors.policy.decoder().clone(),
            metrics: totals,
        })
    }

    /// Takes the step's groups into the curriculum's pass rates.
    fn observe(&self, progress: &mut RlProgress, groups: &[RolloutGroup]) -> Result<()> {
        let Some(config) = &self.config.curriculum else {
            return Ok(());
        };
        let mut curriculum = Curriculum::new(config.clone(), progress.pass_rates.clone());
        for group in groups {
            curriculum.observe(group)?;
        }
        progress.pass_rates = curriculum.pass_rates().clone();
        Ok(())
    }

    fn step_seed(&self, step: usize) -> Seed {
        self.context.seed.child(step as u64)
    }

    /// The folder of what was generated for the step at hand.
    fn journals(&self) -> PathBuf {
        self.context.folder.join("rollouts")
    }
}
