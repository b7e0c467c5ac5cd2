//! What moves while a stage runs, and how it is saved.

use serde::{Deserialize, Serialize};

use super::Rl;
use super::critic::Critic;
use super::journal::Journal;
use super::reference::Reference;
use super::watch::Watch;
use crate::error::Result;
use crate::files;
use crate::model::Decoder;
use crate::rollout::PassRates;
use crate::train::loss::EntropyControl;
use crate::train::{Learner, StepStats, TrainingSample};

/// The models of a stage.
#[derive(Debug)]
pub(super) struct Actors {
    pub policy: Learner,
    pub critic: Option<Critic>,
    pub reference: Option<Reference>,
}

/// How far a stage is, apart from its models.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RlProgress {
    /// Steps done.
    pub step: usize,
    /// Optimiser steps done of the step at hand.
    pub update: usize,
    /// The same of the critic.
    pub critic_update: usize,
    /// First problem of the stream that the steps done have not looked at.
    pub next_problem: u64,
    /// How often problems were solved, for a curriculum.
    pub pass_rates: PassRates,
    /// What the watch has seen.
    #[serde(default)]
    pub watch: Watch,
    /// An adaptive entropy coefficient.
    pub entropy: Option<EntropyControl>,
    /// Statistics of the step's first update, where the policy is still the one that sampled.
    pub policy_stats: Option<StepStats>,
    /// The same of the critic.
    pub critic_stats: Option<StepStats>,
}

/// A stage's models and progress, and the samples of the step at hand if it was left inside one.
pub(super) struct Restored {
    pub actors: Actors,
    pub progress: RlProgress,
    pub samples: Option<Vec<TrainingSample>>,
}

/// The learners and the reference, wherever they are held.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub policy: &'a Learner,
    pub critic: Option<&'a Learner>,
    pub reference: Option<&'a Reference>,
}

const POLICY: &str = "policy";
const CRITIC: &str = "critic";
const REFERENCE: &str = "reference";
const SAMPLES: &str = "samples.jsonl";

impl Actors {
    /// What a state is made of.
    pub(super) fn parts(&self) -> Parts<'_> {
        Parts {
            policy: &self.policy,
            critic: self.critic.as_ref().map(|critic| &critic.learner),
            reference: self.reference.as_ref(),
        }
    }
}

impl RlProgress {
    /// Goes to the next step.
    pub(super) fn advance(&mut self, next_problem: u64) {
        self.step += 1;
        self.update = 0;
        self.critic_update = 0;
        self.next_problem = next_problem;
        self.policy_stats = None;
        self.critic_stats = None;
    }
}

impl Rl<'_> {
    /// The stage as it was left, or at its start from `policy`, which nobody else should hold: its
    /// weights are changed in their own memory then.
    pub(super) fn restore(&self, policy: Decoder) -> Result<Restored> {
        let config = self.config;
        let (optim, batching) = (config.optim.clone(), config.batching);
        let critic = self.critic.clone();
        let mut critic = critic.map(|critic| Critic::new(critic, &policy, batching));
        let reference = config.needs_reference();
        let mut reference = reference.then(|| Reference::new(&policy, config.reference));
        let Some(saved) = self.context.states().newest()? else {
            let progress = RlProgress {
                entropy: self.objective.entropy_control(),
                ..RlProgress::default()
            };
            let policy = Learner::new(policy, optim, batching);
            return Ok(Restored {
                actors: Actors {
                    policy,
                    critic,
                    reference,
                },
                progress,
                samples: None,
            });
        };
        let mut progress: RlProgress = saved.progress()?;
        let control = self.objective.entropy_control();
        progress.entropy = match (control, progress.entropy) {
            (Some(control), Some(saved)) => Some(control.resume(saved)),
            (control, _) => control,
        };
        let policy = Learner::load(&saved.part(POLICY), policy, optim, batching)?;
        if let Some(critic) = &mut critic {
            critic.load(&saved.part(CRITIC), batching)?;
        }
        if let Some(reference) = &mut reference {
            reference.load(&saved.part(REFERENCE))?;
        }
        let samples = saved.part(SAMPLES);
        Ok(Restored {
            actors: Actors {
                policy,
                critic,
                reference,
            },
            progress,
            samples: match samples.exists() {
                true => Some(files::read_jsonl(&samples)?),
                false => None,
            },
        })
    }

    /// Saves the stage; `samples` are those of the step at hand, if their models have moved on.
    pub(super) fn save(
        &self,
        parts: Parts<'_>,
        progress: &RlProgress,
        samples: Option<&[TrainingSample]>,
    ) -> Result<()> {
        self.context.states().save(progress, |folder| {
            parts.policy.save(&folder.join(POLICY))?;
            if let Some(critic) = parts.critic {
                critic.save(&folder.join(CRITIC))?;
            }
            if let Some(reference) = parts.reference {
                reference.save(&folder.join(REFERENCE))?;
            }
            match samples {
                Some(samples) => files::write_jsonl(&folder.join(SAMPLES), samples),
                None => Ok(()),
            }
        })?;
        Journal::keep_only(&self.journals(), progress.step + 1)
    }
}
