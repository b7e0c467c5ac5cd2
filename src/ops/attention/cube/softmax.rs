//! The softmax over the keys that a query sees, and its gradient: a plane a query, a cube where units of a plane cannot
//! add up; which keys it sees is worked out from its place.

use burn::tensor::DType;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{Block, cube_max, cube_sum, cubes, empty, types, vector_size};

/// Scores of some batches, contiguous `[m, G·T, L]` of `f32`, before they are scaled.
pub(super) struct Scores<'a> {
    pub values: CubeTensor,
    /// First keys of rows, `[B or 1]` of `I32`.
    pub starts: &'a CubeTensor,
    /// The first of these batches among all.
    pub first: usize,
    /// Key-value heads of a row.
    pub heads: usize,
    /// Query heads of each.
    pub group: usize,
    pub queries: usize,
    pub keys: usize,
    /// Factor on a score.
    pub scale: f32,
}

impl Scores<'_> {
    fn grid(&self, vector: usize) -> GridLaunch {
        let [batches, ..] = self.values.meta.shape().dims::<3>();
        let shares_start = self.starts.meta.shape()[0] == 1;
        GridLaunch::new(
            batches * self.group * self.queries,
            self.queries,
            self.group * self.queries,
            self.first,
            self.heads,
            if shares_start { 0 } else { 1 },
            self.keys,
            self.keys / vector,
            self.scale,
        )
    }

    fn cubes(&self, team: Team) -> CubeCount {
        let [batches, queries, _] = self.values.meta.shape().dims::<3>();
        let count = (batches * queries).div_ceil(team.queries as usize);
        cubes(&self.values.client, count)
    }

    fn like(&self, dtype: DType) -> CubeTensor {
        empty(&self.values, self.values.meta.shape().clone(), dtype)
    }
}

/// How much each query takes of each key, in the shape of the scores.
pub(super) fn probabilities(scores: &Scores, dtype: DType) -> CubeTensor {
    let output = scores.like(dtype);
    let vector = vector_size(scores.keys, &[&scores.values, &output]);
    let team = Team::new(&output.client, scores.keys / vector);
    softmax::launch(
        &output.client,
        scores.cubes(team),
        team.dim(),
        vector,
        scores.values.clone().into_buffer_arg(),
        scores.starts.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        scores.grid(vector),
        team,
        types([scores.starts, &output]),
    );
    output
}

/// How much each query takes of each key, and the gradient of `q kᵀ` from that of the former.
pub(super) fn score_gradients(
    scores: &Scores,
    gradient: &CubeTensor,
    dtype: DType,
) -> (CubeTensor, CubeTensor) {
    let (weights, output) = (scores.like(dtype), scores.like(dtype));
    let vector = vector_size(scores.keys, &[&scores.values, &output]);
    let team = Team::new(&output.client, scores.keys / vector);
    softmax_gradient::launch(
        &output.client,
        scores.cubes(team),
        team.dim(),
        vector,
        scores.values.clone().into_buffer_arg(),
        gradient.clone().into_buffer_arg(),
        scores.starts.clone().into_buffer_arg(),
        weights.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        scores.grid(vector),
        team,
        types([scores.starts, &output]),
    );
    (weights, output)
}

/// The units that take a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Team {
    /// Those of one query.
    block: Block,
    /// Queries of a cube.
    queries: u32,
}

impl Team {
    /// For `work` vectors a query.
    fn new(client: &Client, work: usize) -> Self {
        let block = Block::new(client, work);
        match block.plane {
            0 => Self { block, queries: 1 },
            // A plane needs no barrier, and most queries have several vectors for each of its units.
            plane => Self {
                block: Block::of(client, plane as usize),
                queries: Block::largest(client).units / plane,
            },
        }
    }

    fn dim(self) -> CubeDim {
        CubeDim::new_1d(self.queries * self.block.units)
    }
}

#[derive(CubeType, CubeLaunch)]
struct Grid {
    /// Queries of all batches.
    count: usize,
    /// Queries of a head.
    queries: usize,
    /// Queries of a batch.
    batch: usize,
    /// The first batch.
    first: usize,
    /// Batches of a row.
    heads: usize,
    /// From a row's start to the next's: 0 where all share one.
    start_step: usize,
    keys: usize,
    /// Vectors of a query's scores.
    vectors: usize,
    scale: f32,
}

/// The keys that a query sees, from the first to its own, and the vectors that hold them.
#[derive(CubeType)]
struct Seen {
    first: usize,
    own: usize,
    begin: usize,
    end: usize,
}

#[cube(launch)]
fn softmax<I: Int, P: Float, N: Size>(
    scores: &[Vector<f32, N>],
    starts: &[I],
    output: &mut [Vector<P, N>],
    grid: &Grid,
    #[comptime] team: Team,
    #[define(I, P)] _types: [ElemType; 2],
) {
    let block = comptime!(team.block);
    let unit = UNIT_POS % block.units;
    let query = CUBE_POS * comptime!(team.queries as usize) + (UNIT_POS / block.units) as usize;
    if query >= grid.count {
        terminate!();
    }
    let seen = seen::<I, N>(starts, query, grid);
    let line = query * grid.vectors;
    let highest = highest::<N>(scores, line, unit, &seen, block);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut place = seen.begin + unit as usize;
    while place < seen.end {
        sum += power::<N>(scores[line + place], highest, place, &seen, grid);
        place += block.units as usize;
    }
    let sum = cube_sum(Vector::vector_sum(sum), block);
    let share = Vector::<f32, N>::new(1.0 / sum);
    let mut place = unit as usize;
    while place < grid.vectors {
        let mut weights = Vector::<f32, N>::new(0.0);
        if place >= seen.begin && place < seen.end {
            weights = power::<N>(scores[line + place], highest, place, &seen, grid) * share;
        }
        output[line + place] = Vector::cast_from(weights);
        place += block.units as usize;
    }
}

#[cube(launch)]
fn softmax_gradient<I: Int, P: Float, N: Size>(
    scores: &[Vector<f32, N>],
    gradient: &[Vector<f32, N>],
    starts: &[I],
    weights: &mut [Vector<P, N>],
    output: &mut [Vector<P, N>],
    grid: &Grid,
    #[comptime] team: Team,
    #[define(I, P)] _types: [ElemType; 2],
) {
    let block = comptime!(team.block);
    let unit = UNIT_POS % block.units;
    let query = CUBE_POS * comptime!(team.queries as usize) + (UNIT_POS / block.units) as usize;
    if query >= grid.count {
        terminate!();
    }
    let seen = seen::<I, N>(starts, query, grid);
    let line = query * grid.vectors;
    let highest = highest::<N>(scores, line, unit, &seen, block);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut pull = Vector::<f32, N>::new(0.0);
    let mut place = seen.begin + unit as usize;
    while place < seen.end {
        let power = power::<N>(scores[line + place], highest, place, &seen, grid);
        sum += power;
        pull += power * gradient[line + place];
        place += block.units as usize;
    }
    let sum = cube_sum(Vector::vector_sum(sum), block);
    let pull = cube_sum(Vector::vector_sum(pull), block) / sum;
    let (share, pull) = (
        Vector::<f32, N>::new(1.0 / sum),
        Vector::<f32, N>::new(pull),
    );
    let scale = Vector::<f32, N>::new(grid.scale);
    let mut place = unit as usize;
    while place < grid.vectors {
        let mut weight = Vector::<f32, N>::new(0.0);
        let mut slope = Vector::<f32, N>::new(0.0);
        if place >= seen.begin && place < seen.end {
            weight = power::<N>(scores[line + place], highest, place, &seen, grid) * share;
            slope = weight * (gradient[line + place] - pull) * scale;
        }
        weights[line + place] = Vector::cast_from(weight);
        output[line + place] = Vector::cast_from(slope);
        place += block.units as usize;
    }
}

/// What the query at a place sees.
#[cube]
fn seen<I: Int, N: Size>(starts: &[I], query: usize, grid: &Grid) -> Seen {
    let row = (grid.first + query / grid.batch) / grid.heads;
    let own = grid.keys - grid.queries + query % grid.queries;
    let first = min(usize::cast_from(starts[row * grid.start_step]), own);
    Seen {
        first,
        own,
        begin: first / N::value(),
        end: own / N::value() + 1,
    }
}

/// The highest of the scores that are seen, for every unit.
#[cube]
fn highest<N: Size>(
    scores: &[Vector<f32, N>],
    line: usize,
    unit: u32,
    seen: &Seen,
    #[comptime] block: Block,
) -> f32 {
    // Finite, since shaders may take infinities for absent.
    let mut highest = f32::min_value();
    let mut place = seen.begin + unit as usize;
    while place < seen.end {
        let values = scores[line + place];
        #[unroll]
        for lane in 0..N::value() {
            let key = place * N::value() + lane;
            let is_seen = key >= seen.first && key <= seen.own;
            highest = max(highest, select(is_seen, values.extract(lane), highest));
        }
        place += block.units as usize;
    }
    cube_max(highest, block)
}

/// `exp((s − highest) · scale)` of the scores that are seen, 0 of the others.
#[cube]
fn power<N: Size>(
    values: Vector<f32, N>,
    highest: f32,
    place: usize,
    seen: &Seen,
    grid: &Grid,
) -> Vector<f32, N> {
    let centred = (values - Vector::new(highest)) * Vector::new(grid.scale);
    let mut powers = centred.exp();
    #[unroll]
    for lane in 0..N::value() {
        let key = place * N::value() + lane;
        let is_seen = key >= seen.first && key <= seen.own;
        powers.insert(lane, select(is_seen, powers.extract(lane), 0.0));
    }
    powers
}
