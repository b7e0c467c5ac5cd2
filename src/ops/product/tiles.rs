//! The kernel: a cube takes a tile of the output, a unit 8 × 8 numbers of it in its registers.
//!
//! Where tiles are few, the units of a cube are several teams that share the steps along the inner axis;
//! their sums are added up in order at the end.
//!
//! A step along the inner axis is staged in shared memory as `f32`, its outer axis foremost, in blocks of
//! 4 × 4: a unit reads those of the next step while it multiplies, and turns those that lie along the
//! inner axis. The quads of a row of the tile are permuted with the inner place (`quad ^ turn`), so that
//! neither writing nor reading meets two units of a plane at one bank.

use burn_cubecl::cubecl::{self, prelude::*};

use super::operand::{Along, Matrices, Operand};
use super::tile_plan::{HELD, Plan, QUAD, STEP, Side};

type Quad = Const<QUAD>;

/// A block of an operand's step, 4 × 4.
#[derive(CubeType, Clone, Copy)]
struct Block {
    /// Quad of the tile's row.
    outer: usize,
    /// Quad of the step.
    inner: usize,
}

/// Multiplies; batches are the grid's third axis. At least one number is summed and one is written.
#[cube(launch_unchecked)]
pub(super) fn product_tiles<X: Float, Y: Float, L: Size, R: Size, O: Size>(
    left: &[Vector<X, L>],
    right: &[Vector<X, R>],
    output: &mut [Vector<Y, O>],
    matrices: &Matrices,
    #[comptime] plan: Plan,
    #[define(X, Y)] _types: [ElemType; 2],
) {
    let mut left_tile = Shared::<[Vector<f32, Quad>]>::new_slice(comptime!(plan.shared()[0]));
    let mut right_tile = Shared::<[Vector<f32, Quad>]>::new_slice(comptime!(plan.shared()[1]));
    let mut lines = Array::<Vector<X, Quad>>::new(comptime!(plan.shares() * QUAD));
    let mut sums = Array::<Vector<f32, Quad>>::new(comptime!(2 * HELD));
    #[unroll]
    for place in 0..comptime!(2 * HELD) {
        sums[place] = Vector::new(0.0);
    }
    let own = own_team(plan) * STEP;
    let mut start = 0usize;
    load::<X, L, R>(left, right, &mut lines, matrices, own, plan);
    while start < matrices.inner {
        sync_cube();
        let rest = matrices.inner - min(start + own, matrices.inner);
        stage::<X>(&lines, &mut left_tile, &mut right_tile, rest, plan);
        sync_cube();
        start += comptime!(plan.teams * STEP);
        if start < matrices.inner {
            load::<X, L, R>(left, right, &mut lines, matrices, start + own, plan);
        }
        multiply(&left_tile, &right_tile, &mut sums, plan);
    }
    if comptime!(plan.teams > 1) {
        add_teams(&mut left_tile, &mut sums, plan);
    }
    if own_team(plan) == 0 {
        write::<Y, O>(output, &sums, matrices, plan);
    }
}

/// The unit's team.
#[cube]
fn own_team(#[comptime] plan: Plan) -> usize {
    if comptime!(plan.teams == 1) {
        0usize.runtime()
    } else {
        UNIT_POS as usize / comptime!(plan.units())
    }
}

/// The unit's place in its team.
#[cube]
fn own_place(#[comptime] plan: Plan) -> usize {
    if comptime!(plan.teams == 1) {
        UNIT_POS as usize
    } else {
        UNIT_POS as usize % comptime!(plan.units())
    }
}

/// Adds the other teams' sums to those of the first, one team after the other.
#[cube]
fn add_teams(
    shared: &mut Shared<[Vector<f32, Quad>]>,
    sums: &mut Array<Vector<f32, Quad>>,
    #[comptime] plan: Plan,
) {
    let (team, unit) = (own_team(plan), own_place(plan));
    #[unroll]
    for other in 1..comptime!(plan.teams) {
        sync_cube();
        if team == other {
            #[unroll]
            for place in 0..comptime!(2 * HELD) {
                shared[comptime!(place * plan.units()) + unit] = sums[place];
            }
        }
        sync_cube();
        if team == 0 {
            #[unroll]
            for place in 0..comptime!(2 * HELD) {
                sums[place] += shared[comptime!(place * plan.units()) + unit];
            }
        }
    }
}

/// The unit's block: units that are neighbours read what lies side by side.
#[cube]
fn block_of(unit: usize, #[comptime] side: Side) -> Block {
    let quads = comptime!(side.quads());
    let steps = comptime!(STEP / QUAD);
    let (outer, inner) = if comptime!(side.along == Along::Inner) {
        (unit / steps, unit % steps)
    } else {
        (unit % quads, unit / quads)
    };
    Block { outer, inner }
}

/// Reads the unit's blocks of the step from `start`.
#[cube]
fn load<X: Float, L: Size, R: Size>(
    left: &[Vector<X, L>],
    right: &[Vector<X, R>],
    lines: &mut Array<Vector<X, Quad>>,
    matrices: &Matrices,
    start: usize,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for share in 0..comptime!(plan.shares()) {
        let unit = own_place(plan) + comptime!(share * plan.units());
        let slot = comptime!(share * QUAD);
        if unit < plan.left.tile {
            let block = block_of(unit, plan.left);
            let place = Place {
                outer: CUBE_POS_Y as usize * plan.left.tile + block.outer * QUAD,
                inner: start + block.inner * QUAD,
                end: matrices.inner,
            };
            read::<X, L>(left, lines, &matrices.left, &place, slot, plan.left);
        } else if unit < comptime!(plan.left.tile + plan.right.tile) {
            let block = block_of(unit - plan.left.tile, plan.right);
            let place = Place {
                outer: CUBE_POS_X as usize * plan.right.tile + block.outer * QUAD,
                inner: start + block.inner * QUAD,
                end: matrices.inner,
            };
            read::<X, R>(right, lines, &matrices.right, &place, slot, plan.right);
        }
    }
}

/// A block's corner in its matrix, and the end of the inner axis.
#[derive(CubeType, Clone, Copy)]
struct Place {
    outer: usize,
    inner: usize,
    end: usize,
}

/// Reads a block, a vector a line; what lies outside the matrix repeats its edge.
#[cube]
fn read<X: Float, N: Size>(
    source: &[Vector<X, N>],
    lines: &mut Array<Vector<X, Quad>>,
    operand: &Operand,
    place: &Place,
    #[comptime] slot: usize,
    #[comptime] side: Side,
) {
    let base = CUBE_POS_Z as usize * operand.batch;
    #[unroll]
    for line in 0..QUAD {
        if comptime!(side.is_turned()) {
            let outer = min(place.outer + line, operand.count - 1);
            let inner = inside(place.inner, place.end - QUAD, side);
            let from = base + outer * operand.outer + inner / QUAD;
            lines[slot + line] = Vector::cast_from(source[from]);
        } else {
            let inner = inside(place.inner + line, place.end - 1, side);
            let from = base + inner * operand.inner;
            if comptime!(side.width == QUAD) {
                let outer = min(place.outer, operand.count - QUAD);
                lines[slot + line] = Vector::cast_from(source[from + outer / QUAD]);
            } else {
                let mut numbers = Vector::<X, Quad>::new(X::new(0.0));
                #[unroll]
                for number in 0..QUAD {
                    let outer = min(place.outer + number, operand.count - 1);
                    numbers.insert(number, source[from + outer * operand.outer].extract(0usize));
                }
                lines[slot + line] = numbers;
            }
        }
    }
}

/// An inner place, held back to the last where steps may end beyond it.
#[cube]
fn inside(place: usize, last: usize, #[comptime] side: Side) -> usize {
    if comptime!(side.is_ragged) {
        min(place, last)
    } else {
        place
    }
}

/// Puts the unit's blocks in shared memory, with zeros beyond the `rest` of the inner axis.
#[cube]
fn stage<X: Float>(
    lines: &Array<Vector<X, Quad>>,
    left_tile: &mut Shared<[Vector<f32, Quad>]>,
    right_tile: &mut Shared<[Vector<f32, Quad>]>,
    rest: usize,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for share in 0..comptime!(plan.shares()) {
        let unit = own_place(plan) + comptime!(share * plan.units());
        let slot = comptime!(share * QUAD);
        if unit < plan.left.tile {
            let block = block_of(unit, plan.left);
            let first = own_team(plan) * comptime!(plan.left.quads() * STEP);
            put::<X>(lines, left_tile, &block, first, rest, slot, plan.left);
        } else if unit < comptime!(plan.left.tile + plan.right.tile) {
            let block = block_of(unit - plan.left.tile, plan.right);
            let first = own_team(plan) * comptime!(plan.right.quads() * STEP);
            put::<X>(lines, right_tile, &block, first, rest, slot, plan.right);
        }
    }
}

/// Puts a block in the step that begins at `first`.
#[cube]
fn put<X: Float>(
    lines: &Array<Vector<X, Quad>>,
    tile: &mut Shared<[Vector<f32, Quad>]>,
    block: &Block,
    first: usize,
    rest: usize,
    #[comptime] slot: usize,
    #[comptime] side: Side,
) {
    let quad = block.outer ^ (2 * block.inner);
    #[unroll]
    for row in 0..QUAD {
        let mut numbers = Vector::<f32, Quad>::new(0.0);
        if comptime!(side.is_turned()) {
            #[unroll]
            for line in 0..QUAD {
                numbers.insert(line, f32::cast_from(lines[slot + line].extract(row)));
            }
        } else {
            numbers = Vector::cast_from(lines[slot + row]);
        }
        let inner = block.inner * QUAD + row;
        if comptime!(side.is_ragged) {
            numbers = select(inner < rest, numbers, Vector::new(0.0));
        }
        tile[first + inner * side.quads() + quad] = numbers;
    }
}

/// First quads of the unit's rows and columns in the tile; it has as many again half a tile on. A plane's
/// units are 4 × 8, so that they read few vectors, next to each other; neighbours share a column and every
/// other unit a row, so that vectors which two units read are fetched once.
#[cube]
fn own_quads(#[comptime] plan: Plan) -> (usize, usize) {
    let unit = own_place(plan);
    let across = comptime!(plan.right.quads() / 2 / 8);
    let (inside, plane) = (unit % 32, unit / 32);
    let row = plane / across * 4 + inside / 16 * 2 + inside % 2;
    let column = plane % across * 8 + inside / 2 % 8;
    (row, column)
}

/// Adds the step's products.
#[cube]
fn multiply(
    left_tile: &Shared<[Vector<f32, Quad>]>,
    right_tile: &Shared<[Vector<f32, Quad>]>,
    sums: &mut Array<Vector<f32, Quad>>,
    #[comptime] plan: Plan,
) {
    let (row, column) = own_quads(plan);
    let first_left = own_team(plan) * comptime!(plan.left.quads() * STEP);
    let first_right = own_team(plan) * comptime!(plan.right.quads() * STEP);
    #[unroll]
    for inner in 0..STEP {
        let turn = comptime!(inner / QUAD * 2);
        let (row, column) = (first_left + (row ^ turn), first_right + (column ^ turn));
        let of_left = comptime!(inner * plan.left.quads());
        let of_right = comptime!(inner * plan.right.quads());
        let near = right_tile[of_right + column];
        let far = right_tile[comptime!(of_right + plan.right.quads() / 2) + column];
        #[unroll]
        for half in 0..2usize {
            let rows = left_tile[comptime!(of_left + half * plan.left.quads() / 2) + row];
            #[unroll]
            for lane in 0..QUAD {
                let factor = Vector::new(rows.extract(lane));
                let sum = comptime!(2 * (half * QUAD + lane));
                sums[sum] = fma(factor, near, sums[sum]);
                sums[sum + 1] = fma(factor, far, sums[sum + 1]);
            }
        }
    }
}

/// Writes the unit's numbers that lie in the output.
#[cube]
fn write<Y: Float, O: Size>(
    output: &mut [Vector<Y, O>],
    sums: &Array<Vector<f32, Quad>>,
    matrices: &Matrices,
    #[comptime] plan: Plan,
) {
    let (own_row, own_column) = own_quads(plan);
    let (rows, columns) = (matrices.left.count, matrices.right.count);
    #[unroll]
    for place in 0..comptime!(2 * HELD) {
        let row_inside = comptime!(place / 8 * plan.left.tile / 2 + place / 2 % QUAD);
        let column_inside = comptime!(place % 2 * plan.right.tile / 2);
        let row = CUBE_POS_Y as usize * plan.left.tile + own_row * QUAD + row_inside;
        let column = CUBE_POS_X as usize * plan.right.tile + own_column * QUAD + column_inside;
        let first = (CUBE_POS_Z as usize * rows + row) * columns + column;
        if row < rows {
            if comptime!(plan.written == QUAD) {
                if column < columns {
                    output[first / QUAD] = Vector::cast_from(sums[place]);
                }
            } else {
                #[unroll]
                for number in 0..QUAD {
                    if column + number < columns {
                        let sum = Y::cast_from(sums[place].extract(number));
                        output[first + number] = Vector::new(sum);
                    }
                }
            }
        }
    }
}
