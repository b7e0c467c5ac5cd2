//! Looks at held-out problems between steps, for the watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Rl;
use super::config::RlConfig;
use super::state::{Actors, RlProgress};
use super::watch::{Answers, Watch, WatchConfig};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::generation::Engine;
use crate::rewards::{Accuracy, RewardConfig, Rubric};
use crate::rollout::{RewardStats, Rollout, RolloutGroup, Rollouter, held_out};
use crate::tasks::Task;
use crate::train::StepRecord;

/// Whom and what a look asks.
pub(super) struct Watcher {
    config: WatchConfig,
    /// Held-out problems, the same at each look.
    problems: Vec<Problem>,
    /// Right or wrong, by the task's verifier.
    rubric: Rubric,
}

impl Watcher {
    /// The watcher of a stage, if it has one; `key` names the setting in messages.
    ///
    /// # Errors
    /// When the task has no held-out problems that can be judged.
    pub(super) fn new(config: &RlConfig, task: &Arc<dyn Task>, key: &str) -> Result<Option<Self>> {
        let Some(watch) = config.watch else {
            return Ok(None);
        };
        let problems = held_out(task.as_ref(), watch.problems);
        if problems.iter().all(|problem| problem.answer.is_null()) {
            let problem =
                "the task has no held-out problems with an answer, name a file of them as `test`";
            return Err(Error::setting(key, problem));
        }
        let mut sources = config
            .rewards
            .iter()
            .filter_map(RewardConfig::answer_source);
        let accuracy = Accuracy::new(sources.next().unwrap_or_default(), Some(task.clone()));
        Ok(Some(Self {
            config: watch,
            problems,
            rubric: Rubric::default().with(1.0, accuracy)?,
        }))
    }
}

impl Rl<'_> {
    /// Looks at held-out problems if it is time to, and says what it finds. Inside a step, which
    /// `is_inside` says, the look was before: the policy has moved on.
    pub(super) fn look(
        &self,
        actors: &Actors,
        progress: &mut RlProgress,
        is_inside: bool,
    ) -> Result<()> {
        let step = progress.step + 1;
        let Some(watcher) = &self.watcher else {
            return Ok(());
        };
        if is_inside || !progress.watch.is_due(&watcher.config, step) {
            return Ok(());
        }
        let started = Instant::now();
        while progress.watch.look_before(step).is_none() {
            self.ask_held_out(watcher, actors, progress)?;
            self.context
                .rest(|| self.save(actors.parts(), progress, None))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        tracing::debug!(step, seconds, "looked at held-out problems");
        Ok(())
    }

    /// Takes the policy's answers to the next problems of the look, with the same draws at each look and
    /// no more at once than in a rollout.
    fn ask_held_out(
        &self,
        watcher: &Watcher,
        actors: &Actors,
        progress: &mut RlProgress,
    ) -> Result<()> {
        let samples = watcher.config.samples;
        let rollouter = Rollouter {
            tokenizer: self.tokenizer,
            template: self.config.template,
            rubric: &watcher.rubric,
            group_size: samples,
        };
        let decoder = actors.policy.decoder().frozen();
        let engine = Engine::new(&decoder, self.eos_ids.clone(), self.context.workers);
        let mut look = progress.watch.begin(progress.step + 1);
        let first = look.answers.len();
        let together = (self.config.completions_together() / samples).max(1);
        let last = watcher.problems.len().min(first + together);
        let problems = &watcher.problems[first.min(last)..last];
        let requests = rollouter.requests(problems, first, self.context.seed.named("watch"))?;
        let sampling = &self.config.sampling;
        let asked = rollouter.ask(&engine, sampling, problems, &requests, &|_| ())?;
        for group in rollouter.groups(problems, &requests, asked.rollouts) {
            look.errors += group.rollouts.iter().map(errors).sum::<usize>();
            look.answers.push(answers(&group));
        }
        if look.answers.len() < watcher.problems.len() {
            progress.watch.leave_open(look);
            return Ok(());
        }
        for hacking in progress.watch.take(look, watcher.config.patience) {
            tracing::warn!("{}: {hacking}", self.context.name);
        }
        Ok(())
    }

    /// Takes what the step's completions earned.
    pub(super) fn note_reward(&self, progress: &mut RlProgress, groups: &[RolloutGroup]) {
        let rollouts = groups.iter().flat_map(|group| &group.rollouts);
        let totals: Vec<Option<f64>> = rollouts.map(|rollout| rollout.graded.total).collect();
        let counting = self.rubric.counting(progress.step + 1);
        let reward = RewardStats::of(&totals).mean;
        progress.watch.note_reward(reward, counting);
    }

    /// Sets the metrics of the look before the step, if there was one.
    pub(super) fn describe_look(&self, record: &mut StepRecord, progress: &RlProgress) {
        let Some(watcher) = &self.watcher else {
            return;
        };
        let Some(look) = progress.watch.look_before(progress.step + 1) else {
            return;
        };
        record.set("held_out_pass_at_1", look.pass_at_1(None));
        for part in look.parts() {
            let name = format!("held_out_pass_at_1/{part}");
            record.set(&name, look.pass_at_1(Some(&part)));
        }
        record.set("held_out_errors", look.errors);
        let hacked = progress.watch.is_hacked(watcher.config.patience);
        record.set("hacked", u8::from(hacked));
    }
}

/// Adds what the watch says of the whole stage to its figures.
pub(super) fn summarize(watch: &Watch, figures: &mut BTreeMap<String, f64>) {
    if let Some((step, pass_at_1)) = watch.best() {
        figures.insert("watch_best_step".into(), step as f64);
        figures.insert("watch_best_pass_at_1".into(), pass_at_1);
        figures.insert("hacked".into(), f64::from(u8::from(watch.was_hacked())));
    }
}

fn answers(group: &RolloutGroup) -> Answers {
    let verdicts = group.rollouts.iter().filter_map(|r| r.graded.total);
    let verdicts: Vec<f64> = verdicts.collect();
    Answers {
        part: group.problem.part.clone(),
        right: verdicts.iter().filter(|verdict| **verdict > 0.0).count(),
        judged: verdicts.len(),
    }
}

fn errors(rollout: &Rollout) -> usize {
    rollout.graded.errors.len()
}
