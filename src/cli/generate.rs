//! `emberl generate`: completions of given prompts.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::lines::{Line, LineArgs, Purpose};
use super::loaded_model::LoadedModel;
use super::{Globals, of_option};
use crate::error::Error;
use crate::generation::{
    self, Engine, FinishReason, GenerationRequest, SamplingParams, eos_token_ids,
};
use crate::model::{GenerationDefaults, ModelConfig};
use crate::progress::{Progress, Screen};
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;

/// What `emberl generate` is told.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    #[command(flatten)]
    lines: LineArgs,
    /// Always takes the likeliest token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    greedy: bool,
    /// Divides the logits; 0 is greedy.
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Keeps only this many likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Keeps the likeliest tokens whose probabilities reach this sum.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Drops tokens less likely than this share of the likeliest one.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f64,
    /// Makes tokens that are there already less likely; 1 is off. Left out, it is off, but with
    /// --greedy it is the model folder's, as in transformers.
    #[arg(long, value_name = "R")]
    repetition_penalty: Option<f64>,
    /// Most new tokens of a completion.
    #[arg(long, value_name = "N", default_value = "512")]
    max_tokens: NonZeroUsize,
    /// Where randomness comes from; a line's completions depend on it, its prompt and its place.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Completions of each prompt.
    #[arg(long, value_name = "N", default_value = "1")]
    n: NonZeroUsize,
    /// Further ids that end a completion: `1,2`.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    stop_ids: Vec<u32>,
    /// Goes on past the model's end-of-text ids.
    #[arg(long)]
    ignore_eos: bool,
}

/// One line of the output.
#[derive(Serialize)]
struct Completed {
    #[serde(flatten)]
    fields: Map<String, Value>,
    completions: Vec<Completion>,
}

/// One completion as it is written.
#[derive(Serialize)]
struct Completion {
    ids: Vec<u32>,
    /// Special tokens left out.
    text: String,
    /// Under the distribution drawn from; when greedy, the model's own. Nats.
    logprobs: Vec<f32>,
    finish: FinishReason,
}

pub(super) fn run(args: &GenerateArgs, globals: &Globals) -> Result<()> {
    let folder = &args.lines.model;
    let config = ModelConfig::load(folder)?;
    let params = args.sampling_params(&config)?;
    let lines = args.lines.read(&config, Purpose::Continue)?;
    let tokenizer = Tokenizer::load(folder)?;
    let eos_ids = eos_token_ids(folder, &config, &tokenizer)?;
    let model = LoadedModel::load(folder, args.lines.adapter.as_deref(), globals)?;
    let engine = Engine::new(&model.decoder, eos_ids, &model.workers);
    let completions = args.complete(&engine, &lines, &params, &globals.screen())?;
    let mut completions = completions.into_iter();
    let mut records = Vec::with_capacity(lines.len());
    for line in &lines {
        let own = completions.by_ref().take(args.n.get());
        records.push(Completed {
            fields: line.fields_without(&["completions"]),
            completions: own.map(|c| written(&tokenizer, c)).collect::<Result<_>>()?,
        });
    }
    args.lines.write(&records)
}

impl GenerateArgs {
    fn sampling_params(&self, config: &ModelConfig) -> Result<SamplingParams> {
        let vocabulary = config.vocab_size;
        if let Some(id) = self.stop_ids.iter().find(|id| **id as usize >= vocabulary) {
            let problem = format!("id {id} is not in the model's vocabulary of {vocabulary}");
            return Err(Error::setting("--stop-ids", problem).into());
        }
        let params = SamplingParams {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty()?,
            max_completion_tokens: self.max_tokens.get(),
            stop_ids: self.stop_ids.clone(),
            ignore_eos: self.ignore_eos,
        };
        params.validate("generate").map_err(of_option)?;
        Ok(params)
    }

    fn repetition_penalty(&self) -> Result<f64> {
        let default = match self.greedy {
            true => GenerationDefaults::load(&self.lines.model)?.repetition_penalty,
            false => None,
        };
        Ok(self.repetition_penalty.or(default).unwrap_or(1.0))
    }

    /// `n` completions of each line, one line after the other.
    fn complete(
        &self,
        engine: &Engine<'_>,
        lines: &[Line],
        params: &SamplingParams,
        screen: &Screen,
    ) -> Result<Vec<generation::Completion>> {
        let mut requests = Vec::with_capacity(lines.len() * self.n.get());
        for (index, line) in lines.iter().enumerate() {
            let seed = Seed::new(self.seed).child(index as u64);
            requests.extend((0..self.n.get()).map(|sample| GenerationRequest {
                prompt: line.ids.clone(),
                seed: seed.child(sample as u64),
            }));
        }
        let meter = CompletionMeter::begin(screen, "generate", requests.len());
        engine
            .generate(&requests, params, &|_, completion| meter.count(completion))
            // Settings and prompts were checked: what fails here is the model.
            .map_err(|error| anyhow!("{error}"))
    }
}

/// Shows how many completions are done and how fast.
pub(super) struct CompletionMeter {
    started: Instant,
    progress: Mutex<(Progress, usize)>,
}

impl CompletionMeter {
    /// A meter of `total` completions.
    pub fn begin(screen: &Screen, title: &str, total: usize) -> Self {
        Self {
            started: Instant::now(),
            progress: Mutex::new((screen.begin(title, 0, total as u64), 0)),
        }
    }

    /// One more is done.
    pub fn count(&self, completion: &generation::Completion) {
        let mut progress = self
            .progress
            .lock()
            .unwrap_or_else(|error| error.into_inner());
        let (progress, tokens) = &mut *progress;
        *tokens += completion.ids.len();
        let speed = *tokens as f64 / self.started.elapsed().as_secs_f64();
        progress.advance(1, format!("{tokens} tokens · {speed:.0} tokens/s"));
    }
}

fn written(tokenizer: &Tokenizer, completion: generation::Completion) -> Result<Completion> {
    Ok(Completion {
        text: tokenizer.decode(&completion.ids, true)?,
        ids: completion.ids,
        logprobs: completion.logprobs,
        finish: completion.finish,
    })
}
