//! The generation engine: many requests, batched and spread over workers.

use burn::tensor::Device;

use super::SamplingParams;
use super::batch::Batch;
use super::slots::{self, Slots};
use crate::device;
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::ops::DecodeProgram;
use crate::seed::Seed;
use crate::workers::Workers;

/// Most rows that decode together on one worker.
pub(crate) const MAX_ROWS: usize = 64;

/// One completion to make.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// The prompt's ids, at least one.
    pub prompt: Vec<u32>,
    /// Where this row's randomness comes from; it alone decides the row's draws.
    pub seed: Seed,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-text or stop id was drawn; it is the completion's last id.
    Stop,
    /// The completion has as many tokens as it may have.
    Length,
}

/// What the model wrote.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Ids, the one that ended it included.
    pub ids: Vec<u32>,
    /// Log-probability of each id under the distribution it was drawn from, in nats.
    #[serde(with = "crate::exact")]
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// Makes completions with one decoder.
#[derive(Debug)]
pub struct Engine<'a> {
    decoder: &'a Decoder,
    eos_ids: Vec<u32>,
    workers: &'a Workers,
    most_rows: Option<usize>,
}

impl<'a> Engine<'a> {
    /// An engine over `decoder`; `eos_ids` end a completion unless the parameters ignore them.
    pub fn new(decoder: &'a Decoder, eos_ids: Vec<u32>, workers: &'a Workers) -> Self {
        Self {
            decoder,
            eos_ids,
            workers,
            most_rows: None,
        }
    }

    /// The same engine with at most `rows` rows decoding together on a worker; as it comes, that
    /// depends on the device.
    pub fn with_most_rows(mut self, rows: usize) -> Self {
        self.most_rows = Some(rows.max(1));
        self
    }

    /// Makes one completion a request, in order; `on_finished` hears of each as it ends, with the number
    /// of its request.
    ///
    /// A row's ids depend on its prompt and seed, not on its neighbours (up to the rounding of
    /// batched sums).
    ///
    /// # Errors
    /// When a prompt is empty, longer than the model's positions or holds an unknown id, or when
    /// the model's output is not a number.
    pub fn generate(
        &self,
        requests: &[GenerationRequest],
        params: &SamplingParams,
        on_finished: &(dyn Fn(usize, &Completion) + Sync),
    ) -> Result<Vec<Completion>> {
        for (index, request) in requests.iter().enumerate() {
            self.check(index, request)?;
        }
        let stop_ids = self.stop_ids(params);
        let device = self.decoder.device();
        if DecodeProgram::runs_on(&device) && params.repetition_penalty == 1.0 {
            let most_rows = self.most_rows.unwrap_or(slots::MOST_ROWS);
            let slots = Slots::new(
                self.decoder,
                requests,
                params,
                &stop_ids,
                most_rows,
                on_finished,
            )?;
            return slots.run();
        }
        let most_rows = self.most_rows.unwrap_or(MAX_ROWS);
        let decoder = self.decoder.for_decoding();
        // Each worker takes a run of neighbours: samples of one prompt share its prefill.
        let share = requests.len().div_ceil(self.workers.count()).max(1);
        let shares = requests.chunks(share).enumerate().collect();
        let results = self.workers.map(shares, |(worker, requests)| {
            let mut completions = Vec::with_capacity(requests.len());
            for rows in requests.chunks(most_rows) {
                let first = worker * share + completions.len();
                let batch = Batch::new(&decoder, rows, params, &stop_ids);
                let finished = |row: usize, made: &Completion| on_finished(first + row, made);
                completions.extend(batch.run(&finished)?);
            }
            Ok(completions)
        });
        let mut completions = Vec::with_capacity(requests.len());
        for result in results {
            completions.extend(result?);
        }
        Ok(completions)
    }

    fn stop_ids(&self, params: &SamplingParams) -> Vec<u32> {
        let eos = match params.ignore_eos {
            true => &[][..],
            false => &self.eos_ids,
        };
        [eos, &params.stop_ids].concat()
    }

    fn check(&self, index: usize, request: &GenerationRequest) -> Result<()> {
        let config = self.decoder.config();
        let problem = if request.prompt.is_empty() {
            "has no tokens, expected at least one".to_string()
        } else if request.prompt.len() >= config.max_position_embeddings {
            format!(
                "has {} tokens, the model has room for {}",
                request.prompt.len(),
                config.max_position_embeddings
            )
        } else if let Some(id) = request
            .prompt
            .iter()
            .find(|id| **id as usize >= config.vocab_size)
        {
            format!(
                "holds id {id}, the vocabulary ends at {}",
                config.vocab_size - 1
            )
        } else {
            return Ok(());
        };
        Err(Error::setting(format!("prompt {}", index + 1), problem))
    }
}

/// Share of a batch's rows that must have finished before it is made smaller: shapes may change
/// freely on the CPU, but cost tuning on a GPU.
pub(super) fn compaction_share(device: &Device) -> f64 {
    match device::is_cpu(device) {
        true => 0.125,
        false => 0.5,
    }
}
