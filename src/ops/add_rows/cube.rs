//! Addition of rows on GPUs: a cube a summand, of which the first of each row adds all of the row's.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{Block, cube_max, cubes, types};

/// Summands that each unit looks through before the cube adds those that it found.
const RUN: usize = 8;

/// Backends with the kernel.
#[backend_extension(Cube, Fusion)]
pub trait AddRowsBackend: Backend {
    /// See [`super::add_rows`].
    #[fusion(dtype = sum, shape = sum)]
    fn add_rows(
        sum: FloatTensor<Self>,
        rows: IntTensor<Self>,
        summands: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl AddRowsBackend for CubeBackend {
    fn add_rows(sum: CubeTensor, rows: CubeTensor, summands: CubeTensor) -> CubeTensor {
        let sum = into_contiguous(sum);
        let sum = match sum.can_mut() {
            true => sum,
            false => sum.copy(),
        };
        let (rows, summands) = (into_contiguous(rows), into_contiguous(summands));
        let [count, width] = [summands.meta.shape()[0], summands.meta.shape()[1]];
        if count * width > 0 {
            let block = Block::new(&sum.client, width);
            rows_added::launch(
                &sum.client,
                cubes(&sum.client, count),
                block.dim(),
                sum.clone().into_buffer_arg(),
                rows.clone().into_buffer_arg(),
                summands.clone().into_buffer_arg(),
                count,
                width,
                block,
                types([&sum, &rows, &summands]),
            );
        }
        sum
    }
}

#[cube(launch)]
fn rows_added<S: Float, I: Int, G: Float>(
    sum: &mut [S],
    rows: &[I],
    summands: &[G],
    count: usize,
    width: usize,
    #[comptime] block: Block,
    #[define(S, I, G)] _types: [ElemType; 3],
) {
    let own = CUBE_POS;
    if own >= count {
        terminate!();
    }
    let row = rows[own];
    if occurs(rows, row, 0, own, block) {
        terminate!();
    }
    let first = usize::cast_from(row) * width;
    add_row(sum, summands, own, first, width, block);
    let mut start = own + 1;
    while start < count {
        let end = min(start + comptime!(RUN * block.units as usize), count);
        if occurs(rows, row, start, end, block) {
            let mut summand = start;
            while summand < end {
                if rows[summand] == row {
                    add_row(sum, summands, summand, first, width, block);
                }
                summand += 1;
            }
        }
        start = end;
    }
}

/// Whether a row is among those of the summands `start..end`.
#[cube]
fn occurs<I: Int>(rows: &[I], row: I, start: usize, end: usize, #[comptime] block: Block) -> bool {
    let mut found = 0.0f32;
    let mut summand = start + UNIT_POS as usize;
    while summand < end {
        if rows[summand] == row {
            found = 1.0f32;
        }
        summand += block.units as usize;
    }
    cube_max(found, block) > 0.0f32
}

/// Adds a summand to the row of the sum that begins at `first`.
#[cube]
fn add_row<S: Float, G: Float>(
    sum: &mut [S],
    summands: &[G],
    summand: usize,
    first: usize,
    width: usize,
    #[comptime] block: Block,
) {
    let mut column = UNIT_POS as usize;
    while column < width {
        let total = f32::cast_from(sum[first + column])
            + f32::cast_from(summands[summand * width + column]);
        sum[first + column] = S::cast_from(total);
        column += block.units as usize;
    }
}
