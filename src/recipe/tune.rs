//! Tunes a GPU for a recipe ahead of its run: the shapes of every stage on models of random weights.

use burn::tensor::Device;

use super::{Recipe, Stage};
use crate::error::Result;
use crate::model::{Adapter, Decoder};
use crate::seed::Seed;
use crate::train::loss::{PolicyLoss, SupervisedLoss};
use crate::train::{Learner, Objective, RolloutRehearsal, Workload};
use crate::workers::Workers;

/// Standard deviation of weights that nothing is learned from.
const DEVIATION: f64 = 0.02;

impl Recipe {
    /// Rehearses every stage on `device`: what a run of the recipe tunes there is tuned then.
    ///
    /// The first stage's model folder needs no weights; all data must be there.
    ///
    /// # Errors
    /// As [`Recipe::plan`], and when the device fails.
    pub fn tune(&self, device: &Device) -> Result<()> {
        let workers = Workers::suited_to(device);
        self.each_workload(&mut |stage, workload| {
            self.tune_stage(stage, &workload, device, &workers)
        })
    }

    fn tune_stage(
        &self,
        stage: &Stage,
        workload: &Workload<'_>,
        device: &Device,
        workers: &Workers,
    ) -> Result<()> {
        let seed = Seed::new(0);
        let decoder = Decoder::random(workload.model.clone(), DEVIATION, seed, device);
        let mut decoder = decoder.with_precision(self.precision)?;
        let sampling = match stage {
            Stage::Grpo(config) | Stage::Ppo(config) => Some(&config.sampling),
            Stage::Sample(config) => Some(&config.sampling),
            Stage::Pretrain(_) | Stage::Sft(_) | Stage::Dpo(_) | Stage::RewardModel(_) => None,
        };
        if let Some(sampling) = sampling {
            let batches = [
                (workload.rollouts, sampling),
                (workload.evaluation, &self.eval.sampling),
            ];
            for (largest, sampling) in batches {
                let rehearsal = largest.map(|largest| RolloutRehearsal {
                    largest,
                    shortest_prompt: workload.worst.prompt_tokens,
                    sampling,
                });
                rehearsal.map_or(Ok(()), |rehearsal| rehearsal.run(&decoder, workers))?;
            }
        }
        if let Some(lora) = workload.lora {
            let adapter = Adapter::fresh(lora, &decoder, seed)?;
            decoder = decoder.with_adapter(adapter)?;
        }
        let (Some(optim), Some(objective)) = (workload.optim, objective(stage)) else {
            return Ok(());
        };
        let learner = Learner::new(decoder, optim.clone(), workload.batching);
        learner.rehearse_lengths(workload.worst, objective.as_ref(), workers)
    }
}

/// What the stage minimises, if it learns; preferences are compared by the log-probabilities that
/// others learn.
fn objective(stage: &Stage) -> Option<Box<dyn Objective>> {
    match stage {
        Stage::Grpo(config) | Stage::Ppo(config) => Some(Box::new(PolicyLoss::new(
            config.loss.clone(),
            config.sampling.temperature,
            config.sampling.max_completion_tokens,
        ))),
        Stage::RewardModel(config) => Some(Box::new(config.objective())),
        Stage::Pretrain(_) | Stage::Sft(_) | Stage::Dpo(_) => {
            Some(Box::new(SupervisedLoss::default()))
        }
        Stage::Sample(_) => None,
    }
}
