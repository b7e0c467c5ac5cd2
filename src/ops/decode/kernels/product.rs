//! Products of a few rows with large weights on matrix units (tensor cores).
//!
//! Such a product is bound by reading the weight, so every number of it is read once, in vectors, straight
//! into the registers of the units that multiply. A cube takes 64 rows and 32 columns of the output;
//! its planes share the inner dimension, and their sums are added up in order at the end.

use burn_cubecl::cubecl::features::MmaConfig;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::{self, cmma::MmaDefinition, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::split;
use crate::ops::cube::{types, vector_size};

/// Units of a plane, whose registers hold a matrix together.
const PLANE: usize = 32;
/// Rows of the output that matrix units compute at a time.
const ROWS: usize = 16;
/// Columns of the output that matrix units compute at a time.
const COLUMNS: usize = 8;
/// Numbers that a unit reads at a time.
const VECTOR: usize = 8;
/// Numbers of a row of the weight that four units read at a time: two steps of matrix units.
const BLOCK: usize = 32;
/// Most row tiles of a cube.
const MOST_ROW_TILES: usize = 4;
/// Column tiles of a cube.
const COLUMN_TILES: usize = 4;
/// Most planes of a cube.
const MOST_PLANES: usize = 4;
/// Numbers between rows of sums in shared memory, so that rows do not meet in a bank.
const PADDING: usize = 8;

/// Whether a device multiplies `states` so: by matrix units whose registers are laid out as on CUDA,
/// where `chunk` numbers of a row are whole blocks.
pub fn has_matrix_units(states: &CubeTensor, chunk: usize) -> bool {
    let properties = states.client.properties();
    let [element] = types([states]);
    let config = MmaConfig {
        a_type: element,
        b_type: element,
        cd_type: ElemType::Float(FloatKind::F32),
        m: ROWS as u32,
        n: COLUMNS as u32,
        k: (BLOCK / 2) as u32,
    };
    let hardware = &properties.hardware;
    let planes = [hardware.plane_size_min, hardware.plane_size_max];
    properties.features.matmul.mma.contains(&config)
        && planes == [PLANE as u32; 2]
        && chunk.is_multiple_of(BLOCK)
        && vector_size(chunk, &[states]) >= VECTOR
}

/// `out_s = states_s · weight_sᵀ` for every chunk `s` of the columns.
///
/// # Shapes
/// `states` `[S, B, I/S]`, `weight` `[S, O, I/S]`, `out` `[S, B, O]` of any float type.
pub fn multiply(states: &CubeTensor, weight: &CubeTensor, out: &CubeTensor) {
    let [_, _, columns] = out.meta.shape().dims();
    launch(states, weight, None, out, columns, 0);
}

/// `silu(gate) ⊙ up` (SwiGLU, arXiv:2002.05202) of the halves of `states · weightᵀ + bias`, which are
/// rounded to the type of the states first.
///
/// # Shapes
/// `states` `[1, B, E]`, `weight` `[1, 2I, E]`, the gate first, `bias` `[1, 2I]` of `f32`; `gated`
/// `[S, B, I/S]`, the columns split.
pub fn multiply_gated(
    states: &CubeTensor,
    weight: &CubeTensor,
    bias: Option<&CubeTensor>,
    gated: &CubeTensor,
) {
    let [parts, _, chunk] = gated.meta.shape().dims();
    launch(states, weight, bias, gated, parts * chunk, chunk);
}

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    /// Row tiles of a cube.
    rows: usize,
    /// Planes of a cube.
    planes: usize,
    /// Blocks of a row.
    blocks: usize,
    /// Whether half of the column tiles are the gate, the others what it gates.
    is_gated: bool,
    has_bias: bool,
}

impl Tile {
    /// Columns of the output that a cube writes.
    fn columns(&self) -> usize {
        match self.is_gated {
            true => COLUMN_TILES * COLUMNS / 2,
            false => COLUMN_TILES * COLUMNS,
        }
    }
}

/// `gated` is the width of a chunk of the output if that is gated, else 0.
fn launch(
    states: &CubeTensor,
    weight: &CubeTensor,
    bias: Option<&CubeTensor>,
    out: &CubeTensor,
    columns: usize,
    gated: usize,
) {
    let [parts, rows, chunk] = states.meta.shape().dims();
    let blocks = chunk / BLOCK;
    let tile = Tile {
        rows: rows.div_ceil(ROWS).min(MOST_ROW_TILES),
        planes: blocks.min(MOST_PLANES),
        blocks,
        is_gated: gated > 0,
        has_bias: bias.is_some(),
    };
    let [x, z] = [
        columns.div_ceil(tile.columns()),
        rows.div_ceil(tile.rows * ROWS),
    ];
    product_kernel::launch(
        &states.client,
        CubeCount::Static(x as u32, parts as u32, z as u32),
        CubeDim::new_1d((tile.planes * PLANE) as u32),
        VECTOR,
        states.clone().into_buffer_arg(),
        weight.clone().into_buffer_arg(),
        bias.unwrap_or(weight).clone().into_buffer_arg(),
        out.clone().into_buffer_arg(),
        rows,
        columns,
        gated,
        tile,
        types([states, out]),
    );
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn product_kernel<F: Float, O: Float, N: Size>(
    states: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    bias: &[f32],
    out: &mut [O],
    rows: usize,
    columns: usize,
    chunk: usize,
    #[comptime] tile: Tile,
    #[define(F, O)] _types: [ElemType; 2],
) {
    let planes = comptime!(tile.planes);
    let plane = UNIT_POS_X as usize / PLANE;
    let mut sums = Sequence::<Array<Vector<f32, Const<2>>>>::new();
    #[unroll]
    for _ in 0..comptime!(tile.rows * COLUMN_TILES) {
        let mut sum = Array::new(2usize);
        sum[0] = Vector::new(0.0f32);
        sum[1] = Vector::new(0.0f32);
        sums.push(sum);
    }
    #[unroll]
    for step in 0..comptime!(tile.blocks / tile.planes) {
        let block = step * planes + plane;
        add_block::<F, N>(states, weight, rows, columns, block, &mut sums, tile);
    }
    if comptime!(tile.blocks % tile.planes > 0) {
        let block = comptime!(tile.blocks / tile.planes * tile.planes) + plane;
        if block < comptime!(tile.blocks) {
            add_block::<F, N>(states, weight, rows, columns, block, &mut sums, tile);
        }
    }
    let stride = comptime!(COLUMN_TILES * COLUMNS + PADDING);
    let height = comptime!(tile.rows * ROWS);
    let mut shared = Shared::<[f32]>::new_slice(comptime!(
        tile.planes * tile.rows * ROWS * (COLUMN_TILES * COLUMNS + PADDING)
    ));
    share(&sums, &mut shared, plane * height * stride, tile);
    sync_cube();
    let width = comptime!(tile.columns());
    let first_row = CUBE_POS_Z as usize * height;
    let first_column = CUBE_POS_X as usize * width;
    let mut place = UNIT_POS_X as usize;
    while place < comptime!(tile.rows * ROWS * tile.columns()) {
        let own = place / width * stride + place % width;
        let row = first_row + place / width;
        let column = first_column + place % width;
        if row < rows && column < columns {
            if comptime!(tile.is_gated) {
                let gate = added(&shared, own, tile);
                let up = added(&shared, own + width, tile);
                let value = gated::<F>(gate, up, bias, column, columns, tile.has_bias);
                out[split(row, column, chunk, rows)] = O::cast_from(value);
            } else {
                let line = CUBE_POS_Y as usize * rows + row;
                out[line * columns + column] = O::cast_from(added(&shared, own, tile));
            }
        }
        place += comptime!(tile.planes * PLANE);
    }
}

/// Adds the products of a block of the inner dimension.
///
/// A unit reads eight neighbours of a row where matrix units want four pairs, each of two neighbours:
/// both operands are read so, and a sum does not mind which numbers come first.
#[cube]
fn add_block<F: Float, N: Size>(
    states: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    rows: usize,
    columns: usize,
    block: usize,
    sums: &mut Sequence<Array<Vector<f32, Const<2>>>>,
    #[comptime] tile: Tile,
) {
    let vectors = comptime!(tile.blocks * BLOCK / VECTOR);
    let lane = UNIT_POS_X as usize % PLANE;
    let (group, quad) = (lane / 4, lane % 4);
    let part = CUBE_POS_Y as usize;
    let from = block * comptime!(BLOCK / VECTOR) + quad;
    let mut entries = Sequence::<Vector<F, N>>::new();
    #[unroll]
    for column_tile in 0..COLUMN_TILES {
        let line = weight_line(column_tile, group, columns, tile);
        let lines = comptime!(if tile.is_gated { 2usize } else { 1usize }) * columns;
        entries.push(weight[(part * lines + line) * vectors + from]);
    }
    let first = part * rows;
    let mut upper = Sequence::<Vector<F, N>>::new();
    let mut lower = Sequence::<Vector<F, N>>::new();
    #[unroll]
    for row_tile in 0..comptime!(tile.rows) {
        let row = (CUBE_POS_Z as usize * comptime!(tile.rows) + row_tile) * ROWS + group;
        // Rows past the last read it again: nothing that they add up to is written.
        upper.push(states[(first + min(row, rows - 1)) * vectors + from]);
        lower.push(states[(first + min(row + 8, rows - 1)) * vectors + from]);
    }
    let units = MmaDefinition::<F, F, f32>::new(ROWS, COLUMNS, comptime!(BLOCK / 2));
    #[unroll]
    for half in 0..2usize {
        let at = comptime!(4 * half);
        #[unroll]
        for row_tile in 0..comptime!(tile.rows) {
            let mut left = Array::<Vector<F, Const<2>>>::new(4usize);
            left[0] = pair::<F, N>(*upper.index(row_tile), at);
            left[1] = pair::<F, N>(*lower.index(row_tile), at);
            left[2] = pair::<F, N>(*upper.index(row_tile), comptime!(at + 2));
            left[3] = pair::<F, N>(*lower.index(row_tile), comptime!(at + 2));
            #[unroll]
            for column_tile in 0..COLUMN_TILES {
                let mut right = Array::<Vector<F, Const<2>>>::new(2usize);
                right[0] = pair::<F, N>(*entries.index(column_tile), at);
                right[1] = pair::<F, N>(*entries.index(column_tile), comptime!(at + 2));
                let own = comptime!(row_tile * COLUMN_TILES + column_tile);
                units.execute_inplace(&left, &right, sums.index_mut(own));
            }
        }
    }
}

/// The row of the weight that a unit reads for a column tile.
#[cube]
fn weight_line(
    #[comptime] column_tile: usize,
    group: usize,
    columns: usize,
    #[comptime] tile: Tile,
) -> usize {
    let first = CUBE_POS_X as usize * comptime!(tile.columns());
    let half = comptime!(COLUMN_TILES / 2);
    if comptime!(tile.is_gated && column_tile >= half) {
        let column = first + comptime!((column_tile - half) * COLUMNS) + group;
        columns + min(column, columns - 1)
    } else {
        min(
            first + comptime!(column_tile * COLUMNS) + group,
            columns - 1,
        )
    }
}

/// Two neighbours of a vector.
#[cube]
fn pair<F: Float, N: Size>(vector: Vector<F, N>, #[comptime] at: usize) -> Vector<F, Const<2>> {
    let mut pair = Vector::<F, Const<2>>::empty();
    pair.insert(0usize, vector.extract(at));
    pair.insert(1usize, vector.extract(comptime!(at + 1)));
    pair
}

/// Writes a plane's sums to shared memory from `first` on.
#[cube]
fn share(
    sums: &Sequence<Array<Vector<f32, Const<2>>>>,
    shared: &mut Shared<[f32]>,
    first: usize,
    #[comptime] tile: Tile,
) {
    let stride = comptime!(COLUMN_TILES * COLUMNS + PADDING);
    let lane = UNIT_POS_X as usize % PLANE;
    let (group, quad) = (lane / 4, lane % 4);
    #[unroll]
    for row_tile in 0..comptime!(tile.rows) {
        #[unroll]
        for column_tile in 0..COLUMN_TILES {
            let sum = sums.index(comptime!(row_tile * COLUMN_TILES + column_tile));
            #[unroll]
            for lower in 0..2usize {
                let row = comptime!(row_tile * ROWS + 8 * lower) + group;
                let place = first + row * stride + comptime!(column_tile * COLUMNS) + 2 * quad;
                shared[place] = sum[lower].extract(0usize);
                shared[place + 1] = sum[lower].extract(1usize);
            }
        }
    }
}

/// What the planes' sums at a place add up to.
#[cube]
fn added(shared: &Shared<[f32]>, place: usize, #[comptime] tile: Tile) -> f32 {
    let size = comptime!(tile.rows * ROWS * (COLUMN_TILES * COLUMNS + PADDING));
    let mut sum = shared[place];
    #[unroll]
    for plane in 1..comptime!(tile.planes) {
        sum += shared[plane * size + place];
    }
    sum
}

/// `silu(gate) · up`, each rounded before.
#[cube]
fn gated<F: Float>(
    gate: f32,
    up: f32,
    bias: &[f32],
    column: usize,
    columns: usize,
    #[comptime] has_bias: bool,
) -> f32 {
    let mut gate = f32::cast_from(F::cast_from(gate));
    let mut up = f32::cast_from(F::cast_from(up));
    if has_bias {
        gate += bias[column];
        up += bias[columns + column];
    }
    gate * f32::recip(1.0f32 + f32::exp(-gate)) * up
}
