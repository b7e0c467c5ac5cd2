//! Operations on whole rows: embedding, norm, gate.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::split;
use crate::ops::cube::{Block, cube_sum, grid, types, vector_size};

/// Units of a cube that has a row.
const UNITS: usize = 256;

/// Puts each row's embedding into its state.
///
/// # Shapes
/// `table` `[V, E]`, its rows with room between them or not; `ids` `[B]`, `states` `[B, E]` of `f32`.
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
        table.meta.strides()[0],
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
    let [_, _, chunk] = normed.meta.shape().dims();
    // Vectors stay inside of a chunk.
    let vector = vector_size(chunk, &[states, normed]);
    let block = Block::new(&states.client, width / vector);
    let layout = NormLayout {
        vectors: width / vector,
        parts: change.map_or(0, |(change, _)| change.meta.shape()[0]),
        has_bias: bias.is_some(),
        block,
    };
    add_norm_kernel::launch(
        &states.client,
        grid(rows, 1),
        block.dim(),
        vector,
        states.clone().into_buffer_arg(),
        added.clone().into_buffer_arg(),
        bias.unwrap_or(weight).clone().into_buffer_arg(),
        weight.clone().into_buffer_arg(),
        normed.clone().into_buffer_arg(),
        epsilon,
        chunk / vector,
        layout,
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
    stride: usize,
    #[define(F)] _element: ElemType,
) {
    let row = CUBE_POS_X as usize;
    let source = ids[row] as usize * stride;
    let mut place = UNIT_POS_X as usize;
    while place < width {
        states[row * width + place] = f32::cast_from(table[source + place]);
        place += CUBE_DIM_X as usize;
    }
}

/// What the kernel of norms is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NormLayout {
    /// Vectors of a row.
    vectors: usize,
    /// Summands of what is added; none where nothing is.
    parts: usize,
    has_bias: bool,
    block: Block,
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn add_norm_kernel<F: Float, N: Size>(
    states: &mut [Vector<f32, N>],
    change: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    weight: &[Vector<f32, N>],
    normed: &mut [Vector<F, N>],
    epsilon: f32,
    chunk: usize,
    #[comptime] layout: NormLayout,
    #[define(F)] _element: ElemType,
) {
    let vectors = comptime!(layout.vectors);
    let units = comptime!(layout.block.units as usize);
    let slots = comptime!(layout.vectors.div_ceil(layout.block.units as usize));
    let (row, rows) = (CUBE_POS_X as usize, CUBE_COUNT_X as usize);
    let first = row * vectors;
    let mut values = Array::<Vector<f32, N>>::new(slots);
    let mut own = 0.0f32;
    #[unroll]
    for slot in 0..slots {
        let place = UNIT_POS_X as usize + comptime!(slot * units);
        if place < vectors {
            let mut value = states[first + place];
            if comptime!(layout.parts > 0) {
                #[unroll]
                for part in 0..comptime!(layout.parts) {
                    value += change[part * rows * vectors + first + place];
                }
                if comptime!(layout.has_bias) {
                    value += bias[place];
                }
                states[first + place] = value;
            }
            let squares = value * value;
            #[unroll]
            for one in 0..squares.vector_size() {
                own += squares.extract(one);
            }
            values[slot] = value;
        }
    }
    let width = comptime!(layout.vectors) * N::value();
    let total = cube_sum(own, comptime!(layout.block));
    let root = f32::recip(f32::sqrt(total / f32::cast_from(width as u32) + epsilon));
    #[unroll]
    for slot in 0..slots {
        let place = UNIT_POS_X as usize + comptime!(slot * units);
        if place < vectors {
            let target = split(row, place, chunk, rows);
            normed[target] = Vector::cast_from(values[slot] * Vector::new(root) * weight[place]);
        }
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
