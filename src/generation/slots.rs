//! Rows that decode on a GPU, refilled from the queue as they finish (continuous batching, Yu et al.,
//! "Orca", OSDI 2022).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use burn::tensor::DType;

use super::batch::not_a_number;
use super::{Completion, FinishReason, GenerationRequest, SamplingParams};
use crate::error::Result;
use crate::model::{Decoder, KvCache, ModelConfig, TokenGrid};
use crate::ops::{
    DecodeHost, DecodeProgram, DecodeRow, DecodeSettings, DecodedToken, SampleFilters,
};
use crate::seed::Seed;

/// Most rows that decode together.
pub(super) const MOST_ROWS: usize = 128;
/// Most bytes of keys and values of the rows that decode together, unless one row takes more.
const CACHE_BYTES: usize = 4 << 30;
/// Steps between looks of the host, which sees them while the next are taken: what a row draws after its end is thrown
/// away.
const RING: usize = 4;
/// Share of the rows that must be free before prompts are taken in, so that several are together.
const REFILL_SHARE: usize = 8;
/// Most prompt tokens, padding among them, that are prefilled together.
const PREFILL_TOKENS: usize = 16_384;
/// Columns of a prefill are a multiple of this and a power of two times it.
const LEAST_COLUMNS: usize = 16;

/// A program and the requests on their way through its rows.
pub(super) struct Slots<'a> {
    program: DecodeProgram,
    queue: Queue<'a>,
}

/// Requests and the rows that they have.
struct Queue<'a> {
    /// Rounded to its precision, any adapter merged.
    decoder: Decoder,
    requests: &'a [GenerationRequest],
    params: &'a SamplingParams,
    stop_ids: &'a [u32],
    on_finished: &'a (dyn Fn(usize, &Completion) + Sync),
    rows: Vec<Option<Row>>,
    /// First request that has no row yet.
    next: usize,
    completions: Vec<Option<Completion>>,
}

/// A request that decodes.
struct Row {
    request: usize,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
}

impl<'a> Slots<'a> {
    pub(super) fn new(
        decoder: &Decoder,
        requests: &'a [GenerationRequest],
        params: &'a SamplingParams,
        stop_ids: &'a [u32],
        most_rows: usize,
        on_finished: &'a (dyn Fn(usize, &Completion) + Sync),
    ) -> Result<Self> {
        let decoder = match decoder.adapter() {
            Some(_) => decoder.merged().frozen(),
            None => decoder.frozen(),
        };
        let config = decoder.config();
        let longest = requests.iter().map(|request| request.prompt.len()).max();
        let longest = longest.unwrap_or(0);
        let room = config.max_position_embeddings;
        let capacity = (longest + params.max_completion_tokens).min(room);
        let dtype = decoder.precision().dtype().into();
        let rows = requests.len().min(most_rows).max(1).next_power_of_two();
        let rows = rows.min(fitting_rows(config, capacity, dtype));
        let settings = DecodeSettings {
            rows,
            capacity,
            ring: RING,
            filters: filters(params),
            query_heads: config.num_attention_heads,
            key_heads: config.num_key_value_heads,
            head_width: config.head_dim,
            inverse_frequencies: config.inverse_frequencies(),
            epsilon: config.rms_norm_eps as f32,
            dtype,
        };
        Ok(Self {
            program: DecodeProgram::new(decoder.decode_weights(), settings)?,
            queue: Queue {
                decoder,
                requests,
                params,
                stop_ids,
                on_finished,
                rows: (0..rows).map(|_| None).collect(),
                next: 0,
                completions: vec![None; requests.len()],
            },
        })
    }

    /// Decodes until every request has finished.
    pub(super) fn run(self) -> Result<Vec<Completion>> {
        let Self {
            mut program,
            mut queue,
        } = self;
        loop {
            queue.take_in(&mut program);
            if queue.rows.iter().all(Option::is_none) {
                break;
            }
            let rows = queue.rows.iter().map(|row| queue.place(row));
            program.rounds(&rows.collect::<Vec<_>>(), &mut queue)?;
        }
        let completions = queue.completions.into_iter();
        Ok(completions
            .map(|completion| completion.expect("every request finished"))
            .collect())
    }
}

impl DecodeHost for Queue<'_> {
    /// No more than some row can use; no round ahead where waiting requests are to have free rows.
    fn steps(&self, ahead: usize) -> usize {
        if ahead > 0 && self.takes_in() > 0 {
            return 0;
        }
        let rows = self.rows.iter().flatten();
        let most = rows.map(|row| self.params.max_completion_tokens - row.ids.len());
        most.max().unwrap_or(0).saturating_sub(ahead).min(RING)
    }

    fn keep(&mut self, drawn: Vec<Vec<DecodedToken>>) -> Result<()> {
        let mut rows = drawn.into_iter().enumerate();
        rows.try_for_each(|(row, tokens)| self.keep_row(row, &tokens))
    }
}

impl Queue<'_> {
    /// Where a row stands; a free one says something that nobody hears.
    fn place(&self, row: &Option<Row>) -> DecodeRow {
        let Some(row) = row else {
            return DecodeRow {
                id: 0,
                length: 0,
                seed: Seed::new(0),
                counter: 0,
            };
        };
        let request = &self.requests[row.request];
        let last = row.ids.last().or(request.prompt.last());
        DecodeRow {
            id: *last.expect("a prompt has a token"),
            length: request.prompt.len() + row.ids.len() - 1,
            seed: request.seed,
            counter: row.ids.len() as u32,
        }
    }

    /// How many waiting requests have a free row now, if it is time to take them in.
    fn takes_in(&self) -> usize {
        let free = self.rows.iter().filter(|row| row.is_none()).count();
        let waiting = self.requests.len() - self.next;
        let is_worth_it =
            free == self.rows.len() || free >= waiting || free * REFILL_SHARE >= self.rows.len();
        if is_worth_it { free.min(waiting) } else { 0 }
    }

    /// Gives free rows to waiting requests, and their prompts' keys and values to the rows.
    ///
    /// A prompt is prefilled once for all the rows that continue it. The last token of a prompt is
    /// decoded, too: its draw is the first.
    fn take_in(&mut self, program: &mut DecodeProgram) {
        let taken = self.takes_in();
        if taken == 0 {
            return;
        }
        let is_free = |row: &usize| self.rows[*row].is_none();
        let free: Vec<usize> = (0..self.rows.len()).filter(is_free).collect();
        let mut prompts: Vec<&[u32]> = Vec::new();
        let mut known: HashMap<&[u32], usize> = HashMap::new();
        let mut places: Vec<(usize, usize)> = Vec::new();
        for row in free.into_iter().take(taken) {
            let request = self.next;
            self.next += 1;
            self.rows[row] = Some(Row {
                request,
                ids: Vec::new(),
                logprobs: Vec::new(),
            });
            let prompt = self.requests[request].prompt.as_slice();
            let place = match known.entry(prompt) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    prompts.push(prompt);
                    *entry.insert(prompts.len() - 1)
                }
            };
            places.push((place, row));
        }
        let longest = prompts.iter().map(|prompt| prompt.len()).max();
        let columns = columns(longest.unwrap_or(0));
        let together = (PREFILL_TOKENS / columns).max(1);
        for (part, prompts) in prompts.chunks(together).enumerate() {
            let first = part * together;
            let own = places
                .iter()
                .filter(|(prompt, _)| (first..first + prompts.len()).contains(prompt))
                .map(|(prompt, row)| (prompt - first, *row));
            self.prefill(program, prompts, columns, &own.collect::<Vec<_>>());
        }
    }

    /// Runs prompts and copies their keys and values into rows.
    ///
    /// Rows and columns are padded to powers of two, which are what a device tunes for.
    fn prefill(
        &self,
        program: &mut DecodeProgram,
        prompts: &[&[u32]],
        columns: usize,
        places: &[(usize, usize)],
    ) {
        let last = prompts[prompts.len() - 1];
        let mut padded = prompts.to_vec();
        padded.resize(prompts.len().next_power_of_two(), last);
        let grid = TokenGrid::right_padded(&padded, columns);
        let mut cache = KvCache::new(&self.decoder, columns);
        let input = self.decoder.input(&grid);
        drop(self.decoder.hidden_states(&input, Some(&mut cache)));
        program.fill(cache.into_layers(), places);
    }

    /// Keeps what a row drew up to its end; a row that ended is free.
    fn keep_row(&mut self, place: usize, tokens: &[DecodedToken]) -> Result<()> {
        let Some(row) = &mut self.rows[place] else {
            return Ok(());
        };
        let room =
            self.decoder.config().max_position_embeddings - self.requests[row.request].prompt.len();
        let most = self.params.max_completion_tokens.min(room);
        for token in tokens {
            if token.logprob.is_nan() {
                return Err(not_a_number(row.ids.len()));
            }
            row.ids.push(token.id);
            row.logprobs.push(token.logprob);
            let finish = if self.stop_ids.contains(&token.id) {
                FinishReason::Stop
            } else if row.ids.len() >= most {
                FinishReason::Length
            } else {
                continue;
            };
            let completion = Completion {
                ids: std::mem::take(&mut row.ids),
                logprobs: std::mem::take(&mut row.logprobs),
                finish,
            };
            (self.on_finished)(row.request, &completion);
            self.completions[row.request] = Some(completion);
            self.rows[place] = None;
            break;
        }
        Ok(())
    }
}

/// A power of two: what a device tunes for.
fn columns(longest: usize) -> usize {
    longest.next_power_of_two().max(LEAST_COLUMNS)
}

/// How many rows the cache has room for: a power of two.
fn fitting_rows(config: &ModelConfig, capacity: usize, dtype: DType) -> usize {
    let width = config.num_key_value_heads * config.head_dim;
    let row = 2 * config.num_hidden_layers * width * capacity * dtype.size();
    1 << (CACHE_BYTES / row.max(1)).max(1).ilog2()
}

fn filters(params: &SamplingParams) -> SampleFilters {
    SampleFilters {
        temperature: params.temperature as f32,
        top_k: params.top_k,
        top_p: params.top_p,
        min_p: params.min_p as f32,
    }
}
