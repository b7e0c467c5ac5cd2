//! `emberl score`: the log-probability of every token of given texts.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Globals;
use super::lines::{Line, LineArgs, Purpose};
use super::loaded_model::LoadedModel;
use crate::error::Error;
use crate::model::ModelConfig;
use crate::progress::Screen;
use crate::train::{Batching, TrainingSample};

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
