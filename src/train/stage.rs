//! What every training stage shares: its place on disk, its clock, its saved states.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::{RewardModels, States};
use crate::error::{Error, Result};
use crate::files::JsonlAppender;
use crate::memory;
use crate::precision::Precision;
use crate::progress::Screen;
use crate::rewards::AddedReward;
use crate::seed::Seed;
use crate::stop::Stop;
use crate::workers::Workers;

/// Where and with what a stage runs.
#[derive(Clone, Copy)]
pub struct StageContext<'a> {
    /// The stage's name, as metrics and bars show it.
    pub name: &'a str,
    /// The stage's own folder in the run.
    pub folder: &'a Path,
    /// Where all of the stage's randomness comes from.
    pub seed: Seed,
    /// The device that computes.
    pub device: &'a Device,
    /// What new models compute in; those that a stage is given say so themselves.
    pub precision: Precision,
    /// Threads that share the work on a CPU.
    pub workers: &'a Workers,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Through which the user asks to stop.
    pub stop: &'a Stop,
    /// Steps between saved states.
    pub save_every: usize,
    /// Rewards beside those of the stage's settings.
    pub rewards: &'a [AddedReward],
}

impl StageContext<'_> {
    /// The saved states.
    pub fn states(&self) -> States {
        States::new(self.folder.join("states"))
    }

    /// Loads reward models to where the stage computes.
    pub fn reward_models(&self) -> RewardModels<'_> {
        RewardModels {
            device: self.device,
            precision: self.precision,
            workers: *self.workers,
        }
    }

    /// Opens a log of the stage and forgets what it says of steps after `step`.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn log(&self, file: &str, step: usize) -> Result<JsonlAppender> {
        JsonlAppender::resume(&self.folder.join(file), step as u64)
    }

    /// Whether the state after `step` of `steps` is to be saved.
    pub fn is_save_due(&self, step: usize, steps: usize) -> bool {
        step == steps || step.is_multiple_of(self.save_every.max(1))
    }

    /// Passes a place where the stage can rest: if the user asked to stop, saves by `save` and ends.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the user asked to stop, or what `save` fails with.
    pub fn rest(&self, save: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.stop.is_due() {
            return Ok(());
        }
        save()?;
        Err(Error::Interrupted)
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug)]
pub struct StepRecord {
    fields: Map<String, Value>,
    started: Instant,
    lap_started: Instant,
}

impl StepRecord {
    /// The record of step `step`, counted from 1, which starts now.
    pub fn begin(stage: &str, step: usize) -> Self {
        let mut fields = Map::new();
        fields.insert("step".into(), json!(step));
        fields.insert("stage".into(), json!(stage));
        let now = Instant::now();
        Self {
            fields,
            started: now,
            lap_started: now,
        }
    }

    /// Sets a metric; one that is not a number is written as null.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.into(), value.into());
    }

    /// Sets a metric to the seconds since the last lap, or since the record began.
    pub fn lap(&mut self, name: &str) {
        let now = Instant::now();
        self.set(name, (now - self.lap_started).as_secs_f64());
        self.lap_started = now;
    }

    /// Sets the seconds since the record began, the tokens of the step per second and the peak of
    /// memory so far.
    pub fn finish(&mut self, tokens: usize) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = tokens as f64 / seconds;
        self.set("tokens_per_second", rate);
        self.set("seconds", seconds);
        self.set("peak_memory_bytes", memory::peak_resident_bytes());
        rate
    }

    /// The record as JSON.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}
