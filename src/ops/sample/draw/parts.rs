//! Drawing a row's token by several cubes, where no filter needs to see the whole row at once.
//!
//! One kernel finds the likeliest token of every part of a row, one races the tokens of each part, and what draws the
//! row's token only compares the parts.

use burn::tensor::DType;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::{
    Best, Board, DrawNumbers, DrawNumbersLaunch, DrawnToken, FilterKinds, Filters, LOWEST,
    RowStream, Tokens, drawn, likeliest, race,
};
use crate::ops::SampleFilters;
use crate::ops::cube::{empty, grid};

/// Units of a cube that has a part of a row.
pub(super) const UNITS: usize = 256;
/// Cubes that keep a multiprocessor busy.
const CUBES: usize = 8;
/// Multiprocessors of a GPU that does not tell.
const PROCESSORS: usize = 64;
/// Fewest tokens that are worth a cube.
const LEAST_TOKENS: usize = 2048;
/// Most parts of a row: a unit compares them.
const MOST_PARTS: usize = 16;

/// What the parts of every row came to, where rows have several.
pub(in crate::ops) struct Parts {
    /// Of the likeliest token and of the winner, and the sum of weights, `[3, B, P]` of `f32`.
    pub values: CubeTensor,
    /// Ids of both, `[2, B, P]`.
    pub ids: CubeTensor,
}

/// Parts of each of so many rows of `vocabulary` tokens.
pub(super) fn count(rows: usize, vocabulary: usize, client: &Client) -> usize {
    let processors = client.properties().hardware.num_streaming_multiprocessors;
    let cubes = CUBES * processors.map_or(PROCESSORS, |count| count as usize);
    let parts = (cubes / rows.max(1)).min(vocabulary / LEAST_TOKENS);
    1 << parts.clamp(1, MOST_PARTS).ilog2()
}

impl Parts {
    /// Runs the parts; none where a row is drawn whole.
    ///
    /// # Shapes
    /// `logits` `[.., B, V]` of `f32`, contiguous; `streams` `[B, 3]`.
    pub fn run(
        logits: &CubeTensor,
        streams: &CubeTensor,
        filters: SampleFilters,
        kinds: FilterKinds,
    ) -> Option<Self> {
        if kinds.parts == 1 {
            return None;
        }
        let [rows, _] = streams.meta.shape().dims();
        let vocabulary = logits.meta.shape()[logits.meta.num_dims() - 1];
        let parts = Self {
            values: empty(logits, [3, rows, kinds.parts], DType::F32),
            ids: empty(logits, [2, rows, kinds.parts], DType::U32),
        };
        likeliest_kernel::launch(
            &logits.client,
            grid(rows, kinds.parts),
            kinds.block.dim(),
            logits.clone().into_tensor_arg(),
            parts.values.clone().into_tensor_arg(),
            parts.ids.clone().into_tensor_arg(),
            DrawNumbersLaunch::of(filters, vocabulary),
            kinds,
        );
        race_kernel::launch(
            &logits.client,
            grid(rows, kinds.parts),
            kinds.block.dim(),
            logits.clone().into_tensor_arg(),
            streams.clone().into_tensor_arg(),
            parts.values.clone().into_tensor_arg(),
            parts.ids.clone().into_tensor_arg(),
            DrawNumbersLaunch::of(filters, vocabulary),
            kinds,
        );
        Some(parts)
    }
}

#[cube(launch)]
fn likeliest_kernel(
    logits: &Tensor<f32>,
    values: &mut Tensor<f32>,
    ids: &mut Tensor<u32>,
    numbers: DrawNumbers,
    #[comptime] kinds: FilterKinds,
) {
    let mut board = Board::new(kinds);
    let filters = Filters::of_row(CUBE_POS_X as usize, &numbers);
    let tokens = tokens_of_part(numbers.vocabulary, kinds);
    let best = likeliest(logits, &filters, &tokens, &mut board, kinds);
    if UNIT_POS_X == 0 {
        let place = CUBE_POS_X as usize * kinds.parts + CUBE_POS_Y as usize;
        values[place] = best.value;
        ids[place] = best.id;
    }
}

#[cube(launch)]
fn race_kernel(
    logits: &Tensor<f32>,
    streams: &Tensor<u32>,
    values: &mut Tensor<f32>,
    ids: &mut Tensor<u32>,
    numbers: DrawNumbers,
    #[comptime] kinds: FilterKinds,
) {
    let mut board = Board::new(kinds);
    let row = CUBE_POS_X as usize;
    let stream = RowStream::of_row(row, streams);
    let mut filters = Filters::of_row(row, &numbers);
    let mut highest = LOWEST.runtime();
    for part in 0..kinds.parts {
        highest = max(highest, values[row * kinds.parts + part]);
    }
    filters.highest = highest;
    let tokens = tokens_of_part(numbers.vocabulary, kinds);
    let race = race(logits, &filters, &tokens, &stream, &mut board, kinds);
    if UNIT_POS_X == 0 {
        let place = row * kinds.parts + CUBE_POS_Y as usize;
        let all = CUBE_COUNT_X as usize * kinds.parts;
        values[all + place] = race.winner.value;
        ids[all + place] = race.winner.id;
        values[2 * all + place] = race.total;
    }
}

/// The row's token from what its parts came to.
#[cube]
pub(super) fn draw_parts(
    logits: &Tensor<f32>,
    values: &Tensor<f32>,
    ids: &Tensor<u32>,
    numbers: &DrawNumbers,
    #[comptime] kinds: FilterKinds,
) -> DrawnToken {
    let row = CUBE_POS_X as usize;
    let mut filters = Filters::of_row(row, numbers);
    let likeliest = best_of_parts(values, ids, 0usize, kinds);
    filters.highest = likeliest.value;
    let mut id = likeliest.id;
    if comptime!(!kinds.is_greedy) {
        id = best_of_parts(values, ids, 1usize, kinds).id;
    }
    let first = (2 * CUBE_COUNT_X as usize + row) * kinds.parts;
    let mut total = 0.0f32;
    for part in 0..kinds.parts {
        total += values[first + part];
    }
    drawn(logits, &filters, id, total, kinds)
}

/// The best of the row's parts: the likeliest tokens, or the winners. Parts are in the order of their ids, so of equal
/// values the first is the lowest id's.
#[cube]
fn best_of_parts(
    values: &Tensor<f32>,
    ids: &Tensor<u32>,
    which: usize,
    #[comptime] kinds: FilterKinds,
) -> Best {
    let first = (which * CUBE_COUNT_X as usize + CUBE_POS_X as usize) * kinds.parts;
    let mut best = LOWEST.runtime();
    let mut best_id = u32::MAX.runtime();
    for part in 0..kinds.parts {
        if values[first + part] > best {
            best = values[first + part];
            best_id = ids[first + part];
        }
    }
    Best {
        value: best,
        id: best_id,
    }
}

/// The tokens of the cube's part.
#[cube]
fn tokens_of_part(vocabulary: u32, #[comptime] kinds: FilterKinds) -> Tokens {
    let blocks = vocabulary.div_ceil(comptime!(4 * kinds.parts as u32));
    let start = min(4 * blocks * CUBE_POS_Y, vocabulary);
    Tokens {
        start,
        end: min(start + 4 * blocks, vocabulary),
    }
}
