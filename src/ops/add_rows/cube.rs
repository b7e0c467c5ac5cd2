//! Addition of rows on GPUs: a cube a summand, of which the first of each row adds all of the row's.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{Block, cube_max, cubes, types};

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
    let mut is_later = 0.0f32;
    let mut other = UNIT_POS as usize;
    while other < own {
        if rows[other] == row {
            is_later = 1.0f32;
        }
        other += block.units as usize;
    }
    if cube_max(is_later, block) > 0.0f32 {
        terminate!();
    }
    let first = usize::cast_from(row) * width;
    let mut column = UNIT_POS as usize;
    while column < width {
        let mut total = f32::cast_from(sum[first + column]);
        for summand in own..count {
            if rows[summand] == row {
                total += f32::cast_from(summands[summand * width + column]);
            }
        }
        sum[first + column] = S::cast_from(total);
        column += block.units as usize;
    }
}
