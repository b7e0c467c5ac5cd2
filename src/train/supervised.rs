//! Training on given completions: the loop of pretraining and SFT.

use std::collections::BTreeMap;

use super::loss::{SupervisedLoss, SupervisedLossKind};
use super::{
    Batching, Learner, OptimConfig, SavedState, StageContext, StepRecord, StepStats, TrainingSample,
};
use crate::error::Result;
use crate::model::Decoder;

/// What a supervised stage trains with.
#[derive(Clone, Copy, Debug)]
pub struct SupervisedPlan<'a> {
    /// Optimiser steps.
    pub steps: usize,
    /// The loss.
    pub loss: SupervisedLossKind,
    /// The optimiser.
    pub optim: &'a OptimConfig,
    /// Micro-batches.
    pub batching: Batching,
}

/// What a stage ends with.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The trained model.
    pub decoder: Decoder,
    /// Figures of the whole stage, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// Trains `decoder` on the samples that `samples` gives for each step, counted from 0.
///
/// # Errors
/// When a sample cannot be made, a file cannot be written, the device fails or the user stops.
pub fn train_supervised(
    context: StageContext<'_>,
    decoder: Decoder,
    plan: SupervisedPlan<'_>,
    samples: &mut dyn FnMut(usize) -> Result<Vec<TrainingSample>>,
) -> Result<Trained> {
    let saved = context.saved(&decoder)?;
    let done = saved.as_ref().map_or(0, |state| state.step);
    let mut learner = Learner::restore(saved, decoder, plan.optim.clone(), plan.batching);
    let mut metrics = context.log("metrics.jsonl", done)?;
    let mut bar = context
        .screen
        .begin(context.name, done as u64, plan.steps as u64);
    let objective = SupervisedLoss { kind: plan.loss };
    let mut last = StepStats::default();
    for step in done..plan.steps {
        let mut record = StepRecord::begin(context.name, step + 1);
        let batch = samples(step)?;
        let rate = plan.optim.rate(step, plan.steps);
        last = learner.train_on(&batch, &objective, rate, context.workers)?;
        record.set("loss", last.loss);
        record.set("entropy", last.means.get("entropy").copied());
        record.set("grad_norm", last.grad_norm);
        record.set("learning_rate", rate);
        record.set("tokens", last.tokens);
        let speed = record.finish(last.tokens);
        metrics.append(record.fields())?;
        metrics.flush()?;
        if context.is_save_due(step + 1, plan.steps) {
            SavedState::save(&context.states(), &learner, step + 1)?;
        }
        let message = format!("loss {:.3} · {speed:.0} tokens/s", last.loss);
        bar.set(step as u64 + 1, message);
        context.check_stop()?;
    }
    Ok(Trained {
        decoder: learner.decoder().clone(),
        metrics: BTreeMap::from([("final_loss".to_string(), last.loss)]),
    })
}
