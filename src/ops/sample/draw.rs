//! Drawing a row's token by the units of a cube; the formulas are those of `ops::sample`.
//!
//! Thresholds of the filters are found bit by bit, so that nothing is sorted and nothing as long as a
//! row is stored.

mod filters;
mod noise;

use burn_cubecl::cubecl::{self, prelude::*};

use self::filters::{Filters, score, top_k_key, top_p_least, weight};
use self::noise::{exponential, philox};
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
    /// The cube that draws.
    pub block: Block,
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
    /// What the filters drop from a row of `vocabulary` logits, and the cube that draws from it.
    pub fn new(filters: SampleFilters, vocabulary: usize, client: &Client) -> Self {
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
        Self {
            block,
            is_greedy,
            top_k: !is_greedy && filters.top_k > 0 && filters.top_k < vocabulary,
            top_p: !is_greedy && filters.top_p < 1.0,
            min_p: !is_greedy && filters.min_p > 0.0,
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

/// Draws the token of `row`.
#[cube]
pub(in crate::ops) fn draw_row(
    logits: &Tensor<f32>,
    row: usize,
    stream: &RowStream,
    numbers: &DrawNumbers,
    #[comptime] kinds: FilterKinds,
) -> DrawnToken {
    let units = comptime!(kinds.block.units as usize);
    let mut values = Shared::new_slice(units);
    let mut ids = Shared::new_slice(units);
    let unit = UNIT_POS_X;
    let vocabulary = numbers.vocabulary;
    let mut filters = Filters {
        first: row * vocabulary as usize,
        vocabulary,
        temperature: numbers.temperature,
        min_p: numbers.min_p,
        highest: 0.0f32,
        least_key: 0u32,
        least_weight: 0u32,
        least_id: 0u32,
    };
    let mut best = LOWEST.runtime();
    let mut best_id = u32::MAX.runtime();
    let mut id = unit;
    while id < vocabulary {
        let own = score(logits, &filters, id, kinds);
        if own > best {
            best = own;
            best_id = id;
        }
        id += CUBE_DIM_X;
    }
    best_of_units(best, best_id, &mut values, &mut ids, units);
    filters.highest = values[0];
    let likeliest = ids[0];
    if comptime!(kinds.top_k) {
        filters.least_key = top_k_key(logits, &filters, numbers.top_k, kinds);
    }
    if comptime!(kinds.top_p) {
        let least = top_p_least(logits, &filters, numbers.droppable, kinds);
        filters.least_weight = least.weight;
        filters.least_id = least.id;
    }
    let mut own = 0.0f32;
    let mut drawn = likeliest;
    if comptime!(!kinds.is_greedy) {
        let mut best = LOWEST.runtime();
        let mut best_id = u32::MAX.runtime();
        let mut block = unit;
        while 4 * block < vocabulary {
            let mut words = Array::<u32>::new(4usize);
            philox(&mut words, block, stream.counter, stream.low, stream.high);
            #[unroll]
            for part in 0..4u32 {
                let id = 4 * block + part;
                if id < vocabulary {
                    let likely = weight(logits, &filters, id, kinds);
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
        sync_cube();
        best_of_units(best, best_id, &mut values, &mut ids, units);
        drawn = ids[0];
    } else {
        let mut id = unit;
        while id < vocabulary {
            own += weight(logits, &filters, id, kinds);
            id += CUBE_DIM_X;
        }
    }
    let total = cube_sum(own, comptime!(kinds.block));
    let mut logprob = 1.0f32;
    if drawn < vocabulary {
        logprob = score(logits, &filters, drawn, kinds) - filters.highest - f32::ln(total);
    } else {
        drawn = 0u32;
    }
    DrawnToken { id: drawn, logprob }
}

/// The highest value of the units and its id, of equal ones the lowest, in the first places.
#[cube]
fn best_of_units(
    own: f32,
    id: u32,
    values: &mut Shared<[f32]>,
    ids: &mut Shared<[u32]>,
    #[comptime] units: usize,
) {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    values[unit] = own;
    ids[unit] = id;
    sync_cube();
    let mut reach = comptime!(units / 2).runtime();
    while reach > 0 {
        if unit < reach {
            let value = values[unit + reach];
            let other = ids[unit + reach];
            if value > values[unit] || (value == values[unit] && other < ids[unit]) {
                values[unit] = value;
                ids[unit] = other;
            }
        }
        sync_cube();
        reach /= 2;
    }
}
