//! The step on GPUs: one kernel that changes weight and moments where they are.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::AdamWStep;
use crate::ops::cube::{copy, types, units, vector_size};

/// [`super::adamw_step`] of tensors on a GPU.
pub(super) fn adamw_step(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    [first, second]: [Tensor<2>; 2],
    step: AdamWStep,
) -> [Tensor<2>; 3] {
    let (weight, gradient) = (weight.into_dispatch(), gradient.into_dispatch());
    let (first, second) = (first.into_dispatch(), second.into_dispatch());
    let (weight, first, second) = Dispatch::adamw_step(weight, gradient, first, second, step);
    [weight, first, second].map(Tensor::from_dispatch)
}

/// Backends with the operation.
#[backend_extension(Cube, Fusion)]
pub trait AdamWBackend: Backend {
    /// Weight, gradient, first and second moment, all `[R, C]`, to weight and moments.
    #[fusion(meta = |weight, _gradient, first, second, _step| {
        (weight.clone(), first.clone(), second.clone())
    })]
    fn adamw_step(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl AdamWBackend for CubeBackend {
    fn adamw_step(
        weight: CubeTensor,
        gradient: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        step: AdamWStep,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let gradient = into_contiguous(gradient);
        let (weight, first, second) = (owned(weight), owned(first), owned(second));
        let count = weight.meta.num_elements();
        if count > 0 {
            let vector = vector_size(count, &[&weight, &gradient, &first, &second]);
            let (cubes, dim) = units(&weight.client, count / vector);
            stepped::launch(
                &gradient.client,
                cubes,
                dim,
                vector,
                weight.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                first.clone().into_buffer_arg(),
                second.clone().into_buffer_arg(),
                factors(step),
                count / vector,
                types([&weight, &gradient, &first, &second]),
            );
        }
        (weight, first, second)
    }
}

/// The tensor, contiguous, in memory that nothing else holds.
fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    match tensor.can_mut() {
        true => tensor,
        false => copy(&tensor),
    }
}

fn factors(step: AdamWStep) -> FactorsLaunch {
    FactorsLaunch::new(
        step.gradient_scale as f32,
        step.decay as f32,
        step.beta1 as f32,
        (1.0 - step.beta1) as f32,
        step.beta2 as f32,
        (1.0 - step.beta2) as f32,
        step.epsilon as f32,
        step.rate as f32,
        step.root_scale as f32,
    )
}

#[derive(CubeType, CubeLaunch)]
struct Factors {
    gradient: f32,
    decay: f32,
    keep_first: f32,
    add_first: f32,
    keep_second: f32,
    add_second: f32,
    epsilon: f32,
    rate: f32,
    root_scale: f32,
}

#[cube(launch)]
fn stepped<W: Float, G: Float, A: Float, B: Float, N: Size>(
    weight: &mut [Vector<W, N>],
    gradient: &[Vector<G, N>],
    first: &mut [Vector<A, N>],
    second: &mut [Vector<B, N>],
    by: &Factors,
    count: usize,
    #[define(W, G, A, B)] _types: [ElemType; 4],
) {
    let place = ABSOLUTE_POS;
    if place >= count {
        terminate!();
    }
    let g = Vector::<f32, N>::cast_from(gradient[place]) * Vector::new(by.gradient);
    let m = Vector::<f32, N>::cast_from(first[place]);
    let m = m * Vector::new(by.keep_first) + g * Vector::new(by.add_first);
    let v = Vector::<f32, N>::cast_from(second[place]);
    let v = v * Vector::new(by.keep_second) + g * g * Vector::new(by.add_second);
    let root = v.sqrt() / Vector::new(by.root_scale) + Vector::new(by.epsilon);
    let w = Vector::<f32, N>::cast_from(weight[place]);
    let w = w * Vector::new(by.decay) - m / root * Vector::new(by.rate);
    weight[place] = Vector::cast_from(w);
    first[place] = Vector::cast_from(m);
    second[place] = Vector::cast_from(v);
}
