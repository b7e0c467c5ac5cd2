//! Steps of GRPO: those of the recorded curve, or of prompts and completions of one length.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use emberl::error::Result as EmberlResult;
use emberl::generation::eos_token_ids;
use emberl::model::Decoder;
use emberl::progress::Screen;
use emberl::rewards::{AddedReward, Attempt, Reward};
use emberl::seed::Seed;
use emberl::stop::Stop;
use emberl::tokenizer::Tokenizer;
use emberl::train::{RlConfig, StageContext, train_grpo};
use serde_json::{Value, json};

use crate::measured::{Shape, Timing, cpu_seconds, median};
use crate::{Bench, GROUP};

/// Steps of the recorded curve that are run, the first not counted.
const CURVE_STEPS: usize = 16;

/// What was measured of a run's steps.
pub struct Steps {
    /// Medians.
    pub timing: Timing,
    /// Median seconds of the rollouts in a step.
    pub rollout_seconds: f64,
    /// Completion tokens of a step.
    pub tokens: f64,
}

/// A reward that differs inside a group and costs nothing.
struct Spread;

impl Reward for Spread {
    fn name(&self) -> &str {
        "spread"
    }

    fn score(&self, attempt: &Attempt<'_>) -> EmberlResult<Option<f64>> {
        let sum: u64 = attempt.token_ids.iter().map(|id| u64::from(*id)).sum();
        Ok(Some((sum % 8) as f64))
    }
}

impl Bench {
    /// Steps on the task of the recorded curve, with its model.
    pub fn curve(&self) -> Result<Steps> {
        let source = curve_folder();
        let config: RlConfig = toml::from_str(&format!(
            r#"
            steps = {CURVE_STEPS}
            prompts_per_step = 8
            group_size = 8
            task = {{ kind = "jsonl", train = {:?} }}
            rewards = [
                {{ kind = "accuracy" }},
                {{ kind = "format", style = "think_answer_inline", weight = 0.2 }},
            ]
            sampling = {{ temperature = 1.0, max_completion_tokens = 40 }}
            loss = {{ kind = "dapo" }}
            optim = {{ lr = 1e-4 }}
            "#,
            source.join("train.jsonl")
        ))?;
        let decoder = Decoder::load(&source.join("base"), &self.device)?;
        let decoder = decoder.with_precision(self.precision)?;
        self.steps(&config, decoder, &[])
    }

    /// Steps of the bench's model: prompts and completions all as long as the shape says, in groups
    /// of eight.
    pub fn grpo(&self, shape: Shape) -> Result<Steps> {
        ensure!(
            shape.rows.is_multiple_of(GROUP),
            "`{shape}`: expected whole groups of {GROUP} rows"
        );
        let (folder, steps) = (tempfile::tempdir()?, 1 + self.repeats);
        let prompts = shape.rows / GROUP;
        let task = folder.path().join("task.jsonl");
        let lines = (0..prompts * steps).map(|index| {
            let prompt = prompt(index, shape.prompt);
            format!("{}\n", json!({ "prompt": prompt, "answer": "0" }))
        });
        fs::write(&task, lines.collect::<String>())?;
        let config: RlConfig = toml::from_str(&format!(
            r#"
            steps = {steps}
            prompts_per_step = {prompts}
            group_size = {GROUP}
            task = {{ kind = "jsonl", train = {task:?} }}
            rewards = [{{ kind = "accuracy" }}]
            sampling = {{ temperature = 1.0, ignore_eos = true, max_completion_tokens = {} }}
            loss = {{ kind = "dapo" }}
            optim = {{ lr = 1e-6 }}
            "#,
            shape.completion
        ))?;
        let reward = AddedReward {
            weight: 1.0,
            reward: Arc::new(Spread),
        };
        let steps = self.steps(&config, self.decoder()?, &[reward])?;
        let expected = (shape.rows * shape.completion) as f64;
        ensure!(
            (steps.tokens - expected).abs() < 0.5,
            "a step made {} tokens, expected {expected}",
            steps.tokens
        );
        Ok(steps)
    }

    /// Runs a stage and takes medians of its steps but the first.
    fn steps(&self, config: &RlConfig, decoder: Decoder, rewards: &[AddedReward]) -> Result<Steps> {
        let base = curve_folder().join("base");
        let tokenizer = Tokenizer::load(&base)?;
        let eos_ids = eos_token_ids(&base, decoder.config(), &tokenizer)?;
        let folder = tempfile::tempdir()?;
        let context = StageContext {
            name: "grpo",
            folder: folder.path(),
            seed: Seed::new(1),
            device: &self.device,
            precision: decoder.precision(),
            workers: &self.workers,
            screen: &Screen::new(true),
            stop: &Stop::default(),
            save_every: config.steps,
            rewards,
        };
        let before = cpu_seconds();
        train_grpo(context, config, &tokenizer, eos_ids, decoder)?;
        let cpu = cpu_seconds().zip(before);
        let cpu = cpu.map(|(after, before)| after - before);
        let metrics = fs::read_to_string(folder.path().join("metrics.jsonl"))?;
        let steps: serde_json::Result<Vec<Value>> =
            metrics.lines().map(serde_json::from_str).collect();
        let counted = &steps?[1..];
        let column = |name: &str| {
            let numbers = counted.iter().filter_map(|step| step[name].as_f64());
            median(numbers.collect())
        };
        let timing = Timing {
            seconds: column("seconds"),
            cpu_seconds: cpu.map(|cpu| cpu / config.steps as f64),
        };
        Ok(Steps {
            timing,
            rollout_seconds: column("rollout_seconds"),
            tokens: (column("tokens_per_second") * timing.seconds).round(),
        })
    }
}

/// A text that the curve's tokenizer makes so many ids of, another for every index.
fn prompt(index: usize, tokens: usize) -> String {
    let digits = (0..).map(|place| (index / 10_usize.pow(place) % 10).to_string());
    // Neither a digit between two other signs nor the sign itself is merged with a neighbour.
    let head: String = digits.take(3).map(|digit| digit + "#").collect();
    let text = format!("{head}{}", "#".repeat(tokens.saturating_sub(head.len())));
    text.chars().take(tokens).collect()
}

/// The recorded curve, in the repository that the program runs in or was built in.
fn curve_folder() -> PathBuf {
    let repository = std::env::var_os("CARGO_MANIFEST_DIR");
    let repository = repository.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&repository).join("tests/fixtures/oracle/curve")
}
