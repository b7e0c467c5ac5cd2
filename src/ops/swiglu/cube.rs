//! The gate on GPUs: one kernel each way.

use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::SwigluBackend;
use super::joined::JoinedSwigluBackend;
use crate::ops::cube::{empty, sigmoid, types, units, vector_size};

impl SwigluBackend for CubeBackend {
    fn swiglu(gate: CubeTensor, up: CubeTensor) -> CubeTensor {
        let (gate, up) = (into_contiguous(gate), into_contiguous(up));
        let output = empty(&gate, gate.meta.shape().clone(), gate.dtype);
        let count = output.meta.num_elements();
        if count > 0 {
            let vector = vector_size(count, &[&gate, &up]);
            let (cubes, dim) = units(&gate.client, count / vector);
            product::launch(
                &output.client,
                cubes,
                dim,
                vector,
                gate.clone().into_buffer_arg(),
                up.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                count / vector,
                types([&gate, &up]),
            );
        }
        output
    }

    fn swiglu_gradients(
        gate: CubeTensor,
        up: CubeTensor,
        gradient: CubeTensor,
    ) -> (CubeTensor, CubeTensor) {
        let (gate, up) = (into_contiguous(gate), into_contiguous(up));
        let gradient = into_contiguous(gradient);
        let for_gate = empty(&gate, gate.meta.shape().clone(), gate.dtype);
        let for_up = empty(&up, up.meta.shape().clone(), up.dtype);
        let count = for_gate.meta.num_elements();
        if count > 0 {
            let vector = vector_size(count, &[&gate, &up, &gradient]);
            let (cubes, dim) = units(&gate.client, count / vector);
            gradients::launch(
                &for_up.client,
                cubes,
                dim,
                vector,
                gate.clone().into_buffer_arg(),
                up.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                for_gate.clone().into_buffer_arg(),
                for_up.clone().into_buffer_arg(),
                count / vector,
                types([&gate, &up, &gradient]),
            );
        }
        (for_gate, for_up)
    }
}

impl JoinedSwigluBackend for CubeBackend {
    fn swiglu_joined(joined: CubeTensor) -> CubeTensor {
        let joined = into_contiguous(joined);
        let mut shape = joined.meta.shape().clone();
        shape[2] /= 2;
        let width = shape[2];
        let output = empty(&joined, shape, joined.dtype);
        let count = output.meta.num_elements();
        if count > 0 {
            let vector = vector_size(width, &[&joined]);
            let (cubes, dim) = units(&joined.client, count / vector);
            joined_product::launch(
                &joined.client,
                cubes,
                dim,
                vector,
                joined.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                count / vector,
                width / vector,
                types([&joined])[0],
            );
        }
        output
    }

    fn swiglu_joined_gradient(joined: CubeTensor, gradient: CubeTensor) -> CubeTensor {
        let (joined, gradient) = (into_contiguous(joined), into_contiguous(gradient));
        let output = empty(&joined, joined.meta.shape().clone(), joined.dtype);
        let (count, width) = (gradient.meta.num_elements(), gradient.meta.shape()[2]);
        if count > 0 {
            let vector = vector_size(width, &[&joined, &gradient]);
            let (cubes, dim) = units(&joined.client, count / vector);
            joined_gradient::launch(
                &joined.client,
                cubes,
                dim,
                vector,
                joined.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                count / vector,
                width / vector,
                types([&joined, &gradient]),
            );
        }
        output
    }
}

#[cube(launch)]
fn product<A: Float, B: Float, N: Size>(
    gate: &[Vector<A, N>],
    up: &[Vector<B, N>],
    output: &mut [Vector<A, N>],
    count: usize,
    #[define(A, B)] _types: [ElemType; 2],
) {
    let place = ABSOLUTE_POS;
    if place >= count {
        terminate!();
    }
    let a = Vector::<f32, N>::cast_from(gate[place]);
    let b = Vector::<f32, N>::cast_from(up[place]);
    output[place] = Vector::cast_from(a * sigmoid::<N>(a) * b);
}

#[cube(launch)]
fn gradients<A: Float, B: Float, G: Float, N: Size>(
    gate: &[Vector<A, N>],
    up: &[Vector<B, N>],
    gradient: &[Vector<G, N>],
    for_gate: &mut [Vector<A, N>],
    for_up: &mut [Vector<B, N>],
    count: usize,
    #[define(A, B, G)] _types: [ElemType; 3],
) {
    let place = ABSOLUTE_POS;
    if place >= count {
        terminate!();
    }
    let a = Vector::<f32, N>::cast_from(gate[place]);
    let b = Vector::<f32, N>::cast_from(up[place]);
    let g = Vector::<f32, N>::cast_from(gradient[place]);
    let s = sigmoid::<N>(a);
    for_gate[place] = Vector::cast_from(slope::<N>(a, s) * b * g);
    for_up[place] = Vector::cast_from(a * s * g);
}

#[cube(launch)]
fn joined_product<A: Float, N: Size>(
    joined: &[Vector<A, N>],
    output: &mut [Vector<A, N>],
    count: usize,
    width: usize,
    #[define(A)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place >= count {
        terminate!();
    }
    let first = place + place / width * width;
    let a = Vector::<f32, N>::cast_from(joined[first]);
    let b = Vector::<f32, N>::cast_from(joined[first + width]);
    output[place] = Vector::cast_from(a * sigmoid::<N>(a) * b);
}

#[cube(launch)]
fn joined_gradient<A: Float, G: Float, N: Size>(
    joined: &[Vector<A, N>],
    gradient: &[Vector<G, N>],
    output: &mut [Vector<A, N>],
    count: usize,
    width: usize,
    #[define(A, G)] _types: [ElemType; 2],
) {
    let place = ABSOLUTE_POS;
    if place >= count {
        terminate!();
    }
    let first = place + place / width * width;
    let a = Vector::<f32, N>::cast_from(joined[first]);
    let b = Vector::<f32, N>::cast_from(joined[first + width]);
    let g = Vector::<f32, N>::cast_from(gradient[place]);
    let s = sigmoid::<N>(a);
    output[first] = Vector::cast_from(slope::<N>(a, s) * b * g);
    output[first + width] = Vector::cast_from(a * s * g);
}

/// Derivative of `a s(a)`.
#[cube]
fn slope<N: Size>(a: Vector<f32, N>, s: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0);
    s * (one + a * (one - s))
}
