//! The state of a stage after a step: weights, optimiser and the step's number.
//!
//! All else a step needs is derived from the seed and the step's number, so this is enough to go on
//! as if nothing had happened. A state is written to a sibling folder and renamed: it is there whole
//! or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{AdamW, Learner};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Checkpoint, Decoder, WeightDtype, WeightsWriter, matrix};
use crate::ops;

/// A stage's state after a step.
#[derive(Debug)]
pub struct SavedState {
    /// Steps done.
    pub step: usize,
    /// The weights.
    pub decoder: Decoder,
    /// The optimiser.
    pub optimizer: AdamW,
}

/// What `progress.json` of a state says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateProgress {
    step: usize,
    optimizer_steps: usize,
}

const PREFIX: &str = "step-";
const PARTIAL: &str = "partial-";
/// Names of the tensors a state holds of each weight.
const PARTS: [&str; 3] = ["weight", "first", "second"];

impl SavedState {
    /// Saves the learner's state after `step` in `folder` and removes older ones.
    ///
    /// # Errors
    /// When a file cannot be written or a tensor cannot be read from the device.
    pub fn save(folder: &Path, learner: &Learner, step: usize) -> Result<()> {
        let partial = folder.join(format!("{PARTIAL}{step:06}"));
        remove_folder(&partial)?;
        files::create_folder(&partial)?;
        write_tensors(&partial, learner)?;
        let progress = StateProgress {
            step,
            optimizer_steps: learner.optimizer().steps,
        };
        files::write_json(&partial.join("progress.json"), &progress)?;
        let whole = folder.join(format!("{PREFIX}{step:06}"));
        remove_folder(&whole)?;
        fs::rename(&partial, &whole).map_err(Error::io(&whole, "create"))?;
        for (other, path) in saved_steps(folder)? {
            if other != step {
                remove_folder(&path)?;
            }
        }
        Ok(())
    }

    /// Loads the newest state in `folder`, for a model shaped like `decoder`.
    ///
    /// # Errors
    /// When the state is broken.
    pub fn load_newest(folder: &Path, decoder: &Decoder, device: &Device) -> Result<Option<Self>> {
        let Some((_, path)) = saved_steps(folder)?.into_iter().max() else {
            return Ok(None);
        };
        let file = path.join("progress.json");
        let text = fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        let progress: StateProgress =
            serde_json::from_str(&text).map_err(|error| Error::file(&file, error.to_string()))?;
        let checkpoint = Checkpoint::open(&path)?;
        let read = |part: &str| -> Result<Vec<Tensor<2>>> {
            let named = decoder.trainable_names().iter();
            named
                .zip(decoder.trainable_shapes())
                .map(|(name, shape)| {
                    let bytes = checkpoint.tensor(&format!("{part}.{name}"), shape)?;
                    Ok(matrix(bytes.to_f32(), shape, device))
                })
                .collect()
        };
        let [weights, first, second] = PARTS.map(read);
        Ok(Some(Self {
            step: progress.step,
            decoder: decoder.with_trainable(weights?),
            optimizer: AdamW {
                steps: progress.optimizer_steps,
                first: first?,
                second: second?,
            },
        }))
    }
}

fn write_tensors(folder: &Path, learner: &Learner) -> Result<()> {
    let decoder = learner.decoder();
    let named = || {
        decoder
            .trainable_names()
            .iter()
            .zip(decoder.trainable_shapes())
    };
    let tensors: Vec<(String, Vec<usize>)> = PARTS
        .iter()
        .flat_map(|part| {
            named().map(move |(name, shape)| (format!("{part}.{name}"), shape.clone()))
        })
        .collect();
    let mut writer = WeightsWriter::create(folder, &tensors, WeightDtype::F32)?;
    let optimizer = learner.optimizer();
    for tensors in [decoder.trainable(), &optimizer.first, &optimizer.second] {
        for tensor in tensors {
            writer.write(&ops::read_floats(tensor.clone())?)?;
        }
    }
    writer.finish()
}

/// Steps with a whole state in `folder`.
fn saved_steps(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(step) = name.and_then(|n| n.strip_prefix(PREFIX)?.parse().ok()) {
            steps.push((step, path));
        }
    }
    Ok(steps)
}

fn remove_folder(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(Error::io(path, "remove")),
        false => Ok(()),
    }
}
