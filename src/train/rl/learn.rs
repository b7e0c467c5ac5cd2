//! The optimiser steps of a rollout, and where they can rest.

use rand::seq::SliceRandom;

use super::Rl;
use super::state::{Actors, Parts, RlProgress};
use crate::error::Result;
use crate::train::{Learner, TrainingSample};

impl Rl<'_> {
    /// Takes the optimiser steps that are left of the step at hand.
    pub(super) fn learn(
        &self,
        actors: &mut Actors,
        progress: &mut RlProgress,
        samples: &[TrainingSample],
    ) -> Result<()> {
        while progress.update < self.config.updates_per_step() {
            let mini_batch = self.mini_batch(progress, samples);
            if actors.critic.is_some() && progress.critic_update == progress.update {
                self.update_critic(actors, progress, samples, &mini_batch)?;
            }
            if !self.is_warming_up(actors, progress) {
                self.update_policy(actors, progress, samples, &mini_batch)?;
            }
            progress.update += 1;
            self.context
                .rest(|| self.save(actors.parts(), progress, Some(samples)))?;
        }
        Ok(())
    }

    /// The samples of the optimiser step at hand: each pass over the rollout is split at random.
    fn mini_batch(&self, progress: &RlProgress, samples: &[TrainingSample]) -> Vec<TrainingSample> {
        let mini_batches = self.config.mini_batches;
        let (epoch, part) = (
            progress.update / mini_batches,
            progress.update % mini_batches,
        );
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if mini_batches > 1 {
            let seed = self.step_seed(progress.step).named("shuffle");
            order.shuffle(&mut seed.child(epoch as u64).rng());
        }
        let start = |part: usize| part * samples.len() / mini_batches;
        let places = &order[start(part)..start(part + 1)];
        places.iter().map(|&place| samples[place].clone()).collect()
    }

    fn update_policy(
        &self,
        actors: &mut Actors,
        progress: &mut RlProgress,
        samples: &[TrainingSample],
        mini_batch: &[TrainingSample],
    ) -> Result<()> {
        let mut objective = self.objective.clone();
        if let Some(control) = &progress.entropy {
            objective.entropy_coef = control.coef();
        }
        let Actors {
            policy,
            critic,
            reference,
        } = actors;
        let mut rest = |policy: &Learner| {
            let parts = Parts {
                policy,
                critic: critic.as_ref().map(|critic| &critic.learner),
                reference: reference.as_ref(),
            };
            self.context
                .rest(|| self.save(parts, progress, Some(samples)))
        };
        let rate = self.rate(progress.step, progress.update);
        let workers = self.context.workers;
        let stats = policy.train_on(mini_batch, &objective, rate, workers, &mut rest)?;
        if let Some(control) = &mut progress.entropy {
            control.observe(&stats);
        }
        progress.policy_stats.get_or_insert(stats);
        Ok(())
    }

    fn update_critic(
        &self,
        actors: &mut Actors,
        progress: &mut RlProgress,
        samples: &[TrainingSample],
        mini_batch: &[TrainingSample],
    ) -> Result<()> {
        let Actors {
            policy,
            critic: Some(critic),
            reference,
        } = actors
        else {
            return Ok(());
        };
        let updates = self.config.updates_per_step();
        let taken = progress.step * updates + progress.update;
        let rate = critic.config.optim.rate(taken, self.config.steps * updates);
        let objective = critic.objective();
        let mut rest = |critic: &Learner| {
            let parts = Parts {
                policy,
                critic: Some(critic),
                reference: reference.as_ref(),
            };
            self.context
                .rest(|| self.save(parts, progress, Some(samples)))
        };
        let workers = self.context.workers;
        let stats = critic
            .learner
            .train_on(mini_batch, &objective, rate, workers, &mut rest)?;
        progress.critic_update += 1;
        progress.critic_stats.get_or_insert(stats);
        Ok(())
    }

    /// The policy's learning rate in an optimiser step of a rollout step, both counted from 0; steps
    /// in which only the critic learns do not count.
    pub(super) fn rate(&self, step: usize, update: usize) -> f64 {
        let warmup = self.critic.as_ref().map_or(0, |critic| critic.warmup_steps);
        let updates = self.config.updates_per_step();
        let taken = step.saturating_sub(warmup) * updates + update;
        let steps = self.config.steps.saturating_sub(warmup);
        self.config.optim.rate(taken, steps * updates)
    }

    fn is_warming_up(&self, actors: &Actors, progress: &RlProgress) -> bool {
        let critic = actors.critic.as_ref();
        critic.is_some_and(|critic| progress.step < critic.config.warmup_steps)
    }
}
