//! Tiles of the vocabulary on GPUs: one kernel from logits to sums and one from logits to their
//! gradients, a cube a token.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{self as tensors, DType, Device, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{Block, cube_max, cube_sum, cubes, empty, types, units, vector_size};

/// Below every logit; finite, since shaders may take infinities for absent.
const LEAST: f32 = -1e30;
/// Numbers kept of a token.
const KEPT: usize = 4;

/// Where a tile's logits stand and what they are multiplied by.
#[derive(Clone, Copy, Debug)]
pub(super) struct TilePlace {
    /// The tile's first entry of the vocabulary.
    pub start: usize,
    /// One over the temperature.
    pub factor: f32,
}

/// Sums over no tile: largest logit, `Σ e^(z − max)`, `Σ e^(z − max) (z − max)` and the target's logit
/// of each token, `[N, 4]`.
pub(super) fn no_sums(tokens: usize, device: &Device) -> Tensor<2> {
    let options = (device, DType::F32);
    let least = Tensor::full([tokens, 1], LEAST, options);
    Tensor::cat(vec![least, Tensor::zeros([tokens, KEPT - 1], options)], 1)
}

/// `sums` with those of a tile.
///
/// # Shapes
/// `logits` `[N, tile]`, `sums` `[N, 4]`, `targets` `[N]`.
pub(super) fn add_tile(
    logits: Tensor<2>,
    sums: Tensor<2>,
    targets: &Tensor<1, tensors::Int>,
    place: TilePlace,
) -> Tensor<2> {
    let (logits, sums) = (logits.into_dispatch(), sums.into_dispatch());
    let targets = targets.clone().into_dispatch();
    Tensor::from_dispatch(Dispatch::add_tile(logits, sums, targets, place))
}

/// Gradients of a tile's products before the temperature divides them, as `dtype`.
///
/// # Shapes
/// `logits` `[N, tile]`; of each token in `tokens` `[N, 4]` the logarithm of the normaliser, the gradient
/// of the log-probability, that of the entropy, and the entropy; `targets` `[N]`.
pub(super) fn tile_gradients(
    logits: Tensor<2>,
    tokens: Tensor<2>,
    targets: &Tensor<1, tensors::Int>,
    place: TilePlace,
    dtype: DType,
) -> Tensor<2> {
    let (logits, tokens) = (logits.into_dispatch(), tokens.into_dispatch());
    let targets = targets.clone().into_dispatch();
    Tensor::from_dispatch(Dispatch::tile_gradients(
        logits, tokens, targets, place, dtype,
    ))
}

/// `sum` with `part` added to its rows from `start` on, in place where nobody else holds it.
///
/// # Shapes
/// `sum` `[V, E]`, `part` `[tile, E]`, both `f32`.
pub(super) fn add_part(sum: Tensor<2>, part: Tensor<2>, start: usize) -> Tensor<2> {
    let (sum, part) = (sum.into_dispatch(), part.into_dispatch());
    Tensor::from_dispatch(Dispatch::add_part(sum, part, start))
}

/// Backends with the kernels.
#[backend_extension(Cube, Fusion)]
pub trait TileBackend: Backend {
    /// See [`add_tile`].
    #[fusion(dtype = DType::F32, shape = sums)]
    fn add_tile(
        logits: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        targets: IntTensor<Self>,
        place: TilePlace,
    ) -> FloatTensor<Self>;

    /// See [`tile_gradients`].
    #[fusion(dtype = *dtype, shape = logits)]
    fn tile_gradients(
        logits: FloatTensor<Self>,
        tokens: FloatTensor<Self>,
        targets: IntTensor<Self>,
        place: TilePlace,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// See [`add_part`].
    #[fusion(dtype = sum, shape = sum)]
    fn add_part(sum: FloatTensor<Self>, part: FloatTensor<Self>, start: usize)
    -> FloatTensor<Self>;
}

impl TileBackend for CubeBackend {
    fn add_tile(
        logits: CubeTensor,
        sums: CubeTensor,
        targets: CubeTensor,
        place: TilePlace,
    ) -> CubeTensor {
        let (logits, sums) = (into_contiguous(logits), into_contiguous(sums));
        let targets = into_contiguous(targets);
        let output = empty(&sums, sums.meta.shape().clone(), DType::F32);
        let [count, entries] = [logits.meta.shape()[0], logits.meta.shape()[1]];
        if count * entries > 0 {
            let block = Block::new(&logits.client, entries);
            sums_with_tile::launch(
                &logits.client,
                cubes(&logits.client, count),
                block.dim(),
                logits.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                targets.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                TileLaunch::new(count, entries, place.start, place.factor),
                block,
                types([&targets])[0],
            );
        }
        output
    }

    fn tile_gradients(
        logits: CubeTensor,
        tokens: CubeTensor,
        targets: CubeTensor,
        place: TilePlace,
        dtype: DType,
    ) -> CubeTensor {
        let (logits, tokens) = (into_contiguous(logits), into_contiguous(tokens));
        let targets = into_contiguous(targets);
        let output = empty(&logits, logits.meta.shape().clone(), dtype);
        let [count, entries] = [logits.meta.shape()[0], logits.meta.shape()[1]];
        if count * entries > 0 {
            let block = Block::new(&logits.client, entries);
            gradients_of_tile::launch(
                &logits.client,
                cubes(&logits.client, count),
                block.dim(),
                logits.clone().into_buffer_arg(),
                tokens.clone().into_buffer_arg(),
                targets.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                TileLaunch::new(count, entries, place.start, place.factor),
                block,
                types([&targets, &output]),
            );
        }
        output
    }

    fn add_part(sum: CubeTensor, part: CubeTensor, start: usize) -> CubeTensor {
        let (sum, part) = (into_contiguous(sum), into_contiguous(part));
        let sum = match sum.can_mut() {
            true => sum,
            false => sum.copy(),
        };
        let [rows, width] = part.meta.shape().dims();
        if rows * width > 0 {
            let vector = vector_size(width, &[&sum, &part]);
            let count = rows * width / vector;
            let (cubes, dim) = units(&sum.client, count);
            part_added::launch(
                &sum.client,
                cubes,
                dim,
                vector,
                sum.clone().into_buffer_arg(),
                part.clone().into_buffer_arg(),
                start * width / vector,
                count,
            );
        }
        sum
    }
}

#[cube(launch)]
fn part_added<N: Size>(
    sum: &mut [Vector<f32, N>],
    part: &[Vector<f32, N>],
    first: usize,
    count: usize,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    sum[first + ABSOLUTE_POS] += part[ABSOLUTE_POS];
}

/// The tile of a launch.
#[derive(CubeType, CubeLaunch)]
struct Tile {
    /// Tokens.
    count: usize,
    /// Entries of the vocabulary.
    entries: usize,
    start: usize,
    factor: f32,
}

#[cube(launch)]
fn sums_with_tile<I: Int>(
    logits: &[f32],
    sums: &[f32],
    targets: &[I],
    output: &mut [f32],
    tile: &Tile,
    #[comptime] block: Block,
    #[define(I)] _type: ElemType,
) {
    let token = CUBE_POS;
    if token >= tile.count {
        terminate!();
    }
    let first = token * tile.entries;
    let kept = token * comptime!(KEPT);
    let mut largest = sums[kept];
    let mut place = UNIT_POS as usize;
    while place < tile.entries {
        largest = max(largest, logits[first + place] * tile.factor);
        place += block.units as usize;
    }
    let largest = cube_max(largest, block);
    let mut weights = 0.0f32;
    let mut products = 0.0f32;
    let mut place = UNIT_POS as usize;
    while place < tile.entries {
        let shifted = logits[first + place] * tile.factor - largest;
        let weight = shifted.exp();
        weights += weight;
        products += weight * shifted;
        place += block.units as usize;
    }
    let weights = cube_sum(weights, block);
    let products = cube_sum(products, block);
    if UNIT_POS == 0 {
        let shift = sums[kept] - largest;
        let decay = shift.exp();
        let before = sums[kept + 1];
        output[kept] = largest;
        output[kept + 1] = weights + decay * before;
        output[kept + 2] = products + decay * (sums[kept + 2] + shift * before);
        let target = usize::cast_from(targets[token]);
        let mut chosen = sums[kept + 3];
        if target >= tile.start && target < tile.start + tile.entries {
            chosen = logits[first + target - tile.start] * tile.factor;
        }
        output[kept + 3] = chosen;
    }
}

#[cube(launch)]
fn gradients_of_tile<I: Int, G: Float>(
    logits: &[f32],
    tokens: &[f32],
    targets: &[I],
    output: &mut [G],
    tile: &Tile,
    #[comptime] block: Block,
    #[define(I, G)] _types: [ElemType; 2],
) {
    let token = CUBE_POS;
    if token >= tile.count {
        terminate!();
    }
    let first = token * tile.entries;
    let kept = token * comptime!(KEPT);
    let normalizer = tokens[kept];
    let gradient = tokens[kept + 1];
    let entropy_gradient = tokens[kept + 2];
    let entropy = tokens[kept + 3];
    let target = usize::cast_from(targets[token]);
    let mut place = UNIT_POS as usize;
    while place < tile.entries {
        let log_p = logits[first + place] * tile.factor - normalizer;
        let mut found = -log_p.exp() * (gradient + (log_p + entropy) * entropy_gradient);
        if place + tile.start == target {
            found += gradient;
        }
        output[first + place] = G::cast_from(found);
        place += block.units as usize;
    }
}
