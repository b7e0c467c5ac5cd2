//! Drawing a row's token by the units of a cube; the formulas are those of `ops::sample`.
//!
//! Thresholds of the filters are found bit by bit, so that nothing is sorted and nothing as long as a
//! row is stored.

use burn_cubecl::cubecl::{self, prelude::*};

use super::SampleFilters;
use crate::ops::units::{count_of_units, sum_of_units};

/// Most units of a cube that has a row.
const MOST_UNITS: usize = 1024;
const LOWEST: f32 = -3.402_823_4e38;
/// Scores further than this below the highest weigh nothing: their exponentials would be denormal.
const FAINTEST: f32 = -87.0;
/// Above the bits of the weight 1.
const WEIGHT_BITS: u32 = 30;
/// Bits of the weight 1, the highest there are.
const ONE: u32 = 0x3f80_0000;

/// The filters that a kernel is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ops) struct FilterKinds {
    /// Units of the cube, a power of two.
    pub units: usize,
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

/// What the filters leave of a row.
#[derive(CubeType, Clone, Copy)]
struct Filters {
    /// Where the row's logits begin.
    first: usize,
    vocabulary: u32,
    temperature: f32,
    min_p: f32,
    highest: f32,
    /// Keys of scores below this are dropped.
    least_key: u32,
    /// Bits of weights below this are dropped,
    least_weight: u32,
    /// and so are weights of these bits whose id is below this.
    least_id: u32,
}

/// The lightest weight that top-p keeps, by its bits, and the first id that keeps it.
#[derive(CubeType, Clone, Copy)]
struct Least {
    weight: u32,
    id: u32,
}

impl FilterKinds {
    /// What the filters drop from a row of `vocabulary` logits, and the cube that draws from it.
    pub fn new(filters: SampleFilters, vocabulary: usize, client: &Client) -> Self {
        let is_greedy = filters.temperature == 0.0;
        let most = client.properties().hardware.max_units_per_cube as usize;
        let most = 1 << most.clamp(1, MOST_UNITS).ilog2();
        Self {
            units: vocabulary.next_power_of_two().clamp(1, most),
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
    let mut floats = Shared::new_slice(kinds.units);
    let mut counts = Shared::new_slice(kinds.units);
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
    best_of_units(best, best_id, &mut floats, &mut counts, kinds.units);
    filters.highest = floats[0];
    let likeliest = counts[0];
    if comptime!(kinds.top_k) {
        filters.least_key = top_k_key(logits, &filters, numbers.top_k, &mut counts, kinds);
    }
    if comptime!(kinds.top_p) {
        let least = top_p_least(
            logits,
            &filters,
            numbers.droppable,
            &mut floats,
            &mut counts,
            kinds,
        );
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
        best_of_units(best, best_id, &mut floats, &mut counts, kinds.units);
        drawn = counts[0];
    } else {
        let mut id = unit;
        while id < vocabulary {
            own += weight(logits, &filters, id, kinds);
            id += CUBE_DIM_X;
        }
    }
    let total = sum_of_units(own, &mut floats, kinds.units);
    let mut logprob = 1.0f32;
    if drawn < vocabulary {
        logprob = score(logits, &filters, drawn, kinds) - filters.highest - f32::ln(total);
    } else {
        drawn = 0u32;
    }
    DrawnToken { id: drawn, logprob }
}

#[cube]
fn score(logits: &Tensor<f32>, filters: &Filters, id: u32, #[comptime] kinds: FilterKinds) -> f32 {
    let mut own = logits[filters.first + id as usize];
    if comptime!(!kinds.is_greedy) {
        own /= filters.temperature;
    }
    own
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

#[cube]
fn weight(logits: &Tensor<f32>, filters: &Filters, id: u32, #[comptime] kinds: FilterKinds) -> f32 {
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
fn top_k_key(
    logits: &Tensor<f32>,
    filters: &Filters,
    top_k: u32,
    counts: &mut Shared<[u32]>,
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
        if count_of_units(reached, counts, kinds.units) >= top_k {
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
    floats: &mut Shared<[f32]>,
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
    sum_of_units(sum, floats, kinds.units)
}

/// How many tokens with an id below `end` have a weight of just these bits.
#[cube]
fn ties_before(
    logits: &Tensor<f32>,
    filters: &Filters,
    bits: u32,
    end: u32,
    counts: &mut Shared<[u32]>,
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
    count_of_units(count, counts, kinds.units)
}

/// What top-p keeps: the least likely tokens go, of equal ones the first, while the sum of
/// what went is at most `1 − top_p`; the last token stays.
#[cube]
fn top_p_least(
    logits: &Tensor<f32>,
    filters: &Filters,
    share: f32,
    floats: &mut Shared<[f32]>,
    counts: &mut Shared<[u32]>,
    #[comptime] kinds: FilterKinds,
) -> Least {
    let droppable = share * weight_below(logits, filters, u32::MAX, floats, kinds);
    let mut least = 0u32;
    for step in 0..WEIGHT_BITS {
        let candidate = least | (1u32 << (WEIGHT_BITS - 1 - step));
        let sum = weight_below(logits, filters, candidate, floats, kinds);
        if sum <= droppable && candidate <= ONE {
            least = candidate;
        }
    }
    let vocabulary = filters.vocabulary;
    let ties = ties_before(logits, filters, least, vocabulary, counts, kinds);
    let rest = f32::max(
        droppable - weight_below(logits, filters, least, floats, kinds),
        0.0f32,
    );
    let dropped = u32::min(u32::cast_from(rest / f32::reinterpret(least)), ties - 1);
    let mut least_id = 0u32;
    let bits = 32u32 - u32::leading_zeros(vocabulary);
    for step in 0..bits {
        let candidate = least_id | (1u32 << (bits - 1 - step));
        let end = u32::min(candidate, vocabulary);
        if ties_before(logits, filters, least, end, counts, kinds) <= dropped {
            least_id = candidate;
        }
    }
    Least {
        weight: least,
        id: least_id,
    }
}

/// Philox4x32-10 (Salmon et al., SC 2011).
#[cube]
fn philox(words: &mut Array<u32>, block: u32, counter: u32, low: u32, high: u32) {
    let mut a = block;
    let mut b = counter;
    let mut c = 0u32;
    let mut d = 0u32;
    let mut key_low = low;
    let mut key_high = high;
    for _round in 0..10u32 {
        let high_a = u32::mul_hi(0xd251_1f53u32, a);
        let low_a = 0xd251_1f53u32 * a;
        let high_c = u32::mul_hi(0xcd9e_8d57u32, c);
        let low_c = 0xcd9e_8d57u32 * c;
        a = high_c ^ b ^ key_low;
        b = low_c;
        c = high_a ^ d ^ key_high;
        d = low_a;
        key_low += 0x9e37_79b9u32;
        key_high += 0xbb67_ae85u32;
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
}

/// An exponentially distributed number, `−log(1 − u)` for the `u` in (0, 1) that the word stands for.
#[cube]
fn exponential(word: u32) -> f32 {
    let unit = f32::min(
        (f32::cast_from(word) + 0.5f32) * 2.328_306_4e-10f32,
        0.999_999_94f32,
    );
    let mut number = -f32::ln(1.0f32 - unit);
    if unit < 0.25f32 {
        let t = unit / (2.0f32 - unit);
        let s = t * t;
        number = 2.0f32
            * t
            * (1.0f32
                + s * (0.333_333_34f32
                    + s * (0.2f32 + s * (0.142_857_15f32 + s * 0.111_111_11f32))));
    }
    number
}
