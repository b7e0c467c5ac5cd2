//! Attention of one new token a row over its cache.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::split;
use crate::ops::cube::{Block, grid, types, vector_size};

/// Most units of a cube, and keys that it takes at a time.
const MOST_UNITS: usize = 256;
/// Fewest, of a device with little shared memory.
const LEAST_UNITS: usize = 32;
/// Below every score.
const LOWEST: f32 = -3.0e38;

/// `softmax(q kᵀ) v` over each row's keys, the new one among them (grouped queries,
/// arXiv:2305.13245; the softmax goes with the keys, arXiv:1805.02867).
///
/// # Shapes
/// `queries` `[B, H, D]`, scaled; `cache` `[B, K, capacity, D]` twice; `lengths` `[B]`, without the new
/// token; `attended` `[S, B, H·D/S]`, the columns split.
pub fn attend(
    queries: &CubeTensor,
    cache: (&CubeTensor, &CubeTensor),
    lengths: &CubeTensor,
    attended: &CubeTensor,
) {
    let [rows, query_heads, width] = queries.meta.shape().dims();
    let [_, key_heads, capacity, _] = cache.0.meta.shape().dims();
    let [_, _, chunk] = attended.meta.shape().dims();
    let client = &queries.client;
    // Vectors stay inside of a head and of a chunk.
    let vector = vector_size(width, &[queries]).min(vector_size(chunk, &[attended]));
    let layout = Layout::new(client, query_heads / key_heads, width / vector, vector);
    attend_kernel::launch(
        client,
        grid(key_heads, rows),
        layout.block.dim(),
        vector,
        queries.clone().into_buffer_arg(),
        cache.0.clone().into_buffer_arg(),
        cache.1.clone().into_buffer_arg(),
        lengths.clone().into_buffer_arg(),
        attended.clone().into_buffer_arg(),
        key_heads,
        capacity,
        chunk / vector,
        layout,
        types([queries])[0],
    );
}

/// What the kernel is compiled for.
///
/// A unit has the scores of one key of a tile with all queries, and then a vector of one query's output:
/// a pair of a query and a place in its width. Where there are fewer pairs than units, several share
/// the keys of a pair; where there are more, a unit has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Layout {
    block: Block,
    /// Query heads of a key head.
    group: usize,
    /// Vectors of a head's width.
    vectors: usize,
    /// Units with different pairs.
    span: usize,
    /// Pairs of a unit.
    slots: usize,
    /// Units that share a pair.
    parts: usize,
}

impl Layout {
    fn new(client: &Client, group: usize, vectors: usize, vector: usize) -> Self {
        let hardware = &client.properties().hardware;
        let bytes = |units: usize| {
            let floats = group * (vectors * vector + units + 3) + units * vector;
            floats * size_of::<f32>()
        };
        let mut units = MOST_UNITS.min(hardware.max_units_per_cube as usize);
        while units > LEAST_UNITS && bytes(units) > hardware.max_shared_memory_size {
            units /= 2;
        }
        let pairs = group * vectors;
        Self {
            block: Block::of(client, units),
            group,
            vectors,
            span: pairs.min(units),
            slots: pairs.div_ceil(units),
            parts: (units / pairs).max(1),
        }
    }
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn attend_kernel<F: Float, N: Size>(
    queries: &[Vector<F, N>],
    keys: &[Vector<F, N>],
    values: &[Vector<F, N>],
    lengths: &[u32],
    attended: &mut [Vector<F, N>],
    key_heads: usize,
    capacity: usize,
    chunk: usize,
    #[comptime] layout: Layout,
    #[define(F)] _element: ElemType,
) {
    let group = comptime!(layout.group);
    let vectors = comptime!(layout.vectors);
    let units = comptime!(layout.block.units as usize);
    let span = comptime!(layout.span);
    let slots = comptime!(layout.slots);
    let parts = comptime!(layout.parts);
    let pairs = comptime!(layout.group * layout.vectors);
    let mut asked = Shared::<[Vector<f32, N>]>::new_slice(pairs);
    let mut scores =
        Shared::<[f32]>::new_slice(comptime!(layout.group * layout.block.units as usize));
    let mut peaks = Shared::<[f32]>::new_slice(group);
    let mut totals = Shared::<[f32]>::new_slice(group);
    let mut factors = Shared::<[f32]>::new_slice(group);
    let mut shares = Shared::<[Vector<f32, N>]>::new_slice(units);

    let head = CUBE_POS_X as usize;
    let row = CUBE_POS_Y as usize;
    let unit = UNIT_POS_X as usize;
    let seen = lengths[row] as usize + 1;
    let first = (row * key_heads + head) * capacity * vectors;
    let own = (row * key_heads + head) * pairs;
    let mut place = unit;
    while place < pairs {
        asked[place] = Vector::cast_from(queries[own + place]);
        place += units;
    }
    if unit < group {
        peaks[unit] = LOWEST;
        totals[unit] = 0.0f32;
    }
    let mut sums = Array::<Vector<f32, N>>::new(slots);
    #[unroll]
    for slot in 0..slots {
        sums[slot] = Vector::new(0.0f32);
    }
    let part = unit / span;
    sync_cube();

    let mut start = 0usize.runtime();
    while start < seen {
        score_key::<F, N>(keys, &asked, &mut scores, first, start + unit, seen, layout);
        sync_cube();
        weigh(&mut scores, &mut peaks, &mut totals, &mut factors, layout);
        sync_cube();
        let end = min(units.runtime(), seen - start);
        #[unroll]
        for slot in 0..slots {
            let pair = unit % span + slot * units;
            if part < parts && pair < pairs {
                let member = pair / vectors;
                let column = first + start * vectors + pair % vectors;
                let mut sum = sums[slot] * Vector::new(factors[member]);
                let mut at = part;
                while at < end {
                    let value = Vector::<f32, N>::cast_from(values[column + at * vectors]);
                    sum += Vector::new(scores[member * units + at]) * value;
                    at += parts;
                }
                sums[slot] = sum;
            }
        }
        sync_cube();
        start += units;
    }

    #[unroll]
    for slot in 0..slots {
        let pair = unit % span + slot * units;
        shares[unit] = sums[slot];
        sync_cube();
        if unit < span && pair < pairs {
            let mut sum = shares[unit];
            #[unroll]
            for other in 1..parts {
                sum += shares[other * span + unit];
            }
            let column = head * pairs + pair;
            let target = split(row, column, chunk, CUBE_COUNT_Y as usize);
            let total = Vector::new(totals[pair / vectors]);
            attended[target] = Vector::cast_from(sum / total);
        }
        sync_cube();
    }
}

/// Scores the unit's key against every query of the group; keys past the last get the lowest.
#[cube]
fn score_key<F: Float, N: Size>(
    keys: &[Vector<F, N>],
    asked: &Shared<[Vector<f32, N>]>,
    scores: &mut Shared<[f32]>,
    first: usize,
    key: usize,
    seen: usize,
    #[comptime] layout: Layout,
) {
    let group = comptime!(layout.group);
    let vectors = comptime!(layout.vectors);
    let units = comptime!(layout.block.units as usize);
    let mut products = Array::<Vector<f32, N>>::new(group);
    #[unroll]
    for member in 0..group {
        products[member] = Vector::new(0.0f32);
    }
    if key < seen {
        for at in 0..vectors {
            let numbers = Vector::<f32, N>::cast_from(keys[first + key * vectors + at]);
            #[unroll]
            for member in 0..group {
                products[member] += asked[member * vectors + at] * numbers;
            }
        }
    }
    #[unroll]
    for member in 0..group {
        let mut score = Vector::vector_sum(products[member]);
        if key >= seen {
            score = LOWEST.runtime();
        }
        scores[member * units + UNIT_POS_X as usize] = score;
    }
}

/// Turns a tile's scores into weights under the highest score so far; what was summed before is to be
/// multiplied by `factors`.
#[cube]
fn weigh(
    scores: &mut Shared<[f32]>,
    peaks: &mut Shared<[f32]>,
    totals: &mut Shared<[f32]>,
    factors: &mut Shared<[f32]>,
    #[comptime] layout: Layout,
) {
    let units = comptime!(layout.block.units as usize);
    let group = comptime!(layout.group);
    // Units that take a head's scores together.
    let reach = comptime!((layout.block.plane as usize).max(1));
    let step = comptime!(layout.block.units as usize / (layout.block.plane as usize).max(1));
    let lane = UNIT_POS_X as usize % reach;
    let mut member = UNIT_POS_X as usize / reach;
    while member < group {
        let first = member * units;
        let mut peak = peaks[member];
        let before = peak;
        let mut at = lane;
        while at < units {
            peak = f32::max(peak, scores[first + at]);
            at += reach;
        }
        if comptime!(layout.block.plane > 0) {
            peak = plane_max(peak);
        }
        let mut total = 0.0f32;
        let mut at = lane;
        while at < units {
            let weight = f32::exp(scores[first + at] - peak);
            scores[first + at] = weight;
            total += weight;
            at += reach;
        }
        if comptime!(layout.block.plane > 0) {
            total = plane_sum(total);
        }
        if lane == 0 {
            let factor = f32::exp(before - peak);
            factors[member] = factor;
            totals[member] = totals[member] * factor + total;
            peaks[member] = peak;
        }
        member += step;
    }
}
