//! Sums of the rows of a matrix, as gradients of what was broadcast over rows are.

use burn::tensor::DType;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::{cubes, empty, types};

/// Columns that a cube takes, and rows that it takes at a time.
const TILE: usize = 16;

/// `[C, E]` of `f32` to `[1, E]` of `dtype`.
pub(in crate::ops) fn sum_of_rows(sums: CubeTensor, dtype: DType) -> CubeTensor {
    let [rows, width] = [sums.meta.shape()[0], sums.meta.shape()[1]];
    let output = empty(&sums, [1, width], dtype);
    if width > 0 {
        column_sums::launch(
            &sums.client,
            cubes(&sums.client, width.div_ceil(TILE)),
            CubeDim::new_2d(TILE as u32, TILE as u32),
            sums.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            rows,
            width,
            types([&output])[0],
        );
    }
    output
}

/// Sums of columns, `TILE` of them a cube.
#[cube(launch)]
fn column_sums<W: Float>(
    values: &[f32],
    output: &mut [W],
    rows: usize,
    columns: usize,
    #[define(W)] _type: ElemType,
) {
    let tile = comptime!(TILE);
    let column = CUBE_POS * tile + UNIT_POS_X as usize;
    let mut sum = 0.0f32;
    if column < columns {
        let mut row = UNIT_POS_Y as usize;
        while row < rows {
            sum += values[row * columns + column];
            row += tile;
        }
    }
    let mut sums = Shared::<[f32]>::new_slice(comptime!(TILE * TILE));
    sums[UNIT_POS as usize] = sum;
    sync_cube();
    if UNIT_POS_Y == 0 && column < columns {
        let mut total = 0.0f32;
        #[unroll]
        for group in 0..tile {
            total += sums[group * tile + UNIT_POS_X as usize];
        }
        output[column] = W::cast_from(total);
    }
}
