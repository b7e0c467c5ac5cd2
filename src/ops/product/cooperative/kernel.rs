//! The kernel; its shader's twin is `shaders/product.wgsl`.
//!
//! A cube takes a tile of the output. Its planes form teams that share the steps along the inner axis; a plane of a
//! team takes 64 × 32 of the tile, 4 × 2 matrices. A step of an operand is staged in shared memory in lines that lie
//! as they do in the operand, a little apart, so that the planes do not meet in a bank.

use burn_cubecl::cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use burn_cubecl::cubecl::{self, prelude::*};

use super::{GAP, OF_PLANE, PLANE, PLANES, Plan, SIDE, STAGED};
use crate::ops::product::operand::{Along, Matrices, Operand};
use crate::ops::product::tile_plan::QUAD;

type Quad = Const<QUAD>;

/// Matrices of a plane along its rows and its columns.
const ROWS: usize = OF_PLANE[0] / SIDE;
const COLUMNS: usize = OF_PLANE[1] / SIDE;
/// Quads of a matrix of sums.
const SUMS: usize = SIDE * SIDE / QUAD;

/// Multiplies; batches are the grid's third axis. The axis along which an operand's numbers are neighbours is whole
/// quads; so are the columns.
#[cube(launch_unchecked)]
pub(super) fn product_matrices<X: Float, Y: Float>(
    left: &[Vector<X, Quad>],
    right: &[Vector<X, Quad>],
    output: &mut [Vector<Y, Quad>],
    matrices: &Matrices,
    #[comptime] plan: Plan,
    #[define(X, Y)] _types: [ElemType; 2],
) {
    let of_left = comptime!(plan.along[0]);
    let of_right = comptime!(plan.along[1]);
    let mut left_step =
        Shared::<[Vector<X, Quad>]>::new_slice(comptime!(plan.teams() * plan.step_quads(of_left)));
    let mut right_step =
        Shared::<[Vector<X, Quad>]>::new_slice(comptime!(plan.teams() * plan.step_quads(of_right)));
    let mut left_quads = Array::<Vector<X, Quad>>::new(STAGED);
    let mut right_quads = Array::<Vector<X, Quad>>::new(STAGED);
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(ROWS * COLUMNS) {
        sums.push(Matrix::from_value(
            MatrixIdent::Accumulator,
            SIDE,
            SIDE,
            SIDE,
            MatrixLayout::Undefined,
            0.0f32,
        ));
    }
    let (y, x) = (CUBE_POS_Y as usize, CUBE_POS_X as usize);
    let end = matrices.inner;
    let mut start = 0usize;
    read::<X>(
        left,
        &mut left_quads,
        &matrices.left,
        y,
        start,
        end,
        of_left,
        plan,
    );
    read::<X>(
        right,
        &mut right_quads,
        &matrices.right,
        x,
        start,
        end,
        of_right,
        plan,
    );
    while start < end {
        sync_cube();
        put::<X>(&left_quads, &mut left_step, start, end, of_left, plan);
        put::<X>(&right_quads, &mut right_step, start, end, of_right, plan);
        sync_cube();
        // After the last step it is read once more.
        start += comptime!(plan.teams() * plan.step());
        read::<X>(
            left,
            &mut left_quads,
            &matrices.left,
            y,
            start,
            end,
            of_left,
            plan,
        );
        read::<X>(
            right,
            &mut right_quads,
            &matrices.right,
            x,
            start,
            end,
            of_right,
            plan,
        );
        add_step::<X>(&left_step, &right_step, &mut sums, plan);
    }
    write::<Y>(output, &sums, matrices, plan);
}

/// The unit's plane among those of its team, and the team.
#[cube]
fn own_plane(#[comptime] plan: Plan) -> (usize, usize) {
    let plane = UNIT_POS as usize / PLANE;
    (
        plane % comptime!(plan.team_planes()),
        plane / comptime!(plan.team_planes()),
    )
}

/// A unit's quad among those of its team's step: its line, and its place there.
#[cube]
fn line_of(
    #[comptime] share: usize,
    #[comptime] along: Along,
    #[comptime] plan: Plan,
) -> (usize, usize) {
    let unit = UNIT_POS as usize % comptime!(plan.team_units());
    let own = unit + comptime!(share * plan.team_units());
    let width = comptime!(plan.line_quads(along) - GAP);
    (own / width, own % width)
}

/// Reads the unit's quads of the step from `start` of a tile. Past the last inner place it reads that one: a branch
/// around a read would have the next one wait.
#[cube]
fn read<X: Float>(
    source: &[Vector<X, Quad>],
    quads: &mut Array<Vector<X, Quad>>,
    operand: &Operand,
    tile: usize,
    start: usize,
    end: usize,
    #[comptime] along: Along,
    #[comptime] plan: Plan,
) {
    let (_, team) = own_plane(plan);
    let first = start + team * comptime!(plan.step());
    let base = CUBE_POS_Z as usize * operand.batch;
    #[unroll]
    for share in 0..STAGED {
        let (line, quad) = line_of(share, along, plan);
        let from = if comptime!(along == Along::Inner) {
            // Lines past the last read it again: nothing that they add up to is written.
            let outer = min(tile * comptime!(plan.tile) + line, operand.count - 1);
            outer * operand.outer + min(first + quad * QUAD, end - QUAD) / QUAD
        } else {
            let last = operand.count / QUAD - 1;
            let outer = min(tile * comptime!(plan.tile / QUAD) + quad, last);
            min(first + line, end - 1) * operand.inner + outer
        };
        quads[share] = source[base + from];
    }
}

/// Puts the unit's quads in the step from `start`; zeros past the last inner place.
#[cube]
fn put<X: Float>(
    quads: &Array<Vector<X, Quad>>,
    step: &mut Shared<[Vector<X, Quad>]>,
    start: usize,
    end: usize,
    #[comptime] along: Along,
    #[comptime] plan: Plan,
) {
    let line_quads = comptime!(plan.line_quads(along));
    let (_, team) = own_plane(plan);
    let first = start + team * comptime!(plan.step());
    #[unroll]
    for share in 0..STAGED {
        let (line, quad) = line_of(share, along, plan);
        let place = if comptime!(along == Along::Inner) {
            first + quad * QUAD
        } else {
            first + line
        };
        let zeros = Vector::<X, Quad>::new(X::new(0.0));
        step[team * comptime!(plan.step_quads(along)) + line * line_quads + quad] =
            select(place < end, quads[share], zeros);
    }
}

/// Adds the step's products.
#[cube]
fn add_step<X: Float>(
    left_step: &Shared<[Vector<X, Quad>]>,
    right_step: &Shared<[Vector<X, Quad>]>,
    sums: &mut Sequence<Matrix<f32>>,
    #[comptime] plan: Plan,
) {
    let (plane, team) = own_plane(plan);
    let row = plane / comptime!(plan.across()) * comptime!(OF_PLANE[0]);
    let column = plane % comptime!(plan.across()) * comptime!(OF_PLANE[1]);
    let of_left = comptime!(plan.along[0]);
    let of_right = comptime!(plan.along[1]);
    #[unroll]
    for part in 0..comptime!(plan.step() / SIDE) {
        let place = comptime!(part * SIDE);
        let mut factors = Sequence::<Matrix<X>>::new();
        #[unroll]
        for block in 0..COLUMNS {
            let outer = column + comptime!(block * SIDE);
            factors.push(matrix::<X>(
                right_step,
                team,
                outer,
                place,
                MatrixIdent::B,
                of_right,
                plan,
            ));
        }
        #[unroll]
        for block in 0..ROWS {
            let outer = row + comptime!(block * SIDE);
            let rows = matrix::<X>(left_step, team, outer, place, MatrixIdent::A, of_left, plan);
            #[unroll]
            for factor in 0..COLUMNS {
                let sum = sums.index_mut(comptime!(block * COLUMNS + factor));
                cmma::execute(&rows, factors.index(factor), &*sum, &*sum);
            }
        }
    }
}

/// The matrix at an outer and an inner place of a team's step.
#[cube]
#[allow(unsafe_code, reason = "a matrix is loaded before it is used")]
fn matrix<X: Float>(
    step: &Shared<[Vector<X, Quad>]>,
    team: usize,
    outer: usize,
    #[comptime] place: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] along: Along,
    #[comptime] plan: Plan,
) -> Matrix<X> {
    let line = comptime!(plan.line_quads(along));
    let step_quads = comptime!(plan.step_quads(along));
    let within = if comptime!(along == Along::Inner) {
        outer * line + comptime!(place / QUAD)
    } else {
        comptime!(place * line) + outer / QUAD
    };
    let first = team * step_quads + within;
    // Rows of the left operand and columns of the right one are outer places.
    let is_row_major = comptime!((along == Along::Inner) == (ident == MatrixIdent::A));
    let layout = comptime!(match is_row_major {
        true => MatrixLayout::RowMajor,
        false => MatrixLayout::ColMajor,
    });
    // SAFETY: it is loaded below.
    let mut matrix = unsafe { Matrix::<X>::uninitialized(ident, SIDE, SIDE, SIDE, layout) };
    cmma::load(
        &mut matrix,
        &step[first..first + 1],
        comptime!((line * QUAD) as u32),
    );
    matrix
}

/// Adds up the teams' matrices of sums, one team after the other, and writes what lies in the output.
#[cube]
fn write<Y: Float>(
    output: &mut [Vector<Y, Quad>],
    sums: &Sequence<Matrix<f32>>,
    matrices: &Matrices,
    #[comptime] plan: Plan,
) {
    let mut shared = Shared::<[Vector<f32, Quad>]>::new_slice(comptime!(PLANES * SUMS));
    let (rows, columns) = (matrices.left.count, matrices.right.count);
    let unit = UNIT_POS as usize;
    let of_team = comptime!(plan.team_planes() * SUMS);
    let first = unit / PLANE * SUMS;
    #[unroll]
    for block in 0..comptime!(ROWS * COLUMNS) {
        sync_cube();
        cmma::store(
            &mut shared[first..first + SUMS],
            sums.index(block),
            comptime!(SIDE as u32),
            MatrixLayout::RowMajor,
        );
        sync_cube();
        #[unroll]
        for share in 0..comptime!(of_team.div_ceil(PLANES * PLANE)) {
            let place = unit + comptime!(share * PLANES * PLANE);
            if place < of_team {
                let mut sum = shared[place];
                #[unroll]
                for team in 1..comptime!(plan.teams()) {
                    sum += shared[comptime!(team * of_team) + place];
                }
                let (plane, inside) = (place / SUMS, place % SUMS);
                let row = CUBE_POS_Y as usize * comptime!(plan.tile)
                    + plane / comptime!(plan.across()) * comptime!(OF_PLANE[0])
                    + comptime!(block / COLUMNS * SIDE)
                    + inside / comptime!(SIDE / QUAD);
                let column = CUBE_POS_X as usize * comptime!(plan.tile)
                    + plane % comptime!(plan.across()) * comptime!(OF_PLANE[1])
                    + comptime!(block % COLUMNS * SIDE)
                    + inside % comptime!(SIDE / QUAD) * QUAD;
                if row < rows && column < columns {
                    let number = (CUBE_POS_Z as usize * rows + row) * columns + column;
                    output[number / QUAD] = Vector::cast_from(sum);
                }
            }
        }
    }
}
