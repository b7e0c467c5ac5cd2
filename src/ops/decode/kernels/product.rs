//! Products of a few rows with large weights on matrix units (tensor cores).
//!
//! Such a product is bound by reading the weight, so every number of it is read once, straight from
//! memory to the units that multiply. A cube takes up to 64 rows and 32 columns of the output; its planes
//! share the inner dimension, and their sums are added up in order at the end.

mod registers;

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::split;
use crate::ops::cube::{multiplies_registers, types, vector_size};

/// Units of a plane, whose registers hold a matrix together.
const PLANE: usize = 32;
/// Rows of the output that matrix units compute at a time, and of the inner dimension that they take.
const ROWS: usize = 16;
/// Columns of the output that matrix units compute at a time.
const UNIT_COLUMNS: usize = 8;
/// Columns of the output of a cube.
const COLUMNS: usize = 32;
/// Numbers that are read at a time.
const VECTOR: usize = 8;
/// Numbers of a row that a plane takes at a time: two steps of matrix units.
const BLOCK: usize = 32;
/// Most row tiles of a cube.
const MOST_ROW_TILES: usize = 4;
/// Most planes of a cube.
const MOST_PLANES: usize = 4;
/// From a row of sums to the next in shared memory, so that rows do not meet in a bank.
const STRIDE: usize = COLUMNS + 8;

/// Matrix units that are given their numbers in registers laid out as on CUDA.
#[derive(Clone, Copy, Debug)]
pub struct MatrixUnits(());

impl MatrixUnits {
    /// Those of the device for a weight `[O, I]` whose columns are split into `parts`, if it has any that suit;
    /// there may be room between its rows.
    pub fn of(weight: &CubeTensor, parts: usize) -> Option<Self> {
        let [_, width] = weight.meta.shape().dims();
        let chunk = width / parts;
        let [element] = types([weight]);
        let suits = multiplies_registers(&weight.client, element)
            && weight.meta.strides()[0].is_multiple_of(VECTOR)
            && chunk.is_multiple_of(BLOCK)
            && vector_size(chunk, &[weight]) >= VECTOR;
        suits.then_some(Self(()))
    }

    /// `out_s = states_s · weight_sᵀ` for every chunk `s` of the columns.
    ///
    /// # Shapes
    /// `states` `[S, B, I/S]`, `weight` `[O, I]`, `out` `[S, B, O]` of any float type.
    pub fn multiply(self, states: &CubeTensor, weight: &CubeTensor, out: &CubeTensor) {
        let [_, _, columns] = out.meta.shape().dims();
        self.launch(states, weight, None, out, [columns, 0]);
    }

    /// `silu(gate) ⊙ up` (SwiGLU, arXiv:2002.05202) of the halves of `states · weightᵀ + bias`, which
    /// are rounded to the type of the states first.
    ///
    /// # Shapes
    /// `states` `[1, B, E]`, `weight` `[2I, E]`, the gate first, `bias` `[1, 2I]` of `f32`; `gated`
    /// `[S, B, I/S]`, the columns split.
    pub fn multiply_gated(
        self,
        states: &CubeTensor,
        weight: &CubeTensor,
        bias: Option<&CubeTensor>,
        gated: &CubeTensor,
    ) {
        let [parts, _, chunk] = gated.meta.shape().dims();
        self.launch(states, weight, bias, gated, [parts * chunk, chunk]);
    }

    /// `gated` is the width of a chunk of the output if that is gated, else 0.
    fn launch(
        self,
        states: &CubeTensor,
        weight: &CubeTensor,
        bias: Option<&CubeTensor>,
        out: &CubeTensor,
        [columns, gated]: [usize; 2],
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
        let x = columns.div_ceil(tile.columns()) as u32;
        let z = rows.div_ceil(tile.rows * ROWS) as u32;
        registers::product_kernel::launch(
            &states.client,
            CubeCount::Static(x, parts as u32, z),
            CubeDim::new_1d((tile.planes * PLANE) as u32),
            VECTOR,
            states.clone().into_buffer_arg(),
            weight.clone().into_buffer_arg(),
            bias.unwrap_or(weight).clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            ExtentLaunch::new(rows, columns, gated, weight.meta.strides()[0] / VECTOR),
            tile,
            types([states, out]),
        );
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    /// Row tiles of a cube.
    rows: usize,
    /// Planes of a cube.
    planes: usize,
    /// Blocks of a row.
    blocks: usize,
    /// Whether half of the columns are the gate, the others what it gates.
    is_gated: bool,
    has_bias: bool,
}

impl Tile {
    /// Columns of the output that a cube writes.
    fn columns(&self) -> usize {
        match self.is_gated {
            true => COLUMNS / 2,
            false => COLUMNS,
        }
    }

    /// Numbers of shared memory that hold the sums of all planes.
    fn shared(&self) -> usize {
        self.planes * self.plane()
    }

    /// Those of one plane.
    fn plane(&self) -> usize {
        self.rows * ROWS * STRIDE
    }
}

/// The size of a product.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Extent {
    rows: usize,
    /// Columns of the output.
    columns: usize,
    /// Of these, those of a chunk if the output is gated.
    chunk: usize,
    /// Vectors from a row of the weight to the next.
    stride: usize,
}

/// The row of the weight where `COLUMNS` columns of a cube find theirs, `column` of them on:
/// the gate's, then those of what it gates.
#[cube]
fn weight_line(column: usize, extent: &Extent, #[comptime] tile: Tile) -> usize {
    let width = comptime!(tile.columns());
    let own = CUBE_POS_X as usize * width + column % width;
    column / width * extent.columns + min(own, extent.columns - 1)
}

/// Writes what the sums of the planes in shared memory add up to.
#[cube]
fn write_sums<F: Float, O: Float>(
    shared: &Shared<[f32]>,
    bias: &[f32],
    out: &mut [O],
    extent: &Extent,
    #[comptime] tile: Tile,
) {
    let width = comptime!(tile.columns());
    let mut place = UNIT_POS_X as usize;
    while place < comptime!(tile.rows * ROWS * tile.columns()) {
        let own = place / width * STRIDE + place % width;
        let row = CUBE_POS_Z as usize * comptime!(tile.rows * ROWS) + place / width;
        let column = CUBE_POS_X as usize * width + place % width;
        if row < extent.rows && column < extent.columns {
            if comptime!(tile.is_gated) {
                let (gate, up) = (added(shared, own, tile), added(shared, own + width, tile));
                let value = gated::<F>(gate, up, bias, column, extent.columns, tile.has_bias);
                out[split(row, column, extent.chunk, extent.rows)] = O::cast_from(value);
            } else {
                let line = CUBE_POS_Y as usize * extent.rows + row;
                out[line * extent.columns + column] = O::cast_from(added(shared, own, tile));
            }
        }
        place += comptime!(tile.planes * PLANE);
    }
}

/// What the planes' sums at a place add up to.
#[cube]
fn added(shared: &Shared<[f32]>, place: usize, #[comptime] tile: Tile) -> f32 {
    let mut sum = shared[place];
    #[unroll]
    for plane in 1..comptime!(tile.planes) {
        sum += shared[comptime!(plane * tile.plane()) + place];
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

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device, Distribution, Tensor, activation::silu};

    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops::cube::{empty, primitive};
    use crate::ops::read_floats;

    /// Devices whose matrix units may suit.
    const DEVICES: [DeviceSpec; 2] = [DeviceSpec::Cuda(0), DeviceSpec::Vulkan(0)];

    /// Runs `check` with each device that has matrix units.
    fn on_matrix_units(check: impl Fn(&Device)) {
        for spec in DEVICES {
            let has_units = |device: &Device| {
                let weight = primitive(Tensor::<2>::zeros([32, 32], device).cast(DType::F16));
                MatrixUnits::of(&weight, 1).is_some()
            };
            match device::open(&spec).ok().filter(has_units) {
                Some(device) => check(&device),
                None => eprintln!("skipped: no matrix units on {spec}"),
            }
        }
    }

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        let normal = Distribution::Normal(0.0, 1.0);
        let random: Tensor<D> = Tensor::random(shape, normal, &Device::flex());
        random.cast(DType::F16)
    }

    /// The numbers of a tensor that a kernel wrote.
    fn numbers(written: CubeTensor) -> Vec<f32> {
        let data = burn_cubecl::ops::into_data_sync(written);
        data.convert::<f32>().try_into_vec().unwrap()
    }

    fn assert_close(found: &[f32], expected: Tensor<3>, case: &str) {
        let expected = read_floats(expected.reshape([-1_i32, 1])).unwrap();
        assert_eq!(found.len(), expected.len(), "{case}");
        for (found, expected) in found.iter().zip(&expected) {
            let tolerance = 2e-3 * (1.0 + expected.abs());
            assert!(
                (found - expected).abs() < tolerance,
                "{case}: {found} {expected}"
            );
        }
    }

    #[test]
    fn products_are_those_of_plain_tensor_functions() {
        on_matrix_units(|device| {
            // Parts, rows, columns, columns of a part.
            let shapes = [
                [1, 1, 8, 32],
                [2, 3, 33, 96],
                [1, 16, 64, 160],
                [3, 70, 31, 224],
            ];
            for shape @ [parts, rows, columns, chunk] in shapes {
                let states = random([parts, rows, chunk]);
                let weight = random([parts, columns, chunk]);
                let rows_of_weight = weight
                    .clone()
                    .swap_dims(0, 1)
                    .reshape([columns, parts * chunk]);
                let left = primitive(states.clone().to_device(device));
                let right = primitive::<2>(rows_of_weight.to_device(device));
                let Some(units) = MatrixUnits::of(&right, parts) else {
                    eprintln!("skipped: no matrix units for {shape:?}");
                    continue;
                };
                let out = empty(&left, [parts, rows, columns], DType::F32);
                units.multiply(&left, &right, &out);
                let [states, weight] = [states, weight].map(|tensor| tensor.cast(DType::F32));
                let expected = states.matmul(weight.swap_dims(1, 2));
                assert_close(&numbers(out), expected, &format!("{shape:?}"));
            }
        });
    }

    #[test]
    fn gated_products_are_those_of_plain_tensor_functions() {
        on_matrix_units(|device| {
            for [rows, inner, width] in [[16, 48, 64], [5, 24, 32]] {
                let (states, weight) = (random([1, rows, width]), random([2 * inner, width]));
                let left = primitive(states.clone().to_device(device));
                let right = primitive(weight.clone().to_device(device));
                let Some(units) = MatrixUnits::of(&right, 1) else {
                    eprintln!("skipped: no matrix units for {rows} rows");
                    continue;
                };
                let out = empty(&left, [2, rows, inner / 2], DType::F16);
                units.multiply_gated(&left, &right, None, &out);
                let weight = weight.cast(DType::F32).transpose().unsqueeze();
                let joined = states.cast(DType::F32).matmul(weight).cast(DType::F16);
                let [gate, up] = [0, inner].map(|from| joined.clone().narrow(2, from, inner));
                let gated = silu(gate.cast(DType::F32)) * up.cast(DType::F32);
                let chunks = gated.reshape([rows, 2, inner / 2]).swap_dims(0, 1);
                assert_close(&numbers(out), chunks, &format!("{rows} rows"));
            }
        });
    }
}
