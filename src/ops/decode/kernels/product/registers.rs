//! Products by units whose registers are laid out as on CUDA.

use burn_cubecl::cubecl::{self, cmma::MmaDefinition, prelude::*};

use super::{
    BLOCK, COLUMNS, Extent, PLANE, ROWS, STRIDE, Tile, UNIT_COLUMNS, VECTOR, weight_line,
    write_sums,
};

/// Column tiles of a cube.
const COLUMN_TILES: usize = COLUMNS / UNIT_COLUMNS;

/// A tile's sums, two pairs of neighbours a unit.
type Sums = Array<Vector<f32, Const<2>>>;

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
    let planes = comptime!(tile.planes);
    let plane = UNIT_POS_X as usize / PLANE;
    let mut sums = Sequence::<Sums>::new();
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
        add_block::<F, N>(states, weight, block, &mut sums, extent, tile);
    }
    if comptime!(!tile.blocks.is_multiple_of(tile.planes)) {
        let block = comptime!(tile.blocks / tile.planes * tile.planes) + plane;
        if block < comptime!(tile.blocks) {
            add_block::<F, N>(states, weight, block, &mut sums, extent, tile);
        }
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(tile.shared()));
    share(&sums, &mut shared, plane * comptime!(tile.plane()), tile);
    sync_cube();
    write_sums::<F, O>(&shared, bias, out, extent, tile);
}

/// Adds the products of a block of the inner dimension.
///
/// A unit reads eight neighbours of a row where matrix units want four pairs, each of two neighbours:
/// both operands are read so, and a sum does not mind which numbers come first.
#[cube]
fn add_block<F: Float, N: Size>(
    states: &[Vector<F, N>],
    weight: &[Vector<F, N>],
    block: usize,
    sums: &mut Sequence<Sums>,
    extent: &Extent,
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
        let line = weight_line(column_tile * UNIT_COLUMNS + group, extent, tile);
        entries.push(weight[line * extent.stride + part * vectors + from]);
    }
    let first = part * extent.rows;
    let last = extent.rows - 1;
    let mut upper = Sequence::<Vector<F, N>>::new();
    let mut lower = Sequence::<Vector<F, N>>::new();
    #[unroll]
    for row_tile in 0..comptime!(tile.rows) {
        let row = (CUBE_POS_Z as usize * comptime!(tile.rows) + row_tile) * ROWS + group;
        // Rows past the last read it again: nothing that they add up to is written.
        upper.push(states[(first + min(row, last)) * vectors + from]);
        lower.push(states[(first + min(row + 8, last)) * vectors + from]);
    }
    let units = MmaDefinition::<F, F, f32>::new(ROWS, UNIT_COLUMNS, comptime!(BLOCK / 2));
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
fn share(sums: &Sequence<Sums>, shared: &mut Shared<[f32]>, first: usize, #[comptime] tile: Tile) {
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
                let place = first + row * STRIDE + comptime!(column_tile * UNIT_COLUMNS) + 2 * quad;
                shared[place] = sum[lower].extract(0usize);
                shared[place + 1] = sum[lower].extract(1usize);
            }
        }
    }
}
