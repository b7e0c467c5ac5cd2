//! Tiles of heads in shared memory, and products of them in registers.
//!
//! A cube has four planes of 16 rows each. Lines of a tile are tokens; their chunks of eight numbers are permuted, so
//! that eight lines that are read together are in different banks.

use burn_cubecl::cubecl::cmma::{MatrixIdent, MmaDefinition};
use burn_cubecl::cubecl::{self, prelude::*};

use crate::ops::product::cube::CHUNK;

/// Rows and inner places that matrix units take at a time.
const ROWS: usize = 16;
/// Columns that matrix units take at a time.
pub(super) const COLUMNS: usize = 8;
/// Units of a plane.
const PLANE: usize = 32;
/// Units of a cube.
pub(super) const UNITS: usize = 4 * PLANE;
/// Lines of the tile whose rows the planes share.
pub(super) const TILE: usize = 4 * ROWS;
/// Numbers of a tile that passes by.
const PASSING: usize = 64 * 64;

/// What the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Numbers of a head, 64 or 128.
    pub width: usize,
}

impl Plan {
    /// Chunks of a line.
    pub(super) fn chunks(self) -> usize {
        self.width / CHUNK
    }

    /// Lines of a tile that passes by, few enough for sums of a plane to stay in registers.
    pub(super) fn passing(self) -> usize {
        PASSING / self.width
    }

    /// Blocks of sums of a plane for the lines that pass by.
    pub(super) fn score_blocks(self) -> usize {
        self.passing() / COLUMNS
    }

    /// Blocks of sums of a plane for the numbers of a head.
    pub(super) fn head_blocks(self) -> usize {
        self.width / COLUMNS
    }

    /// Bytes of shared memory of the kernel that takes most: keys, values, queries, gradients and two numbers a query.
    pub(super) fn most_shared_bytes(self) -> usize {
        2 * (2 * TILE + 2 * self.passing()) * self.width + 2 * self.passing() * size_of::<f32>()
    }
}

/// Two neighbouring numbers of each of two rows, eight apart.
pub(super) type Sum = Array<Vector<f32, Const<2>>>;
/// Sixteen by sixteen numbers of a plane.
pub(super) type Fragment<X> = Array<Vector<X, Const<2>>>;

/// Numbers of blocks, all zero.
#[cube]
pub(super) fn zeros(#[comptime] blocks: usize) -> Sequence<Sum> {
    let mut sums = Sequence::<Sum>::new();
    #[unroll]
    for _ in 0..blocks {
        let mut sum = Array::new(2usize);
        sum[0] = Vector::new(0.0f32);
        sum[1] = Vector::new(0.0f32);
        sums.push(sum);
    }
    sums
}

/// Where a line has the chunk at `place`.
#[cube]
fn staged(line: usize, place: usize, #[comptime] plan: Plan) -> usize {
    line * comptime!(plan.chunks()) + (place ^ (line % CHUNK))
}

/// The tokens of a head in memory, in chunks.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Tokens {
    /// The first token's first chunk.
    pub base: usize,
    /// From a token to the next.
    pub step: usize,
    pub count: usize,
}

/// Stages tokens from `first` on; those past the last repeat it.
#[cube]
pub(super) fn stage<X: Float, N: Size>(
    source: &[Vector<X, N>],
    tile: &mut Shared<[Vector<X, N>]>,
    tokens: &Tokens,
    first: usize,
    #[comptime] lines: usize,
    #[comptime] plan: Plan,
) {
    let width = comptime!(plan.chunks());
    let mut chunks = Array::<Vector<X, N>>::new(comptime!(lines * plan.chunks() / UNITS));
    #[unroll]
    for share in 0..comptime!(lines * plan.chunks() / UNITS) {
        let chunk = UNIT_POS as usize + comptime!(share * UNITS);
        let token = min(first + chunk / width, tokens.count - 1);
        chunks[share] = source[tokens.base + token * tokens.step + chunk % width];
    }
    #[unroll]
    for share in 0..comptime!(lines * plan.chunks() / UNITS) {
        let chunk = UNIT_POS as usize + comptime!(share * UNITS);
        tile[staged(chunk / width, chunk % width, plan)] = chunks[share];
    }
}

/// The plane's 16 rows of a tile.
#[cube]
pub(super) fn own_rows<X: Float, N: Size>(
    tile: &Shared<[Vector<X, N>]>,
    #[comptime] plan: Plan,
) -> Sequence<Fragment<X>> {
    let (plane, lane) = (UNIT_POS as usize / PLANE, UNIT_POS as usize % PLANE);
    let line = plane * ROWS + lane % ROWS;
    let units = MmaDefinition::<X, X, f32>::new(ROWS, COLUMNS, ROWS);
    let mut rows = Sequence::<Fragment<X>>::new();
    #[unroll]
    for inner in 0..comptime!(plan.width / ROWS) {
        let at = staged(line, comptime!(inner * 2) + lane / ROWS, plan);
        rows.push(units.load_matrix::<Vector<X, N>, Const<2>>(
            &tile[at..at + 1],
            MatrixIdent::A,
            4usize,
            false,
        ));
    }
    rows
}

/// Adds the products of rows with each line of a tile.
#[cube]
pub(super) fn add_scores<X: Float, N: Size>(
    rows: &Sequence<Fragment<X>>,
    tile: &Shared<[Vector<X, N>]>,
    sums: &mut Sequence<Sum>,
    #[comptime] plan: Plan,
) {
    let lane = UNIT_POS as usize % PLANE;
    let (inside, half) = (lane % CHUNK + lane / ROWS * CHUNK, lane / CHUNK % 2);
    let units = MmaDefinition::<X, X, f32>::new(ROWS, COLUMNS, ROWS);
    #[unroll]
    for inner in 0..comptime!(plan.width / ROWS) {
        #[unroll]
        for pair in 0..comptime!(plan.score_blocks() / 2) {
            let line = comptime!(pair * 2 * COLUMNS) + inside;
            let at = staged(line, comptime!(inner * 2) + half, plan);
            let columns = units.load_matrix::<Vector<X, N>, Const<2>>(
                &tile[at..at + 1],
                MatrixIdent::B,
                4usize,
                false,
            );
            #[unroll]
            for one in 0..2usize {
                let mut factor = Array::<Vector<X, Const<2>>>::new(2usize);
                factor[0] = columns[comptime!(2 * one)];
                factor[1] = columns[comptime!(2 * one + 1)];
                let own = comptime!(2 * pair + one);
                units.execute_inplace(rows.index(inner), &factor, sums.index_mut(own));
            }
        }
    }
}

/// Adds what each row takes of the lines of a tile, by `weights` of 16 rows and the tile's lines.
#[cube]
pub(super) fn add_shares<X: Float, N: Size>(
    weights: &Sequence<Fragment<X>>,
    tile: &Shared<[Vector<X, N>]>,
    sums: &mut Sequence<Sum>,
    #[comptime] plan: Plan,
) {
    let lane = UNIT_POS as usize % PLANE;
    let (near, far) = (lane % ROWS, lane / ROWS);
    let units = MmaDefinition::<X, X, f32>::new(ROWS, COLUMNS, ROWS);
    #[unroll]
    for inner in 0..comptime!(plan.passing() / ROWS) {
        #[unroll]
        for pair in 0..comptime!(plan.head_blocks() / 2) {
            let line = comptime!(inner * ROWS) + near;
            let at = staged(line, comptime!(pair * 2) + far, plan);
            let columns = units.load_matrix::<Vector<X, N>, Const<2>>(
                &tile[at..at + 1],
                MatrixIdent::B,
                4usize,
                true,
            );
            #[unroll]
            for one in 0..2usize {
                let mut factor = Array::<Vector<X, Const<2>>>::new(2usize);
                factor[0] = columns[comptime!(2 * one)];
                factor[1] = columns[comptime!(2 * one + 1)];
                let own = comptime!(2 * pair + one);
                units.execute_inplace(weights.index(inner), &factor, sums.index_mut(own));
            }
        }
    }
}

/// Sums of the lines of a tile, rounded to be multiplied.
#[cube]
pub(super) fn rounded<X: Float>(
    sums: &Sequence<Sum>,
    #[comptime] plan: Plan,
) -> Sequence<Fragment<X>> {
    let mut fragments = Sequence::<Fragment<X>>::new();
    #[unroll]
    for inner in 0..comptime!(plan.passing() / ROWS) {
        let mut fragment = Array::<Vector<X, Const<2>>>::new(4usize);
        #[unroll]
        for half in 0..2usize {
            let sum = sums.index(comptime!(2 * inner + half));
            fragment[comptime!(2 * half)] = Vector::cast_from(sum[0]);
            fragment[comptime!(2 * half + 1)] = Vector::cast_from(sum[1]);
        }
        fragments.push(fragment);
    }
    fragments
}

/// Row of a tile that the unit holds, of its two the upper; the lower is eight further.
#[cube]
pub(super) fn upper_row() -> usize {
    UNIT_POS as usize / PLANE * ROWS + UNIT_POS as usize % PLANE / 4
}

/// First of the two neighbouring columns of a block that the unit holds.
#[cube]
pub(super) fn own_column() -> usize {
    UNIT_POS as usize % 4 * 2
}

/// The largest number of the four units that hold a row.
#[cube]
pub(super) fn row_max(value: f32) -> f32 {
    let value = max(value, plane_shuffle_xor(value, 1u32));
    max(value, plane_shuffle_xor(value, 2u32))
}

/// The sum of the four units that hold a row.
#[cube]
pub(super) fn row_sum(value: f32) -> f32 {
    let value = value + plane_shuffle_xor(value, 1u32);
    value + plane_shuffle_xor(value, 2u32)
}
