//! The kernel: a cube takes a tile of the output, each of its planes a quarter.
//!
//! A step along the inner axis is staged in shared memory as it lies in memory; from there the registers of a plane
//! are filled with fragments of 8 × 8 numbers, turned where an operand lies along its outer axis. Two stages take
//! turns: while one is multiplied, the numbers of the next step are on their way. Chunks of eight numbers are
//! permuted within a line of the stage, so that neither writing nor reading meets two units at one bank.

use burn_cubecl::cubecl::cmma::{MatrixIdent, MmaDefinition};
use burn_cubecl::cubecl::{self, prelude::*};

use crate::ops::product::cube::CHUNK;
use crate::ops::product::operand::{Along, Matrices, Operand};

/// Inner places of a step.
pub(super) const STEP: usize = 32;
/// Rows and inner places that matrix units take at a time.
const ROWS: usize = 16;
/// Columns that matrix units take at a time.
const COLUMNS: usize = 8;
/// Units of a plane.
const PLANE: usize = 32;
/// Planes of a cube along each side of its tile.
const PLANES: usize = 2;
/// Units of a cube.
pub(super) const UNITS: usize = PLANES * PLANES * PLANE;

/// What is known of an operand when the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ops::product) struct Side {
    /// Rows or columns of the tile.
    pub tile: usize,
    /// The axis along which its numbers are neighbours.
    pub along: Along,
}

impl Side {
    /// Chunks of a stage.
    fn chunks(self) -> usize {
        self.tile * STEP / CHUNK
    }

    /// Chunks of a stage that a unit moves.
    fn shares(self) -> usize {
        self.chunks() / UNITS
    }

    /// Rows or columns of a plane.
    fn of_plane(self) -> usize {
        self.tile / PLANES
    }

    fn is_inner(self) -> bool {
        self.along == Along::Inner
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ops::product) struct Plan {
    pub left: Side,
    pub right: Side,
}

impl Plan {
    /// Blocks of 16 × 8 sums of a plane, along its rows and then its columns.
    fn blocks(self) -> usize {
        self.row_blocks() * self.column_blocks()
    }

    fn row_blocks(self) -> usize {
        self.left.of_plane() / ROWS
    }

    fn column_blocks(self) -> usize {
        self.right.of_plane() / COLUMNS
    }

    /// Rows and columns of a tile.
    pub(super) fn tile(self) -> [usize; 2] {
        [self.left.tile, self.right.tile]
    }

    /// Bytes of shared memory for operands of two bytes a number.
    pub(super) fn shared_bytes(self) -> usize {
        2 * (self.left.chunks() + self.right.chunks()) * CHUNK * 2
    }
}

/// Two neighbouring numbers of each of two rows.
pub(super) type Sum = Array<Vector<f32, Const<2>>>;

/// Multiplies; batches are the grid's third axis. Inner places are whole steps, and the axis along which an operand's
/// numbers are neighbours is whole chunks; so are the columns.
#[cube(launch_unchecked)]
pub(super) fn product_fragments<X: Float, Y: Float, N: Size, P: Size>(
    left: &[Vector<X, N>],
    right: &[Vector<X, N>],
    output: &mut [Vector<Y, P>],
    matrices: &Matrices,
    #[comptime] plan: Plan,
    #[define(X, Y)] _types: [ElemType; 2],
) {
    let (y, x) = (CUBE_POS_Y as usize, CUBE_POS_X as usize);
    let steps = matrices.inner / STEP;
    let sums = sums_of_steps::<X, N>(left, right, matrices, (y, x), (0usize, steps), plan);
    let (rows, columns) = (matrices.left.count, matrices.right.count);
    let target = Target {
        base: CUBE_POS_Z as usize * rows * columns,
        rows,
        columns,
        corner: (y * plan.left.tile, x * plan.right.tile),
    };
    write::<Y, P>(output, &sums, &target, plan);
}

/// The cube's sums of the steps from the first to before the last for a tile, which is counted along rows and columns.
#[cube]
pub(super) fn sums_of_steps<X: Float, N: Size>(
    left: &[Vector<X, N>],
    right: &[Vector<X, N>],
    matrices: &Matrices,
    tile: (usize, usize),
    steps: (usize, usize),
    #[comptime] plan: Plan,
) -> Sequence<Sum> {
    let (y, x) = tile;
    let (first, last) = steps;
    let left_chunks = comptime!(plan.left.chunks());
    let right_chunks = comptime!(plan.right.chunks());
    let mut left_stages = Shared::<[Vector<X, N>]>::new_slice(comptime!(2 * left_chunks));
    let mut right_stages = Shared::<[Vector<X, N>]>::new_slice(comptime!(2 * right_chunks));
    let mut of_left = Array::<Vector<X, N>>::new(comptime!(plan.left.shares()));
    let mut of_right = Array::<Vector<X, N>>::new(comptime!(plan.right.shares()));
    let mut sums = Sequence::<Sum>::new();
    #[unroll]
    for _ in 0..comptime!(plan.blocks()) {
        let mut sum = Array::new(2usize);
        sum[0] = Vector::new(0.0f32);
        sum[1] = Vector::new(0.0f32);
        sums.push(sum);
    }
    let start = first * STEP;
    read::<X, N>(left, &mut of_left, &matrices.left, y, start, plan.left);
    read::<X, N>(right, &mut of_right, &matrices.right, x, start, plan.right);
    put::<X, N>(&of_left, &mut left_stages, 0usize, plan.left);
    put::<X, N>(&of_right, &mut right_stages, 0usize, plan.right);
    sync_cube();
    for step in first..last {
        let (stage, other) = ((step - first) % 2, (step - first + 1) % 2);
        let next = step + 1;
        if next < last {
            let start = next * STEP;
            read::<X, N>(left, &mut of_left, &matrices.left, y, start, plan.left);
            read::<X, N>(right, &mut of_right, &matrices.right, x, start, plan.right);
        }
        multiply::<X, N>(
            &left_stages,
            &right_stages,
            stage * left_chunks,
            stage * right_chunks,
            &mut sums,
            plan,
        );
        if next < last {
            put::<X, N>(&of_left, &mut left_stages, other * left_chunks, plan.left);
            put::<X, N>(
                &of_right,
                &mut right_stages,
                other * right_chunks,
                plan.right,
            );
        }
        sync_cube();
    }
    sums
}

/// A chunk's line in a stage and its place there, in chunks: a line is a row or column of the tile where the operand
/// lies along the inner axis, else an inner place.
#[cube]
fn line_of(chunk: usize, #[comptime] side: Side) -> (usize, usize) {
    let width = comptime!(line_width(side));
    (chunk / width, chunk % width)
}

/// Chunks of a line of a stage.
fn line_width(side: Side) -> usize {
    match side.along {
        Along::Inner => STEP / CHUNK,
        Along::Outer => side.tile / CHUNK,
    }
}

/// Where a stage has the chunk at `place` of a line. Eight lines that are read together, and eight chunks that are
/// written together, are in different banks: of the short lines along the inner axis, two fill all banks.
#[cube]
fn staged(line: usize, place: usize, #[comptime] side: Side) -> usize {
    let turn = if comptime!(side.is_inner()) {
        line / 2 % comptime!(STEP / CHUNK)
    } else {
        line % CHUNK
    };
    line * comptime!(line_width(side)) + (place ^ turn)
}

/// Reads the unit's chunks of the step from `start` of tile `tile`; what lies outside the matrix repeats its edge.
#[cube]
fn read<X: Float, N: Size>(
    source: &[Vector<X, N>],
    chunks: &mut Array<Vector<X, N>>,
    operand: &Operand,
    tile: usize,
    start: usize,
    #[comptime] side: Side,
) {
    let base = CUBE_POS_Z as usize * operand.batch;
    #[unroll]
    for share in 0..comptime!(side.shares()) {
        let (line, place) = line_of(UNIT_POS as usize + comptime!(share * UNITS), side);
        let from = if comptime!(side.is_inner()) {
            let outer = min(tile * side.tile + line, operand.count - 1);
            outer * operand.outer + start / CHUNK + place
        } else {
            let last = operand.count / CHUNK - 1;
            let outer = min(tile * comptime!(side.tile / CHUNK) + place, last);
            (start + line) * operand.inner + outer
        };
        chunks[share] = source[base + from];
    }
}

/// Puts the unit's chunks in the stage that begins at `first`.
#[cube]
fn put<X: Float, N: Size>(
    chunks: &Array<Vector<X, N>>,
    stages: &mut Shared<[Vector<X, N>]>,
    first: usize,
    #[comptime] side: Side,
) {
    #[unroll]
    for share in 0..comptime!(side.shares()) {
        let (line, place) = line_of(UNIT_POS as usize + comptime!(share * UNITS), side);
        stages[first + staged(line, place, side)] = chunks[share];
    }
}

/// First row and column of the unit's plane in the tile.
#[cube]
fn corner(#[comptime] plan: Plan) -> (usize, usize) {
    let plane = UNIT_POS as usize / PLANE;
    (
        plane / PLANES * comptime!(plan.left.of_plane()),
        plane % PLANES * comptime!(plan.right.of_plane()),
    )
}

/// Adds the products of a stage.
#[cube]
fn multiply<X: Float, N: Size>(
    left_stages: &Shared<[Vector<X, N>]>,
    right_stages: &Shared<[Vector<X, N>]>,
    first_left: usize,
    first_right: usize,
    sums: &mut Sequence<Sum>,
    #[comptime] plan: Plan,
) {
    let lane = UNIT_POS as usize % PLANE;
    let (row, column) = corner(plan);
    // Four fragments are loaded together, each by eight units that name its lines.
    let (near, far) = (lane % ROWS, lane / ROWS);
    let (inside, half) = (lane % CHUNK + far * CHUNK, lane / CHUNK % 2);
    let units = MmaDefinition::<X, X, f32>::new(ROWS, COLUMNS, ROWS);
    #[unroll]
    for inner in 0..comptime!(STEP / ROWS) {
        let mut rows = Sequence::<Array<Vector<X, Const<2>>>>::new();
        #[unroll]
        for block in 0..comptime!(plan.row_blocks()) {
            let first = row + comptime!(block * ROWS);
            let at = if comptime!(plan.left.is_inner()) {
                staged(first + near, comptime!(inner * 2) + far, plan.left)
            } else {
                let line = comptime!(inner * ROWS) + inside;
                staged(line, first / CHUNK + half, plan.left)
            };
            let at = first_left + at;
            rows.push(units.load_matrix::<Vector<X, N>, Const<2>>(
                &left_stages[at..at + 1],
                MatrixIdent::A,
                4usize,
                comptime!(!plan.left.is_inner()),
            ));
        }
        #[unroll]
        for pair in 0..comptime!(plan.column_blocks() / 2) {
            let first = column + comptime!(pair * 2 * COLUMNS);
            let at = if comptime!(plan.right.is_inner()) {
                staged(first + inside, comptime!(inner * 2) + half, plan.right)
            } else {
                let line = comptime!(inner * ROWS) + near;
                staged(line, first / CHUNK + far, plan.right)
            };
            let at = first_right + at;
            let columns = units.load_matrix::<Vector<X, N>, Const<2>>(
                &right_stages[at..at + 1],
                MatrixIdent::B,
                4usize,
                comptime!(!plan.right.is_inner()),
            );
            #[unroll]
            for one in 0..2usize {
                let mut factor = Array::<Vector<X, Const<2>>>::new(2usize);
                factor[0] = columns[comptime!(2 * one)];
                factor[1] = columns[comptime!(2 * one + 1)];
                #[unroll]
                for block in 0..comptime!(plan.row_blocks()) {
                    let own = comptime!(block * plan.column_blocks() + 2 * pair + one);
                    units.execute_inplace(rows.index(block), &factor, sums.index_mut(own));
                }
            }
        }
    }
}

/// Where a cube writes: a matrix that begins at `base`, in which the tile begins at `corner`.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Target {
    pub base: usize,
    pub rows: usize,
    pub columns: usize,
    pub corner: (usize, usize),
}

/// Writes the unit's numbers that lie in the target.
#[cube]
pub(super) fn write<Y: Float, P: Size>(
    output: &mut [Vector<Y, P>],
    sums: &Sequence<Sum>,
    target: &Target,
    #[comptime] plan: Plan,
) {
    let lane = UNIT_POS as usize % PLANE;
    let (row, column) = corner(plan);
    let row = target.corner.0 + row + lane / 4;
    let column = target.corner.1 + column + lane % 4 * 2;
    #[unroll]
    for block in 0..comptime!(plan.blocks()) {
        let sum = sums.index(block);
        let column = column + comptime!(block % plan.column_blocks() * COLUMNS);
        #[unroll]
        for lower in 0..2usize {
            let below = comptime!(block / plan.column_blocks() * ROWS + 8 * lower);
            let row = row + below;
            if row < target.rows && column < target.columns {
                let place = target.base + row * target.columns + column;
                output[place / 2] = Vector::cast_from(sum[lower]);
            }
        }
    }
}
