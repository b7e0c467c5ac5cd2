//! The kernel, for SPIR-V; `shaders/product.wgsl` does the same through WGSL.
//!
//! A cube takes a tile of the output, each of its planes a quarter. A step of an operand along the inner axis is
//! staged in shared memory in lines that lie as they do in the operand, a little apart, so that the units of a
//! plane do not meet in a bank. Chunks of eight numbers are moved as words: matrices are loaded faster from memory
//! that is known to be aligned to them.

use burn_cubecl::cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use burn_cubecl::cubecl::{self, prelude::*};

use super::{PLANE, PLANES, Plan, SIDE, STAGED, UNITS};
use crate::ops::product::cube::CHUNK;
use crate::ops::product::operand::{Along, Matrices, Operand};
use crate::ops::product::tile_plan::QUAD;

/// Words of a chunk of halves.
const WORDS: usize = CHUNK / 2;
/// Quads of a matrix of sums.
pub(super) const SUMS: usize = SIDE * SIDE / QUAD;

pub(super) type Chunk = Vector<u32, Const<WORDS>>;
pub(super) type Quad = Const<QUAD>;

/// How the lines of an operand's tile lie.
#[derive(Clone, Copy)]
struct Lines {
    along: Along,
    /// Whether half of a tile's lines are the gate's, the others, in the same places, what it gates.
    is_gated: bool,
}

/// A step along the inner axis.
#[derive(CubeType, Clone, Copy)]
struct Step {
    start: usize,
    /// The end of the axis.
    end: usize,
}

/// Multiplies; batches are the grid's third axis. The axis along which an operand's numbers are neighbours is whole
/// chunks; columns are whole quads.
#[cube(launch_unchecked)]
pub(super) fn product_matrices<X: Float, Y: Float>(
    left: &[Chunk],
    right: &[Chunk],
    output: &mut [Vector<Y, Quad>],
    matrices: &Matrices,
    #[comptime] plan: Plan,
    #[define(X, Y)] _types: [ElemType; 2],
) {
    let sums = summed::<X>(left, right, matrices, false, plan);
    write::<Y>(output, &sums, matrices, plan);
}

/// What each plane's part of the tile adds up to. `is_gated` is whether the first half of the right operand's columns
/// are the gate of the others: half of a tile's are then of each, in the same places.
#[cube]
pub(super) fn summed<X: Float>(
    left: &[Chunk],
    right: &[Chunk],
    matrices: &Matrices,
    #[comptime] is_gated: bool,
    #[comptime] plan: Plan,
) -> Sequence<Matrix<f32>> {
    let rows = comptime!(Lines {
        along: plan.along[0],
        is_gated: false,
    });
    let columns = comptime!(Lines {
        along: plan.along[1],
        is_gated,
    });
    let mut left_step = Shared::<[Chunk]>::new_slice(comptime!(plan.staged(rows.along)));
    let mut right_step = Shared::<[Chunk]>::new_slice(comptime!(plan.staged(columns.along)));
    let mut left_chunks = Array::<Chunk>::new(STAGED);
    let mut right_chunks = Array::<Chunk>::new(STAGED);
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(plan.blocks() * plan.blocks()) {
        sums.push(Matrix::from_value(
            MatrixIdent::Accumulator,
            SIDE,
            SIDE,
            SIDE,
            MatrixLayout::Undefined,
            0.0f32,
        ));
    }
    let (of_left, of_right) = (&matrices.left, &matrices.right);
    let (y, x) = (CUBE_POS_Y as usize, CUBE_POS_X as usize);
    let end = matrices.inner;
    let mut step = Step {
        start: 0usize.runtime(),
        end,
    };
    read(left, &mut left_chunks, of_left, y, &step, rows, plan);
    read(right, &mut right_chunks, of_right, x, &step, columns, plan);
    while step.start < end {
        sync_cube();
        put(&left_chunks, &mut left_step, &step, rows, plan);
        put(&right_chunks, &mut right_step, &step, columns, plan);
        sync_cube();
        // After the last step it is read once more.
        step.start += comptime!(plan.step());
        read(left, &mut left_chunks, of_left, y, &step, rows, plan);
        read(right, &mut right_chunks, of_right, x, &step, columns, plan);
        add_step::<X>(&left_step, &right_step, &mut sums, plan);
    }
    sums
}

/// A unit's chunk among those of a step: its line, and its place there.
#[cube]
fn line_of(
    #[comptime] share: usize,
    #[comptime] along: Along,
    #[comptime] plan: Plan,
) -> (usize, usize) {
    let own = UNIT_POS as usize + comptime!(share * UNITS);
    let chunks = comptime!(plan.length(along));
    (own / chunks, own % chunks)
}

/// Reads the unit's chunks of a step of a tile. Past the last inner place it reads that one: a branch around a read
/// would have the next one wait.
#[cube]
fn read(
    source: &[Chunk],
    chunks: &mut Array<Chunk>,
    operand: &Operand,
    tile: usize,
    step: &Step,
    #[comptime] lines: Lines,
    #[comptime] plan: Plan,
) {
    let along = comptime!(lines.along);
    let base = CUBE_POS_Z as usize * operand.batch;
    let half = comptime!(plan.tile / 2);
    let first = tile * comptime!(plan.tile);
    #[unroll]
    for share in 0..STAGED {
        let (line, place) = line_of(share, along, plan);
        let from = if comptime!(along == Along::Inner) {
            // Lines past the last read it again: nothing that they add up to is written.
            let mut outer = min(first + line, operand.count - 1);
            if comptime!(lines.is_gated) {
                let own = min(tile * half + line % half, operand.count / 2 - 1);
                outer = line / half * (operand.count / 2) + own;
            }
            outer * operand.outer + min(step.start / CHUNK + place, step.end / CHUNK - 1)
        } else {
            let outer = min(first / CHUNK + place, operand.count / CHUNK - 1);
            min(step.start + line, step.end - 1) * operand.inner + outer
        };
        chunks[share] = source[base + from];
    }
}

/// Puts the unit's chunks of a step in shared memory; zeros past the last inner place.
#[cube]
fn put(
    chunks: &Array<Chunk>,
    shared: &mut Shared<[Chunk]>,
    step: &Step,
    #[comptime] lines: Lines,
    #[comptime] plan: Plan,
) {
    let along = comptime!(lines.along);
    #[unroll]
    for share in 0..STAGED {
        let (line, place) = line_of(share, along, plan);
        let inner = if comptime!(along == Along::Inner) {
            step.start + place * CHUNK
        } else {
            step.start + line
        };
        let slot = line * comptime!(plan.line(along)) + place;
        shared[slot] = select(inner < step.end, chunks[share], Chunk::new(0));
    }
}

/// First row and column of the unit's plane in the tile.
#[cube]
pub(super) fn corner(unit: usize, #[comptime] plan: Plan) -> (usize, usize) {
    let plane = unit / PLANE;
    let side = comptime!(plan.blocks() * SIDE);
    (plane / PLANES * side, plane % PLANES * side)
}

/// Adds the step's products.
#[cube]
fn add_step<X: Float>(
    left_step: &Shared<[Chunk]>,
    right_step: &Shared<[Chunk]>,
    sums: &mut Sequence<Matrix<f32>>,
    #[comptime] plan: Plan,
) {
    let (row, column) = corner(UNIT_POS as usize, plan);
    let of_left = comptime!(plan.along[0]);
    let of_right = comptime!(plan.along[1]);
    let blocks = comptime!(plan.blocks());
    #[unroll]
    for part in 0..comptime!(plan.step() / SIDE) {
        let place = comptime!(part * SIDE);
        let mut factors = Sequence::<Matrix<X>>::new();
        #[unroll]
        for block in 0..blocks {
            let outer = column + comptime!(block * SIDE);
            let ident = MatrixIdent::B;
            factors.push(matrix::<X>(right_step, outer, place, ident, of_right, plan));
        }
        #[unroll]
        for block in 0..blocks {
            let outer = row + comptime!(block * SIDE);
            let rows = matrix::<X>(left_step, outer, place, MatrixIdent::A, of_left, plan);
            #[unroll]
            for factor in 0..blocks {
                let sum = sums.index_mut(comptime!(block * blocks + factor));
                cmma::execute(&rows, factors.index(factor), &*sum, &*sum);
            }
        }
    }
}

/// The matrix at an outer and an inner place of a step.
#[cube]
#[allow(unsafe_code, reason = "a matrix is loaded before it is used")]
fn matrix<X: Float>(
    step: &Shared<[Chunk]>,
    outer: usize,
    #[comptime] place: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] along: Along,
    #[comptime] plan: Plan,
) -> Matrix<X> {
    let line = comptime!(plan.line(along));
    let first = if comptime!(along == Along::Inner) {
        outer * line + comptime!(place / CHUNK)
    } else {
        comptime!(place * line) + outer / CHUNK
    };
    // Rows of the left operand and columns of the right one are outer places.
    let is_row_major = comptime!((along == Along::Inner) == (ident == MatrixIdent::A));
    let layout = comptime!(match is_row_major {
        true => MatrixLayout::RowMajor,
        false => MatrixLayout::ColMajor,
    });
    // SAFETY: it is loaded below.
    let mut matrix = unsafe { Matrix::<X>::uninitialized(ident, SIDE, SIDE, SIDE, layout) };
    let stride = comptime!((line * WORDS) as u32);
    cmma::load(&mut matrix, &step[first..first + 1], stride);
    matrix
}

/// Writes the planes' sums that lie in the output, a matrix of each plane after the other.
#[cube]
fn write<Y: Float>(
    output: &mut [Vector<Y, Quad>],
    sums: &Sequence<Matrix<f32>>,
    matrices: &Matrices,
    #[comptime] plan: Plan,
) {
    let mut shared = Shared::<[Vector<f32, Quad>]>::new_slice(comptime!(UNITS / PLANE * SUMS));
    let (rows, columns) = (matrices.left.count, matrices.right.count);
    let unit = UNIT_POS as usize;
    let first = unit / PLANE * SUMS;
    let first_row = CUBE_POS_Y as usize * comptime!(plan.tile);
    let first_column = CUBE_POS_X as usize * comptime!(plan.tile);
    let blocks = comptime!(plan.blocks());
    #[unroll]
    for block in 0..comptime!(blocks * blocks) {
        sync_cube();
        cmma::store(
            &mut shared[first..first + SUMS],
            sums.index(block),
            comptime!(SIDE as u32),
            MatrixLayout::RowMajor,
        );
        sync_cube();
        #[unroll]
        for share in 0..comptime!(SUMS / PLANE) {
            let place = unit + comptime!(share * UNITS);
            let (row, column) = corner(place / SUMS * PLANE, plan);
            let inside = place % SUMS;
            let row = first_row
                + row
                + comptime!(block / blocks * SIDE)
                + inside / comptime!(SIDE / QUAD);
            let column = first_column
                + column
                + comptime!(block % blocks * SIDE)
                + inside % comptime!(SIDE / QUAD) * QUAD;
            if row < rows && column < columns {
                let number = (CUBE_POS_Z as usize * rows + row) * columns + column;
                output[number / QUAD] = Vector::cast_from(shared[place]);
            }
        }
    }
}
