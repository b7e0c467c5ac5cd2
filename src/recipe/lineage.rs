//! Which model each stage starts from, and whose task the models are graded by.

use super::{Recipe, Stage};
use crate::data::{PromptTemplate, reads_stage};
use crate::error::{Error, Result};
use crate::rewards::{AnswerSource, RewardConfig};
use crate::tasks::TaskConfig;

/// What `from` calls the recipe's `model`.
pub(super) const RECIPES_MODEL: &str = "model";

/// Where a model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The recipe's `model`.
    Recipe,
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
    pub(crate) fn origin(&self, index: usize) -> Result<Option<Origin>> {
        let stage = &self.stages[index];
        if matches!(stage, Stage::Pretrain(_)) {
            return Ok(None);
        }
        let key = || format!("stage.{}.from", stage.name());
        let Some(name) = stage.starts_from() else {
            let newest = self.newest_model(index);
            let problem = "unset, the first stage needs a model folder to start from";
            let missing = || Error::setting("model", problem);
            return newest.ok_or_else(missing).map(Some);
        };
        if name == RECIPES_MODEL {
            return match self.model {
                Some(_) => Ok(Some(Origin::Recipe)),
                None => Err(Error::setting(key(), "the recipe has no `model`")),
            };
        }
        let makers: Vec<usize> = self.makers(index).collect();
        let named = makers.iter().find(|i| self.stages[**i].name() == name);
        named.map(|i| Some(Origin::Stage(*i))).ok_or_else(|| {
            let names = makers.iter().map(|i| self.stages[*i].name());
            let names = names.chain(self.model.as_ref().map(|_| RECIPES_MODEL));
            let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
            let problem = format!(
                "no earlier stage `{name}` makes a language model, expected one of {}",
                names.join(", ")
            );
            Error::setting(key(), problem)
        })
    }

    /// The newest language model before stage `index`.
    pub(crate) fn newest_model(&self, index: usize) -> Option<Origin> {
        let given = self.model.as_ref().map(|_| Origin::Recipe);
        self.makers(index).last().map(Origin::Stage).or(given)
    }

    /// What held-out results are taken by: the last stage of reinforcement learning whose task is
    /// there before the run, or else, for an evaluation after each stage, the last that samples.
    pub(crate) fn grading<'a>(&'a self) -> Option<Grading<'a>> {
        let reinforced = |stage: &'a Stage| match stage {
            Stage::Grpo(config) | Stage::Ppo(config) => {
                Some(Grading::new(&config.task, config.template, &config.rewards))
            }
            _ => None,
        };
        let sampled = |stage: &'a Stage| match stage {
            Stage::Sample(config) if self.eval.each_stage => {
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
        let expected = [
            Origin::Recipe,
            Origin::Stage(0),
            Origin::Recipe,
            Origin::Stage(0),
        ];
        assert_eq!(origins, expected.map(Some));
        assert_eq!(recipe.newest_model(4), Some(Origin::Stage(3)));
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
