//! Products whose last tiles are shared out in parts, so that they do not leave most of a GPU idle.

use burn_cubecl::cubecl::{self, prelude::*};

use super::kernel::{Plan, STEP, Target, UNITS, sums_of_steps, write};
use crate::ops::product::operand::Matrices;

/// How the tiles of a product are shared out where the last ones would have most of a GPU idle: a cube takes one of
/// the `whole` first, or one of `parts` of the steps of a later one.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Shares {
    pub whole: usize,
    pub parts: usize,
    /// Tiles along the columns.
    pub across: usize,
}

/// Multiplies a single batch. What parts of a tile sum up to goes to `rest`, `[tiles, parts, tile]`.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
pub(super) fn product_fragments_shared<X: Float, Y: Float, N: Size, P: Size>(
    left: &[Vector<X, N>],
    right: &[Vector<X, N>],
    output: &mut [Vector<Y, P>],
    rest: &mut [Vector<f32, P>],
    matrices: &Matrices,
    shares: &Shares,
    #[comptime] plan: Plan,
    #[define(X, Y)] _types: [ElemType; 2],
) {
    let cube = CUBE_POS_X as usize;
    let steps = matrices.inner / STEP;
    let mut tile = cube;
    let mut first = 0usize.runtime();
    let mut last = steps;
    if cube >= shares.whole {
        let part = (cube - shares.whole) % shares.parts;
        tile = shares.whole + (cube - shares.whole) / shares.parts;
        first = steps * part / shares.parts;
        last = steps * (part + 1) / shares.parts;
    }
    let place = (tile / shares.across, tile % shares.across);
    let sums = sums_of_steps::<X, N>(left, right, matrices, place, (first, last), plan);
    if cube < shares.whole {
        let target = Target {
            base: 0usize.runtime(),
            rows: matrices.left.count,
            columns: matrices.right.count,
            corner: (place.0 * plan.left.tile, place.1 * plan.right.tile),
        };
        write::<Y, P>(output, &sums, &target, plan);
    } else {
        let target = Target {
            base: (cube - shares.whole) * comptime!(plan.left.tile * plan.right.tile),
            rows: plan.left.tile.runtime(),
            columns: plan.right.tile.runtime(),
            corner: (0usize.runtime(), 0usize.runtime()),
        };
        write::<f32, P>(rest, &sums, &target, plan);
    }
}

/// Adds up the parts of tiles, in order; the grid's second axis are the tiles.
#[cube(launch_unchecked)]
pub(super) fn add_parts<Y: Float, P: Size>(
    rest: &[Vector<f32, P>],
    output: &mut [Vector<Y, P>],
    rows: usize,
    columns: usize,
    shares: &Shares,
    #[comptime] plan: Plan,
    #[define(Y)] _type: ElemType,
) {
    let pairs = comptime!(plan.left.tile * plan.right.tile / 2);
    let pair = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    let first = CUBE_POS_Y as usize * shares.parts * pairs + pair;
    let mut sum = rest[first];
    for part in 1..shares.parts {
        sum += rest[first + part * pairs];
    }
    let tile = shares.whole + CUBE_POS_Y as usize;
    let width = comptime!(plan.right.tile / 2);
    let row = tile / shares.across * comptime!(plan.left.tile) + pair / width;
    let column = tile % shares.across * comptime!(plan.right.tile) + pair % width * 2;
    if row < rows && column < columns {
        output[(row * columns + column) / 2] = Vector::cast_from(sum);
    }
}
