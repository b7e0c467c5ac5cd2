//! Runs a recipe's stages in order, each from model folder to model folder.
//!
//! A run's folder: `recipe.toml` (resolved), `versions.json`, one folder a stage (`01-pretrain`: its
//! `metrics.jsonl`, `samples.jsonl`, `first_seen.jsonl`, `states`, `rollouts` and, once done, `model`, `adapter`
//! and `done.json`),
//! `eval-before.json`, `eval-after.json`, one more a stage if asked for, beside the first of each model
//! its completions (`eval-before.jsonl`), `win-rate-NAME.json` and `summary.json`. What is there is not done
//! again.

mod audit;
mod held_out;
mod win_rates;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::held_out::Examiner;
use crate::device;
use crate::error::{Error, Result};
use crate::files;
use crate::generation::eos_token_ids;
use crate::model::{Adapter, Decoder, WeightDtype};
use crate::progress::Screen;
use crate::recipe::{self, Origin, Recipe, Stage};
use crate::rewards::AddedReward;
use crate::rollout::{Evaluation, WinRate};
use crate::stop::Stop;
use crate::tokenizer::Tokenizer;
use crate::train::{
    SampleConfig, SampledModel, StageContext, pretrain, sample_examples, train_dpo, train_grpo,
    train_ppo, train_reward_model, train_sft,
};
use crate::workers::Workers;

pub use self::audit::{MadeByRun, StageAudit, audit_rewards};

/// What a run found, as `summary.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The stages, in order.
    pub stages: Vec<StageSummary>,
    /// Held-out results; none without reinforcement learning.
    pub eval: Option<HeldOut>,
    /// Models that were compared with each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub win_rates: Vec<WinRate>,
}

/// What one stage did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// The stage's name.
    pub name: String,
    /// The stage's kind.
    pub kind: String,
    /// Wall time of the process that finished it, in seconds.
    pub seconds: f64,
    /// Its last figures.
    pub metrics: BTreeMap<String, f64>,
    /// Held-out results of the model it made, if every stage's is evaluated or this one's compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<Evaluation>,
}

/// Held-out results around reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Of the model that entered reinforcement learning, of those that the last model came from.
    pub before: Evaluation,
    /// Of the last model.
    pub after: Evaluation,
}

/// A run of a recipe in a folder.
pub struct Run<'a> {
    /// What to do.
    pub recipe: &'a Recipe,
    /// Where to do it.
    pub folder: &'a Path,
    /// The opened device.
    pub device: &'a Device,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Through which the user asks to stop.
    pub stop: &'a Stop,
    /// Rewards of reinforcement-learning stages beside those of the recipe.
    pub rewards: &'a [AddedReward],
}

impl Run<'_> {
    /// Starts the run, or goes on where it stopped.
    ///
    /// # Errors
    /// When the folder holds another recipe's run, a stage fails, or the user stops.
    pub fn execute(&self) -> Result<Summary> {
        self.prepare_folder()?;
        let workers = self.workers();
        let grading = self.recipe.grading();
        let mut examiner = grading.map(|grading| Examiner::new(self, &workers, grading));
        let mut stages = Vec::new();
        let compared = self.recipe.first_reinforcement();
        let mut before = None;
        for index in 0..self.recipe.stages.len() {
            let origin = self.recipe.origin(index)?;
            if compared == Some(index)
                && let (Some(model), Some(examiner)) = (self.model(origin), &mut examiner)
            {
                before = Some(examiner.examine("before", &model)?);
            }
            let mut summary = self.run_stage(index, origin, &workers)?;
            if self.recipe.evaluates(index)
                && let Some(examiner) = &mut examiner
            {
                let moment = self.stage_name(index);
                let model = self.stage_folder(index).join("model");
                summary.eval = Some(examiner.examine(&moment, &model)?);
            }
            stages.push(summary);
        }
        let eval = match (before, &mut examiner, self.final_model()) {
            (Some(before), Some(examiner), Some(model)) => Some(HeldOut {
                before,
                after: examiner.examine("after", &model)?,
            }),
            _ => None,
        };
        let win_rates = examiner.map_or(Ok(Vec::new()), |mut examiner| examiner.win_rates())?;
        let summary = Summary {
            stages,
            eval,
            win_rates,
        };
        files::write_json(&self.folder.join("summary.json"), &summary)?;
        Ok(summary)
    }

    /// The folder of the last language model; none when the recipe has none.
    pub fn final_model(&self) -> Option<PathBuf> {
        self.model(self.recipe.newest_model(self.recipe.stages.len()))
    }

    fn workers(&self) -> Workers {
        match self.recipe.workers {
            0 => Workers::suited_to(self.device),
            count => Workers::new(count),
        }
    }

    fn model(&self, origin: Option<Origin<'_>>) -> Option<PathBuf> {
        match origin? {
            Origin::Folder { folder, .. } => Some(folder.to_path_buf()),
            Origin::Stage(index) => Some(self.stage_folder(index).join("model")),
        }
    }

    fn stage_folder(&self, index: usize) -> PathBuf {
        self.folder.join(self.stage_name(index))
    }

    fn stage_name(&self, index: usize) -> String {
        stage_name(self.recipe, index)
    }

    /// Writes the resolved recipe and the versions, or checks that they are this run's.
    fn prepare_folder(&self) -> Result<()> {
        let path = self.folder.join("recipe.toml");
        let resolved = recipe::to_toml(self.recipe)?;
        if path.exists() {
            let found = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
            if found != resolved {
                let problem = "is the recipe of another run; resume with the recipe and settings \
                               that the run was started with";
                return Err(Error::file(path, problem));
            }
            files::remove_leftovers(self.folder)?;
            return Ok(());
        }
        files::write_text(&path, &resolved)?;
        let versions = BTreeMap::from([
            ("emberl", env!("CARGO_PKG_VERSION").to_string()),
            ("device", format!("{:?}", self.device)),
            ("backends", device::compiled_backends().join(" ")),
            ("os", std::env::consts::OS.to_string()),
            ("arch", std::env::consts::ARCH.to_string()),
        ]);
        files::write_json(&self.folder.join("versions.json"), &versions)
    }

    fn run_stage(
        &self,
        index: usize,
        origin: Option<Origin<'_>>,
        workers: &Workers,
    ) -> Result<StageSummary> {
        let folder = self.stage_folder(index);
        let done = folder.join("done.json");
        if let Some(summary) = read_json(&done)? {
            return Ok(summary);
        }
        let started = Instant::now();
        let stage = &self
            .recipe
            .resolved(index, &|other| self.stage_folder(other))?;
        let model = self.model(origin);
        let context = StageContext {
            name: stage.name(),
            folder: &folder,
            seed: self.recipe.stage_seed(index),
            device: self.device,
            precision: self.recipe.precision,
            workers,
            screen: self.screen,
            stop: self.stop,
            save_every: self.recipe.save_every,
            rewards: self.rewards,
        };
        let metrics = match (stage, origin, &model) {
            (Stage::Sample(config), Some(origin), Some(model)) => {
                self.sample(context, config, origin, model)?
            }
            _ => self.train(context, stage, model.as_deref())?,
        };
        let summary = StageSummary {
            name: stage.name().to_string(),
            kind: stage.kind().to_string(),
            seconds: started.elapsed().as_secs_f64(),
            metrics,
            eval: None,
        };
        files::write_json(&done, &summary)?;
        Ok(summary)
    }

    /// Asks the model in `model` and writes examples.
    fn sample(
        &self,
        context: StageContext<'_>,
        config: &SampleConfig,
        origin: Origin<'_>,
        model: &Path,
    ) -> Result<BTreeMap<String, f64>> {
        let loaded = self.load(model)?;
        let asked = SampledModel {
            decoder: &loaded.decoder,
            tokenizer: &loaded.tokenizer,
            eos_ids: loaded.eos_ids,
            name: match origin {
                Origin::Folder { name, .. } => name,
                Origin::Stage(index) => self.recipe.stages[index].name(),
            },
        };
        sample_examples(context, config, &asked)
    }

    /// Trains a stage and writes its model folder.
    fn train(
        &self,
        context: StageContext<'_>,
        stage: &Stage,
        model: Option<&Path>,
    ) -> Result<BTreeMap<String, f64>> {
        let (tokenizer, trained) = match (stage, model) {
            (Stage::Pretrain(config), _) => pretrain(context, config)?,
            (Stage::Sft(config), Some(model)) => {
                let loaded = self.load_to_train(context, stage, model)?;
                let trained = train_sft(context, config, &loaded.tokenizer, loaded.decoder)?;
                (loaded.tokenizer, trained)
            }
            (Stage::Dpo(config), Some(model)) => {
                let loaded = self.load_to_train(context, stage, model)?;
                let trained = train_dpo(context, config, &loaded.tokenizer, loaded.decoder)?;
                (loaded.tokenizer, trained)
            }
            (Stage::RewardModel(config), Some(model)) => {
                let tokenizer = Tokenizer::load(model)?;
                let decoder = Decoder::load_with_score(model, self.device)?;
                let decoder = decoder.with_precision(self.recipe.precision)?;
                let trained = train_reward_model(context, config, &tokenizer, decoder)?;
                (tokenizer, trained)
            }
            (Stage::Grpo(config) | Stage::Ppo(config), Some(model)) => {
                let Loaded {
                    decoder,
                    tokenizer,
                    eos_ids,
                } = self.load_to_train(context, stage, model)?;
                let train = match stage {
                    Stage::Ppo(_) => train_ppo,
                    _ => train_grpo,
                };
                let trained = train(context, config, &tokenizer, eos_ids, decoder)?;
                (tokenizer, trained)
            }
            (Stage::Sample(_), _) => unreachable!("a stage that samples trains nothing"),
            (_, None) => unreachable!("a validated recipe gives every stage a model"),
        };
        let folder = context.folder.join("model");
        tokenizer.save(&folder)?;
        if let Some(model) = model {
            copy_generation_config(model, &folder)?;
        }
        let mut decoder = trained.decoder;
        if let (Some(adapter), Some(model)) = (decoder.adapter().cloned(), model) {
            // PEFT looks for the base from wherever it is run.
            let base = fs::canonicalize(model).ok();
            let base = base.map(|base| base.display().to_string());
            adapter.save(&context.folder.join("adapter"), base.as_deref())?;
            // The base was rounded for training; it is merged as its file has it.
            drop(decoder);
            decoder = Decoder::load(model, self.device)?.with_adapter(adapter)?;
        }
        decoder.save(&folder, WeightDtype::F32)?;
        Ok(trained.metrics)
    }

    /// The stage's first model, with a fresh adapter if it is to train one.
    fn load_to_train(
        &self,
        context: StageContext<'_>,
        stage: &Stage,
        model: &Path,
    ) -> Result<Loaded> {
        let mut loaded = self.load(model)?;
        if let Some(lora) = stage.lora() {
            let adapter = Adapter::fresh(lora, &loaded.decoder, context.seed.named("lora"))?;
            loaded.decoder = loaded.decoder.with_adapter(adapter)?.with_frozen_base();
        }
        Ok(loaded)
    }

    fn load(&self, folder: &Path) -> Result<Loaded> {
        let tokenizer = Tokenizer::load(folder)?;
        let decoder = Decoder::load(folder, self.device)?;
        let decoder = decoder.with_precision(self.recipe.precision)?;
        Ok(Loaded {
            eos_ids: eos_token_ids(folder, decoder.config(), &tokenizer)?,
            decoder,
            tokenizer,
        })
    }
}

/// The name of the folder of stage `index`.
fn stage_name(recipe: &Recipe, index: usize) -> String {
    let name = recipe.stages[index].name();
    format!("{:02}-{name}", index + 1)
}

/// A model folder in memory.
struct Loaded {
    decoder: Decoder,
    tokenizer: Tokenizer,
    eos_ids: Vec<u32>,
}

/// Hands on `generation_config.json`, which may name more ends of text than `config.json`.
fn copy_generation_config(from: &Path, to: &Path) -> Result<()> {
    let source = from.join("generation_config.json");
    if !source.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&source).map_err(Error::io(&source, "read"))?;
    files::write_text(&to.join("generation_config.json"), &text)
}

/// A JSON file's value; none when there is no file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::file(path, error.to_string()))
}
