//! Runs a recipe's stages in order, each from model folder to model folder.
//!
//! A run's folder: `recipe.toml` (resolved), `versions.json`, one folder a stage (`01-pretrain`: its
//! `metrics.jsonl`, `samples.jsonl`, `states`, `rollouts` and, once done, `model`, `adapter` and `done.json`),
//! `eval-before.json`, `eval-after.json` and `summary.json`. What is there is not done again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::device;
use crate::error::{Error, Result};
use crate::files;
use crate::generation::{Engine, eos_token_ids};
use crate::model::{Adapter, Decoder, WeightDtype};
use crate::progress::Screen;
use crate::recipe::{self, Recipe, Stage};
use crate::rewards::{Accuracy, AddedReward, AnswerSource, RewardConfig};
use crate::rollout::{Evaluation, EvaluationInput, evaluate};
use crate::seed::Seed;
use crate::stop::Stop;
use crate::tasks::{Split, Task};
use crate::tokenizer::Tokenizer;
use crate::train::{
    RlConfig, StageContext, pretrain, train_dpo, train_grpo, train_ppo, train_reward_model,
    train_sft,
};
use crate::workers::Workers;

/// What a run found, as `summary.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The stages, in order.
    pub stages: Vec<StageSummary>,
    /// Held-out results; none without reinforcement learning.
    pub eval: Option<HeldOut>,
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
}

/// Held-out results around reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Of the model that entered reinforcement learning.
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
        let workers = match self.recipe.workers {
            0 => Workers::suited_to(self.device),
            count => Workers::new(count),
        };
        let mut model = self.recipe.model.clone();
        let mut stages = Vec::new();
        let mut before = None;
        let mut graded_by = None;
        for (index, stage) in self.recipe.stages.iter().enumerate() {
            if let (Stage::Grpo(config) | Stage::Ppo(config), Some(model)) = (stage, &model) {
                if before.is_none() {
                    before = Some(self.evaluate("before", model, config, &workers)?);
                }
                graded_by = Some(config);
            }
            let folder = self.stage_folder(index, stage);
            stages.push(self.run_stage(index, stage, model.as_deref(), &folder, &workers)?);
            if !matches!(stage, Stage::RewardModel(_)) {
                model = Some(folder.join("model"));
            }
        }
        let eval = match (before, graded_by, &model) {
            (Some(before), Some(config), Some(model)) => Some(HeldOut {
                before,
                after: self.evaluate("after", model, config, &workers)?,
            }),
            _ => None,
        };
        let summary = Summary { stages, eval };
        files::write_json(&self.folder.join("summary.json"), &summary)?;
        Ok(summary)
    }

    /// The folder of the last stage's model.
    pub fn final_model(&self) -> PathBuf {
        let last = self.recipe.stages.len() - 1;
        self.stage_folder(last, &self.recipe.stages[last])
            .join("model")
    }

    fn stage_folder(&self, index: usize, stage: &Stage) -> PathBuf {
        self.folder
            .join(format!("{:02}-{}", index + 1, stage.name()))
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
        stage: &Stage,
        model: Option<&Path>,
        folder: &Path,
        workers: &Workers,
    ) -> Result<StageSummary> {
        let done = folder.join("done.json");
        if let Some(summary) = read_json(&done)? {
            return Ok(summary);
        }
        let started = Instant::now();
        let context = StageContext {
            name: stage.name(),
            folder,
            seed: self.recipe.stage_seed(index),
            device: self.device,
            precision: self.recipe.precision,
            workers,
            screen: self.screen,
            stop: self.stop,
            save_every: self.recipe.save_every,
            rewards: self.rewards,
        };
        let metrics = self.train(context, stage, model)?;
        let summary = StageSummary {
            name: stage.name().to_string(),
            kind: stage.kind().to_string(),
            seconds: started.elapsed().as_secs_f64(),
            metrics,
        };
        files::write_json(&done, &summary)?;
        Ok(summary)
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

    /// Held-out results of the model in `model`, read back if they are there already.
    fn evaluate(
        &self,
        moment: &str,
        model: &Path,
        config: &RlConfig,
        workers: &Workers,
    ) -> Result<Evaluation> {
        let path = self.folder.join(format!("eval-{moment}.json"));
        if let Some(evaluation) = read_json(&path)? {
            return Ok(evaluation);
        }
        let loaded = self.load(model)?;
        let task: Arc<dyn Task> = Arc::from(config.task.build()?);
        let mut eval = self.recipe.eval.clone();
        if let Some(size) = task.size(Split::Test) {
            eval.problems = eval.problems.min(size);
        }
        if eval.problems == 0 {
            let problem = "has no held-out problems, name a file of them as `test`";
            return Err(Error::setting("task", problem));
        }
        let total = (eval.problems * eval.samples) as u64;
        let title = format!("held-out {moment}");
        let bar = std::sync::Mutex::new(self.screen.begin(&title, 0, total));
        let tokens = AtomicU64::new(0);
        let evaluation = device::while_tuning(self.device, &title, || {
            evaluate(
                &EvaluationInput {
                    engine: &Engine::new(&loaded.decoder.frozen(), loaded.eos_ids, workers),
                    tokenizer: &loaded.tokenizer,
                    task: task.as_ref(),
                    template: config.template,
                    accuracy: &Accuracy::new(answer_source(config), Some(task.clone())),
                    // The same for both moments: the same problems, the same draws.
                    seed: self.seed("eval"),
                },
                &eval,
                &|completion| {
                    tokens.fetch_add(completion.ids.len() as u64, Ordering::Relaxed);
                    if let Ok(mut bar) = bar.lock() {
                        bar.advance(1, format!("{} tokens", tokens.load(Ordering::Relaxed)));
                    }
                },
            )
        })?;
        files::write_json(&path, &evaluation)?;
        Ok(evaluation)
    }

    fn seed(&self, purpose: &str) -> Seed {
        Seed::new(self.recipe.seed).named(purpose)
    }
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

/// Where the stage's accuracy reward looks for the answer.
fn answer_source(config: &RlConfig) -> AnswerSource {
    let mut sources = config
        .rewards
        .iter()
        .filter_map(RewardConfig::answer_source);
    sources.next().unwrap_or_default()
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
