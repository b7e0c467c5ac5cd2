//! What every training stage shares: its place on disk, its clock, its saved states.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::SavedState;
use crate::error::{Error, Result};
use crate::files::JsonlAppender;
use crate::model::Decoder;
use crate::progress::Screen;
use crate::rewards::AddedReward;
use crate::seed::Seed;
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
    /// Threads that share the work on a CPU.
    pub workers: &'a Workers,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Set when the user asks to stop: the step at hand is finished and saved.
    pub stop: &'a AtomicBool,
    /// Steps between saved states.
    pub save_every: usize,
    /// Rewards beside those of the stage's settings.
    pub rewards: &'a [AddedReward],
}

impl StageContext<'_> {
    /// The folder of saved states.
    pub fn states(&self) -> PathBuf {
        self.folder.join("states")
    }

    /// The newest saved state, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn saved(&self, decoder: &Decoder) -> Result<Option<SavedState>> {
        SavedState::load_newest(&self.states(), decoder, self.device)
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
        step == steps || step.is_multiple_of(self.save_every.max(1)) || self.is_stopping()
    }

    /// Ends the stage early if the user asked to.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the user did.
    pub fn check_stop(&self) -> Result<()> {
        match self.is_stopping() {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
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

    /// Sets the seconds since the record began and the tokens of the step per second.
    pub fn finish(&mut self, tokens: usize) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = tokens as f64 / seconds;
        self.set("tokens_per_second", rate);
        self.set("seconds", seconds);
        rate
    }

    /// The record as JSON.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}
