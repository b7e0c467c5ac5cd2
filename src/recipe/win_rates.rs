//! Which models of a run are compared, checked before the run.

use std::path::PathBuf;

use super::diagnosis::{expected_words, nearest};
use super::{Grading, Origin, Recipe, Stage, is_folder_name};
use crate::data::StagePath;
use crate::error::{Error, Result};
use crate::rewards::{RewardContext, RewardKind, Rubric};
use crate::rollout::WinRateConfig;

/// What names of files are made of.
const FILE_NAME: &str = "must be of letters, digits, `-`, `_` and `.`";

impl Recipe {
    /// Whether the model of stage `index` is evaluated as soon as it is made.
    pub(crate) fn evaluates(&self, index: usize) -> bool {
        let model = Some(Origin::Stage(index));
        let is_side =
            |config: &WinRateConfig| config.sides().map(|it| self.model_named(it) == model);
        let is_compared = self.eval.win_rates.iter().flat_map(is_side).any(|it| it);
        is_compared || self.eval.each_stage && self.stages[index].makes_language_model()
    }

    /// The language model that `name` names after the last stage, as `from` would.
    pub(crate) fn model_named(&self, name: &str) -> Option<Origin<'_>> {
        let models = self.models_before(self.stages.len());
        let named = models.into_iter().find(|(known, _)| *known == name);
        named.map(|(_, origin)| origin)
    }

    /// Checks that both models of every comparison are there when the last stage ends, and what scores
    /// them.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub(super) fn validate_win_rates(&self) -> Result<()> {
        let win_rates = &self.eval.win_rates;
        for (place, config) in win_rates.iter().enumerate() {
            let Some(grading) = self.grading() else {
                let problem = "no stage has a task to evaluate by, expected one of kind `grpo`, \
                               `ppo` or `sample` whose task is there before the run";
                return Err(Error::setting("eval.win_rate", problem));
            };
            let name = config.name();
            let key = format!("eval.win_rate.{name}");
            if !is_folder_name(&name) {
                return Err(Error::setting(format!("{key}.name"), FILE_NAME));
            }
            if win_rates[..place].iter().any(|other| other.name() == name) {
                let problem = "two comparisons of this name, give each its own `name`";
                return Err(Error::setting(key, problem));
            }
            for (field, model) in ["stage", "against"].iter().zip(config.sides()) {
                self.validate_side(model)
                    .map_err(|problem| Error::setting(format!("{key}.{field}"), problem))?;
            }
            validate_part(config, grading)
                .map_err(|problem| Error::setting(format!("{key}.part"), problem))?;
            self.validate_rewards(config, grading)
                .map_err(|error| error.inside(&format!("{key}.")))?;
            self.resolved_win_rate(config, &|_| PathBuf::new())?;
        }
        Ok(())
    }

    /// The problem with the name of a compared model, if there is one.
    fn validate_side(&self, name: &str) -> Result<(), String> {
        if self.model_named(name).is_some() {
            return match is_folder_name(name) {
                true => Ok(()),
                false => Err(format!("`{name}` cannot be in a file's name, {FILE_NAME}")),
            };
        }
        let models = self.models_before(self.stages.len());
        let names: Vec<&str> = models.iter().map(|(name, _)| *name).collect();
        let expected = expected_words(&names);
        let is_there = self.stages.iter().any(|stage| stage.name() == name);
        Err(match nearest(name, &names) {
            _ if is_there => {
                format!("stage `{name}` makes no language model, expected {expected}")
            }
            Some(near) => {
                format!("no stage `{name}`, did you mean `{near}`? (expected {expected})")
            }
            None => format!("no stage `{name}`, expected {expected}"),
        })
    }

    /// Checks the rewards by themselves, the parts that they are for, and that what a stage makes for
    /// them is a reward model.
    fn validate_rewards(&self, config: &WinRateConfig, grading: Grading<'_>) -> Result<()> {
        if config.rewards.is_empty() {
            return Ok(());
        }
        Rubric::build(&config.rewards, &RewardContext::default())?;
        for reward in &config.rewards {
            reward.validate_parts(grading.task)?;
            reward.validate_steps(None)?;
            let RewardKind::RewardModel(model) = &reward.kind else {
                continue;
            };
            let path = model.model.to_str().and_then(StagePath::parse);
            let maker = path.and_then(|path| self.stages.iter().find(|it| it.name() == path.stage));
            let Some(maker) = maker.filter(|maker| !matches!(maker, Stage::RewardModel(_))) else {
                continue;
            };
            let problem = format!(
                "stage `{}` is of kind `{}`, expected one of kind `reward_model`",
                maker.name(),
                maker.kind()
            );
            return Err(Error::setting(
                format!("rewards.{}.model", reward.name()),
                problem,
            ));
        }
        Ok(())
    }
}

/// The problem with the part whose problems are counted, if there is one.
fn validate_part(config: &WinRateConfig, grading: Grading<'_>) -> Result<(), String> {
    let (Some(part), Some(known)) = (&config.part, grading.task.parts()) else {
        return Ok(());
    };
    if known.contains(&part.as_str()) {
        return Ok(());
    }
    Err(match nearest(part, &known) {
        _ if known.is_empty() => {
            format!("the task has no part `{part}`, only a `mixture` has parts")
        }
        Some(near) => format!(
            "the task has no part `{part}`, did you mean `{near}`? (expected {})",
            expected_words(&known)
        ),
        None => format!(
            "the task has no part `{part}`, expected {}",
            expected_words(&known)
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::recipe::{from_text, to_toml};

    const STAGES: &str = r#"
[[stage]]
kind = "sft"
name = "cold_start"
data = "a.jsonl"
[[stage]]
kind = "reward_model"
name = "helpful"
data = "b.jsonl"
[[stage]]
kind = "grpo"
name = "scenarios"
steps = 1
rewards = [{ kind = "accuracy" }]
[[stage.task.parts]]
name = "sums"
share = 1
task = { kind = "arithmetic" }
[[stage.task.parts]]
name = "notes"
share = 1
task = { kind = "countdown" }
[stage.task]
kind = "mixture"
"#;

    fn recipe(win_rates: &[&str]) -> Recipe {
        let tables = win_rates
            .iter()
            .map(|it| format!("[[eval.win_rate]]\n{it}\n"));
        let tables: String = tables.collect();
        let text = format!("name = \"r\"\nmodel = \"base\"\n{tables}{STAGES}");
        from_text(&text, Path::new("r.toml"), &[]).unwrap()
    }

    fn problem(win_rates: &[&str]) -> String {
        recipe(win_rates).validate().unwrap_err().to_string()
    }

    #[test]
    fn comparisons_are_read_and_written_and_their_stages_evaluated() {
        let by_rule = "stage = \"scenarios\"\nagainst = \"model\"\npart = \"notes\"";
        let by_model = "name = \"helpful\"\nstage = \"scenarios\"\nagainst = \"cold_start\"\n\
             rewards = [{ kind = \"reward_model\", model = \"stage:helpful/model\" }]";
        let both = recipe(&[by_rule, by_model]);
        both.validate().unwrap();
        let written = to_toml(&both).unwrap();
        let read: Recipe = from_text(&written, Path::new("r.toml"), &[]).unwrap();
        assert_eq!(read, both);
        let evaluated = |recipe: &Recipe| [0, 1, 2].map(|index| recipe.evaluates(index));
        assert_eq!(evaluated(&both), [true, false, true]);
        assert_eq!(evaluated(&recipe(&[by_rule])), [false, false, true]);
        assert_eq!(evaluated(&recipe(&[])), [false; 3]);
        let (name, folder) = ("model", Path::new("base"));
        let base = Origin::Folder { name, folder };
        assert_eq!(both.model_named("model"), Some(base));
        assert_eq!(both.model_named("helpful"), None);
        let folder = |place: usize| PathBuf::from(format!("run/{place}"));
        let resolved = both
            .resolved_win_rate(&both.eval.win_rates[1], &folder)
            .unwrap();
        let RewardKind::RewardModel(reward) = &resolved.rewards[0].kind else {
            panic!("the reward is a model's");
        };
        assert_eq!(reward.model, Path::new("run/1/model"));
        assert_eq!(resolved.stage, "scenarios");
    }

    #[test]
    fn models_that_are_not_there_are_refused_with_the_nearest() {
        assert_eq!(
            problem(&["stage = \"scenario\"\nagainst = \"model\""]),
            "`eval.win_rate.scenario-against-model.stage`: no stage `scenario`, did you mean \
             `scenarios`? (expected one of `cold_start`, `scenarios`, `model`)"
        );
        assert_eq!(
            problem(&["name = \"a\"\nstage = \"scenarios\"\nagainst = \"helpful\""]),
            "`eval.win_rate.a.against`: stage `helpful` makes no language model, expected one of \
             `cold_start`, `scenarios`, `model`"
        );
    }

    #[test]
    fn parts_and_names_are_checked() {
        let sides = "stage = \"scenarios\"\nagainst = \"model\"";
        assert_eq!(
            problem(&[&format!("{sides}\nname = \"a\"\npart = \"note\"")]),
            "`eval.win_rate.a.part`: the task has no part `note`, did you mean `notes`? (expected \
             one of `sums`, `notes`)"
        );
        assert_eq!(
            problem(&[sides, sides]),
            "`eval.win_rate.scenarios-against-model`: two comparisons of this name, give each its \
             own `name`"
        );
        assert!(
            problem(&[&format!("{sides}\nname = \"../a\"")])
                .starts_with("`eval.win_rate.../a.name`: must be of letters")
        );
    }

    #[test]
    fn rewards_are_checked_and_come_from_stages_of_the_recipe() {
        let by = |reward: &str| {
            problem(&[&format!(
                "name = \"a\"\nstage = \"scenarios\"\nagainst = \"model\"\nrewards = [{{ {reward} }}]"
            )])
        };
        assert_eq!(
            by("kind = \"reward_model\", model = \"stage:helpfull/model\""),
            "`eval.win_rate.a.rewards.reward_model.model`: `stage:helpfull/model` names no earlier \
             stage, expected one of `stage:cold_start/..`, `stage:helpful/..`, `stage:scenarios/..`"
        );
        assert_eq!(
            by("kind = \"reward_model\", model = \"stage:cold_start/model\""),
            "`eval.win_rate.a.rewards.reward_model.model`: stage `cold_start` is of kind `sft`, \
             expected one of kind `reward_model`"
        );
        assert_eq!(
            by("kind = \"reward_model\", model = \"m\", scale = 0.0"),
            "`eval.win_rate.a.rewards.reward_model.scale`: must be above 0"
        );
        assert!(
            by("kind = \"format\", parts = [\"talk\"]")
                .starts_with("`eval.win_rate.a.rewards.parts`: the task has no part `talk`")
        );
    }

    #[test]
    fn comparisons_need_a_task() {
        let text = "name = \"r\"\nmodel = \"base\"\n[[eval.win_rate]]\nstage = \"sft\"\n\
             against = \"model\"\n[[stage]]\nkind = \"sft\"\ndata = \"a.jsonl\"";
        let recipe: Recipe = from_text(text, Path::new("r.toml"), &[]).unwrap();
        let message = recipe.validate().unwrap_err().to_string();
        assert!(
            message.starts_with("`eval.win_rate`: no stage has a task"),
            "{message}"
        );
    }
}
