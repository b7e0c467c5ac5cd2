//! Attention of one new token a row over its cache.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::heads::{HeadLayout, measure_heads, place_heads};
use super::split;
use crate::ops::cube::{Block, grid, types, vector_size};

/// Most units of a cube, and keys that it takes at a time.
const MOST_UNITS: usize = 512;
/// Fewest, of a device with little shared memory.
const LEAST_UNITS: usize = 32;
/// Below every score.
const LOWEST: f32 = -3.0e38;

/// What a layer's attention reads and writes beside its output.
pub struct Attention<'a> {
    /// Queries, keys, values of every row, `[S, B, (H + 2K)·D]` of `f32`, which is summed.
    pub projected: &'a CubeTensor,
    /// Their bias, `[1, (H + 2K)·D]` of `f32`.
    pub bias: Option<&'a CubeTensor>,
    /// Norm weights of queries and keys, `[1, D]` of `f32` each.
    pub norms: Option<(&'a CubeTensor, &'a CubeTensor)>,
    /// Cosines and sines of every position, `[capacity, D/2]` of `f32` each.
    pub angles: (&'a CubeTensor, &'a CubeTensor),
    /// Tokens in each row's cache, `[B]`.
    pub lengths: &'a CubeTensor,
    /// The layer's keys and values, `[B, K, capacity, D]` each.
    pub cache: (&'a CubeTensor, &'a CubeTensor),
    /// Added to the mean square in norms.
    pub epsilon: f32,
}

/// Rotates queries and keys, writes keys and values after each row's cached ones, and takes
/// `softmax(q kᵀ / √D) v` over all of them (grouped queries, arXiv:2305.13245; the softmax goes with the
/// keys, arXiv:1805.02867).
///
/// # Shapes
/// `attended` `[S, B, H·D/S]`, the columns split.
pub fn attend(from: &Attention<'_>, attended: &CubeTensor) {
    let (keys, values) = from.cache;
    let [rows, key_heads, capacity, width] = keys.meta.shape().dims();
    let [parts, _, chunk] = attended.meta.shape().dims();
    let client = &keys.client;
    // Vectors stay inside of half a head and of a chunk.
    let vector = vector_size(width / 2, &[keys]).min(vector_size(chunk, &[attended]));
    let query_heads = parts * chunk / width;
    let layout = Layout::new(from, query_heads / key_heads, width / vector, vector);
    let unused = from.angles.0;
    let (query_norm, key_norm) = from.norms.unwrap_or((unused, unused));
    attend_kernel::launch(
        client,
        grid(key_heads, rows),
        layout.block.dim(),
        vector,
        from.projected.clone().into_buffer_arg(),
        from.bias.unwrap_or(unused).clone().into_buffer_arg(),
        query_norm.clone().into_buffer_arg(),
        key_norm.clone().into_buffer_arg(),
        from.angles.0.clone().into_buffer_arg(),
        from.angles.1.clone().into_buffer_arg(),
        from.lengths.clone().into_buffer_arg(),
        keys.clone().into_buffer_arg(),
        values.clone().into_buffer_arg(),
        attended.clone().into_buffer_arg(),
        from.epsilon,
        capacity,
        chunk / vector,
        layout,
        types([keys])[0],
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
    heads: HeadLayout,
    /// Units with different pairs.
    span: usize,
    /// Pairs of a unit.
    slots: usize,
    /// Units that share a pair.
    parts: usize,
}

impl Layout {
    fn new(from: &Attention<'_>, group: usize, vectors: usize, vector: usize) -> Self {
        let client = &from.projected.client;
        let hardware = &client.properties().hardware;
        let bytes = |units: usize| {
            let lines = (group + 2) * vectors + units;
            (lines * vector + group * (units + 4) + 1) * size_of::<f32>()
        };
        let mut units = MOST_UNITS.min(hardware.max_units_per_cube as usize);
        while units > LEAST_UNITS && bytes(units) > hardware.max_shared_memory_size {
            units /= 2;
        }
        let pairs = group * vectors;
        Self {
            block: Block::of(client, units),
            heads: HeadLayout {
                group,
                vectors,
                units,
                parts: from.projected.meta.shape()[0],
                has_bias: from.bias.is_some(),
                has_norms: from.norms.is_some(),
            },
            span: pairs.min(units),
            slots: pairs.div_ceil(units),
            parts: (units / pairs).max(1),
        }
    }
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn attend_kernel<F: Float, N: Size>(
    projected: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    query_norm: &[Vector<f32, N>],
    key_norm: &[Vector<f32, N>],
    cosines: &[Vector<f32, N>],
    sines: &[Vector<f32, N>],
    lengths: &[u32],
    keys: &mut [Vector<F, N>],
    values: &mut [Vector<F, N>],
    attended: &mut [Vector<F, N>],
    epsilon: f32,
    capacity: usize,
    chunk: usize,
    #[comptime] layout: Layout,
    #[define(F)] _element: ElemType,
) {
    let group = comptime!(layout.heads.group);
    let vectors = comptime!(layout.heads.vectors);
    let units = comptime!(layout.heads.units);
    let slots = comptime!(layout.slots);
    let mut heads = Shared::<[Vector<f32, N>]>::new_slice(comptime!(layout.heads.all()));
    let mut scores = Shared::<[f32]>::new_slice(comptime!(layout.heads.group * layout.heads.units));
    let mut peaks = Shared::<[f32]>::new_slice(group);
    let mut totals = Shared::<[f32]>::new_slice(group);
    let mut factors = Shared::<[f32]>::new_slice(group);
    let mut roots = Shared::<[f32]>::new_slice(group + 1);
    let mut shares = Shared::<[Vector<f32, N>]>::new_slice(units);

    let head = CUBE_POS_X as usize;
    let row = CUBE_POS_Y as usize;
    let unit = UNIT_POS_X as usize;
    let cached = lengths[row] as usize;
    let first = (row * CUBE_COUNT_X as usize + head) * capacity * vectors;
    if comptime!(layout.heads.has_norms) {
        measure_heads(
            projected,
            bias,
            &mut heads,
            &mut roots,
            epsilon,
            layout.heads,
        );
    }
    place_heads(
        projected,
        bias,
        query_norm,
        key_norm,
        cosines,
        sines,
        keys,
        values,
        &mut heads,
        &roots,
        cached,
        first + cached * vectors,
        layout.heads,
    );
    if unit < group {
        peaks[unit] = LOWEST;
        totals[unit] = 0.0f32;
    }
    let mut sums = Array::<Vector<f32, N>>::new(slots);
    #[unroll]
    for slot in 0..slots {
        sums[slot] = Vector::new(0.0f32);
    }
    sync_cube();

    let mut start = 0usize.runtime();
    while start <= cached {
        score_key::<F, N>(
            &*keys,
            &heads,
            &mut scores,
            first,
            start + unit,
            cached,
            layout,
        );
        sync_cube();
        let count = min(units.runtime(), cached + 1 - start);
        weigh(
            &mut scores,
            &mut peaks,
            &mut totals,
            &mut factors,
            count,
            layout,
        );
        sync_cube();
        add_values::<F, N>(
            &*values,
            &heads,
            &scores,
            &factors,
            &mut sums,
            first + start * vectors,
            cached - start,
            layout,
        );
        sync_cube();
        start += units;
    }

    write_attended(attended, &mut shares, &totals, &sums, chunk, layout);
}

/// Adds a tile's weighted values to the unit's sums. The tile begins at vector `first` of the cache; `left` cached
/// tokens come from there on, and after them the newest.
#[cube]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn add_values<F: Float, N: Size>(
    values: &[Vector<F, N>],
    heads: &Shared<[Vector<f32, N>]>,
    scores: &Shared<[f32]>,
    factors: &Shared<[f32]>,
    sums: &mut Array<Vector<f32, N>>,
    first: usize,
    left: usize,
    #[comptime] layout: Layout,
) {
    let vectors = comptime!(layout.heads.vectors);
    let units = comptime!(layout.heads.units);
    let parts = comptime!(layout.parts);
    let pairs = comptime!(layout.heads.group * layout.heads.vectors);
    let part = UNIT_POS_X as usize / comptime!(layout.span);
    let end = min(units.runtime(), left);
    #[unroll]
    for slot in 0..comptime!(layout.slots) {
        let pair = UNIT_POS_X as usize % comptime!(layout.span) + slot * units;
        if part < parts && pair < pairs {
            let member = pair / vectors;
            let column = first + pair % vectors;
            let mut sum = sums[slot] * Vector::new(factors[member]);
            let mut at = part;
            while at < end {
                let value = Vector::<f32, N>::cast_from(values[column + at * vectors]);
                sum += Vector::new(scores[member * units + at]) * value;
                at += parts;
            }
            // The newest value may not be seen in the cache yet.
            if part == 0 && end < units {
                let value = heads[pairs + vectors + pair % vectors];
                sum += Vector::new(scores[member * units + end]) * value;
            }
            sums[slot] = sum;
        }
    }
}

/// Adds up what the units of a pair have and writes it.
#[cube]
fn write_attended<F: Float, N: Size>(
    attended: &mut [Vector<F, N>],
    shares: &mut Shared<[Vector<f32, N>]>,
    totals: &Shared<[f32]>,
    sums: &Array<Vector<f32, N>>,
    chunk: usize,
    #[comptime] layout: Layout,
) {
    let units = comptime!(layout.heads.units);
    let span = comptime!(layout.span);
    let pairs = comptime!(layout.heads.group * layout.heads.vectors);
    let unit = UNIT_POS_X as usize;
    #[unroll]
    for slot in 0..comptime!(layout.slots) {
        let pair = unit % span + slot * units;
        shares[unit] = sums[slot];
        sync_cube();
        if unit < span && pair < pairs {
            let mut sum = shares[unit];
            #[unroll]
            for other in 1..comptime!(layout.parts) {
                sum += shares[other * span + unit];
            }
            let column = CUBE_POS_X as usize * pairs + pair;
            let target = split(CUBE_POS_Y as usize, column, chunk, CUBE_COUNT_Y as usize);
            let total = Vector::new(totals[pair / comptime!(layout.heads.vectors)]);
            attended[target] = Vector::cast_from(sum / total);
        }
        sync_cube();
    }
}

/// Scores the unit's key against every query of the group, if it is one of the `cached` or the newest after them.
#[cube]
fn score_key<F: Float, N: Size>(
    keys: &[Vector<F, N>],
    heads: &Shared<[Vector<f32, N>]>,
    scores: &mut Shared<[f32]>,
    first: usize,
    key: usize,
    cached: usize,
    #[comptime] layout: Layout,
) {
    let group = comptime!(layout.heads.group);
    let vectors = comptime!(layout.heads.vectors);
    let units = comptime!(layout.heads.units);
    if key <= cached {
        let mut products = Array::<Vector<f32, N>>::new(group);
        #[unroll]
        for member in 0..group {
            products[member] = Vector::new(0.0f32);
        }
        for at in 0..vectors {
            // The newest key may not be seen in the cache yet.
            let mut numbers = heads[group * vectors + at];
            if key < cached {
                numbers = Vector::cast_from(keys[first + key * vectors + at]);
            }
            #[unroll]
            for member in 0..group {
                products[member] += heads[member * vectors + at] * numbers;
            }
        }
        #[unroll]
        for member in 0..group {
            scores[member * units + UNIT_POS_X as usize] = Vector::vector_sum(products[member]);
        }
    }
}

/// Turns a tile's `count` scores into weights under the highest score so far; what was summed before is to be
/// multiplied by `factors`.
#[cube]
fn weigh(
    scores: &mut Shared<[f32]>,
    peaks: &mut Shared<[f32]>,
    totals: &mut Shared<[f32]>,
    factors: &mut Shared<[f32]>,
    count: usize,
    #[comptime] layout: Layout,
) {
    let units = comptime!(layout.heads.units);
    let group = comptime!(layout.heads.group);
    // Units that take a head's scores together.
    let reach = comptime!((layout.block.plane as usize).max(1));
    let step = comptime!(layout.heads.units / (layout.block.plane as usize).max(1));
    let lane = UNIT_POS_X as usize % reach;
    let mut member = UNIT_POS_X as usize / reach;
    while member < group {
        let first = member * units;
        let mut peak = peaks[member];
        let before = peak;
        let mut at = lane;
        while at < count {
            peak = f32::max(peak, scores[first + at]);
            at += reach;
        }
        if comptime!(layout.block.plane > 0) {
            peak = plane_max(peak);
        }
        let mut total = 0.0f32;
        let mut at = lane;
        while at < count {
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
