//! Half-rotation on GPUs: one kernel.

use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;

use super::RotateHalfBackend;
use crate::ops::cube::{empty, types, units, vector_size};

impl RotateHalfBackend for CubeBackend {
    fn rotate_half(heads: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
        let shape = heads.meta.shape();
        let by_head = [shape[0], shape[2], shape[1], shape[3]];
        let output = permute(empty(&heads, by_head, heads.dtype), &[0, 2, 1, 3]);
        turn(heads, cos, sin, 1.0, &output);
        output
    }

    fn rotate_half_gradient(gradient: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
        // Token by token: it goes back into a projection of tokens.
        let output = empty(&gradient, gradient.meta.shape().clone(), gradient.dtype);
        turn(gradient, cos, sin, -1.0, &output);
        output
    }
}

/// Turns forwards (`direction` 1) or back (-1) into `output`, in whatever order that is.
fn turn(heads: CubeTensor, cos: CubeTensor, sin: CubeTensor, direction: f32, output: &CubeTensor) {
    let dims = heads.meta.shape().clone();
    if dims.num_elements() == 0 {
        return;
    }
    let (cos, sin) = (into_contiguous(cos), into_contiguous(sin));
    let heads = match heads.meta.strides()[3] {
        1 => heads,
        _ => into_contiguous(heads),
    };
    let strides = [places(&heads), places(output)];
    let fitting = vector_size(dims[3] / 2, &[&heads, &cos, &sin]);
    let all = strides.iter().flatten().copied();
    let vector = all.fold(fitting, |vector, stride| {
        vector.min(power_of_two_in(stride))
    });
    let [from, to] = strides
        .map(|[row, token, head]| PlacesLaunch::new(row / vector, token / vector, head / vector));
    let half = dims[3] / 2 / vector;
    let angle_row = if cos.meta.shape()[0] == 1 {
        0
    } else {
        dims[1] * half * 2
    };
    let count = dims[0] * dims[1] * dims[2] * half;
    let (cubes, dim) = units(&heads.client, count);
    turned::launch(
        &output.client,
        cubes,
        dim,
        vector,
        heads.clone().into_buffer_arg(),
        cos.clone().into_buffer_arg(),
        sin.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        GridLaunch::new(from, to, dims[1], dims[2], half, angle_row, count),
        direction,
        types([&heads, &cos, &sin]),
    );
}

/// Numbers from a row, token and head to the next.
fn places(heads: &CubeTensor) -> [usize; 3] {
    let strides = heads.meta.strides();
    [strides[0], strides[1], strides[2]]
}

/// The largest power of two that divides a stride.
fn power_of_two_in(stride: usize) -> usize {
    match stride {
        0 => usize::MAX,
        _ => 1 << stride.trailing_zeros(),
    }
}

/// Vectors from a row, token and head to the next.
#[derive(CubeType, CubeLaunch)]
struct Places {
    row: usize,
    token: usize,
    head: usize,
}

#[derive(CubeType, CubeLaunch)]
struct Grid {
    from: Places,
    to: Places,
    tokens: usize,
    heads: usize,
    /// Vectors of half a head.
    half: usize,
    /// Vectors from a row's angles to the next's.
    angle_row: usize,
    /// Pairs of vectors.
    count: usize,
}

#[cube(launch)]
fn turned<X: Float, C: Float, S: Float, N: Size>(
    heads: &[Vector<X, N>],
    cos: &[Vector<C, N>],
    sin: &[Vector<S, N>],
    output: &mut [Vector<X, N>],
    grid: &Grid,
    direction: f32,
    #[define(X, C, S)] _types: [ElemType; 3],
) {
    if ABSOLUTE_POS >= grid.count {
        terminate!();
    }
    let place = ABSOLUTE_POS % grid.half;
    let rest = ABSOLUTE_POS / grid.half;
    let head = rest % grid.heads;
    let rest = rest / grid.heads;
    let token = rest % grid.tokens;
    let row = rest / grid.tokens;
    let from = row * grid.from.row + token * grid.from.token + head * grid.from.head + place;
    let to = row * grid.to.row + token * grid.to.token + head * grid.to.head + place;
    let angle = row * grid.angle_row + token * grid.half * 2 + place;
    let a = Vector::<f32, N>::cast_from(heads[from]);
    let b = Vector::<f32, N>::cast_from(heads[from + grid.half]);
    let cos = Vector::<f32, N>::cast_from(cos[angle]);
    let sin = Vector::<f32, N>::cast_from(sin[angle]) * Vector::new(direction);
    output[to] = Vector::cast_from(a * cos - b * sin);
    output[to + grid.half] = Vector::cast_from(b * cos + a * sin);
}
