//! `emberl devices --tune`: a GPU's first use ahead of time.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use burn::tensor::Device;

use crate::cli::{Globals, print};
use crate::device;
use crate::error::Error;
use crate::generation::SamplingParams;
use crate::model::{Decoder, ModelConfig};
use crate::recipe::{self, Recipe};
use crate::seed::Seed;
use crate::train::loss::SupervisedLoss;
use crate::train::{Batching, Learner, OptimConfig, RolloutRehearsal, Rollouts, WorstCase};
use crate::workers::Workers;

/// What a model is tuned for: completions in groups of eight.
const ROLLOUTS: Rollouts = Rollouts {
    rows: 64,
    group: 8,
    prompt_tokens: 256,
    completion_tokens: 256,
};

/// And micro-batches of sequences of up to 512 tokens.
const LEARNING: WorstCase = WorstCase {
    sequences: 16,
    together: 1,
    longest: 512,
    shortest: 128,
    prompt_tokens: 64,
    group: 8,
    longest_prompt: 256,
};

/// Tunes the device of the command line for the recipe or the model.
///
/// # Errors
/// When the device is the CPU or fails, or the recipe or the model is broken.
pub(super) fn run(target: &Path, globals: &Globals) -> Result<()> {
    let device = globals.open_device()?;
    if device::is_cpu(&device) {
        let problem = "the CPU has nothing to tune, expected a GPU";
        return Err(Error::setting("--device", problem).into());
    }
    let started = Instant::now();
    match target {
        folder if folder.is_dir() => tune_model(folder, &device, globals)?,
        file if file.is_file() => {
            let mut recipe: Recipe = recipe::load(file, &[])?;
            recipe.validate()?;
            recipe.precision = globals.precision.unwrap_or(recipe.precision);
            recipe.tune(&device)?;
        }
        missing => bail!("{}: neither a model folder nor a recipe", missing.display()),
    }
    let seconds = started.elapsed().as_secs_f64();
    let kept = match device::kernel_folder() {
        Some(folder) => format!("kernels are in {}", folder.display()),
        None => "kernels are not kept: set EMBERL_CACHE to a folder".into(),
    };
    print(&format!("tuned in {seconds:.0} s; {kept}\n"))
}

fn tune_model(folder: &Path, device: &Device, globals: &Globals) -> Result<()> {
    let config = ModelConfig::load(folder)?;
    let workers = Workers::suited_to(device);
    let decoder = globals.in_precision(&Decoder::random(config, 0.02, Seed::new(0), device))?;
    let rollouts = RolloutRehearsal {
        largest: ROLLOUTS,
        shortest_prompt: LEARNING.prompt_tokens,
        sampling: &SamplingParams::default(),
    };
    rollouts.run(&decoder, &workers)?;
    let learner = Learner::new(decoder, OptimConfig::default(), Batching::default());
    let alone = WorstCase {
        group: 1,
        ..LEARNING
    };
    for worst in [alone, LEARNING] {
        learner.rehearse_lengths(worst, &SupervisedLoss::default(), &workers)?;
    }
    Ok(())
}
