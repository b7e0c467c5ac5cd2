//! The gate on GPUs: one kernel each way.

use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::SwigluBackend;
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

/// Derivative of `a s(a)`.
#[cube]
fn slope<N: Size>(a: Vector<f32, N>, s: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0);
    s * (one + a * (one - s))
}
