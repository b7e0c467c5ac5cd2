//! The audit of a recipe's rewards, stage by stage: before a run of those that are there, after it with what
//! the run made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Run, stage_name};
use crate::data::reads_stage;
use crate::device;
use crate::error::{Error, Result};
use crate::recipe::{Recipe, Stage};
use crate::rewards::{RewardConfig, Scorers};
use crate::rollout::{Audit, AuditInput};
use crate::seed::Seed;
use crate::tasks::TaskConfig;
use crate::train::RewardModels;

/// Problems of each part of a stage's task that a run's rewards are audited on.
const PROBLEMS: usize = 8;

/// The audit of one stage's rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct StageAudit {
    /// The stage's name.
    pub stage: String,
    /// What was found.
    pub audit: Audit,
}

/// What a run made for rewards and tasks.
#[derive(Clone, Copy, Debug)]
pub struct MadeByRun<'a> {
    /// The run's folder.
    pub folder: &'a Path,
    /// Where its reward models compute.
    pub models: RewardModels<'a>,
}

impl Run<'_> {
    /// Audits the rewards of every stage with what the run made.
    ///
    /// # Errors
    /// As [`audit_rewards`].
    pub fn audit(&self) -> Result<Vec<StageAudit>> {
        let made = MadeByRun {
            folder: self.folder,
            models: RewardModels {
                device: self.device,
                precision: self.recipe.precision,
                workers: self.workers(),
            },
        };
        audit_rewards(self.recipe, PROBLEMS, Some(made))
    }
}

/// Audits the rewards of every stage of `recipe` that has some, on so many `problems` of each part of its
/// task. What is not made yet is left out and noted.
///
/// # Errors
/// When a task or a reward cannot be built.
pub fn audit_rewards(
    recipe: &Recipe,
    problems: usize,
    made: Option<MadeByRun<'_>>,
) -> Result<Vec<StageAudit>> {
    let mut audits = Vec::new();
    for (index, stage) in recipe.stages.iter().enumerate() {
        let Some((task, _)) = graded(stage) else {
            continue;
        };
        let audit = match (reads_stage(task), made) {
            (true, None) => Audit::left_out("its task reads what an earlier stage makes"),
            _ => audit_stage(recipe, index, problems, made)
                .map_err(|error| error.inside(&format!("stage.{}.", stage.name())))?,
        };
        audits.push(StageAudit {
            stage: stage.name().to_owned(),
            audit,
        });
    }
    Ok(audits)
}

fn audit_stage(
    recipe: &Recipe,
    index: usize,
    problems: usize,
    made: Option<MadeByRun<'_>>,
) -> Result<Audit> {
    let stage = &recipe.stages[index];
    let resolved = match made {
        Some(made) => recipe.resolved(index, &|other| stage_folder(recipe, made.folder, other))?,
        None => stage.clone(),
    };
    let Some((task, rewards)) = graded(&resolved) else {
        return Ok(Audit::default());
    };
    let task = match (task.build(), graded(stage)) {
        // The stage that makes the file has not run yet.
        (Err(error @ Error::Io { .. }), Some((task, _))) if reads_stage(task) => {
            return Ok(Audit::left_out(&error.to_string()));
        }
        (task, _) => Arc::from(task?),
    };
    let input = AuditInput {
        task,
        rewards,
        scorers: made.as_ref().map(|made| &made.models as &dyn Scorers),
        problems,
        seed: Seed::new(recipe.seed).named("audit"),
    };
    match made {
        None => Audit::run(&input),
        Some(made) => {
            let title = format!("audit of {}", stage.name());
            device::while_tuning(made.models.device, &title, || Audit::run(&input))
        }
    }
}

fn stage_folder(recipe: &Recipe, run: &Path, index: usize) -> PathBuf {
    run.join(stage_name(recipe, index))
}

/// Where a stage's problems come from and what its completions are graded by, if they are.
fn graded(stage: &Stage) -> Option<(&TaskConfig, &[RewardConfig])> {
    match stage {
        Stage::Grpo(config) | Stage::Ppo(config) => Some((&config.task, &config.rewards)),
        Stage::Sample(config) => Some((&config.task, &config.rewards)),
        Stage::Pretrain(_) | Stage::Sft(_) | Stage::Dpo(_) | Stage::RewardModel(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::device::DeviceSpec;
    use crate::precision::Precision;
    use crate::recipe::from_text;
    use crate::workers::Workers;

    const RECIPE: &str = r#"
name = "r"
model = "base"

[[stage]]
kind = "sft"
data = "a.jsonl"

[[stage]]
kind = "grpo"
name = "now"
steps = 1
rewards = [{ kind = "accuracy" }, { kind = "reward_model", model = "stage:sft/model" }]
task = { kind = "arithmetic" }

[[stage]]
kind = "grpo"
name = "then"
steps = 1
rewards = [{ kind = "accuracy" }]
task = { kind = "jsonl", train = "stage:sft/problems.jsonl" }
"#;

    #[test]
    fn what_is_not_made_yet_is_left_out_and_noted() {
        let recipe = from_text(RECIPE, Path::new("r.toml"), &[]).unwrap();
        let summary = |made| {
            let audits = audit_rewards(&recipe, 2, made).unwrap();
            let stages = audits.iter().map(|it| it.stage.as_str());
            assert_eq!(stages.collect::<Vec<_>>(), ["now", "then"]);
            let summaries = audits
                .into_iter()
                .map(|it| (it.audit.problems, it.audit.notes));
            summaries.collect::<Vec<_>>()
        };
        let before = summary(None);
        assert_eq!((before[0].0, before[1].0), (2, 0));
        let note =
            "reward `reward_model` is left out: it is a model, which is audited with its run";
        assert_eq!(before[0].1, [note]);
        let note = "left out: its task reads what an earlier stage makes";
        assert_eq!(before[1].1, [note]);

        let run = tempfile::tempdir().unwrap();
        let device = device::open(&DeviceSpec::Cpu).unwrap();
        let made = MadeByRun {
            folder: run.path(),
            models: RewardModels {
                device: &device,
                precision: Precision::F32,
                workers: Workers::new(1),
            },
        };
        let begun = summary(Some(made));
        let folder = run.path().join("01-sft");
        let model = folder.join("model");
        let model = model.display();
        let note = format!("reward `reward_model` is left out: its model {model} is not there yet");
        assert_eq!((begun[0].0, &begun[0].1), (2, &vec![note]));
        assert!(begun[1].1[0].starts_with("left out: "), "{begun:?}");

        fs::create_dir(&folder).unwrap();
        let problems = "{\"prompt\": \"1+1=?\", \"answer\": \"2\"}\n";
        fs::write(folder.join("problems.jsonl"), problems).unwrap();
        assert_eq!(summary(Some(made))[1], (1, Vec::new()));
    }
}
