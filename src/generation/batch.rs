//! One batch of rows decoded together.

use std::collections::HashMap;

use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;

use super::engine::compaction_share;
use super::{Completion, FinishReason, GenerationRequest, Sampler, SamplingParams};
use crate::error::{Error, Result};
use crate::model::{Decoder, KvCache, TokenGrid};
use crate::ops;

/// Rows that share a cache and advance one token at a time.
pub(super) struct Batch<'a> {
    decoder: &'a Decoder,
    requests: &'a [GenerationRequest],
    params: &'a SamplingParams,
    stop_ids: &'a [u32],
    /// Rows still in the cache, in its order.
    rows: Vec<Row>,
    completions: Vec<Option<Completion>>,
}

struct Row {
    request: usize,
    /// First column that holds one of this row's tokens.
    start: usize,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    rng: ChaCha8Rng,
    finish: Option<FinishReason>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        decoder: &'a Decoder,
        requests: &'a [GenerationRequest],
        params: &'a SamplingParams,
        stop_ids: &'a [u32],
    ) -> Self {
        let row = |(request, asked): (usize, &GenerationRequest)| Row {
            request,
            start: 0,
            ids: Vec::new(),
            logprobs: Vec::new(),
            rng: asked.seed.rng(),
            finish: None,
        };
        Self {
            decoder,
            requests,
            params,
            stop_ids,
            rows: requests.iter().enumerate().map(row).collect(),
            completions: vec![None; requests.len()],
        }
    }

    /// Decodes until every row has finished.
    pub(super) fn run(
        mut self,
        on_finished: &(dyn Fn(usize, &Completion) + Sync),
    ) -> Result<Vec<Completion>> {
        let (mut cache, mut logits) = self.prefill();
        loop {
            self.draw(ops::read_floats(logits)?, on_finished)?;
            self.compact(&mut cache);
            if self.rows.iter().all(|row| row.finish.is_some()) {
                break;
            }
            logits = self.decode(&mut cache);
        }
        let completions = self.completions.into_iter();
        Ok(completions
            .map(|completion| completion.expect("every row finished"))
            .collect())
    }

    /// Runs each distinct prompt once and shares its cache among its rows.
    ///
    /// Returns the logits of every row's next token, `[rows, V]`.
    fn prefill(&mut self) -> (KvCache, Tensor<2>) {
        let mut prompts: Vec<&[u32]> = Vec::new();
        let mut places: HashMap<&[u32], usize> = HashMap::new();
        let mut place_of_row = Vec::with_capacity(self.rows.len());
        for request in self.requests {
            let place = *places.entry(&request.prompt).or_insert_with(|| {
                prompts.push(&request.prompt);
                prompts.len() - 1
            });
            place_of_row.push(place);
        }
        let grid = TokenGrid::left_padded(&prompts, 0);
        let [_, columns] = grid.dims();
        let positions = self.decoder.config().max_position_embeddings;
        let capacity = columns + self.params.max_completion_tokens.min(positions);
        let device = self.decoder.device();
        let mut cache = KvCache::new(self.decoder, capacity);
        let input = self.decoder.input(&grid);
        let states = self.decoder.hidden_states(&input, Some(&mut cache));
        let last = states.narrow(1, columns - 1, 1).squeeze_dim(1);
        for (row, &place) in self.rows.iter_mut().zip(&place_of_row) {
            row.start = grid.starts()[place];
        }
        let mut logits = self.decoder.logits(last);
        if prompts.len() < self.rows.len() {
            let places = ops::indices(place_of_row, &device);
            cache.keep_rows(&places);
            logits = logits.select(0, places);
        }
        (cache, logits)
    }

    /// One token further: runs every row's last token, returns the next logits `[rows, V]`.
    fn decode(&self, cache: &mut KvCache) -> Tensor<2> {
        let last_id = |row: &Row| *row.ids.last().expect("every row has drawn a token");
        let ids: Vec<u32> = self.rows.iter().map(last_id).collect();
        let starts: Vec<usize> = self.rows.iter().map(|row| row.start).collect();
        let input = self.decoder.next_input(&ids, &starts, cache.tokens());
        let states = self.decoder.hidden_states(&input, Some(cache));
        self.decoder.logits(states.squeeze_dim(1))
    }

    /// Draws the next token of every unfinished row.
    fn draw(
        &mut self,
        logits: Vec<f32>,
        on_finished: &(dyn Fn(usize, &Completion) + Sync),
    ) -> Result<()> {
        let mut sampler = Sampler::new(self.params);
        let vocabulary = logits.len() / self.rows.len();
        let positions = self.decoder.config().max_position_embeddings;
        for (row, logits) in self.rows.iter_mut().zip(logits.chunks(vocabulary)) {
            if row.finish.is_some() {
                continue;
            }
            if !logits.iter().all(|logit| *logit < f32::INFINITY) {
                return Err(not_a_number(row.ids.len()));
            }
            let prompt = &self.requests[row.request].prompt;
            let context = match self.params.repetition_penalty == 1.0 {
                true => Vec::new(),
                false => [prompt, row.ids.as_slice()].concat(),
            };
            let draw = sampler.draw(logits, &context, &mut row.rng);
            row.ids.push(draw.id);
            row.logprobs.push(draw.logprob);
            row.finish = if self.stop_ids.contains(&draw.id) {
                Some(FinishReason::Stop)
            } else {
                let room = positions - prompt.len();
                let most = self.params.max_completion_tokens.min(room);
                (row.ids.len() >= most).then_some(FinishReason::Length)
            };
            if let Some(finish) = row.finish {
                let completion = Completion {
                    ids: std::mem::take(&mut row.ids),
                    logprobs: std::mem::take(&mut row.logprobs),
                    finish,
                };
                // A finished row that stays in the batch for a while feeds its last id.
                row.ids.push(draw.id);
                on_finished(row.request, &completion);
                self.completions[row.request] = Some(completion);
            }
        }
        Ok(())
    }

    /// Drops finished rows from the cache once enough have finished.
    fn compact(&mut self, cache: &mut KvCache) {
        let finished = self.rows.iter().filter(|row| row.finish.is_some()).count();
        let device = self.decoder.device();
        let enough = (self.rows.len() as f64 * compaction_share(&device)).max(1.0);
        if (finished as f64) < enough || finished == self.rows.len() {
            return;
        }
        let open = |(_, row): &(usize, &Row)| row.finish.is_none();
        let kept = self.rows.iter().enumerate().filter(open);
        cache.keep_rows(&ops::indices(kept.map(|(index, _)| index), &device));
        self.rows.retain(|row| row.finish.is_none());
    }
}

/// The model's output after `tokens` new ones is broken.
pub(super) fn not_a_number(tokens: usize) -> Error {
    Error::Model {
        problem: format!(
            "output after {tokens} new tokens is not a number; the weights are broken, or training \
             diverged and wants a lower learning rate"
        ),
    }
}
