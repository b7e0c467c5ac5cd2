//! Normalisation on GPUs: a cube a row; the weight's gradient in two stages, sums over chunks of rows
//! and then the sum of those, so that its order is fixed.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::RmsNormBackend;
use crate::ops::cube::{Block, cube_sum, cubes, empty, sum_of_rows, types, vector_size};

/// Chunks of rows, at most.
const MOST_CHUNKS: usize = 512;
/// Rows of a chunk, at least.
const LEAST_CHUNK: usize = 8;

impl RmsNormBackend for CubeBackend {
    fn rms_norm(states: CubeTensor, weight: CubeTensor, epsilon: f64, dtype: DType) -> CubeTensor {
        let (states, weight) = (into_contiguous(states), into_contiguous(weight));
        let output = empty(&states, states.meta.shape().clone(), dtype);
        let launch = Launch::new(&states, &[&weight, &output], epsilon);
        if !launch.is_empty() {
            normed::launch(
                &states.client,
                launch.cubes(&states.client),
                launch.block.dim(),
                launch.vector,
                states.clone().into_buffer_arg(),
                weight.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                launch.rows(),
                launch.block,
                types([&states, &weight, &output]),
            );
        }
        output
    }

    fn rms_norm_states_gradient(
        states: CubeTensor,
        weight: CubeTensor,
        gradient: CubeTensor,
        epsilon: f64,
    ) -> CubeTensor {
        let (states, weight) = (into_contiguous(states), into_contiguous(weight));
        let gradient = into_contiguous(gradient);
        let output = empty(&states, states.meta.shape().clone(), states.dtype);
        let launch = Launch::new(&states, &[&weight, &gradient], epsilon);
        if !launch.is_empty() {
            states_gradient::launch(
                &states.client,
                launch.cubes(&states.client),
                launch.block.dim(),
                launch.vector,
                states.clone().into_buffer_arg(),
                weight.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                launch.rows(),
                launch.block,
                types([&states, &weight, &gradient]),
            );
        }
        output
    }

    fn rms_norm_weight_gradient(
        states: CubeTensor,
        gradient: CubeTensor,
        epsilon: f64,
        dtype: DType,
    ) -> CubeTensor {
        let (states, gradient) = (into_contiguous(states), into_contiguous(gradient));
        let launch = Launch::new(&states, &[&gradient], epsilon);
        let chunk = launch.count.div_ceil(MOST_CHUNKS).max(LEAST_CHUNK);
        let chunk = chunk.next_power_of_two();
        let chunks = launch.count.div_ceil(chunk);
        let sums = empty(&states, [chunks, launch.width], DType::F32);
        if !launch.is_empty() {
            chunk_sums::launch(
                &states.client,
                cubes(&states.client, chunks),
                launch.block.dim(),
                launch.vector,
                states.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                launch.rows(),
                chunk,
                launch.block,
                types([&states, &gradient]),
            );
        }
        sum_of_rows(sums, dtype)
    }
}

/// A launch over rows of contiguous states.
struct Launch {
    count: usize,
    width: usize,
    vector: usize,
    block: Block,
    epsilon: f32,
}

impl Launch {
    fn new(states: &CubeTensor, others: &[&CubeTensor], epsilon: f64) -> Self {
        let [count, width] = [states.meta.shape()[0], states.meta.shape()[1]];
        let vector = vector_size(width, &[&[states], others].concat());
        Self {
            count,
            width,
            vector,
            block: Block::new(&states.client, width / vector),
            epsilon: epsilon as f32,
        }
    }

    fn is_empty(&self) -> bool {
        self.count * self.width == 0
    }

    fn cubes(&self, client: &Client) -> CubeCount {
        cubes(client, self.count)
    }

    fn rows(&self) -> RowsLaunch {
        RowsLaunch::new(self.count, self.width / self.vector, self.epsilon)
    }
}

/// The rows of a launch.
#[derive(CubeType, CubeLaunch)]
struct Rows {
    count: usize,
    /// Vectors of a row.
    vectors: usize,
    epsilon: f32,
}

#[cube(launch)]
fn normed<X: Float, W: Float, Y: Float, N: Size>(
    states: &[Vector<X, N>],
    weight: &[Vector<W, N>],
    output: &mut [Vector<Y, N>],
    rows: &Rows,
    #[comptime] block: Block,
    #[define(X, W, Y)] _types: [ElemType; 3],
) {
    let row = CUBE_POS;
    if row >= rows.count {
        terminate!();
    }
    let root = inverse_root::<X, N>(states, row, rows, block);
    let root = Vector::<f32, N>::new(root);
    let mut place = UNIT_POS as usize;
    while place < rows.vectors {
        let index = row * rows.vectors + place;
        let x = Vector::<f32, N>::cast_from(states[index]);
        let w = Vector::<f32, N>::cast_from(weight[place]);
        output[index] = Vector::cast_from(x * root * w);
        place += block.units as usize;
    }
}

#[cube(launch)]
fn states_gradient<X: Float, W: Float, G: Float, N: Size>(
    states: &[Vector<X, N>],
    weight: &[Vector<W, N>],
    gradient: &[Vector<G, N>],
    output: &mut [Vector<X, N>],
    rows: &Rows,
    #[comptime] block: Block,
    #[define(X, W, G)] _types: [ElemType; 3],
) {
    let row = CUBE_POS;
    if row >= rows.count {
        terminate!();
    }
    let root = inverse_root::<X, N>(states, row, rows, block);
    let mut products = Vector::<f32, N>::new(0.0);
    let mut place = UNIT_POS as usize;
    while place < rows.vectors {
        let index = row * rows.vectors + place;
        let x = Vector::<f32, N>::cast_from(states[index]);
        let w = Vector::<f32, N>::cast_from(weight[place]);
        products += x * Vector::cast_from(gradient[index]) * w;
        place += block.units as usize;
    }
    let sum = cube_sum(Vector::vector_sum(products), block);
    let pull = Vector::<f32, N>::new(sum * root * root / width::<N>(rows));
    let root = Vector::<f32, N>::new(root);
    let mut place = UNIT_POS as usize;
    while place < rows.vectors {
        let index = row * rows.vectors + place;
        let x = Vector::<f32, N>::cast_from(states[index]);
        let w = Vector::<f32, N>::cast_from(weight[place]);
        let g = Vector::<f32, N>::cast_from(gradient[index]);
        output[index] = Vector::cast_from(root * (g * w - x * pull));
        place += block.units as usize;
    }
}

/// Sums of `gradient ⊙ states · root` over every `chunk` rows.
#[cube(launch)]
fn chunk_sums<X: Float, G: Float, N: Size>(
    states: &[Vector<X, N>],
    gradient: &[Vector<G, N>],
    sums: &mut [Vector<f32, N>],
    rows: &Rows,
    #[comptime] chunk: usize,
    #[comptime] block: Block,
    #[define(X, G)] _types: [ElemType; 2],
) {
    let first = CUBE_POS * chunk;
    if first >= rows.count {
        terminate!();
    }
    let mut roots = Shared::<[f32]>::new_slice(chunk);
    for offset in 0..chunk {
        // Past the last row the last one is taken again, for all units meet at the barriers within.
        let row = min(first + offset, rows.count - 1);
        let root = inverse_root::<X, N>(states, row, rows, block);
        if UNIT_POS == 0 {
            roots[offset] = root;
        }
    }
    sync_cube();
    let count = min(chunk, rows.count - first);
    let mut place = UNIT_POS as usize;
    while place < rows.vectors {
        let mut sum = Vector::<f32, N>::new(0.0);
        for offset in 0..count {
            let index = (first + offset) * rows.vectors + place;
            let x = Vector::<f32, N>::cast_from(states[index]);
            let g = Vector::<f32, N>::cast_from(gradient[index]);
            sum += x * Vector::new(roots[offset]) * g;
        }
        sums[CUBE_POS * rows.vectors + place] = sum;
        place += block.units as usize;
    }
}

/// `1 / √(mean(x²) + ε)` of a row, for every unit.
#[cube]
fn inverse_root<X: Float, N: Size>(
    states: &[Vector<X, N>],
    row: usize,
    rows: &Rows,
    #[comptime] block: Block,
) -> f32 {
    let mut squares = Vector::<f32, N>::new(0.0);
    let mut place = UNIT_POS as usize;
    while place < rows.vectors {
        let x = Vector::<f32, N>::cast_from(states[row * rows.vectors + place]);
        squares += x * x;
        place += block.units as usize;
    }
    let sum = cube_sum(Vector::vector_sum(squares), block);
    (sum / width::<N>(rows) + rows.epsilon).inverse_sqrt()
}

#[cube]
fn width<N: Size>(rows: &Rows) -> f32 {
    f32::cast_from(rows.vectors * N::value())
}
