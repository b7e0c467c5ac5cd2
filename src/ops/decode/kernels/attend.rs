//! Attention of one new token a row over its cache.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::split;
use crate::ops::cube::{Block, grid, types};

/// Units of a cube, and keys that it takes at a time; more only for heads that are wider.
const UNITS: usize = 128;
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
    let lanes = width.next_power_of_two();
    let tile = TileLayout {
        group: query_heads / key_heads,
        width,
        lanes,
        block: Block::of(&queries.client, lanes.max(UNITS)),
    };
    attend_kernel::launch(
        &queries.client,
        grid(key_heads, rows),
        tile.block.dim(),
        queries.clone().into_tensor_arg(),
        cache.0.clone().into_tensor_arg(),
        cache.1.clone().into_tensor_arg(),
        lengths.clone().into_tensor_arg(),
        attended.clone().into_tensor_arg(),
        key_heads,
        capacity,
        attended.meta.shape()[2],
        tile,
        types([queries])[0],
    );
}

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TileLayout {
    /// Query heads of a key head.
    group: usize,
    width: usize,
    /// Units that hold one head's width.
    lanes: usize,
    block: Block,
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn attend_kernel<F: Float>(
    queries: &Tensor<F>,
    keys: &Tensor<F>,
    values: &Tensor<F>,
    lengths: &Tensor<u32>,
    attended: &mut Tensor<F>,
    key_heads: usize,
    capacity: usize,
    chunk: usize,
    #[comptime] layout: TileLayout,
    #[define(F)] _element: ElemType,
) {
    let group = comptime!(layout.group);
    let width = comptime!(layout.width);
    let units = comptime!(layout.block.units as usize);
    let lanes = comptime!(layout.lanes);
    let parts = comptime!(layout.block.units as usize / layout.lanes);
    // Queries, then scores of a tile, then sums of the parts.
    let mut asked = Shared::new_slice(comptime!(layout.group * layout.width));
    let mut scores = Shared::new_slice(comptime!(layout.group * layout.block.units as usize));
    let mut peaks = Shared::new_slice(group);
    let mut totals = Shared::new_slice(group);
    let mut factors = Shared::new_slice(group);

    let head = CUBE_POS_X as usize;
    let row = CUBE_POS_Y as usize;
    let unit = UNIT_POS_X as usize;
    let seen = lengths[row] as usize + 1;
    let first = (row * key_heads + head) * capacity * width;
    let own = (row * key_heads + head) * group * width;
    let mut place = unit;
    while place < group * width {
        asked[place] = f32::cast_from(queries[own + place]);
        place += units;
    }
    if unit < group {
        peaks[unit] = LOWEST;
        totals[unit] = 0.0f32;
    }
    let mut sums = Array::<f32>::new(group);
    #[unroll]
    for member in 0..group {
        sums[member] = 0.0f32;
    }
    let lane = unit % lanes;
    let part = unit / lanes;
    sync_cube();

    let mut start = 0usize.runtime();
    while start < seen {
        let key = start + unit;
        #[unroll]
        for member in 0..group {
            let mut score = LOWEST.runtime();
            if key < seen {
                score = 0.0f32;
                for at in 0..width {
                    score +=
                        asked[member * width + at] * f32::cast_from(keys[first + key * width + at]);
                }
            }
            scores[member * units + unit] = score;
        }
        sync_cube();
        weigh(&mut scores, &mut peaks, &mut totals, &mut factors, layout);
        sync_cube();
        let mut end = units.runtime();
        if start + units > seen {
            end = seen - start;
        }
        if lane < width {
            #[unroll]
            for member in 0..group {
                sums[member] *= factors[member];
            }
            let mut at = part;
            while at < end {
                let value = f32::cast_from(values[first + (start + at) * width + lane]);
                #[unroll]
                for member in 0..group {
                    sums[member] += scores[member * units + at] * value;
                }
                at += parts;
            }
        }
        sync_cube();
        start += units;
    }

    #[unroll]
    for member in 0..group {
        scores[member * units + unit] = sums[member];
    }
    sync_cube();
    let mut place = unit;
    while place < group * width {
        let member = place / width;
        let at = place % width;
        let mut sum = 0.0f32;
        for part in 0..parts {
            sum += scores[member * units + part * lanes + at];
        }
        let column = head * group * width + place;
        let target = split(row, column, chunk, CUBE_COUNT_Y as usize);
        attended[target] = F::cast_from(sum / totals[member]);
        place += units;
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
    #[comptime] layout: TileLayout,
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
