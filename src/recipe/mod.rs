//! Recipes: a list of stages, each from a model folder to a model folder.

mod diagnosis;
mod key_path;
mod lineage;
mod overrides;
mod plan;
mod preset;
mod references;
mod toml_overlay;
mod tune;
mod win_rates;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use lineage::{Grading, Origin};
pub use toml_overlay::{from_text, load, to_toml};

use crate::device::DeviceSpec;
use crate::error::{Error, Result};
use crate::model::LoraConfig;
use crate::precision::Precision;
use crate::rollout::EvalConfig;
use crate::train::{
    DpoConfig, PretrainConfig, RewardModelConfig, RlConfig, SampleConfig, SftConfig,
};

/// What a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The run's name: titles and, without `--out`, its folder under `runs/`.
    pub name: String,
    /// Where all randomness comes from.
    #[serde(default)]
    pub seed: u64,
    /// The device: `auto`, `cpu`, `wgpu:N`, `vulkan:N` or `cuda:N`.
    #[serde(default)]
    pub device: DeviceSpec,
    /// What linear maps and attention compute in: `auto`, `f32`, `bf16` or `f16`. Weights that are
    /// trained stay `f32`.
    #[serde(default)]
    pub precision: Precision,
    /// Threads that share the work on a CPU; 0 takes the machine's cores. The last bits of a
    /// result depend on it.
    #[serde(default)]
    pub workers: usize,
    /// Steps between saved states.
    #[serde(default = "default_save_every")]
    pub save_every: usize,
    /// The model folder that the first stage reads, unless it makes a model itself; `from = "model"` names
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Further model folders, by the names that `from` calls them: the student of a distillation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, PathBuf>,
    /// How models are evaluated on held-out problems: before and after reinforcement learning, by
    /// the task of its last stage.
    #[serde(default)]
    pub eval: EvalConfig,
    /// The stages, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

fn default_save_every() -> usize {
    20
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    /// A model from nothing.
    Pretrain(Box<PretrainConfig>),
    /// Supervised fine-tuning on examples.
    Sft(Box<SftConfig>),
    /// Learning from preferences between answers.
    Dpo(Box<DpoConfig>),
    /// A model with a score, from preferences or labels. It is no language model: the stage after it
    /// goes on from the model before it.
    RewardModel(Box<RewardModelConfig>),
    /// Reinforcement learning by group-relative advantages.
    Grpo(Box<RlConfig>),
    /// Reinforcement learning with a critic.
    Ppo(Box<RlConfig>),
    /// Rejection sampling: examples from the current model's own completions. Makes no model.
    Sample(Box<SampleConfig>),
}

impl Stage {
    /// The kind as recipes spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pretrain(_) => "pretrain",
            Self::Sft(_) => "sft",
            Self::Dpo(_) => "dpo",
            Self::RewardModel(_) => "reward_model",
            Self::Grpo(_) => "grpo",
            Self::Ppo(_) => "ppo",
            Self::Sample(_) => "sample",
        }
    }

    /// The given name, else the kind.
    pub fn name(&self) -> &str {
        let name = match self {
            Self::Pretrain(config) => &config.name,
            Self::Sft(config) => &config.name,
            Self::Dpo(config) => &config.name,
            Self::RewardModel(config) => &config.name,
            Self::Grpo(config) | Self::Ppo(config) => &config.name,
            Self::Sample(config) => &config.name,
        };
        name.as_deref().unwrap_or(self.kind())
    }

    /// The stage whose model this one starts from, as `from` names it.
    pub fn starts_from(&self) -> Option<&str> {
        let from = match self {
            Self::Pretrain(_) => &None,
            Self::Sft(config) => &config.from,
            Self::Dpo(config) => &config.from,
            Self::RewardModel(config) => &config.from,
            Self::Grpo(config) | Self::Ppo(config) => &config.from,
            Self::Sample(config) => &config.from,
        };
        from.as_deref()
    }

    /// Whether later stages can start from what this one makes.
    pub fn makes_language_model(&self) -> bool {
        match self {
            Self::Pretrain(_) | Self::Sft(_) | Self::Dpo(_) | Self::Grpo(_) | Self::Ppo(_) => true,
            Self::Sample(_) | Self::RewardModel(_) => false,
        }
    }

    /// The adapter that the stage trains in place of all weights.
    pub fn lora(&self) -> Option<&LoraConfig> {
        match self {
            Self::Pretrain(_) | Self::Sample(_) | Self::RewardModel(_) => None,
            Self::Sft(config) => config.lora.as_ref(),
            Self::Dpo(config) => config.lora.as_ref(),
            Self::Grpo(config) | Self::Ppo(config) => config.lora.as_ref(),
        }
    }

    fn validate(&self, key: &str) -> Result<()> {
        match self {
            Self::Pretrain(config) => config.validate(key),
            Self::Sft(config) => config.validate(key),
            Self::Dpo(config) => config.validate(key),
            Self::RewardModel(config) => config.validate(key),
            Self::Grpo(config) => config.validate_grpo(key),
            Self::Ppo(config) => config.validate_ppo(key),
            Self::Sample(config) => config.validate(key),
        }
    }
}

impl Recipe {
    /// Checks what the types cannot: ranges, and that every stage has a model to start from.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub fn validate(&self) -> Result<()> {
        if !is_folder_name(&self.name) {
            let problem = "must be a folder's name: letters, digits, `-`, `_` and `.`";
            return Err(Error::setting("name", problem));
        }
        if self.stages.is_empty() {
            return Err(Error::setting("stage", "no stages, expected at least one"));
        }
        self.eval.validate("eval")?;
        if self.eval.each_stage && self.grading().is_none() {
            let problem = "no stage has a task to evaluate by, expected one of kind `grpo`, `ppo` \
                           or `sample` whose task is there before the run";
            return Err(Error::setting("eval.each_stage", problem));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let key = format!("stage.{}", stage.name());
            self.origin(index)?;
            if !is_folder_name(stage.name()) {
                let problem = "must be a folder's name: letters, digits, `-`, `_` and `.`";
                return Err(Error::setting(format!("{key}.name"), problem));
            }
            let same = |other: &&Stage| other.name() == stage.name();
            if self.stages.iter().filter(same).count() > 1 {
                let problem = "two stages of this name, give each its own `name`";
                return Err(Error::setting(key, problem));
            }
            if stage.name() == lineage::FIRST_MODEL {
                let problem = "is what `from` calls the run's first model, expected another name";
                return Err(Error::setting(format!("{key}.name"), problem));
            }
            self.validate_references(index)?;
            stage.validate(&key)?;
        }
        self.validate_models()?;
        self.validate_win_rates()
    }
}

fn is_folder_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const RECIPE: &str = r#"name = "r"
model = "base"
[[stage]]
kind = "grpo"
steps = 1
rewards = [
    { kind = "accuracy", parts = ["sums"] },
    { kind = "repetition", parts = ["talk"], weight = 0.5 },
]
[[stage.task.parts]]
name = "sums"
share = 0.7
task = { kind = "arithmetic" }
[[stage.task.parts]]
name = "talk"
share = 0.3
task = { kind = "jsonl", train = "talk.jsonl" }
[stage.task]
kind = "mixture"
"#;

    fn read(text: &str, sets: &[&str]) -> Result<Recipe> {
        let sets: Vec<_> = sets.iter().map(|set| set.to_string()).collect();
        let recipe: Recipe = from_text(text, Path::new("r.toml"), &sets)?;
        recipe.validate().map(|()| recipe)
    }

    #[test]
    fn parts_of_a_task_and_of_rewards_are_set_by_name_and_written_back() {
        let recipe = read(
            RECIPE,
            &[
                "stage.grpo.task.parts.sums.task.digits=3",
                "stage.grpo.rewards.accuracy.parts=[\"talk\"]",
            ],
        )
        .unwrap();
        let text = to_toml(&recipe).unwrap();
        assert!(text.contains("digits = 3"), "{text}");
        assert!(!text.contains("parts = [\"sums\"]"), "{text}");
        assert_eq!(read(&text, &[]).unwrap(), recipe);
    }

    #[test]
    fn faults_in_them_are_named_by_key_and_line() {
        let problem = |old: &str, new: &str| {
            let message = read(&RECIPE.replace(old, new), &[])
                .unwrap_err()
                .to_string();
            message.replace("recipe `r.toml`: ", "")
        };
        assert_eq!(
            problem("parts = [\"sums\"]", "prts = [\"sums\"]"),
            "line 7: unknown key `stage.grpo.rewards.accuracy.prts`, did you mean `parts`? \
             (expected one of `weight`, `answer`, `name`, `parts`, \
             `from_step`)"
        );
        assert_eq!(
            problem("parts = [\"talk\"], weight = 0.5", "parts = \"talk\""),
            "line 8: `stage.grpo.rewards.repetition.parts`: invalid type: string \"talk\", \
             expected a sequence"
        );
        assert_eq!(
            problem("share = 0.7", "share = \"most\""),
            "line 12: `stage.grpo.task.parts.sums.share`: invalid type: string \"most\", \
             expected f64"
        );
        assert_eq!(
            problem("parts = [\"talk\"]", "parts = [\"tlk\"]"),
            "`stage.grpo.rewards.parts`: the task has no part `tlk`, expected of `sums`, `talk`"
        );
    }
}
