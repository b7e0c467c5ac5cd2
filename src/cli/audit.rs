//! `emberl audit`: what a recipe's rewards give to completions that deserve nothing.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::Globals;
use crate::device;
use crate::error::Error;
use crate::pipeline::{MadeByRun, StageAudit, audit_rewards};
use crate::recipe::{self, Recipe};
use crate::report;
use crate::rollout::{AuditRow, ModelProbe};
use crate::train::RewardModels;
use crate::workers::Workers;

/// What `emberl audit` is told.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Changes a setting: `stage.grpo.rewards.format.weight=0.1`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A run of the recipe: the reward models and problems that it made are audited, too.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Problems of each part of a stage's task.
    #[arg(long, value_name = "N", default_value = "8")]
    problems: NonZeroUsize,
    /// Prints one JSON object a line for each stage and kind of completion instead of tables.
    #[arg(long)]
    json: bool,
}

/// A line of `--json` about the rules.
#[derive(Serialize)]
struct Record<'a> {
    stage: &'a str,
    #[serde(flatten)]
    row: &'a AuditRow,
}

/// A line of `--json` about a reward model.
#[derive(Serialize)]
struct ModelRecord<'a> {
    stage: &'a str,
    reward: &'a str,
    problems: usize,
    /// Mean score of good answers.
    answer: f64,
    #[serde(flatten)]
    probe: &'a ModelProbe,
}

/// Prints what every stage's rewards give.
///
/// # Errors
/// When the recipe or a stage's data is broken, and when a rule pays for what it should not. What reward
/// models prefer is told and no error.
pub(super) fn run(args: &AuditArgs, globals: &Globals) -> Result<()> {
    let recipe: Recipe = recipe::load(&args.recipe, &args.set)?;
    recipe.validate().map_err(|error| Error::Recipe {
        recipe: args.recipe.clone(),
        problem: error.to_string(),
    })?;
    let audits = match &args.run {
        None => audit_rewards(&recipe, args.problems.get(), None)?,
        Some(folder) => audit_run(args, &recipe, folder, globals)?,
    };
    for audited in &audits {
        super::print(&match args.json {
            true => lines(audited)?,
            false => report::audit_text(audited),
        })?;
    }
    let findings = audits.iter();
    match findings.map(|it| it.audit.findings().count()).sum() {
        0 => Ok(()),
        1 => bail!("1 kind of completion earns what it should not, or is refused"),
        findings => {
            bail!("{findings} kinds of completions earn what they should not, or are refused")
        }
    }
}

/// The audit with what the run in `folder` made.
fn audit_run(
    args: &AuditArgs,
    recipe: &Recipe,
    folder: &Path,
    globals: &Globals,
) -> Result<Vec<StageAudit>> {
    if !folder.join("recipe.toml").exists() {
        let problem = format!("{} holds no run", folder.display());
        return Err(Error::setting("--run", problem).into());
    }
    let named = globals.device()?;
    let spec = globals.choose_device(&named.unwrap_or_else(|| recipe.device.clone()))?;
    let device = device::open(&spec)?;
    let precision = globals.precision.unwrap_or(recipe.precision);
    let precision = precision.on(&device).map_err(super::of_option)?;
    let workers = match recipe.workers {
        0 => Workers::suited_to(&device),
        count => Workers::new(count),
    };
    let made = MadeByRun {
        folder,
        models: RewardModels {
            device: &device,
            precision,
            workers,
        },
    };
    Ok(audit_rewards(recipe, args.problems.get(), Some(made))?)
}

fn lines(audited: &StageAudit) -> Result<String> {
    let StageAudit { stage, audit } = audited;
    for note in &audit.notes {
        tracing::warn!("{stage}: {note}");
    }
    let mut lines = Vec::new();
    for row in &audit.rows {
        lines.push(serde_json::to_string(&Record { stage, row }));
    }
    for model in &audit.models {
        let records = model.probes.iter().map(|probe| ModelRecord {
            stage,
            reward: &model.reward,
            problems: model.problems,
            answer: model.answer,
            probe,
        });
        lines.extend(records.map(|record| serde_json::to_string(&record)));
    }
    let lines = lines.into_iter().map(|line| Ok(line? + "\n"));
    lines
        .collect::<Result<String>>()
        .context("cannot be written as JSON")
}
