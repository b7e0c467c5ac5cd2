//! `emberl score`: the log-probability of every token of given texts, or a reward model's score of
//! each text.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Globals;
use super::lines::{Line, LineArgs, Purpose};
use super::loaded_model::LoadedModel;
use crate::error::Error;
use crate::model::{Head, ModelConfig};
use crate::progress::Screen;
use crate::train::{Batching, TrainingSample, score_texts};

/// What `emberl score` is told.
#[derive(Args, Debug)]
pub struct ScoreArgs {
    #[command(flatten)]
    lines: LineArgs,
    /// Divides the logits; above 0.
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Texts that go through the model together.
    #[arg(long, value_name = "N", default_value = "32")]
    batch: NonZeroUsize,
}

/// One line of a reward model's output.
#[derive(Serialize)]
struct Rewarded {
    #[serde(flatten)]
    fields: Map<String, Value>,
    /// What the model says of the text.
    score: f32,
    /// Tokens of the text.
    tokens: usize,
}

/// One line of the output.
#[derive(Serialize)]
struct Scored {
    #[serde(flatten)]
    fields: Map<String, Value>,
    /// Of every token after the first, in nats.
    logprobs: Vec<f32>,
    /// Tokens of the text.
    tokens: usize,
}

pub(super) fn run(args: &ScoreArgs, globals: &Globals) -> Result<()> {
    if !(args.temperature.is_finite() && args.temperature > 0.0) {
        let problem = format!("is {}, must be above 0", args.temperature);
        return Err(Error::setting("--temperature", problem).into());
    }
    let config = ModelConfig::load(&args.lines.model)?;
    let lines = args.lines.read(&config, Purpose::Score)?;
    if config.head == Head::Score {
        return args.reward(&lines, globals);
    }
    let model = LoadedModel::load(&args.lines.model, args.lines.adapter.as_deref(), globals)?;
    let logprobs = args.score(&model, &lines, &globals.screen())?;
    let scored = |(line, logprobs): (&Line, Vec<f32>)| Scored {
        fields: line.fields_without(&["logprobs", "tokens"]),
        logprobs,
        tokens: line.ids.len(),
    };
    let records: Vec<Scored> = lines.iter().zip(logprobs).map(scored).collect();
    args.lines.write(&records)
}

impl ScoreArgs {
    /// Writes what a reward model says of each line.
    fn reward(&self, lines: &[Line], globals: &Globals) -> Result<()> {
        if self.lines.adapter.is_some() {
            let problem = "is of no use: the model has a score, expected a language model";
            return Err(Error::setting("--adapter", problem).into());
        }
        let model = LoadedModel::load_scorer(&self.lines.model, globals)?;
        let screen = globals.screen();
        let mut progress = screen.begin("score", 0, lines.len() as u64);
        let mut records = Vec::with_capacity(lines.len());
        for batch in lines.chunks(self.batch.get()) {
            let texts: Vec<&[u32]> = batch.iter().map(|line| &line.ids[..]).collect();
            let scores = score_texts(&model.decoder, &texts, &model.workers)?;
            for (line, score) in batch.iter().zip(scores) {
                if !score.is_finite() {
                    let problem = "the model's output is not a number; its weights are broken";
                    return Err(line.error(problem).into());
                }
                records.push(Rewarded {
                    fields: line.fields_without(&["score", "tokens"]),
                    score,
                    tokens: line.ids.len(),
                });
            }
            progress.advance(batch.len() as u64, "");
        }
        self.lines.write(&records)
    }

    /// Log-probabilities of each line's tokens after the first, in the lines' order.
    fn score(&self, model: &LoadedModel, lines: &[Line], screen: &Screen) -> Result<Vec<Vec<f32>>> {
        // Texts of one length waste no padding; the longest first, so that one too long for the
        // device's memory shows at once.
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(lines[index].ids.len()));
        let mut all = vec![Vec::new(); lines.len()];
        let mut progress = screen.begin("score", 0, lines.len() as u64);
        for batch in order.chunks(self.batch.get()) {
            let sample = |&index: &usize| {
                let (first, rest) = lines[index].ids.split_at(1);
                TrainingSample::new(first, rest)
            };
            let samples: Vec<TrainingSample> = batch.iter().map(sample).collect();
            let (decoder, workers) = (&model.decoder, &model.workers);
            let scores = Batching::default().score(decoder, &samples, self.temperature, workers)?;
            for (&index, logprobs) in batch.iter().zip(scores) {
                if !logprobs.iter().all(|logprob| logprob.is_finite()) {
                    let problem = "the model's output is not a number; its weights are broken";
                    return Err(lines[index].error(problem).into());
                }
                all[index] = logprobs;
            }
            progress.advance(batch.len() as u64, "");
        }
        Ok(all)
    }
}
