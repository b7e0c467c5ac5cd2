//! What a recipe needs of memory, before anything starts: no weights are read, no device is opened.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::model::{Head, ModelConfig, WeightDtype};
use crate::recipe::{Origin, Recipe, Stage};
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;
use crate::train::{Machine, Prepared, StagePlan, Workload};

/// What a stage starts from.
#[derive(Clone)]
struct Start {
    model: ModelConfig,
    tokenizer: Rc<Tokenizer>,
}

impl Start {
    fn load(folder: &Path) -> Result<Self> {
        Ok(Self {
            model: ModelConfig::load(folder)?,
            tokenizer: Rc::new(Tokenizer::load(folder)?),
        })
    }
}

impl Recipe {
    /// What every stage needs on `machine`.
    ///
    /// Of the models that stages make only the shapes are foretold, of the data that they make only
    /// that it is as large as settings allow; the recipe's model folders and all other data must be
    /// there.
    ///
    /// # Errors
    /// When the model's configuration or tokenizer, or a stage's data, is missing or broken.
    pub fn plan(&self, machine: Machine) -> Result<Vec<StagePlan>> {
        let mut plans = Vec::with_capacity(self.stages.len());
        self.each_workload(&mut |stage, workload| {
            plans.push(workload.plan(stage.name(), machine)?);
            Ok(())
        })?;
        Ok(plans)
    }

    /// Shows `visit` what every stage does, in order.
    ///
    /// # Errors
    /// As [`Self::plan`], and what `visit` fails with.
    pub(super) fn each_workload(
        &self,
        visit: &mut dyn FnMut(&Stage, Workload<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut given: HashMap<&Path, Start> = HashMap::new();
        let mut made: Vec<Option<Start>> = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if let Stage::Pretrain(config) = stage {
                let prepared = config.prepare(self.stage_seed(index))?;
                visit(stage, config.workload(&prepared))?;
                let Prepared {
                    model, tokenizer, ..
                } = prepared;
                made.push(Some(Start {
                    model,
                    tokenizer: Rc::new(tokenizer),
                }));
                continue;
            }
            let start = match self.origin(index)? {
                Some(Origin::Stage(earlier)) => made[earlier].clone(),
                Some(Origin::Folder { folder, .. }) => Some(match given.get(folder) {
                    Some(start) => start.clone(),
                    None => given.entry(folder).or_insert(Start::load(folder)?).clone(),
                }),
                None => None,
            };
            let no_model =
                || Error::setting("model", "unset, the first stage needs a model folder");
            let mut model = start.ok_or_else(no_model)?;
            self.visit_stage(index, &model, visit)?;
            // Stages write their models as f32.
            model.model.dtype = WeightDtype::F32;
            made.push(stage.makes_language_model().then_some(model));
        }
        Ok(())
    }

    fn visit_stage(
        &self,
        index: usize,
        start: &Start,
        visit: &mut dyn FnMut(&Stage, Workload<'_>) -> Result<()>,
    ) -> Result<()> {
        let (stage, seed) = (&self.stages[index], self.stage_seed(index));
        let Start { model, tokenizer } = start;
        let with_score = ModelConfig {
            head: Head::Score,
            ..model.clone()
        };
        let critic = match stage {
            Stage::Ppo(config) => Some(config.critic.clone().unwrap_or_default()),
            _ => None,
        };
        let mut workload = match stage {
            Stage::Pretrain(_) => unreachable!("a pretraining stage starts from nothing"),
            Stage::Sft(config) => config.workload(model, tokenizer)?,
            Stage::Dpo(config) => config.workload(model, tokenizer)?,
            Stage::RewardModel(config) => config.workload(&with_score, tokenizer, seed)?,
            Stage::Grpo(config) | Stage::Ppo(config) => {
                let critic = critic.as_ref().map(|critic| &critic.optim);
                config.workload(model, tokenizer, critic, &self.eval)?
            }
            Stage::Sample(config) => config.workload(model, tokenizer, &self.eval)?,
        };
        workload.stored_bytes = model.dtype.bytes();
        visit(stage, workload)
    }

    /// Where a stage's randomness comes from.
    pub(crate) fn stage_seed(&self, index: usize) -> Seed {
        Seed::new(self.seed).named("stage").child(index as u64)
    }
}
