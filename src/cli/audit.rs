//! `emberl audit`: what a recipe's rewards give to completions that deserve nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::data::reads_stage;
use crate::error::Error;
use crate::recipe::{self, Recipe, Stage};
use crate::report::Table;
use crate::rewards::RewardConfig;
use crate::rollout::{Audit, AuditInput, AuditRow, Verdict};
use crate::seed::Seed;
use crate::tasks::TaskConfig;

/// What `emberl audit` is told.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Changes a setting: `stage.grpo.rewards.format.weight=0.1`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Problems of each part of a stage's task.
    #[arg(long, value_name = "N", default_value = "8")]
    problems: NonZeroUsize,
    /// Prints one JSON object a line for each stage and kind of completion instead of tables.
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Record<'a> {
    stage: &'a str,
    #[serde(flatten)]
    row: &'a AuditRow,
}

/// The audit of one stage.
struct StageAudit<'a> {
    stage: &'a str,
    audit: Audit,
}

/// Prints what every stage's rewards give.
///
/// # Errors
/// When the recipe or a stage's data is broken, and when something scores that should not.
pub(super) fn run(args: &AuditArgs) -> Result<()> {
    let recipe: Recipe = recipe::load(&args.recipe, &args.set)?;
    recipe.validate().map_err(|error| Error::Recipe {
        recipe: args.recipe.clone(),
        problem: error.to_string(),
    })?;
    let mut findings = 0;
    for stage in &recipe.stages {
        let Some((task, rewards)) = graded(stage) else {
            continue;
        };
        let audited = StageAudit {
            stage: stage.name(),
            audit: audit(args, &recipe, stage, task, rewards)?,
        };
        findings += audited.audit.findings().count();
        super::print(&match args.json {
            true => audited.lines()?,
            false => audited.describe(),
        })?;
    }
    match findings {
        0 => Ok(()),
        1 => bail!("1 kind of completion earns what it should not, or is refused"),
        _ => bail!("{findings} kinds of completions earn what they should not, or are refused"),
    }
}

/// Where a stage's problems come from and what its completions are graded by, if they are.
fn graded(stage: &Stage) -> Option<(&TaskConfig, &[RewardConfig])> {
    match stage {
        Stage::Grpo(config) | Stage::Ppo(config) => Some((&config.task, &config.rewards)),
        Stage::Sample(config) => Some((&config.task, &config.rewards)),
        Stage::Pretrain(_) | Stage::Sft(_) | Stage::Dpo(_) | Stage::RewardModel(_) => None,
    }
}

fn audit(
    args: &AuditArgs,
    recipe: &Recipe,
    stage: &Stage,
    task: &TaskConfig,
    rewards: &[RewardConfig],
) -> Result<Audit> {
    if reads_stage(task) {
        return Ok(Audit {
            rewards: Vec::new(),
            problems: 0,
            rows: Vec::new(),
            notes: vec!["left out: its task reads what an earlier stage makes".into()],
        });
    }
    let inside = |error: Error| error.inside(&format!("stage.{}.", stage.name()));
    let input = AuditInput {
        task: Arc::from(task.build().map_err(inside)?),
        rewards,
        problems: args.problems.get(),
        seed: Seed::new(recipe.seed).named("audit"),
    };
    Ok(Audit::run(&input).map_err(inside)?)
}

impl StageAudit<'_> {
    fn describe(&self) -> String {
        let audit = &self.audit;
        let mut text = String::new();
        if !audit.rows.is_empty() {
            text += &self.table().to_string();
            text += &format!("\n{} problems\n", audit.problems);
        } else {
            text += &format!("{}\n", self.stage);
        }
        for row in audit.findings() {
            let why = match row.verdict {
                Verdict::Refused => "a right answer has no reward for being right",
                _ => row.why,
            };
            let start: String = row.completion.chars().take(120).collect();
            text += &format!("{}: {why}: {start:?}\n", row.attack);
        }
        let notes = audit.notes.iter();
        let notes: String = notes.map(|note| format!("({note})\n")).collect();
        text + &notes + "\n"
    }

    fn table(&self) -> Table {
        let names = self.audit.rewards.iter().map(String::as_str);
        let head = std::iter::once(self.stage).chain(names);
        let mut table = Table::new(head.chain(["total", "verdict"]));
        for row in &self.audit.rows {
            let scores = self.audit.rewards.iter();
            let scores = scores.map(|name| written(row.scores.get(name).copied().flatten()));
            let cells = std::iter::once(row.attack.to_owned()).chain(scores);
            table.row(cells.chain([written(row.total), verdict(row.verdict).to_owned()]));
        }
        table
    }

    fn lines(&self) -> Result<String> {
        for note in &self.audit.notes {
            tracing::warn!("{}: {note}", self.stage);
        }
        let mut text = String::new();
        for row in &self.audit.rows {
            let record = Record {
                stage: self.stage,
                row,
            };
            text += &serde_json::to_string(&record).context("cannot be written as JSON")?;
            text.push('\n');
        }
        Ok(text)
    }
}

fn written(score: Option<f64>) -> String {
    score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::FormOnly => "form only",
        Verdict::Refused => "REFUSED",
        Verdict::Scores => "SCORES",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn table_has_a_row_an_attack_and_says_why_one_scores() {
        let row = |attack, verdict, score: f64| AuditRow {
            attack,
            why: "the answer is wrong",
            verdict,
            scores: BTreeMap::from([("accuracy".into(), Some(score)), ("length".into(), None)]),
            total: Some(score),
            right_total: Some(1.0),
            completion: "<answer>\n7</answer>".into(),
        };
        let audited = StageAudit {
            stage: "grpo",
            audit: Audit {
                rewards: vec!["accuracy".into(), "length".into()],
                problems: 2,
                rows: vec![
                    row("nothing", Verdict::Ok, 0.0),
                    row("guess", Verdict::Scores, 1.0),
                ],
                notes: vec!["reward `j` is left out".into()],
            },
        };
        let expected = "\
grpo     accuracy  length  total  verdict
-------  --------  ------  -----  -------
nothing      0.00       -   0.00       ok
guess        1.00       -   1.00   SCORES

2 problems
guess: the answer is wrong: \"<answer>\\n7</answer>\"
(reward `j` is left out)

";
        assert_eq!(audited.describe(), expected);
    }
}
