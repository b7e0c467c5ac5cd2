//! Operations on whole rows: embedding, norm, gate.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::split;
use crate::ops::cube::{Block, cube_sum, grid, types};

/// Units of a cube that has a row.
const UNITS: usize = 256;

/// Puts each row's embedding into its state.
///
/// # Shapes
/// `table` `[V, E]`, `ids` `[B]`, `states` `[B, E]` of `f32`.
pub fn embed(table: &CubeTensor, ids: &CubeTensor, states: &CubeTensor) {
    let [rows, width] = states.meta.shape().dims();
    embed_kernel::launch(
        &states.client,
        grid(rows, 1),
        CubeDim::new_1d(UNITS as u32),
        table.clone().into_tensor_arg(),
        ids.clone().into_tensor_arg(),
        states.clone().into_tensor_arg(),
        width,
        types([table])[0],
    );
}

/// Adds `change` to the states, then normalises them (RMSNorm, arXiv:1910.07467).
///
/// # Shapes
/// `states` `[B, E]` of `f32`, changed in place; `change` `[S, B, E]` of `f32`, which is summed, and its
/// `bias` `[1, E]` of `f32`; `weight` `[1, E]` of `f32`; `normed` `[S', B, E/S']`, the columns split.
pub fn add_norm(
    states: &CubeTensor,
    change: Option<(&CubeTensor, Option<&CubeTensor>)>,
    weight: &CubeTensor,
    normed: &CubeTensor,
    epsilon: f32,
) {
    let [rows, width] = states.meta.shape().dims();
    let bias = change.and_then(|(_, bias)| bias);
    let added = change.map_or(weight, |(change, _)| change);
    let parts = change.map_or(0, |(change, _)| change.meta.shape()[0]);
    let [_, _, chunk] = normed.meta.shape().dims();
    let block = Block::new(&states.client, width);
    add_norm_kernel::launch(
        &states.client,
        grid(rows, 1),
        block.dim(),
        states.clone().into_tensor_arg(),
        added.clone().into_tensor_arg(),
        bias.unwrap_or(weight).clone().into_tensor_arg(),
        weight.clone().into_tensor_arg(),
        normed.clone().into_tensor_arg(),
        epsilon,
        width,
        chunk,
        parts,
        bias.is_some(),
        block,
        types([normed])[0],
    );
}

/// `silu(gate) ⊙ up` (SwiGLU, arXiv:2002.05202).
///
/// # Shapes
/// `joined` `[1, B, 2I]`, the gate first, with a `bias` `[1, 2I]` of `f32`; `gated` `[S, B, I/S]`, the
/// columns split.
pub fn gate(joined: &CubeTensor, bias: Option<&CubeTensor>, gated: &CubeTensor) {
    let [parts, rows, chunk] = gated.meta.shape().dims();
    let width = parts * chunk;
    gate_kernel::launch(
        &gated.client,
        grid(width.div_ceil(UNITS), rows),
        CubeDim::new_1d(UNITS as u32),
        joined.clone().into_tensor_arg(),
        bias.unwrap_or(joined).clone().into_tensor_arg(),
        gated.clone().into_tensor_arg(),
        width,
        chunk,
        bias.is_some(),
        types([joined, gated]),
    );
}

#[cube(launch)]
fn embed_kernel<F: Float>(
    table: &Tensor<F>,
    ids: &Tensor<u32>,
    states: &mut Tensor<f32>,
    width: usize,
    #[define(F)] _element: ElemType,
) {
    let row = CUBE_POS_X as usize;
    let source = ids[row] as usize * width;
    let mut place = UNIT_POS_X as usize;
    while place < width {
        states[row * width + place] = f32::cast_from(table[source + place]);
        place += CUBE_DIM_X as usize;
    }
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn add_norm_kernel<F: Float>(
    states: &mut Tensor<f32>,
    change: &Tensor<f32>,
    bias: &Tensor<f32>,
    weight: &Tensor<f32>,
    normed: &mut Tensor<F>,
    epsilon: f32,
    width: usize,
    chunk: usize,
    #[comptime] parts: usize,
    #[comptime] has_bias: bool,
    #[comptime] block: Block,
    #[define(F)] _element: ElemType,
) {
    let units = comptime!(block.units as usize);
    let first = CUBE_POS_X as usize * width;
    let mut own = 0.0f32;
    let mut place = UNIT_POS_X as usize;
    while place < width {
        let mut value = states[first + place];
        if comptime!(parts > 0) {
            #[unroll]
            for part in 0..parts {
                value += change[(part * CUBE_COUNT_X as usize) * width + first + place];
            }
            if has_bias {
                value += bias[place];
            }
            states[first + place] = value;
        }
        own += value * value;
        place += units;
    }
    let total = cube_sum(own, block);
    let root = f32::recip(f32::sqrt(total / f32::cast_from(width as u32) + epsilon));
    let mut place = UNIT_POS_X as usize;
    while place < width {
        let target = split(CUBE_POS_X as usize, place, chunk, CUBE_COUNT_X as usize);
        normed[target] = F::cast_from(states[first + place] * root * weight[place]);
        place += units;
    }
}

#[cube(launch)]
fn gate_kernel<J: Float, F: Float>(
    joined: &Tensor<J>,
    bias: &Tensor<f32>,
    gated: &mut Tensor<F>,
    width: usize,
    chunk: usize,
    #[comptime] has_bias: bool,
    #[define(J, F)] _elements: [ElemType; 2],
) {
    let row = CUBE_POS_Y as usize;
    let place = CUBE_POS_X as usize * CUBE_DIM_X as usize + UNIT_POS_X as usize;
    if place < width {
        let mut gate = f32::cast_from(joined[2 * row * width + place]);
        let mut up = f32::cast_from(joined[(2 * row + 1) * width + place]);
        if has_bias {
            gate += bias[place];
            up += bias[width + place];
        }
        let sigmoid = f32::recip(1.0f32 + f32::exp(-gate));
        let target = split(row, place, chunk, CUBE_COUNT_Y as usize);
        gated[target] = F::cast_from(gate * sigmoid * up);
    }
}
