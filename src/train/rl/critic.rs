//! The critic of PPO: a second model that says what each state is worth (arXiv:1707.06347).
//!
//! It starts as the policy with a score of zeros in place of its vocabulary and has an optimiser of
//! its own. It trains all its weights, also beside a policy that trains an adapter. GRPO's groups take its place; the two are here side by side to be compared.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::rollout::{GaeConfig, gae, token_rewards, whiten};
use crate::train::loss::ValueLoss;
use crate::train::{Batching, Learner, OptimConfig, TrainingSample};
use crate::workers::Workers;

/// Settings of a critic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CriticConfig {
    /// How values and rewards become advantages.
    pub gae: GaeConfig,
    /// Shifts and scales the advantages of a rollout to mean 0 and variance 1, as TRL does.
    pub whiten_advantages: bool,
    /// How far a value may move from where it was at the rollout before its loss stops falling; 0
    /// does not clip. TRL takes 0.2.
    pub clip_value: f64,
    /// Steps at the start in which only the critic learns.
    pub warmup_steps: usize,
    /// The critic's optimiser. It learns a regression and stands a larger rate than the policy.
    pub optim: OptimConfig,
}

impl Default for CriticConfig {
    fn default() -> Self {
        Self {
            gae: GaeConfig::default(),
            whiten_advantages: true,
            clip_value: 0.2,
            warmup_steps: 0,
            optim: OptimConfig::default(),
        }
    }
}

impl CriticConfig {
    /// Checks the ranges; `key` names the table in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        if !(self.clip_value.is_finite() && self.clip_value >= 0.0) {
            let problem = "must be 0 or more";
            return Err(Error::setting(format!("{key}.clip_value"), problem));
        }
        self.gae.validate(&format!("{key}.gae"))?;
        self.optim.validate(&format!("{key}.optim"))
    }
}

/// A critic at work.
#[derive(Debug)]
pub(super) struct Critic {
    pub(super) config: CriticConfig,
    pub(super) learner: Learner,
}

impl Critic {
    /// A critic that starts at `policy`.
    pub(super) fn new(config: CriticConfig, policy: &Decoder, batching: Batching) -> Self {
        let decoder = policy.without_adapter().with_zero_score();
        let learner = Learner::new(decoder, config.optim.clone(), batching);
        Self { config, learner }
    }

    /// The objective.
    pub(super) fn objective(&self) -> ValueLoss {
        ValueLoss {
            clip: (self.config.clip_value > 0.0).then_some(self.config.clip_value),
        }
    }

    /// Sets the samples' values as the critic sees them now.
    ///
    /// # Errors
    /// When the device failed.
    pub(super) fn value(
        &self,
        samples: &mut [TrainingSample],
        batching: Batching,
        workers: &Workers,
    ) -> Result<()> {
        let values = batching.score(self.learner.decoder(), samples, 1.0, workers)?;
        for (sample, values) in samples.iter_mut().zip(values) {
            sample.old_values = values;
        }
        Ok(())
    }

    /// Sets the samples' advantages and returns from what each completion earned; `penalties` are
    /// those of its tokens, if they pay for leaving the reference.
    pub(super) fn assign(
        &self,
        samples: &mut [TrainingSample],
        rewards: &[f64],
        penalties: &[Vec<f32>],
    ) {
        let mut advantages = Vec::with_capacity(samples.len());
        for (index, sample) in samples.iter_mut().enumerate() {
            let penalties = penalties.get(index).map_or(&[][..], Vec::as_slice);
            let rewards = token_rewards(rewards[index], penalties, &sample.loss_mask);
            let (values, mask) = (&sample.old_values, &sample.loss_mask);
            let estimate = gae(&rewards, values, mask, self.config.gae);
            sample.returns = estimate.returns;
            advantages.push(estimate.advantages);
        }
        if self.config.whiten_advantages {
            let masks: Vec<_> = samples.iter().map(|s| s.loss_mask.clone()).collect();
            whiten(&mut advantages, &masks);
        }
        for (sample, advantages) in samples.iter_mut().zip(advantages) {
            sample.advantages = advantages;
        }
    }

    /// Takes over a saved learner.
    ///
    /// # Errors
    /// When a file is missing or broken.
    pub(super) fn load(&mut self, folder: &Path, batching: Batching) -> Result<()> {
        let decoder = self.learner.decoder().clone();
        let optim = self.config.optim.clone();
        self.learner = Learner::load(folder, decoder, optim, batching)?;
        Ok(())
    }
}
