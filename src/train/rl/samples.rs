//! From graded groups to what the learner trains on.

use super::Rl;
use super::collect::Collected;
use super::state::Actors;
use crate::error::Result;
use crate::rollout::{AdvantageInput, Advantages, Rollout, RolloutGroup};
use crate::train::TrainingSample;

impl Rl<'_> {
    /// The kept rollouts with all that models say of them before the step's updates.
    pub(super) fn score(
        &self,
        actors: &Actors,
        collected: &Collected,
    ) -> Result<Vec<TrainingSample>> {
        let (config, workers) = (self.config, self.context.workers);
        let rollouts = collected
            .kept()
            .flat_map(|group| group.rollouts.iter().map(move |r| (group, r)));
        let mut samples: Vec<_> = rollouts
            .map(|(group, rollout)| self.sample(group, rollout))
            .collect();
        let (batching, temperature) = (config.batching, config.sampling.temperature);
        if config.needs_old_logprobs() {
            let old = batching.score(actors.policy.decoder(), &samples, temperature, workers)?;
            for (sample, old) in samples.iter_mut().zip(old) {
                sample.old_logprobs = old;
            }
        }
        if let Some(reference) = &actors.reference {
            let scores = batching.score(reference.decoder(), &samples, temperature, workers)?;
            for (sample, scores) in samples.iter_mut().zip(scores) {
                sample.ref_logprobs = scores;
            }
        }
        if let Some(correction) = &config.sampler_correction {
            for sample in &mut samples {
                let (old, sampler) = (&sample.old_logprobs, &sample.sampler_logprobs);
                sample.sampler_ratio = correction.factors(old, sampler, &sample.loss_mask);
            }
        }
        if let Some(critic) = &actors.critic {
            critic.value(&mut samples, batching, workers)?;
        }
        Ok(samples)
    }

    fn sample(&self, group: &RolloutGroup, rollout: &Rollout) -> TrainingSample {
        // A critic would learn that a completion without rewards is worth 0.
        let unknown = self.critic.is_some() && rollout.graded.total.is_none();
        let masked = unknown || self.config.mask_truncated && rollout.is_truncated();
        TrainingSample {
            loss_mask: vec![!masked; rollout.tokens()],
            sampler_logprobs: rollout.completion.logprobs.clone(),
            ..TrainingSample::new(&group.prompt, &rollout.completion.ids)
        }
    }

    /// Sets the samples' advantages; returns those of completions.
    pub(super) fn assign(
        &self,
        actors: &Actors,
        collected: &Collected,
        samples: &mut [TrainingSample],
    ) -> Advantages {
        let rollouts = collected.kept().flat_map(|group| &group.rollouts);
        let rewards: Vec<_> = rollouts
            .clone()
            .map(|rollout| rollout.graded.scores())
            .collect();
        let penalties: Vec<Vec<f32>> = match self.config.kl_penalty() {
            Some(penalty) => samples
                .iter()
                .map(|sample| penalty.penalties(&sample.old_logprobs, &sample.ref_logprobs))
                .collect(),
            None => Vec::new(),
        };
        let masks: Vec<Vec<bool>> = samples.iter().map(|s| s.loss_mask.clone()).collect();
        let estimate = self.config.advantage.estimate(&AdvantageInput {
            rewards: &rewards,
            weights: &self.rubric.weights(),
            group_size: self.config.group_size,
            masks: &masks,
            kl_penalties: &penalties,
        });
        let mut completions = estimate.completions;
        match &actors.critic {
            None => {
                for (sample, advantages) in samples.iter_mut().zip(estimate.tokens) {
                    sample.advantages = advantages;
                }
            }
            Some(critic) => {
                let totals: Vec<f64> = rollouts.map(|r| r.graded.total.unwrap_or(0.0)).collect();
                critic.assign(samples, &totals, &penalties);
                completions.values = samples.iter().map(mean_advantage).collect();
            }
        }
        completions
    }
}

impl Rl<'_> {
    /// Mean divergence from the reference over the tokens that count, if rewards pay for it.
    pub(super) fn mean_divergence(&self, samples: &[TrainingSample]) -> Option<f64> {
        let penalty = self.config.kl_penalty()?;
        let paid = samples.iter().flat_map(|sample| {
            let paid = penalty.penalties(&sample.old_logprobs, &sample.ref_logprobs);
            paid.into_iter().zip(&sample.loss_mask)
        });
        let paid: f64 = paid
            .filter(|(_, counts)| **counts)
            .map(|(p, _)| f64::from(p))
            .sum();
        let tokens: usize = samples.iter().map(TrainingSample::trained_tokens).sum();
        Some(paid / penalty.coef / tokens.max(1) as f64)
    }
}

/// Mean over the tokens that count.
fn mean_advantage(sample: &TrainingSample) -> f32 {
    let pairs = sample.advantages.iter().zip(&sample.loss_mask);
    let sum: f32 = pairs.filter(|(_, counts)| **counts).map(|(a, _)| a).sum();
    sum / sample.trained_tokens().max(1) as f32
}
