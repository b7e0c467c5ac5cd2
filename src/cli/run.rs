//! `emberl run`: a recipe from start to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::Globals;
use crate::device::{self, DeviceSpec};
use crate::error::Error;
use crate::files;
use crate::pipeline::{Run, StageSummary, Summary};
use crate::precision::Precision;
use crate::recipe::{self, Recipe};
use crate::report;
use crate::rollout::{Evaluation, WinRate};
use crate::stop::Stop;
use crate::workers;

/// What `emberl run` is told.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Changes a setting: `seed=3`, `stage.grpo.optim.lr=1e-5`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The run's folder; by default a new one under `runs/`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Goes on where the run in the folder stopped.
    #[arg(long)]
    resume: bool,
    /// Prints the resolved recipe and does nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &RunArgs, globals: &Globals) -> Result<()> {
    let mut recipe: Recipe = recipe::load(&args.recipe, &args.set)?;
    recipe
        .validate()
        .map_err(|error| in_recipe(&args.recipe, error))?;
    if let Some(device) = globals.device()? {
        recipe.device = device;
    }
    if let Some(precision) = globals.precision {
        recipe.precision = precision;
    }
    if args.dry_run {
        super::print(&recipe::to_toml(&recipe)?)?;
        return Ok(());
    }
    let folder = run_folder(args, &recipe)?;
    if args.resume {
        adopt_choices(&mut recipe, &folder)?;
    }
    let spec = globals.choose_device(&recipe.device)?;
    let device = device::open(&spec)?;
    recipe.device = spec.clone();
    let precision = recipe.precision.on(&device);
    recipe.precision = precision.map_err(|error| in_recipe(&args.recipe, error))?;
    if recipe.workers == 0 {
        recipe.workers = workers::suited_count(&device);
    }
    let stop = stop_on_interrupt()?;
    let screen = globals.screen();
    tracing::info!("{} on {spec}, in {}", recipe.name, folder.display());
    let run = Run {
        recipe: &recipe,
        folder: &folder,
        device: &device,
        screen: &screen,
        stop: &stop,
        rewards: &[],
    };
    let summary = run.execute().map_err(|error| match error {
        Error::Interrupted => anyhow!(Error::Interrupted).context(resume_hint(args, &folder)),
        error => anyhow!(error),
    })?;
    let written = [
        ("model", run.final_model()),
        ("curves", Some(report::save_curves(&folder)?)),
        ("audit", save_audit(&run)?),
    ];
    let results = describe(&summary, &written);
    files::write_text(&folder.join("report").join("summary.txt"), &results)?;
    super::print(&results)
}

/// Audits the run's rewards; what is found is for the user to judge and does not fail the run.
fn save_audit(run: &Run<'_>) -> Result<Option<PathBuf>> {
    let audits = run.audit()?;
    let path = report::save_audit(run.folder, &audits)?;
    let findings = audits.iter().map(|audited| {
        let audit = &audited.audit;
        audit.findings().count() + audit.preferred().count()
    });
    let findings: usize = findings.sum();
    if let (Some(path), 1..) = (&path, findings) {
        let path = path.display();
        tracing::warn!("the audit of the rewards found what pays and should not, see {path}");
    }
    Ok(path)
}

/// Takes what the recipe leaves to the machine from the run that is resumed: results depend on it.
fn adopt_choices(recipe: &mut Recipe, folder: &Path) -> Result<()> {
    let begun: Recipe = recipe::load(&folder.join("recipe.toml"), &[])?;
    if recipe.device == DeviceSpec::Auto {
        recipe.device = begun.device;
    }
    if recipe.precision == Precision::Auto {
        recipe.precision = begun.precision;
    }
    if recipe.workers == 0 {
        recipe.workers = begun.workers;
    }
    Ok(())
}

/// The folder to run in: the named one, the newest of this recipe to resume, or a new one.
fn run_folder(args: &RunArgs, recipe: &Recipe) -> Result<PathBuf> {
    let is_run = |folder: &Path| folder.join("recipe.toml").exists();
    if let Some(folder) = &args.out {
        let used = folder
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some());
        return match (used, args.resume) {
            (true, false) => Err(anyhow!(Error::setting(
                "--out",
                format!(
                    "{} is not empty, add --resume to go on there",
                    folder.display()
                ),
            ))),
            (_, true) if !is_run(folder) => Err(anyhow!(Error::setting(
                "--resume",
                format!("{} holds no run", folder.display()),
            ))),
            _ => Ok(folder.clone()),
        };
    }
    let numbered = |number: usize| match number {
        1 => PathBuf::from("runs").join(&recipe.name),
        _ => PathBuf::from("runs").join(format!("{}-{number}", recipe.name)),
    };
    let free = (1..)
        .find(|number| !numbered(*number).exists())
        .unwrap_or(1);
    match (args.resume, free) {
        (false, _) => Ok(numbered(free)),
        (true, 1) => Err(anyhow!(Error::setting(
            "--resume",
            format!(
                "no run of `{}` under runs/, name its folder with --out",
                recipe.name
            ),
        ))),
        (true, _) => Ok(numbered(free - 1)),
    }
}

/// Hears Ctrl-C: the first asks to stop, the second ends the process at once.
fn stop_on_interrupt() -> Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.ask() {
            std::process::exit(super::EXIT_INTERRUPTED.into());
        }
        tracing::warn!("stopping at the next resting place; Ctrl-C again stops at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

fn resume_hint(args: &RunArgs, folder: &Path) -> String {
    let settings: String = args.set.iter().map(|s| format!(" --set '{s}'")).collect();
    format!(
        "stopped and saved; go on with: emberl run {}{settings} --out {} --resume",
        args.recipe.display(),
        folder.display()
    )
}

fn in_recipe(path: &Path, error: Error) -> Error {
    Error::Recipe {
        recipe: path.to_path_buf(),
        problem: error.to_string(),
    }
}

/// The run's results and the `files` that are there, by name.
fn describe(summary: &Summary, files: &[(&str, Option<PathBuf>)]) -> String {
    let mut text = String::new();
    if let Some(eval) = &summary.eval {
        let row = |name: &str, before: f64, after: f64| report::Comparison {
            name: name.into(),
            before: Some(before),
            after: Some(after),
        };
        let (before, after) = (&eval.before, &eval.after);
        let k = before.samples;
        let mut rows = vec![row("pass@1", before.pass_at_1, after.pass_at_1)];
        for (part, before) in &before.pass_at_1_of_parts {
            if let Some(after) = after.pass_at_1_of_parts.get(part) {
                rows.push(row(&format!("pass@1 {part}"), *before, *after));
            }
        }
        rows.extend([
            row(&format!("pass@{k}"), before.pass_at_k, after.pass_at_k),
            row(&format!("cons@{k}"), before.cons_at_k, after.cons_at_k),
            row("well formed", before.format, after.format),
            row("mean tokens", before.mean_tokens, after.mean_tokens),
        ]);
        let after: BTreeMap<_, _> = further_results(after).into_iter().collect();
        for (name, before) in further_results(before) {
            if let Some(after) = after.get(&name) {
                rows.push(row(&name, before, *after));
            }
        }
        let table = report::held_out_table(&rows);
        text += &format!(
            "held-out results, {} problems\n\n{table}\n",
            before.problems
        );
    }
    let evaluated: Vec<_> = summary.stages.iter().filter_map(stage_results).collect();
    if !evaluated.is_empty() {
        text += &format!("{}\n", report::stage_table(&evaluated));
    }
    if !summary.win_rates.is_empty() {
        text += &format!("{}\n", win_rate_table(&summary.win_rates));
    }
    for stage in &summary.stages {
        text += &format!("{:<24} {:.0} s\n", stage.name, stage.seconds);
    }
    text.push('\n');
    for (name, path) in files {
        if let Some(path) = path {
            text += &format!("{name:<7} {}\n", path.display());
        }
    }
    text
}

/// Self-checks, and the results with other numbers of worked examples.
fn further_results(eval: &Evaluation) -> Vec<(String, f64)> {
    let checks = [
        ("self-checks", eval.self_checks),
        ("with self-checks", eval.self_check_share),
        ("language consistency", eval.language_consistency),
    ];
    let checks = checks.into_iter();
    let checks = checks.filter_map(|(name, value)| Some((name.to_string(), value?)));
    let others = eval.other_shots.iter().flat_map(|other| {
        let (shots, k) = (other.shots, other.samples);
        [
            (format!("pass@1, {shots} shots"), other.pass_at_1),
            (format!("pass@{k}, {shots} shots"), other.pass_at_k),
            (format!("cons@{k}, {shots} shots"), other.cons_at_k),
            (format!("format, {shots} shots"), other.format),
        ]
    });
    checks.chain(others).collect()
}

/// How often models won against others, and what both scored.
fn win_rate_table(win_rates: &[WinRate]) -> report::Table {
    let head = ["win rate", "value", "95% interval", "pairs", "score"];
    let mut table = report::Table::new(head.into_iter().chain(["of the other"]));
    let share = |value: Option<f64>| value.map_or_else(|| "-".into(), |it| format!("{it:.3}"));
    for found in win_rates {
        let interval = found.interval;
        let interval = interval.map(|[low, high]| format!("{low:.3} to {high:.3}"));
        table.row([
            found.name.clone(),
            share(found.win_rate),
            interval.unwrap_or_else(|| "-".into()),
            (found.wins + found.ties + found.losses).to_string(),
            share(found.score.stage),
            share(found.score.against),
        ]);
    }
    table
}

/// The held-out results of a stage's model, if it was evaluated.
fn stage_results(stage: &StageSummary) -> Option<report::ModelResults> {
    let eval = stage.eval.as_ref()?;
    let k = eval.samples;
    let within = |name: &str, value, interval| report::Measured {
        name: name.into(),
        value,
        interval,
    };
    let measured = |name: &str, value| within(name, value, None);
    let of_parts = eval.pass_at_1_of_parts.iter();
    let of_parts = of_parts.map(|(part, share)| measured(&format!("pass@1 {part}"), *share));
    Some(report::ModelResults {
        stage: stage.name.clone(),
        results: [
            vec![within(
                "pass@1",
                eval.pass_at_1,
                Some(eval.pass_at_1_interval),
            )],
            of_parts.collect(),
            vec![
                measured(&format!("pass@{k}"), eval.pass_at_k),
                measured(&format!("cons@{k}"), eval.cons_at_k),
                measured("well formed", eval.format),
                measured("mean_tokens", eval.mean_tokens),
            ],
            further_results(eval)
                .into_iter()
                .map(|(name, value)| measured(&name, value))
                .collect(),
        ]
        .concat(),
    })
}
