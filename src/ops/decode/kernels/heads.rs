//! From the joined projection to rotated queries and the cache.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{Block, cube_sum, grid, types};

/// The tensors around a layer's heads.
pub struct Heads<'a> {
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
    /// Rotated queries, `[B, H, D]`, times `1/√D`.
    pub queries: &'a CubeTensor,
    /// The layer's keys and values, `[B, K, capacity, D]` each.
    pub cache: (&'a CubeTensor, &'a CubeTensor),
    /// Added to the mean square in norms.
    pub epsilon: f32,
}

/// Rotates queries and keys (RoFormer, arXiv:2104.09864), and writes keys and values after each row's
/// cached ones.
pub fn place_heads(heads: &Heads<'_>) {
    let [rows, query_heads, width] = heads.queries.meta.shape().dims();
    let [_, key_heads, capacity, _] = heads.cache.0.meta.shape().dims();
    let block = Block::of(&heads.queries.client, width.next_power_of_two());
    let unused = heads.angles.0;
    let bias = heads.bias.unwrap_or(unused);
    let (query_norm, key_norm) = heads.norms.unwrap_or((unused, unused));
    let layout = HeadLayout {
        query_heads,
        key_heads,
        width,
        block,
        parts: heads.projected.meta.shape()[0],
        has_bias: heads.bias.is_some(),
        has_norms: heads.norms.is_some(),
    };
    place_heads_kernel::launch(
        &heads.queries.client,
        grid(query_heads + 2 * key_heads, rows),
        block.dim(),
        heads.projected.clone().into_tensor_arg(),
        bias.clone().into_tensor_arg(),
        query_norm.clone().into_tensor_arg(),
        key_norm.clone().into_tensor_arg(),
        heads.angles.0.clone().into_tensor_arg(),
        heads.angles.1.clone().into_tensor_arg(),
        heads.lengths.clone().into_tensor_arg(),
        heads.queries.clone().into_tensor_arg(),
        heads.cache.0.clone().into_tensor_arg(),
        heads.cache.1.clone().into_tensor_arg(),
        heads.epsilon,
        capacity,
        layout,
        types([heads.queries])[0],
    );
}

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HeadLayout {
    query_heads: usize,
    key_heads: usize,
    width: usize,
    block: Block,
    /// Summands of what is projected.
    parts: usize,
    has_bias: bool,
    has_norms: bool,
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn place_heads_kernel<F: Float>(
    projected: &Tensor<f32>,
    bias: &Tensor<f32>,
    query_norm: &Tensor<f32>,
    key_norm: &Tensor<f32>,
    cosines: &Tensor<f32>,
    sines: &Tensor<f32>,
    lengths: &Tensor<u32>,
    queries: &mut Tensor<F>,
    keys: &mut Tensor<F>,
    values: &mut Tensor<F>,
    epsilon: f32,
    capacity: usize,
    #[comptime] layout: HeadLayout,
    #[define(F)] _element: ElemType,
) {
    let width = comptime!(layout.width);
    let half = comptime!(layout.width / 2);
    let query_heads = comptime!(layout.query_heads);
    let key_heads = comptime!(layout.key_heads);
    let mut heads = Shared::new_slice(comptime!(layout.block.units as usize));
    let head = CUBE_POS_X as usize;
    let row = CUBE_POS_Y as usize;
    let unit = UNIT_POS_X as usize;
    let position = lengths[row] as usize;

    let mut value = 0.0f32;
    if unit < width {
        let source = head * width + unit;
        let columns = comptime!((layout.query_heads + 2 * layout.key_heads) * layout.width);
        #[unroll]
        for part in 0..comptime!(layout.parts) {
            value += projected[(part * CUBE_COUNT_Y as usize + row) * columns + source];
        }
        if comptime!(layout.has_bias) {
            value += bias[source];
        }
    }
    if comptime!(layout.has_norms) {
        let total = cube_sum(value * value, comptime!(layout.block));
        let root = f32::recip(f32::sqrt(total / f32::cast_from(width as u32) + epsilon));
        if unit < width {
            if head < query_heads {
                value *= root * query_norm[unit];
            } else if head < query_heads + key_heads {
                value *= root * key_norm[unit];
            }
        }
    }
    heads[unit] = value;
    sync_cube();
    if unit < width {
        let mut rotated = value;
        if head < query_heads + key_heads {
            let low = unit % half;
            let angle = position * half + low;
            let mut other = heads[low];
            if unit < half {
                other = -heads[half + low];
            }
            rotated = value * cosines[angle] + other * sines[angle];
        }
        if head < query_heads {
            let scale = f32::recip(f32::sqrt(f32::cast_from(width as u32)));
            queries[(row * query_heads + head) * width + unit] = F::cast_from(rotated * scale);
        } else if head < query_heads + key_heads {
            let line = (row * key_heads + head - query_heads) * capacity + position;
            keys[line * width + unit] = F::cast_from(rotated);
        } else {
            let own = head - query_heads - key_heads;
            let line = (row * key_heads + own) * capacity + position;
            values[line * width + unit] = F::cast_from(rotated);
        }
    }
}
