//! Products by cooperative matrices.

use burn_cubecl::cubecl::{self, cmma, prelude::*};

use super::{BLOCK, COLUMNS, Extent, PLANE, ROWS, STRIDE, Tile, VECTOR, weight_line, write_sums};

/// Column tiles of a cube.
const COLUMN_TILES: usize = COLUMNS / ROWS;

/// Rows are whole tiles, and so are columns.
#[cube(launch)]
pub(super) fn product_kernel<F: Float, O: Float, N: Size>(
    states: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    bias: &[f32],
    out: &mut [O],
    extent: &Extent,
    #[comptime] tile: Tile,
    #[define(F, O)] _types: [ElemType; 2],
) {
    let plane = UNIT_POS_X as usize / PLANE;
    let mut sums = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(tile.rows * COLUMN_TILES) {
        sums.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            ROWS,
            ROWS,
            ROWS,
            cmma::MatrixLayout::Undefined,
            0.0,
        ));
    }
    let mut block = plane;
    while block < comptime!(tile.blocks) {
        #[unroll]
        for half in 0..2usize {
            let from = block * comptime!(BLOCK / VECTOR) + comptime!(half * ROWS / VECTOR);
            add_step::<F, N>(states, weight, from, &sums, extent, tile);
        }
        block += comptime!(tile.planes);
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.shared()));
    let first = plane * comptime!(tile.plane());
    #[unroll]
    for row_tile in 0..comptime!(tile.rows) {
        #[unroll]
        for column_tile in 0..COLUMN_TILES {
            let from = first + comptime!(row_tile * ROWS * STRIDE + column_tile * ROWS);
            cmma::store(
                &mut shared[from..comptime!(tile.shared())],
                sums.index(comptime!(row_tile * COLUMN_TILES + column_tile)),
                comptime!(STRIDE as u32),
                cmma::MatrixLayout::RowMajor,
            );
        }
    }
    sync_cube();
    write_sums::<F, O>(&shared, bias, out, extent, tile);
}

/// Adds the products of a step of the inner dimension, which begins `from` vectors into each row.
#[cube]
fn add_step<F: Float, N: Size>(
    states: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    from: usize,
    sums: &Sequence<cmma::Matrix<f32>>,
    extent: &Extent,
    #[comptime] tile: Tile,
) {
    let vectors = comptime!(tile.blocks * BLOCK / VECTOR);
    let stride = comptime!((tile.blocks * BLOCK) as u32);
    let part = CUBE_POS_Y as usize;
    let mut right = Sequence::<cmma::Matrix<Vector<F, N>>>::new();
    #[unroll]
    for column_tile in 0..COLUMN_TILES {
        // A gated product has one part.
        let line = part * extent.columns + weight_line(column_tile * ROWS, extent, tile);
        right.push(cmma::Matrix::<Vector<F, N>>::from_slice(
            cmma::MatrixIdent::B,
            ROWS,
            ROWS,
            ROWS,
            cmma::MatrixLayout::ColMajor,
            &weight[line * vectors + from..weight.len()],
            stride,
        ));
    }
    let first = part * extent.rows + CUBE_POS_Z as usize * comptime!(tile.rows * ROWS);
    #[unroll]
    for row_tile in 0..comptime!(tile.rows) {
        let line = first + comptime!(row_tile * ROWS);
        let left = cmma::Matrix::<Vector<F, N>>::from_slice(
            cmma::MatrixIdent::A,
            ROWS,
            ROWS,
            ROWS,
            cmma::MatrixLayout::RowMajor,
            &states[line * vectors + from..states.len()],
            stride,
        );
        #[unroll]
        for column_tile in 0..COLUMN_TILES {
            let sum = sums.index(comptime!(row_tile * COLUMN_TILES + column_tile));
            cmma::execute(&left, right.index(column_tile), sum, sum);
        }
    }
}
