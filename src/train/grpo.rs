//! Group-relative policy optimisation (GRPO, arXiv:2402.03300; DeepSeek-R1, arXiv:2501.12948):
//! sample a group of completions a problem, grade them, and make the better ones likelier.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};

use super::loss::PolicyLoss;
use super::supervised::Trained;
use super::{GrpoConfig, Learner, SavedState, StageContext, StepRecord, StepStats, TrainingSample};
use crate::error::Result;
use crate::files::JsonlAppender;
use crate::generation::Engine;
use crate::model::Decoder;
use crate::progress::Progress;
use crate::rewards::Rubric;
use crate::rollout::{Advantages, Rollout, RolloutGroup, Rollouter, group_advantages};
use crate::seed::Seed;
use crate::tasks::{Split, Task};
use crate::tokenizer::Tokenizer;

/// A GRPO stage at work.
struct Grpo<'a> {
    context: StageContext<'a>,
    config: &'a GrpoConfig,
    tokenizer: &'a Tokenizer,
    eos_ids: Vec<u32>,
    task: Arc<dyn Task>,
    rubric: Rubric,
    reference: Option<Decoder>,
    objective: PolicyLoss,
}

/// Trains `policy`; the reference, if the loss needs one, is the policy as it came.
///
/// # Errors
/// When a setting is wrong, a file cannot be written, the device fails or the user stops.
pub fn train_grpo(
    context: StageContext<'_>,
    config: &GrpoConfig,
    tokenizer: &Tokenizer,
    eos_ids: Vec<u32>,
    policy: Decoder,
) -> Result<Trained> {
    let task: Arc<dyn Task> = Arc::from(config.task.build()?);
    let mut rubric = Rubric::build(&config.rewards, Some(task.clone()))?;
    for added in context.rewards {
        rubric = rubric.with(added.weight, added.reward.clone())?;
    }
    let grpo = Grpo {
        context,
        config,
        tokenizer,
        eos_ids,
        rubric,
        task,
        reference: (config.loss.kl_coef != 0.0).then(|| policy.clone()),
        objective: PolicyLoss {
            config: config.loss.clone(),
            temperature: config.sampling.temperature,
            max_completion_tokens: config.sampling.max_completion_tokens,
        },
    };
    grpo.train(policy)
}

impl Grpo<'_> {
    fn train(&self, policy: Decoder) -> Result<Trained> {
        let (context, config) = (self.context, self.config);
        let saved = context.saved(&policy)?;
        let done = saved.as_ref().map_or(0, |state| state.step);
        let mut learner = Learner::restore(saved, policy, config.optim.clone(), config.batching);
        let mut metrics = context.log("metrics.jsonl", done)?;
        let mut samples_log = context.log("samples.jsonl", done)?;
        let mut bar = context
            .screen
            .begin(context.name, done as u64, config.steps as u64);
        let mut totals = BTreeMap::new();
        for step in done..config.steps {
            let mut record = StepRecord::begin(context.name, step + 1);
            let groups = self.roll_out(&learner, step)?;
            record.lap("rollout_seconds");
            let advantages = self.advantages(&groups);
            log_samples(&mut samples_log, step + 1, &groups, &advantages)?;
            let samples = self.training_samples(&learner, &groups, &advantages)?;
            let stats = self.learn(&mut learner, samples, step)?;
            record.lap("learn_seconds");
            self.describe(&mut record, &groups, &advantages, &stats, step);
            let speed = record.finish(
                groups
                    .iter()
                    .flat_map(|g| &g.rollouts)
                    .map(Rollout::tokens)
                    .sum(),
            );
            metrics.append(record.fields())?;
            metrics.flush()?;
            if context.is_save_due(step + 1, config.steps) {
                SavedState::save(&context.states(), &learner, step + 1)?;
            }
            show(&mut bar, step + 1, record.fields(), speed);
            keep_last(&mut totals, record.fields());
            context.check_stop()?;
        }
        Ok(Trained {
            decoder: learner.decoder().clone(),
            metrics: totals,
        })
    }

    /// Samples a group of completions of each of the step's problems and grades them.
    fn roll_out(&self, learner: &Learner, step: usize) -> Result<Vec<RolloutGroup>> {
        let config = self.config;
        let first = step as u64 * config.prompts_per_step as u64;
        let indices = first..first + config.prompts_per_step as u64;
        let problems = indices.map(|index| self.task.problem(Split::Train, index));
        let rollouter = Rollouter {
            tokenizer: self.tokenizer,
            template: config.template,
            sampling: &config.sampling,
            rubric: &self.rubric,
        };
        let engine = Engine::new(
            learner.decoder(),
            self.eos_ids.clone(),
            self.context.workers,
        );
        let seed = self.step_seed(step).named("rollout");
        rollouter.roll_out(
            &engine,
            problems.collect(),
            config.group_size,
            seed,
            &|_| (),
        )
    }

    fn advantages(&self, groups: &[RolloutGroup]) -> Advantages {
        let rollouts = groups.iter().flat_map(|group| &group.rollouts);
        let rewards: Vec<_> = rollouts.map(|rollout| rollout.graded.scores()).collect();
        group_advantages(
            &rewards,
            &self.rubric.weights(),
            self.config.group_size,
            self.config.scale_rewards,
            self.config.aggregation,
        )
    }

    /// The rollouts as the learner takes them, with the log-probabilities the loss compares with.
    fn training_samples(
        &self,
        learner: &Learner,
        groups: &[RolloutGroup],
        advantages: &Advantages,
    ) -> Result<Vec<TrainingSample>> {
        let rollouts = groups
            .iter()
            .flat_map(|group| group.rollouts.iter().map(move |rollout| (group, rollout)));
        let sample = |((group, rollout), advantage): ((&RolloutGroup, &Rollout), &f32)| {
            let masked = self.config.mask_truncated && rollout.is_truncated();
            TrainingSample {
                loss_mask: vec![!masked; rollout.tokens()],
                advantages: vec![*advantage; rollout.tokens()],
                sampler_logprobs: rollout.completion.logprobs.clone(),
                ..TrainingSample::new(&group.prompt, &rollout.completion.ids)
            }
        };
        let mut samples: Vec<_> = rollouts.zip(&advantages.values).map(sample).collect();
        let (temperature, workers) = (self.objective.temperature, self.context.workers);
        let batching = self.config.batching;
        if self.config.reuses_rollouts() {
            let old = batching.score(learner.decoder(), &samples, temperature, workers)?;
            for (sample, old) in samples.iter_mut().zip(old) {
                sample.old_logprobs = old;
            }
        }
        if let Some(reference) = &self.reference {
            let logprobs = batching.score(reference, &samples, temperature, workers)?;
            for (sample, logprobs) in samples.iter_mut().zip(logprobs) {
                sample.ref_logprobs = logprobs;
            }
        }
        Ok(samples)
    }

    /// Takes the step's optimiser steps; returns the statistics of the first, where the policy is
    /// still the one that sampled.
    fn learn(
        &self,
        learner: &mut Learner,
        mut samples: Vec<TrainingSample>,
        step: usize,
    ) -> Result<StepStats> {
        let config = self.config;
        let size = samples.len().div_ceil(config.mini_batches);
        let mut first = None;
        let mut taken = step * config.inner_epochs * config.mini_batches;
        for epoch in 0..config.inner_epochs {
            if config.mini_batches > 1 {
                let seed = self.step_seed(step).named("shuffle").child(epoch as u64);
                samples.shuffle(&mut seed.rng());
            }
            for mini_batch in samples.chunks(size) {
                let rate = config.optim.rate(taken, config.optimizer_steps());
                let workers = self.context.workers;
                let stats = learner.train_on(mini_batch, &self.objective, rate, workers)?;
                first.get_or_insert(stats);
                taken += 1;
            }
        }
        Ok(first.unwrap_or_default())
    }

    fn step_seed(&self, step: usize) -> Seed {
        self.context.seed.child(step as u64)
    }

    fn describe(
        &self,
        record: &mut StepRecord,
        groups: &[RolloutGroup],
        advantages: &Advantages,
        stats: &StepStats,
        step: usize,
    ) {
        let rollouts: Vec<&Rollout> = groups.iter().flat_map(|group| &group.rollouts).collect();
        let count = rollouts.len() as f64;
        let share = |holds: fn(&Rollout) -> bool| {
            rollouts.iter().filter(|r| holds(r)).count() as f64 / count
        };
        record.set("reward", advantages.total.mean);
        record.set("reward_std", advantages.total.std);
        let names = self.rubric.names();
        let means: Map<String, Value> = names
            .iter()
            .zip(&advantages.parts)
            .map(|(name, part)| (name.to_string(), json!(part.mean)))
            .collect();
        for name in ["accuracy", "format"] {
            record.set(name, means.get(name).cloned());
        }
        record.set("rewards", means);
        record.set("zero_std_share", advantages.zero_std_fraction);
        let tokens: usize = rollouts.iter().map(|rollout| rollout.tokens()).sum();
        record.set("completion_tokens", tokens as f64 / count);
        record.set("truncated", share(Rollout::is_truncated));
        let errors: usize = rollouts.iter().map(|r| r.graded.errors.len()).sum();
        record.set("reward_errors", errors);
        record.set("loss", stats.loss);
        record.set("grad_norm", stats.grad_norm);
        for (name, mean) in &stats.means {
            record.set(name, *mean);
        }
        let optimizer_step = step * self.config.inner_epochs * self.config.mini_batches;
        let rate = self
            .config
            .optim
            .rate(optimizer_step, self.config.optimizer_steps());
        record.set("learning_rate", rate);
    }
}

/// Writes every completion with what it earned.
fn log_samples(
    log: &mut JsonlAppender,
    step: usize,
    groups: &[RolloutGroup],
    advantages: &Advantages,
) -> Result<()> {
    let rollouts = groups
        .iter()
        .enumerate()
        .flat_map(|(prompt, group)| group.rollouts.iter().map(move |r| (prompt, group, r)));
    for ((prompt, group, rollout), advantage) in rollouts.zip(&advantages.values) {
        let parts = rollout.graded.parts.iter();
        let parts: Map<String, Value> = parts
            .map(|part| (part.name.clone(), json!(part.score)))
            .collect();
        log.append(&json!({
            "step": step,
            "prompt_index": prompt,
            "prompt": group.problem.prompt,
            "answer": group.problem.answer,
            "completion": rollout.text,
            "tokens": rollout.tokens(),
            "finish": rollout.completion.finish,
            "reward": rollout.graded.total,
            "rewards": parts,
            "errors": rollout.graded.errors,
            "advantage": advantage,
        }))?;
    }
    log.flush()
}

fn show(bar: &mut Progress, step: usize, fields: &Map<String, Value>, speed: f64) {
    let number = |name: &str| fields.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    bar.set(
        step as u64,
        format!(
            "reward {:.3} · {:.0} tokens · {speed:.0} tokens/s",
            number("reward"),
            number("completion_tokens"),
        ),
    );
}

/// Remembers the newest value of each number.
fn keep_last(totals: &mut BTreeMap<String, f64>, fields: &Map<String, Value>) {
    for (name, value) in fields {
        if let (Some(value), false) = (value.as_f64(), name == "step") {
            totals.insert(name.clone(), value);
        }
    }
}
