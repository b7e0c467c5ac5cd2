//! What the filters leave of a row's tokens.

use burn_cubecl::cubecl::{self, prelude::*};

use super::{DrawNumbers, FilterKinds};
use crate::ops::cube::cube_sum;

/// Scores further than this below the highest weigh nothing: their exponentials would be denormal.
const FAINTEST: f32 = -87.0;
/// Above the bits of the weight 1.
const WEIGHT_BITS: u32 = 30;
/// Bits of the weight 1, the highest there are.
const ONE: u32 = 0x3f80_0000;

/// What the filters leave of a row.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Filters {
    /// Where the row's logits begin.
    pub first: usize,
    pub vocabulary: u32,
    pub temperature: f32,
    pub min_p: f32,
    pub highest: f32,
    /// Keys of scores below this are dropped.
    pub least_key: u32,
    /// Bits of weights below this are dropped,
    pub least_weight: u32,
    /// and so are weights of these bits whose id is below this.
    pub least_id: u32,
}

#[cube]
impl Filters {
    /// Those of a row before anything is known of it.
    pub fn of_row(row: usize, numbers: &DrawNumbers) -> Filters {
        Filters {
            first: row * numbers.vocabulary as usize,
            vocabulary: numbers.vocabulary,
            temperature: numbers.temperature,
            min_p: numbers.min_p,
            highest: 0.0f32,
            least_key: 0u32,
            least_weight: 0u32,
            least_id: 0u32,
        }
    }
}

/// The lightest weight that top-p keeps, by its bits, and the first id that keeps it.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Least {
    pub weight: u32,
    pub id: u32,
}

/// A token's logit over the temperature.
#[cube]
pub(super) fn score(
    logits: &Tensor<f32>,
    filters: &Filters,
    id: u32,
    #[comptime] kinds: FilterKinds,
) -> f32 {
    let mut own = logits[filters.first + id as usize];
    if comptime!(!kinds.is_greedy) {
        own /= filters.temperature;
    }
    own
}

/// An integer that orders as the number does.
#[cube]
fn key_of(value: f32) -> u32 {
    let mut bits = u32::reinterpret(value);
    if value == 0.0f32 {
        bits = 0u32;
    }
    let mut key = bits | 0x8000_0000u32;
    if bits >= 0x8000_0000u32 {
        key = !bits;
    }
    key
}

/// The weight of a token before top-p: 1 is the highest, 0 is dropped.
#[cube]
fn raw_weight(
    logits: &Tensor<f32>,
    filters: &Filters,
    id: u32,
    #[comptime] kinds: FilterKinds,
) -> f32 {
    let own = score(logits, filters, id, kinds);
    let below = own - filters.highest;
    let mut weight = 0.0f32;
    if below >= FAINTEST {
        // Exactly 1 at 0, whatever the device's `exp` makes of it.
        weight = 1.0f32;
        if below != 0.0f32 {
            weight = f32::min(f32::exp(below), 1.0f32);
        }
        if comptime!(kinds.top_k) && key_of(own) < filters.least_key {
            weight = 0.0f32;
        }
    }
    weight
}

/// The weight of a token: 1 is the highest, 0 is dropped.
#[cube]
pub(super) fn weight(
    logits: &Tensor<f32>,
    filters: &Filters,
    id: u32,
    #[comptime] kinds: FilterKinds,
) -> f32 {
    let mut weight = raw_weight(logits, filters, id, kinds);
    if comptime!(kinds.top_p) {
        let bits = u32::reinterpret(weight);
        if bits < filters.least_weight || (bits == filters.least_weight && id < filters.least_id) {
            weight = 0.0f32;
        }
    }
    if comptime!(kinds.min_p) && weight < filters.min_p {
        weight = 0.0f32;
    }
    weight
}

/// The k-th highest score's key: the highest key that at least k scores reach.
#[cube]
pub(super) fn top_k_key(
    logits: &Tensor<f32>,
    filters: &Filters,
    top_k: u32,
    #[comptime] kinds: FilterKinds,
) -> u32 {
    let mut key = 0u32;
    for step in 0..32u32 {
        let candidate = key | (1u32 << (31 - step));
        let mut reached = 0u32;
        let mut id = UNIT_POS_X;
        while id < filters.vocabulary {
            if key_of(score(logits, filters, id, kinds)) >= candidate {
                reached += 1u32;
            }
            id += CUBE_DIM_X;
        }
        if sum_of_counts(reached, kinds) >= top_k {
            key = candidate;
        }
    }
    key
}

/// The sum of the weights whose bits are below `bits`.
#[cube]
fn weight_below(
    logits: &Tensor<f32>,
    filters: &Filters,
    bits: u32,
    #[comptime] kinds: FilterKinds,
) -> f32 {
    let mut sum = 0.0f32;
    let mut id = UNIT_POS_X;
    while id < filters.vocabulary {
        let raw = raw_weight(logits, filters, id, kinds);
        if u32::reinterpret(raw) < bits {
            sum += raw;
        }
        id += CUBE_DIM_X;
    }
    cube_sum(sum, comptime!(kinds.block))
}

/// How many tokens with an id below `end` have a weight of just these bits.
#[cube]
fn ties_before(
    logits: &Tensor<f32>,
    filters: &Filters,
    bits: u32,
    end: u32,
    #[comptime] kinds: FilterKinds,
) -> u32 {
    let mut count = 0u32;
    let mut id = UNIT_POS_X;
    while id < end {
        if u32::reinterpret(raw_weight(logits, filters, id, kinds)) == bits {
            count += 1u32;
        }
        id += CUBE_DIM_X;
    }
    sum_of_counts(count, kinds)
}

/// What top-p keeps: the least likely tokens go, of equal ones the first, while the sum of
/// what went is at most `1 − top_p`; the last token stays.
#[cube]
pub(super) fn top_p_least(
    logits: &Tensor<f32>,
    filters: &Filters,
    share: f32,
    #[comptime] kinds: FilterKinds,
) -> Least {
    let droppable = share * weight_below(logits, filters, u32::MAX, kinds);
    let mut least = 0u32;
    for step in 0..WEIGHT_BITS {
        let candidate = least | (1u32 << (WEIGHT_BITS - 1 - step));
        let sum = weight_below(logits, filters, candidate, kinds);
        if sum <= droppable && candidate <= ONE {
            least = candidate;
        }
    }
    let vocabulary = filters.vocabulary;
    let ties = ties_before(logits, filters, least, vocabulary, kinds);
    let rest = f32::max(
        droppable - weight_below(logits, filters, least, kinds),
        0.0f32,
    );
    let dropped = u32::min(u32::cast_from(rest / f32::reinterpret(least)), ties - 1);
    let mut least_id = 0u32;
    let bits = 32u32 - u32::leading_zeros(vocabulary);
    for step in 0..bits {
        let candidate = least_id | (1u32 << (bits - 1 - step));
        let end = u32::min(candidate, vocabulary);
        if ties_before(logits, filters, least, end, kinds) <= dropped {
            least_id = candidate;
        }
    }
    Least {
        weight: least,
        id: least_id,
    }
}

/// The sum of the units' counts: they are below 2^24, which floats add up exactly.
#[cube]
fn sum_of_counts(count: u32, #[comptime] kinds: FilterKinds) -> u32 {
    u32::cast_from(cube_sum(f32::cast_from(count), comptime!(kinds.block)))
}
