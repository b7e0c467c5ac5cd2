//! Training on given completions: the loop of pretraining and SFT.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Batching, Learner, Objective, OptimConfig, StageContext, StepRecord, StepStats, TrainingSample,
    WorstCase,
};
use crate::error::Result;
use crate::model::Decoder;

/// The learner's folder in a state.
const LEARNER: &str = "learner";

/// What a supervised stage trains with.
#[derive(Clone, Copy)]
pub struct SupervisedPlan<'a> {
    /// Optimiser steps.
    pub steps: usize,
    /// The loss.
    pub objective: &'a dyn Objective,
    /// The optimiser.
    pub optim: &'a OptimConfig,
    /// Micro-batches.
    pub batching: Batching,
    /// The largest step that may come.
    pub worst: WorstCase,
}

/// What a stage ends with.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The trained model.
    pub decoder: Decoder,
    /// Figures of the whole stage, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// How far the stage is, apart from its learner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Steps done.
    step: usize,
    /// What the last did.
    last: StepStats,
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
    let (mut progress, mut learner) = restore(context, decoder, &plan)?;
    if progress.step < plan.steps {
        learner.rehearse_lengths(plan.worst, plan.objective, context.workers)?;
    }
    let mut metrics = context.log("metrics.jsonl", progress.step)?;
    let mut bar = context
        .screen
        .begin(context.name, progress.step as u64, plan.steps as u64);
    let save = |progress: &Progress, learner: &Learner| {
        let states = context.states();
        states.save(progress, |folder| learner.save(&folder.join(LEARNER)))
    };
    while progress.step < plan.steps {
        let step = progress.step;
        let mut record = StepRecord::begin(context.name, step + 1);
        let batch = samples(step)?;
        let rate = plan.optim.rate(step, plan.steps);
        let mut rest = |learner: &Learner| context.rest(|| save(&progress, learner));
        let workers = context.workers;
        let stats = learner.train_on(&batch, plan.objective, rate, workers, &mut rest)?;
        progress = Progress {
            step: step + 1,
            last: stats,
        };
        let stats = &progress.last;
        describe(&mut record, stats, rate);
        let speed = record.finish(stats.tokens);
        metrics.append(record.fields())?;
        metrics.flush()?;
        if context.is_save_due(step + 1, plan.steps) {
            save(&progress, &learner)?;
        }
        let message = format!("loss {:.3} · {speed:.0} tokens/s", stats.loss);
        bar.set(step as u64 + 1, message);
        context.rest(|| save(&progress, &learner))?;
    }
    let mut figures = progress.last.means;
    figures.insert("final_loss".into(), progress.last.loss);
    Ok(Trained {
        decoder: learner.decoder().clone(),
        metrics: figures,
    })
}

/// The stage as it was left, or at its start.
fn restore(
    context: StageContext<'_>,
    decoder: Decoder,
    plan: &SupervisedPlan<'_>,
) -> Result<(Progress, Learner)> {
    let (optim, batching) = (plan.optim.clone(), plan.batching);
    let Some(saved) = context.states().newest()? else {
        let learner = Learner::new(decoder, optim, batching);
        return Ok((Progress::default(), learner));
    };
    let learner = Learner::load(&saved.part(LEARNER), decoder, optim, batching)?;
    Ok((saved.progress()?, learner))
}

/// Sets the metrics of a step.
fn describe(record: &mut StepRecord, stats: &StepStats, rate: f64) {
    record.set("loss", stats.loss);
    for (name, mean) in &stats.means {
        record.set(name, *mean);
    }
    record.set("grad_norm", stats.grad_norm);
    record.set("learning_rate", rate);
    record.set("tokens", stats.tokens);
}
