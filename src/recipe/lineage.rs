//! Which model each stage starts from, and whose task the models are graded by.

use std::path::Path;

use super::{Recipe, Stage};
use crate::data::{PromptTemplate, reads_stage};
use crate::error::{Error, Result};
use crate::rewards::{AnswerSource, RewardConfig};
use crate::tasks::TaskConfig;

/// What `from` calls the run's first model: the recipe's `model` or, without it, what a first stage
/// of pretraining makes.
pub(super) const FIRST_MODEL: &str = "model";

/// Where a model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    /// A folder that the recipe names.
    Folder {
        /// What `from` calls it.
        name: &'a str,
        /// The folder.
        folder: &'a Path,
    },
    /// The stage at this place.
    Stage(usize),
}

/// How held-out results are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grading<'a> {
    /// Whose held-out problems are asked.
    pub task: &'a TaskConfig,
    /// How they are put.
    pub template: PromptTemplate,
    /// Where the answer stands in a completion.
    pub answer: AnswerSource,
}

impl Recipe {
    /// The model that stage `index` starts from; none when it makes one from nothing.
    ///
    /// # Errors
    /// When there is no such model.
    pub(crate) fn origin(&self, index: usize) -> Result<Option<Origin<'_>>> {
        let stage = &self.stages[index];
        if matches!(stage, Stage::Pretrain(_)) {
            return Ok(None);
        }
        let Some(name) = stage.starts_from() else {
            let newest = self.newest_model(index);
            let problem = "unset, the first stage needs a model folder to start from";
            let missing = || Error::setting("model", problem);
            return newest.ok_or_else(missing).map(Some);
        };
        let models = self.models_before(index);
        let named = models.iter().find(|(known, _)| *known == name);
        named.map(|(_, origin)| Some(*origin)).ok_or_else(|| {
            let names: Vec<_> = models.iter().map(|(name, _)| format!("`{name}`")).collect();
            let expected = match names.is_empty() {
                true => "but none comes before this one".to_owned(),
                false => format!("expected one of {}", names.join(", ")),
            };
            let problem = format!("no earlier stage `{name}` makes a language model, {expected}");
            Error::setting(format!("stage.{}.from", stage.name()), problem)
        })
    }

    /// The newest language model before stage `index`.
    pub(crate) fn newest_model(&self, index: usize) -> Option<Origin<'_>> {
        let made = self.makers(index).last().map(Origin::Stage);
        made.or_else(|| self.given_model())
    }

    /// The first stage of reinforcement learning on what the last model came from: held-out results
    /// of the model that enters it are compared with those of the last model.
    pub(crate) fn first_reinforcement(&self) -> Option<usize> {
        let root = self.root(self.newest_model(self.stages.len())?);
        let is_of_root = |index: usize| {
            let origin = self.origin(index).ok().flatten();
            origin.is_some_and(|origin| self.root(origin) == root)
        };
        let learns = |stage: &Stage| matches!(stage, Stage::Grpo(_) | Stage::Ppo(_));
        (0..self.stages.len()).find(|index| learns(&self.stages[*index]) && is_of_root(*index))
    }

    /// Checks that the names of `models` are free and that no model folder is given for nothing.
    ///
    /// # Errors
    /// Names the key of the first folder that is.
    pub(super) fn validate_models(&self) -> Result<()> {
        for name in self.models.keys() {
            let key = || format!("models.{name}");
            if name == FIRST_MODEL {
                let problem = "is what `from` calls the run's first model, expected another name";
                return Err(Error::setting(key(), problem));
            }
            if self.stages.iter().any(|stage| stage.name() == name) {
                return Err(Error::setting(key(), "a stage has this name, too"));
            }
        }
        let given = self.given_model().into_iter().chain(self.named_models());
        for model in given {
            let starts = |index| self.origin(index).is_ok_and(|origin| origin == Some(model));
            if let Origin::Folder { name, .. } = model
                && !(0..self.stages.len()).any(starts)
            {
                let key = match name == FIRST_MODEL {
                    true => name.to_owned(),
                    false => format!("models.{name}"),
                };
                return Err(Error::setting(key, "no stage starts from it"));
            }
        }
        Ok(())
    }

    /// The recipe's `model`.
    fn given_model(&self) -> Option<Origin<'_>> {
        let name = FIRST_MODEL;
        let folder = self.model.as_deref()?;
        Some(Origin::Folder { name, folder })
    }

    /// The recipe's `models`.
    fn named_models(&self) -> impl Iterator<Item = Origin<'_>> {
        let models = self.models.iter();
        models.map(|(name, folder)| Origin::Folder { name, folder })
    }

    /// What `from` can name in stage `index`: what earlier stages make, then the folders.
    pub(super) fn models_before(&self, index: usize) -> Vec<(&str, Origin<'_>)> {
        let made = self.makers(index);
        let made = made.map(|maker| (self.stages[maker].name(), Origin::Stage(maker)));
        let starts_anew = index > 0 && matches!(self.stages[0], Stage::Pretrain(_));
        let first = starts_anew.then_some(Origin::Stage(0));
        let first = self.given_model().or(first);
        let first = first.map(|origin| (FIRST_MODEL, origin));
        let named = self.named_models().zip(self.models.keys());
        let named = named.map(|(origin, name)| (name.as_str(), origin));
        made.chain(first).chain(named).collect()
    }

    /// The folder or the stage of pretraining that a model goes back to.
    fn root<'a>(&'a self, model: Origin<'a>) -> Origin<'a> {
        match model {
            Origin::Stage(index) => match self.origin(index) {
                Ok(Some(earlier)) => self.root(earlier),
                Ok(None) | Err(_) => model,
            },
            Origin::Folder { .. } => model,
        }
    }

    /// What held-out results are taken by: the last stage of reinforcement learning whose task is
    /// there before the run, or else, where models of other stages are evaluated, the last that samples.
    pub(crate) fn grading<'a>(&'a self) -> Option<Grading<'a>> {
        let reinforced = |stage: &'a Stage| match stage {
            Stage::Grpo(config) | Stage::Ppo(config) => {
                Some(Grading::new(&config.task, config.template, &config.rewards))
            }
            _ => None,
        };
        let sampled = |stage: &'a Stage| match stage {
            Stage::Sample(config) if self.eval.evaluates_stages() => {
                Some(Grading::new(&config.task, config.template, &config.rewards))
            }
            _ => None,
        };
        let is_there = |grading: &Grading<'_>| !reads_stage(grading.task);
        let stages = || self.stages.iter().rev();
        let reinforced = stages().filter_map(reinforced).find(is_there);
        reinforced.or_else(|| stages().filter_map(sampled).find(is_there))
    }

    /// The stages before `index` that make a language model.
    fn makers(&self, index: usize) -> impl Iterator<Item = usize> {
        (0..index).filter(|earlier| self.stages[*earlier].makes_language_model())
    }
}

impl<'a> Grading<'a> {
    fn new(task: &'a TaskConfig, template: PromptTemplate, rewards: &'a [RewardConfig]) -> Self {
        let mut sources = rewards.iter().filter_map(RewardConfig::answer_source);
        Self {
            task,
            template,
            answer: sources.next().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::recipe::from_text;

    const RL: &str =
        "steps = 1\nrewards = [{ kind = \"format\" }]\ntask = { kind = \"countdown\" }";

    fn recipe(stages: &[&str]) -> Recipe {
        let stages: Vec<_> = stages.iter().map(|s| format!("[[stage]]\n{s}\n")).collect();
        let text = format!("name = \"r\"\nmodel = \"base\"\n{}", stages.concat());
        from_text(&text, Path::new("r.toml"), &[]).unwrap()
    }

    fn problem(stages: &[&str]) -> String {
        recipe(stages).validate().unwrap_err().to_string()
    }

    #[test]
    fn a_stage_starts_from_the_nearest_model_or_the_one_it_names() {
        let sft = "kind = \"sft\"\ndata = \"a.jsonl\"";
        let zero = format!("kind = \"grpo\"\nname = \"zero\"\n{RL}");
        let recipe = recipe(&[
            &zero,
            sft,
            &format!("{sft}\nname = \"anew\"\nfrom = \"model\""),
            &format!("{sft}\nname = \"again\"\nfrom = \"zero\""),
        ]);
        recipe.validate().unwrap();
        let origins: Vec<_> = (0..4).map(|i| recipe.origin(i).unwrap()).collect();
        let (name, folder) = ("model", Path::new("base"));
        let base = Origin::Folder { name, folder };
        let expected = [base, Origin::Stage(0), base, Origin::Stage(0)];
        assert_eq!(origins, expected.map(Some));
        assert_eq!(recipe.newest_model(4), Some(Origin::Stage(3)));
    }

    const STUDENT: &str = "kind = \"pretrain\"\nname = \"student\"\nsteps = 1\nbatch = 1\nmodel = {}\n\
                           task = { kind = \"countdown\" }";

    #[test]
    fn a_student_is_made_from_nothing_anywhere_and_the_first_model_stays_the_runs() {
        let sft = "kind = \"sft\"\ndata = \"a.jsonl\"";
        let zero = format!("kind = \"grpo\"\nname = \"zero\"\n{RL}");
        let base = STUDENT.replace("student", "base");
        let after = format!("kind = \"grpo\"\nname = \"after\"\nfrom = \"taught\"\n{RL}");
        let taught = format!("{sft}\nname = \"taught\"");
        let first = format!("{sft}\nfrom = \"model\"");
        let mut recipe = recipe(&[&base, &zero, STUDENT, &taught, &first, &after]);
        recipe.model = None;
        recipe.validate().unwrap();
        let origins: Vec<_> = (0..6).map(|i| recipe.origin(i).unwrap()).collect();
        let stage = |index| Some(Origin::Stage(index));
        assert_eq!(
            origins,
            [None, stage(0), None, stage(2), stage(0), stage(3)]
        );
        assert_eq!(
            recipe.first_reinforcement(),
            Some(5),
            "zero learns from another base"
        );
    }

    #[test]
    fn further_folders_are_named_by_from_and_none_is_given_for_nothing() {
        let sft = "kind = \"sft\"\ndata = \"a.jsonl\"";
        let student = format!("{sft}\nname = \"taught\"\nfrom = \"small\"");
        let mut recipe = recipe(&[sft, &student]);
        let small = Path::new("small");
        recipe.models.insert("small".into(), small.into());
        recipe.validate().unwrap();
        let (name, folder) = ("small", small);
        assert_eq!(
            recipe.origin(1).unwrap(),
            Some(Origin::Folder { name, folder })
        );
        recipe.models.insert("large".into(), "large".into());
        let message = recipe.validate().unwrap_err().to_string();
        assert_eq!(message, "`models.large`: no stage starts from it");
        recipe.models.insert("sft".into(), "large".into());
        let message = recipe.validate().unwrap_err().to_string();
        assert_eq!(message, "`models.sft`: a stage has this name, too");
        let unused = problem(&[STUDENT, sft]);
        assert_eq!(unused, "`model`: no stage starts from it");
    }

    #[test]
    fn a_stage_that_is_not_there_or_comes_later_is_refused_with_those_that_are() {
        let sft = "kind = \"sft\"\ndata = \"a.jsonl\"";
        let zero = format!("kind = \"grpo\"\nname = \"zero\"\n{RL}");
        let later = format!("{sft}\nfrom = \"zero\"");
        let expected = "`stage.sft.from`: no earlier stage `zero` makes a language model, expected \
                        one of `model`";
        assert_eq!(problem(&[&later, &zero]), expected);
        let named = format!("{sft}\nname = \"model\"");
        assert!(problem(&[&named]).starts_with("`stage.model.name`: "));
    }

    #[test]
    fn models_are_graded_by_the_last_task_that_is_there_before_the_run() {
        let grpo = |name: &str, task: &str| {
            format!(
                "kind = \"grpo\"\nname = \"{name}\"\nsteps = 1\ntask = {{ {task} }}\n\
                 rewards = [{{ kind = \"format\" }}]"
            )
        };
        let made = grpo("c", "kind = \"jsonl\", train = \"stage:a/p.jsonl\"");
        let stages = [
            grpo("a", "kind = \"countdown\""),
            grpo("b", "kind = \"arithmetic\""),
            made,
        ];
        let recipe = recipe(&stages.each_ref().map(String::as_str));
        let task = recipe.grading().unwrap().task;
        assert!(matches!(task, TaskConfig::Arithmetic(_)));
        let mut none = self::recipe(&["kind = \"sft\"\ndata = \"a.jsonl\""]);
        none.eval.each_stage = true;
        let message = none.validate().unwrap_err().to_string();
        assert!(
            message.starts_with("`eval.each_stage`: no stage has a task"),
            "{message}"
        );
    }
}
