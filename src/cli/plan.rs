//! `emberl plan`: what a recipe needs of memory, and whether it fits.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::{Globals, device_choice};
use crate::device::{self, DeviceSpec};
use crate::error::Error;
use crate::memory;
use crate::ops;
use crate::recipe::{self, Recipe, Stage};
use crate::train::{Machine, PhasePlan, StagePlan};

/// What `emberl plan` is told.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Changes a setting: `stage.grpo.batching.checkpointing=true`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// What a recipe needs and what there is.
#[derive(Debug, Serialize)]
struct Plan {
    device: DeviceSpec,
    workers: usize,
    /// The largest stage's.
    peak_bytes: usize,
    /// What the device has left; none if it does not say.
    available_bytes: Option<u64>,
    /// Whether the one is within the other; none if that is not known.
    fits: Option<bool>,
    stages: Vec<StagePlan>,
    /// Settings that would lower the peak, if it does not fit, the best first.
    advice: Vec<Advice>,
}

/// A setting that would lower the peak.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Advice {
    /// As `--set` takes it.
    set: String,
    /// By how much.
    saves_bytes: usize,
}

/// Prints the plan.
///
/// # Errors
/// When the recipe, its model's configuration or its data is broken, and when it does not fit.
pub(super) fn run(args: &PlanArgs, globals: &Globals) -> Result<()> {
    let mut recipe = load(args, &[])?;
    if let Some(device) = globals.device()? {
        recipe.device = device;
    }
    let device = device_choice::choose(&recipe.device);
    let machine = machine(&device, recipe.workers);
    let plan = Plan::new(args, &recipe, device, machine)?;
    match args.json {
        true => {
            let text = serde_json::to_string_pretty(&plan).context("cannot be written as JSON")?;
            super::print(&format!("{text}\n"))?;
        }
        false => super::print(&plan.describe())?,
    }
    match (plan.fits, plan.available_bytes) {
        (Some(false), Some(available)) => bail!(
            "does not fit: needs {}, the device has {} left",
            size(plan.peak_bytes),
            size(available as usize)
        ),
        _ => Ok(()),
    }
}

fn load(args: &PlanArgs, more: &[String]) -> Result<Recipe> {
    let settings = [&args.set, more].concat();
    let recipe: Recipe = recipe::load(&args.recipe, &settings)?;
    recipe.validate().map_err(|error| Error::Recipe {
        recipe: args.recipe.clone(),
        problem: error.to_string(),
    })?;
    Ok(recipe)
}

fn machine(device: &DeviceSpec, workers: usize) -> Machine {
    let is_cpu = *device == DeviceSpec::Cpu;
    let suited = match is_cpu {
        true => std::thread::available_parallelism().map_or(1, usize::from),
        false => 1,
    };
    let gpu = (!is_cpu).then(|| device::open(device).ok()).flatten();
    Machine {
        is_cpu,
        workers: if workers == 0 { suited } else { workers },
        gpu_bytes: gpu.and_then(|gpu| ops::gpu_bytes(&gpu)),
    }
}

impl Plan {
    fn new(args: &PlanArgs, recipe: &Recipe, device: DeviceSpec, machine: Machine) -> Result<Self> {
        let stages = recipe.plan(machine)?;
        let peak_bytes = peak(&stages);
        let available_bytes = match machine.is_cpu {
            true => memory::available_bytes(),
            false => None,
        };
        let fits = available_bytes.map(|available| peak_bytes as u64 <= available);
        let advice = match fits {
            Some(false) => advice(args, recipe, &stages, machine),
            _ => Vec::new(),
        };
        Ok(Self {
            device,
            workers: machine.workers,
            peak_bytes,
            available_bytes,
            fits,
            stages,
            advice,
        })
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            text += &lines(stage);
        }
        text += &format!("peak       {}\n", size(self.peak_bytes));
        text += &match self.available_bytes {
            Some(available) => format!("available  {}\n", size(available as usize)),
            None => format!("available  unknown: `{}` does not say\n", self.device),
        };
        match self.fits {
            Some(true) => text += "it fits\n",
            Some(false) => text += "it does not fit\n",
            None => {}
        }
        for advice in &self.advice {
            let saved = size(advice.saves_bytes);
            text += &format!("  --set {:<48} saves {saved}\n", advice.set);
        }
        text
    }
}

/// A line a phase: what it needs, and its parts, the largest first.
fn lines(stage: &StagePlan) -> String {
    let line = |phase: &PhasePlan| {
        let mut parts = phase.parts.clone();
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        let parts = parts.iter();
        let parts: Vec<_> = parts
            .map(|part| format!("{} {}", part.name, size(part.bytes)))
            .collect();
        let (name, needs) = (phase.name, size(phase.bytes));
        format!("  {name:<14}  {needs:>9}  {}\n", parts.join(", "))
    };
    let phases: String = stage.phases.iter().map(line).collect();
    let notes = stage.notes.iter();
    let notes: String = notes.map(|note| format!("  ({note})\n")).collect();
    format!("{}\n{phases}{notes}\n", stage.name)
}

fn peak(stages: &[StagePlan]) -> usize {
    stages
        .iter()
        .map(|stage| stage.peak_bytes)
        .max()
        .unwrap_or(0)
}

/// Settings of the largest stage that would lower the peak, the best first.
fn advice(args: &PlanArgs, recipe: &Recipe, stages: &[StagePlan], machine: Machine) -> Vec<Advice> {
    let before = peak(stages);
    let largest = stages.iter().position(|stage| stage.peak_bytes == before);
    let Some(largest) = largest else {
        return Vec::new();
    };
    let after = |set: &String| {
        // A setting that the stage refuses is none to recommend.
        let changed = load(args, std::slice::from_ref(set)).ok()?;
        Some(changed.plan(machine).ok()?.get(largest)?.peak_bytes)
    };
    let mut found: Vec<Advice> = candidates(&recipe.stages[largest])
        .into_iter()
        .filter_map(|set| {
            let saves_bytes = before.saturating_sub(after(&set)?);
            (saves_bytes > 0).then_some(Advice { set, saves_bytes })
        })
        .collect();
    found.sort_by_key(|advice| std::cmp::Reverse(advice.saves_bytes));
    found
}

/// Settings that may lower a stage's peak.
fn candidates(stage: &Stage) -> Vec<String> {
    let name = stage.name();
    let settings = match stage {
        Stage::Sample(config) => {
            let together = config.prompts_per_batch.min(config.prompts).div_ceil(2);
            let tokens = config.sampling.max_completion_tokens.div_ceil(2);
            vec![
                format!("prompts_per_batch={together}"),
                format!("sampling.max_completion_tokens={tokens}"),
            ]
        }
        _ => learning_candidates(stage),
    };
    let settings = settings.iter();
    settings
        .map(|setting| format!("stage.{name}.{setting}"))
        .collect()
}

/// Settings of a stage that learns that may lower its peak.
fn learning_candidates(stage: &Stage) -> Vec<String> {
    let mut settings = vec![
        "batching.checkpointing=true".to_owned(),
        "optim.kind=\"adamw_8bit\"".to_owned(),
        "optim.kind=\"adafactor\"".to_owned(),
    ];
    if !matches!(stage, Stage::Pretrain(_) | Stage::RewardModel(_)) && stage.lora().is_none() {
        settings.push("lora.rank=16".to_owned());
    }
    let (batching, sequences) = match stage {
        Stage::Sample(_) => return Vec::new(),
        Stage::Pretrain(config) => (config.batching, config.batch),
        Stage::Sft(config) => (config.batching, config.batch),
        Stage::Dpo(config) => (config.batching, 2 * config.batch),
        Stage::RewardModel(config) => (config.batching, 2 * config.batch),
        Stage::Grpo(config) | Stage::Ppo(config) => {
            let completions = config.prompts_per_step * config.group_size;
            let together = match config.rollout_batch {
                0 => completions,
                batch => batch,
            };
            let batch = (together / 2).max(config.group_size);
            settings.push(format!("rollout_batch={batch}"));
            let tokens = config.sampling.max_completion_tokens;
            settings.push(format!(
                "sampling.max_completion_tokens={}",
                tokens.div_ceil(2)
            ));
            (config.batching, completions)
        }
    };
    let together = match batching.micro_batch {
        0 => sequences,
        most => most,
    };
    // Pairs stay together.
    let half = (together / 2).next_multiple_of(2);
    if half < together {
        settings.push(format!("batching.micro_batch={half}"));
    }
    settings
}

/// A size for people.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::PartPlan;

    #[test]
    fn the_answer_has_a_line_a_phase_and_what_would_help() {
        let part = |name, bytes| PartPlan { name, bytes };
        let phase = PhasePlan {
            name: "learn",
            bytes: 3_500_000_000,
            parts: vec![part("process", 500_000_000), part("weights", 3_000_000_000)],
        };
        let stage = StagePlan {
            name: "sft".into(),
            peak_bytes: phase.bytes,
            phases: vec![phase],
            notes: vec!["the data is unseen".into()],
        };
        let plan = Plan {
            device: DeviceSpec::Cpu,
            workers: 4,
            peak_bytes: stage.peak_bytes,
            available_bytes: Some(2_000_000_000),
            fits: Some(false),
            stages: vec![stage],
            advice: vec![Advice {
                set: "stage.sft.lora.rank=16".into(),
                saves_bytes: 1_000_000_000,
            }],
        };
        let expected = "\
sft
  learn             3.50 GB  weights 3.00 GB, process 500 MB
  (the data is unseen)

peak       3.50 GB
available  2.00 GB
it does not fit
  --set stage.sft.lora.rank=16                           saves 1.00 GB
";
        assert_eq!(plan.describe(), expected);
    }
}
