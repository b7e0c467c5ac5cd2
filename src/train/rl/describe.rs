//! What is logged of a step.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Rl;
use super::collect::Collected;
use super::state::RlProgress;
use crate::error::Result;
use crate::files::JsonlAppender;
use crate::progress::Progress;
use crate::rollout::{Advantages, RewardStats, Rollout, SelfCheckStats};
use crate::train::StepRecord;

/// A step after its updates.
pub(super) struct StepOutcome<'a> {
    pub collected: &'a Collected,
    /// Of the completions that were trained on.
    pub advantages: &'a Advantages,
    pub progress: &'a RlProgress,
    /// Mean divergence a token that the rewards paid for.
    pub divergence: Option<f64>,
}

impl Rl<'_> {
    /// Sets the metrics of a step; returns tokens a second.
    pub(super) fn describe(&self, record: &mut StepRecord, outcome: &StepOutcome<'_>) -> f64 {
        let groups = &outcome.collected.groups;
        let rollouts: Vec<&Rollout> = groups.iter().flat_map(|group| &group.rollouts).collect();
        self.describe_rewards(record, &rollouts);
        self.describe_look(record, outcome.progress);
        record.set("zero_std_share", outcome.advantages.zero_std_fraction);
        if let Some(divergence) = outcome.divergence {
            record.set("kl_in_reward", divergence);
        }
        if self.config.dynamic_sampling.is_some() {
            record.set(
                "dropped_groups",
                groups.len() - outcome.collected.kept.len(),
            );
        }
        let count = rollouts.len().max(1) as f64;
        let tokens: usize = rollouts.iter().map(|rollout| rollout.tokens()).sum();
        let truncated = rollouts.iter().filter(|r| r.is_truncated()).count();
        record.set("completion_tokens", tokens as f64 / count);
        record.set("truncated", truncated as f64 / count);
        let checks = SelfCheckStats::of(rollouts.iter().map(|rollout| rollout.text.as_str()));
        record.set("self_checks", checks.mean);
        record.set("self_check_share", checks.share);
        let progress = outcome.progress;
        if let Some(stats) = &progress.policy_stats {
            record.set("loss", stats.loss);
            record.set("learning_rate", self.rate(progress.step, 0));
            record.set("grad_norm", stats.grad_norm);
            for (name, mean) in &stats.means {
                record.set(name, *mean);
            }
        }
        if let Some(stats) = &progress.critic_stats {
            record.set("value_loss", stats.loss);
            for (name, mean) in &stats.means {
                record.set(name, *mean);
            }
        }
        if let Some(control) = &progress.entropy {
            record.set("entropy_coef", control.coef());
        }
        record.finish(tokens)
    }

    fn describe_rewards(&self, record: &mut StepRecord, rollouts: &[&Rollout]) {
        let total: Vec<Option<f64>> = rollouts.iter().map(|r| r.graded.total).collect();
        let total = RewardStats::of(&total);
        record.set("reward", total.mean);
        record.set("reward_std", total.std);
        let scores: Vec<_> = rollouts.iter().map(|r| r.graded.scores()).collect();
        let mean = |(part, name): (usize, &str)| {
            let column: Vec<Option<f64>> = scores.iter().map(|scores| scores[part]).collect();
            (name.to_string(), json!(RewardStats::of(&column).mean))
        };
        let names = self.rubric.names().into_iter().enumerate();
        let means: Map<String, Value> = names.map(mean).collect();
        for name in ["accuracy", "format"] {
            record.set(name, means.get(name).cloned());
        }
        record.set("rewards", means);
        let errors: usize = rollouts.iter().map(|r| r.graded.errors.len()).sum();
        record.set("reward_errors", errors);
    }
}

/// Writes every completion with what it earned; one that is not trained on has no advantage.
pub(super) fn log_samples(
    log: &mut JsonlAppender,
    step: usize,
    collected: &Collected,
    advantages: &Advantages,
) -> Result<()> {
    let mut advantages = advantages.values.iter();
    for (prompt, group) in collected.groups.iter().enumerate() {
        let is_kept = collected.kept.contains(&prompt);
        for rollout in &group.rollouts {
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
                "advantage": if is_kept { advantages.next() } else { None },
            }))?;
        }
    }
    log.flush()
}

/// Moves the bar to `step`.
pub(super) fn show(bar: &mut Progress, step: usize, fields: &Map<String, Value>, speed: f64) {
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
pub(super) fn keep_last(totals: &mut BTreeMap<String, f64>, fields: &Map<String, Value>) {
    for (name, value) in fields {
        if let (Some(value), false) = (value.as_f64(), name == "step") {
            totals.insert(name.clone(), value);
        }
    }
}
