//! Drawing a row's token by the units of a cube, or of several; the formulas are those of `ops::sample`.
//!
//! Thresholds of the filters are found bit by bit, so that nothing is sorted and nothing as long as a
//! row is stored.

mod filters;
mod noise;
mod parts;

use burn_cubecl::cubecl::{self, prelude::*};

use self::filters::{Filters, score, top_k_key, top_p_least, weight};
use self::noise::{exponential, philox};
pub(in crate::ops) use self::parts::Parts;
use self::parts::draw_parts;
use super::SampleFilters;
use crate::ops::cube::{Block, cube_sum};

/// Most units of a cube that has a row.
const MOST_UNITS: usize = 1024;
/// The same where units sum in shared memory, of which each of the kernel's sums takes some.
const MOST_UNITS_WITHOUT_PLANES: usize = 256;
const LOWEST: f32 = -3.402_823_4e38;

/// The filters that a kernel is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ops) struct FilterKinds {
    /// The cube that draws from a row, or from a part of it.
    pub block: Block,
    /// Parts of a row, each a cube's.
    pub parts: usize,
    is_greedy: bool,
    top_k: bool,
    top_p: bool,
    min_p: bool,
}

/// What a kernel is told of its rows and filters.
#[derive(CubeLaunch, CubeType)]
pub(in crate::ops) struct DrawNumbers {
    pub vocabulary: u32,
    temperature: f32,
    top_k: u32,
    droppable: f32,
    min_p: f32,
}

/// A row's seed and its counter.
#[derive(CubeType, Clone, Copy)]
pub(in crate::ops) struct RowStream {
    pub low: u32,
    pub high: u32,
    pub counter: u32,
}

/// A drawn token.
#[derive(CubeType, Clone, Copy)]
pub(in crate::ops) struct DrawnToken {
    pub id: u32,
    /// Above 0 where the logits are not numbers.
    pub logprob: f32,
}

impl FilterKinds {
    /// What the filters drop from so many rows of `vocabulary` logits, and the cubes that draw from them.
    pub fn new(filters: SampleFilters, rows: usize, vocabulary: usize, client: &Client) -> Self {
        let is_greedy = filters.temperature == 0.0;
        let most = client.properties().hardware.max_units_per_cube as usize;
        let units = |most: usize| {
            let most = 1 << most.max(1).ilog2();
            vocabulary.next_power_of_two().clamp(1, most)
        };
        let mut block = Block::of(client, units(most.min(MOST_UNITS)));
        if block.plane == 0 {
            block = Block::of(client, units(most.min(MOST_UNITS_WITHOUT_PLANES)));
        }
        let mut kinds = Self {
            block,
            parts: 1,
            is_greedy,
            top_k: !is_greedy && filters.top_k > 0 && filters.top_k < vocabulary,
            top_p: !is_greedy && filters.top_p < 1.0,
            min_p: !is_greedy && filters.min_p > 0.0,
        };
        if !kinds.top_k && !kinds.top_p {
            kinds.parts = parts::count(rows, vocabulary, client);
        }
        if kinds.parts > 1 {
            kinds.block = Block::of(client, units(most.min(parts::UNITS)));
        }
        kinds
    }

    /// The cube that draws a row's token at last.
    pub fn last_dim(self) -> CubeDim {
        match self.parts {
            1 => self.block.dim(),
            _ => CubeDim::new_single(),
        }
    }
}

impl DrawNumbersLaunch {
    /// The numbers of the filters and of rows of `vocabulary` logits.
    pub fn of(filters: SampleFilters, vocabulary: usize) -> Self {
        Self::new(
            vocabulary as u32,
            filters.temperature,
            filters.top_k as u32,
            (1.0 - filters.top_p) as f32,
            filters.min_p,
        )
    }
}

/// Tokens from an id that is a multiple of four to before another.
#[derive(CubeType, Clone, Copy)]
struct Tokens {
    start: u32,
    end: u32,
}

/// A token and the highest value, by which it was found.
#[derive(CubeType, Clone, Copy)]
struct Best {
    value: f32,
    id: u32,
}

/// Where the units of a cube compare what they found.
#[derive(CubeType)]
struct Board {
    values: Shared<[f32]>,
    ids: Shared<[u32]>,
}

#[cube]
impl Board {
    fn new(#[comptime] kinds: FilterKinds) -> Board {
        let units = comptime!(kinds.block.units as usize);
        Board {
            values: Shared::new_slice(units),
            ids: Shared::new_slice(units),
        }
    }
}

/// The token that won a race, and the weights of all that ran.
#[derive(CubeType, Clone, Copy)]
struct Race {
    winner: Best,
    total: f32,
}

#[cube]
impl RowStream {
    /// That of a row of streams `[B, 3]`.
    pub fn of_row(row: usize, streams: &Tensor<u32>) -> RowStream {
        RowStream {
            low: streams[3 * row],
            high: streams[3 * row + 1],
            counter: streams[3 * row + 2],
        }
    }
}

/// Draws the token of the cube's row: one unit does, from its parts, where rows have several, else all units do.
#[cube]
pub(in crate::ops) fn draw_row(
    logits: &Tensor<f32>,
    stream: &RowStream,
    values: &Tensor<f32>,
    ids: &Tensor<u32>,
    numbers: &DrawNumbers,
    #[comptime] kinds: FilterKinds,
) -> DrawnToken {
    if comptime!(kinds.parts > 1) {
        draw_parts(logits, values, ids, numbers, kinds)
    } else {
        draw_whole(logits, stream, numbers, kinds)
    }
}

/// Draws the token of the cube's row by all its units.
#[cube]
fn draw_whole(
    logits: &Tensor<f32>,
    stream: &RowStream,
    numbers: &DrawNumbers,
    #[comptime] kinds: FilterKinds,
) -> DrawnToken {
    let mut board = Board::new(kinds);
    let all = Tokens {
        start: 0u32,
        end: numbers.vocabulary,
    };
    let mut filters = Filters::of_row(CUBE_POS_X as usize, numbers);
    let likeliest = likeliest(logits, &filters, &all, &mut board, kinds);
    filters.highest = likeliest.value;
    if comptime!(kinds.top_k) {
        filters.least_key = top_k_key(logits, &filters, numbers.top_k, kinds);
    }
    if comptime!(kinds.top_p) {
        let least = top_p_least(logits, &filters, numbers.droppable, kinds);
        filters.least_weight = least.weight;
        filters.least_id = least.id;
    }
    let race = race(logits, &filters, &all, stream, &mut board, kinds);
    let mut id = race.winner.id;
    if comptime!(kinds.is_greedy) {
        id = likeliest.id;
    }
    drawn(logits, &filters, id, race.total, kinds)
}

/// The likeliest of the tokens.
#[cube]
fn likeliest(
    logits: &Tensor<f32>,
    filters: &Filters,
    tokens: &Tokens,
    board: &mut Board,
    #[comptime] kinds: FilterKinds,
) -> Best {
    let mut best = LOWEST.runtime();
    let mut best_id = u32::MAX.runtime();
    let mut id = tokens.start + UNIT_POS_X;
    while id < tokens.end {
        let own = score(logits, filters, id, kinds);
        if own > best {
            best = own;
            best_id = id;
        }
        id += CUBE_DIM_X;
    }
    best_of_units(best, best_id, board, kinds)
}

/// Races the tokens; the greedy only add up their weights.
#[cube]
fn race(
    logits: &Tensor<f32>,
    filters: &Filters,
    tokens: &Tokens,
    stream: &RowStream,
    board: &mut Board,
    #[comptime] kinds: FilterKinds,
) -> Race {
    let mut own = 0.0f32;
    let winner = if comptime!(kinds.is_greedy) {
        let mut id = tokens.start + UNIT_POS_X;
        while id < tokens.end {
            own += weight(logits, filters, id, kinds);
            id += CUBE_DIM_X;
        }
        Best {
            value: LOWEST.runtime(),
            id: u32::MAX.runtime(),
        }
    } else {
        let mut best = LOWEST.runtime();
        let mut best_id = u32::MAX.runtime();
        let mut block = tokens.start / 4 + UNIT_POS_X;
        while 4 * block < tokens.end {
            let mut words = Array::<u32>::new(4usize);
            philox(&mut words, block, stream.counter, stream.low, stream.high);
            #[unroll]
            for part in 0..4u32 {
                let id = 4 * block + part;
                if id < tokens.end {
                    let likely = weight(logits, filters, id, kinds);
                    own += likely;
                    let value = likely / exponential(words[part as usize]);
                    if value > best {
                        best = value;
                        best_id = id;
                    }
                }
            }
            block += CUBE_DIM_X;
        }
        best_of_units(best, best_id, board, kinds)
    };
    let total = cube_sum(own, comptime!(kinds.block));
    Race { winner, total }
}

/// The token of an id, unless no logit was a number.
#[cube]
fn drawn(
    logits: &Tensor<f32>,
    filters: &Filters,
    id: u32,
    total: f32,
    #[comptime] kinds: FilterKinds,
) -> DrawnToken {
    let mut token = DrawnToken {
        id: 0u32,
        logprob: 1.0f32,
    };
    if id < filters.vocabulary {
        token.id = id;
        token.logprob = score(logits, filters, id, kinds) - filters.highest - f32::ln(total);
    }
    token
}

/// The highest value of the units and its id, of equal ones the lowest.
#[cube]
fn best_of_units(own: f32, id: u32, board: &mut Board, #[comptime] kinds: FilterKinds) -> Best {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    board.values[unit] = own;
    board.ids[unit] = id;
    sync_cube();
    let mut reach = comptime!(kinds.block.units as usize / 2).runtime();
    while reach > 0 {
        if unit < reach {
            let value = board.values[unit + reach];
            let other = board.ids[unit + reach];
            if value > board.values[unit]
                || (value == board.values[unit] && other < board.ids[unit])
            {
                board.values[unit] = value;
                board.ids[unit] = other;
            }
        }
        sync_cube();
        reach /= 2;
    }
    Best {
        value: board.values[0],
        id: board.ids[0],
    }
}
