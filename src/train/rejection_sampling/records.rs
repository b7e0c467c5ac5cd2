//! What a `sample` stage writes: every completion with its verdict, then the kept ones as examples.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::prompts::PromptCounts;
use crate::data::{Prompt, PromptTemplate, read_json_lines};
use crate::error::Result;
use crate::files;
use crate::generation::FinishReason;
use crate::tokenizer::{Message, Role, Tokenizer};

/// The verdict on a completion that is kept.
const KEPT: &str = "kept";

/// A completion: a line of `samples.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sampled {
    /// Batch, from 1.
    pub step: usize,
    /// The problem's number in the task's stream.
    pub prompt_index: u64,
    /// Which of the problem's completions it is, from 0.
    pub sample_index: usize,
    pub prompt: Prompt,
    pub answer: Value,
    pub completion: String,
    pub tokens: usize,
    pub finish: FinishReason,
    /// Seed of its draws.
    pub seed: u64,
    /// Weighted sum of rewards.
    pub reward: Option<f64>,
    /// Every reward's score.
    pub rewards: BTreeMap<String, Option<f64>>,
    /// What failed of them.
    pub errors: Vec<String>,
    /// `kept`, or why it is not.
    pub verdict: String,
}

impl Sampled {
    pub(super) fn is_kept(&self) -> bool {
        self.verdict == KEPT
    }

    /// `verdict` in words: why it is not kept, if it is not.
    pub(super) fn verdict(rejected: Option<String>) -> String {
        rejected.unwrap_or_else(|| KEPT.to_owned())
    }
}

/// Where examples come from, which each of them says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The stage that sampled.
    pub stage: &'a str,
    /// The model that it asked: an earlier stage, or `model` for the recipe's.
    pub model: &'a str,
}

/// What became of all completions, as `rejected.json` holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// The problems.
    pub prompts: PromptCounts,
    /// Completions made.
    pub completions: usize,
    /// Completions kept.
    pub kept: usize,
    /// Problems with a completion that is kept.
    pub prompts_kept: usize,
    /// Mean length of those that are kept, in tokens.
    pub mean_tokens: f64,
    /// Completions not kept, by reason.
    pub rejected: BTreeMap<String, usize>,
}

/// The completions in `samples.jsonl`, in order.
///
/// # Errors
/// When the file cannot be read; an item is an error when its line is no such record.
pub(super) fn read_samples(path: &Path) -> Result<impl Iterator<Item = Result<Sampled>>> {
    let lines = read_json_lines(path)?;
    Ok(lines.map(|line| {
        let line = line?;
        let record = Value::Object(line.fields().clone());
        serde_json::from_value(record).map_err(|error| line.error(error.to_string()))
    }))
}

/// Counts the completions in `samples`.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn tally(samples: &Path, prompts: PromptCounts) -> Result<Tally> {
    let mut tally = Tally {
        prompts,
        ..Tally::default()
    };
    let (mut tokens, mut last) = (0, None);
    for sampled in read_samples(samples)? {
        let sampled = sampled?;
        tally.completions += 1;
        if sampled.is_kept() {
            tally.kept += 1;
            tokens += sampled.tokens;
            tally.prompts_kept += usize::from(last != Some(sampled.prompt_index));
            last = Some(sampled.prompt_index);
        } else {
            *tally.rejected.entry(sampled.verdict).or_insert(0) += 1;
        }
    }
    tally.mean_tokens = tokens as f64 / tally.kept.max(1) as f64;
    Ok(tally)
}

/// Writes the kept completions in `samples` to `data`, one example a line, as `template` puts their
/// prompts.
///
/// # Errors
/// When a file cannot be read or written, or `template` is not for a prompt.
pub(super) fn write_examples(
    samples: &Path,
    data: &Path,
    source: Source<'_>,
    template: PromptTemplate,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let mut examples = read_samples(samples)?
        .filter(|sampled| sampled.as_ref().map_or(true, Sampled::is_kept))
        .map(|sampled| example(&sampled?, source, template, tokenizer));
    let mut failure = None;
    let written = files::write_atomically(data, |writer| {
        examples.try_for_each(|example| {
            let example = example.map_err(|error| {
                let message = std::io::Error::other(error.to_string());
                failure = Some(error);
                message
            })?;
            serde_json::to_writer(&mut *writer, &example)?;
            writer.write_all(b"\n")
        })
    });
    failure.map_or(written, Err)
}

/// A completion as an example that [`read_examples`](crate::data::read_examples) reads.
fn example(
    sampled: &Sampled,
    source: Source<'_>,
    template: PromptTemplate,
    tokenizer: &Tokenizer,
) -> Result<Value> {
    let provenance = json!({
        "stage": source.stage,
        "model": source.model,
        "prompt_index": sampled.prompt_index,
        "sample_index": sampled.sample_index,
        "seed": sampled.seed,
        "tokens": sampled.tokens,
        "reward": sampled.reward,
        "rewards": sampled.rewards,
    });
    let (prompt, completion) = match template {
        PromptTemplate::Chat => {
            let prompt = match &sampled.prompt {
                Prompt::Text(text) => vec![Message::user(text)],
                Prompt::Messages(messages) => messages.clone(),
            };
            let answer = Message::new(Role::Assistant, sampled.completion.trim());
            (json!(prompt), json!([answer]))
        }
        PromptTemplate::Plain | PromptTemplate::R1Zero => {
            let prompt = template.render(tokenizer, &sampled.prompt)?;
            (json!(prompt), json!(sampled.completion))
        }
    };
    Ok(json!({"prompt": prompt, "completion": completion, "provenance": provenance}))
}
