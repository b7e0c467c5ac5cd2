//! Reward models at work: texts to scores.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::HeldOutReport;
use super::reading::scored_sample;
use crate::data::Prompt;
use crate::error::{Error, Result};
use crate::model::{Decoder, Head, ModelConfig};
use crate::precision::Precision;
use crate::rewards::{Attempt, ModelRewardConfig, Reading, ScoredPart, Scorer, Scorers, TextForm};
use crate::tokenizer::Tokenizer;
use crate::train::loss::RewardLossKind;
use crate::train::{Batching, TrainingSample};
use crate::workers::Workers;

/// What is said of a reward model beside its weights, and in its stage's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Card {
    pub loss: RewardLossKind,
    #[serde(flatten)]
    pub reading: Reading,
    pub max_tokens: usize,
    /// What it did on held-out items.
    pub held_out: Option<HeldOutReport>,
}

impl Card {
    /// Where it lies in a folder.
    pub(super) fn place(folder: &Path) -> PathBuf {
        folder.join("reward_model.json")
    }
}

/// What another trainer's folder does not say is left out.
#[derive(Default, Deserialize)]
struct Said {
    scores: Option<ScoredPart>,
    texts: Option<TextForm>,
}

/// A reward model that is loaded.
#[derive(Debug)]
pub struct RewardModel {
    decoder: Decoder,
    tokenizer: Tokenizer,
    reading: Reading,
    workers: Workers,
}

impl RewardModel {
    /// Loads the model folder `folder`; `scores` and `texts` say what it reads where given.
    ///
    /// # Errors
    /// When a file is missing or broken, or the model has no score.
    pub fn load(
        folder: &Path,
        scores: Option<ScoredPart>,
        texts: Option<TextForm>,
        place: &RewardModels<'_>,
    ) -> Result<Self> {
        let config = ModelConfig::load(folder)?;
        if config.head != Head::Score {
            let problem = "`architectures`: is a language model's, expected a reward model's";
            return Err(Error::file(folder.join("config.json"), problem));
        }
        let tokenizer = Tokenizer::load(folder)?;
        let said = said(folder)?;
        let by_template = match tokenizer.has_chat_template() {
            true => TextForm::Chat,
            false => TextForm::Plain,
        };
        let decoder = Decoder::load_with_score(folder, place.device)?;
        Ok(Self {
            decoder: decoder.with_precision(place.precision)?.frozen(),
            tokenizer,
            reading: Reading {
                scores: scores.or(said.scores).unwrap_or(ScoredPart::Response),
                texts: texts.or(said.texts).unwrap_or(by_template),
            },
            workers: place.workers,
        })
    }

    /// The score of each prompt with its completion, in order.
    ///
    /// Of a text that is longer than the model's positions the end is scored.
    pub fn score(&self, texts: &[(&Prompt, &str)]) -> Vec<Result<f32>> {
        let ids: Vec<Result<Vec<u32>>> = texts
            .iter()
            .map(|(prompt, completion)| self.ids(prompt, completion))
            .collect();
        let whole: Vec<&[u32]> = ids.iter().flatten().map(Vec::as_slice).collect();
        let scores = score_texts(&self.decoder, &whole, &self.workers);
        let mut scores = scores.map(Vec::into_iter);
        let mut next = || match &mut scores {
            Ok(scores) => Ok(scores.next().expect("one score a text")),
            Err(error) => Err(Error::Model {
                problem: format!("the texts cannot be scored: {error}"),
            }),
        };
        ids.into_iter()
            .map(|ids| ids.and_then(|_| next()))
            .collect()
    }

    fn ids(&self, prompt: &Prompt, completion: &str) -> Result<Vec<u32>> {
        let completion = Prompt::Text(completion.to_owned());
        let mut ids = self.reading.put(&self.tokenizer, prompt, &completion)?.ids;
        let config = self.decoder.config();
        if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab_size) {
            let problem = format!("id {id} is not in the model's vocabulary");
            return Err(Error::Tokenizer { problem });
        }
        // One position stays free.
        let longest = config.max_position_embeddings.saturating_sub(1).max(1);
        ids.drain(..ids.len().saturating_sub(longest));
        Ok(ids)
    }
}

impl Scorer for RewardModel {
    fn score(&self, attempts: &[Attempt<'_>]) -> Vec<Result<f32>> {
        let texts: Vec<_> = attempts
            .iter()
            .map(|attempt| (&attempt.problem.prompt, attempt.completion))
            .collect();
        Self::score(self, &texts)
    }
}

/// Loads reward models to a device.
#[derive(Clone, Copy, Debug)]
pub struct RewardModels<'a> {
    /// The device that computes.
    pub device: &'a Device,
    /// What they compute in.
    pub precision: Precision,
    /// Threads that share the work on a CPU.
    pub workers: Workers,
}

impl Scorers for RewardModels<'_> {
    fn load(&self, config: &ModelRewardConfig) -> Result<Box<dyn Scorer>> {
        let model = RewardModel::load(&config.model, config.scores, config.texts, self)?;
        Ok(Box::new(model))
    }
}

/// What `decoder`, which has a score, gives texts of at least one id each, in order: the score of the
/// state at the last id that is not padding.
///
/// # Errors
/// When the device failed.
pub fn score_texts(decoder: &Decoder, texts: &[&[u32]], workers: &Workers) -> Result<Vec<f32>> {
    let pad = decoder.config().pad_token_id;
    let samples = texts.iter().map(|ids| scored_sample(ids, pad));
    score_samples(decoder, &samples.collect::<Vec<_>>(), workers)
}

/// The scores of samples of one trained token.
pub(super) fn score_samples(
    decoder: &Decoder,
    samples: &[TrainingSample],
    workers: &Workers,
) -> Result<Vec<f32>> {
    let scores = Batching::default().score(decoder, samples, 1.0, workers)?;
    Ok(scores.into_iter().map(|scores| scores[0]).collect())
}

/// What the folder says the model reads.
fn said(folder: &Path) -> Result<Said> {
    let card = Card::place(folder);
    if !card.exists() {
        return Ok(Said::default());
    }
    let text = fs::read_to_string(&card).map_err(Error::io(&card, "read"))?;
    serde_json::from_str(&text).map_err(|error| Error::file(&card, error.to_string()))
}
