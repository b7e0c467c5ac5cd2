//! Root-mean-square normalisation (arXiv:1910.07467) with a backward pass of its own.
//!
//! `y = x r ⊙ w` with `r = 1 / √(mean(x²) + ε)` for each row. With `x̂ = x r` and the gradient `g` of
//! `y`: `dx = r (g ⊙ w − x̂ mean(g ⊙ w ⊙ x̂))`, `dw = Σ_rows g ⊙ x̂`. The graph holds the input and the
//! weight, nothing in between. Arithmetic is in f32 where the states or the output are shorter, in one
//! kernel each way on GPUs.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::Shape;
use burn::tensor::{DType, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::device;

/// Normalises every row and scales it by the weight, into the number type `dtype`, such as the one that
/// products are taken in.
///
/// Gradients come back in the number types of the states and of the weight.
///
/// # Shapes
/// `states` `[N, E]`, `weight` `[1, E]`; returns `[N, E]`.
pub fn rms_norm(states: Tensor<2>, weight: Tensor<2>, epsilon: f64, dtype: DType) -> Tensor<2> {
    let are_f32 = [states.dtype(), weight.dtype(), dtype] == [DType::F32; 3];
    if device::is_cpu(&states.device()) && !are_f32 {
        let (states, weight) = (states.cast(DType::F32), weight.cast(DType::F32));
        return rms_norm_reference(states, weight, epsilon).cast(dtype);
    }
    let (states, weight) = (states.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm(states, weight, epsilon, dtype))
}

/// The same from plain tensor functions: what every backend must agree with.
///
/// # Shapes
/// As [`rms_norm`].
pub fn rms_norm_reference(states: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let variance = states.clone().square().mean_dim(1);
    states * (variance + epsilon).sqrt().recip() * weight
}

/// Backends that normalise.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(any(feature = "wgpu", feature = "cuda"))
)]
pub trait RmsNormBackend: Backend {
    /// `[N, E]` and `[1, E]` to `[N, E]`, of `dtype`.
    #[fusion(dtype = *dtype, shape = states)]
    fn rms_norm(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        dtype: DType,
    ) -> FloatTensor<Self>;

    /// Gradient with respect to the states, `[N, E]`, of their number type.
    #[fusion(dtype = states, shape = states)]
    fn rms_norm_states_gradient(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let dtype = states.dtype();
        let states = f32::<Self>(states);
        let root = inverse_root::<Self>(states.clone(), epsilon);
        let normed = Self::float_mul(states, root.clone());
        let scaled = Self::float_mul(f32::<Self>(gradient), f32::<Self>(weight));
        let mean = Self::float_mean_dim(Self::float_mul(scaled.clone(), normed.clone()), 1);
        let centred = Self::float_sub(scaled, Self::float_mul(normed, mean));
        Self::float_cast(Self::float_mul(centred, root), dtype.into())
    }

    /// Gradient with respect to the weight, `[1, E]`, of `dtype`.
    #[fusion(dtype = *dtype, shape = Shape::new([1, states[1]]))]
    fn rms_norm_weight_gradient(
        states: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let states = f32::<Self>(states);
        let root = inverse_root::<Self>(states.clone(), epsilon);
        let products = Self::float_mul(f32::<Self>(gradient), Self::float_mul(states, root));
        Self::float_cast(Self::float_sum_dim(products, 0), dtype.into())
    }
}

fn inverse_root<B: Backend>(states: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let variance = B::float_mean_dim(B::float_mul(states.clone(), states), 1);
    B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())))
}

fn f32<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_cast(tensor, DType::F32.into())
}

/// The step of the autodiff graph; parents are states and weight.
#[derive(Debug)]
struct RmsNormStep;

impl<B: RmsNormBackend> Backward<B, 2> for RmsNormStep {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (states, weight, epsilon) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let [for_states, for_weight] = ops.parents;
        if let Some(node) = for_weight {
            let (states, gradient) = (states.clone(), gradient.clone());
            let dtype = weight.dtype();
            let result = B::rms_norm_weight_gradient(states, gradient, epsilon, dtype);
            grads.register::<B>(node.id, result);
        }
        if let Some(node) = for_states {
            let result = B::rms_norm_states_gradient(states, weight, gradient, epsilon);
            grads.register::<B>(node.id, result);
        }
    }
}

impl<B: RmsNormBackend, C: CheckpointStrategy> RmsNormBackend for Autodiff<B, C> {
    fn rms_norm(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
        dtype: DType,
    ) -> FloatTensor<Self> {
        let prepared = RmsNormStep
            .prepare::<C>([states.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (states, weight) = (states.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(step) => {
                let output = B::rms_norm(states.clone(), weight.clone(), epsilon, dtype);
                step.finish((states, weight, epsilon), output)
            }
            OpsKind::UnTracked(step) => step.finish(B::rms_norm(states, weight, epsilon, dtype)),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    const EPSILON: f64 = 1e-5;

    /// The output and both gradients of `norm` for a loss that weighs every output differently.
    fn outputs(norm: fn(Tensor<2>, Tensor<2>, f64) -> Tensor<2>, rows: usize) -> [Tensor<2>; 3] {
        let device = Device::flex();
        device.seed(7);
        let width = 2 * rows + 1;
        let normal = Distribution::Normal(0.0, 2.0);
        let leaf = |shape| {
            Tensor::<2>::random(shape, normal, &device)
                .autodiff()
                .require_grad()
        };
        let (states, weight) = (leaf([rows, width]), leaf([1, width]));
        let factors = Tensor::<2>::random([rows, width], normal, &device);
        let output = norm(states.clone(), weight.clone(), EPSILON);
        let gradients = (output.clone() * factors.autodiff()).sum().backward();
        let gradient = |leaf: &Tensor<2>| leaf.grad(&gradients).expect("a gradient");
        [output.inner(), gradient(&states), gradient(&weight)]
    }

    #[test]
    fn output_and_gradients_are_those_of_plain_tensor_functions() {
        for rows in [1, 3, 17] {
            let kernel = |states, weight, epsilon| rms_norm(states, weight, epsilon, DType::F32);
            let expected = outputs(rms_norm_reference, rows);
            for (found, expected) in outputs(kernel, rows).into_iter().zip(expected) {
                assert_eq!(found.dims(), expected.dims());
                let worst: f32 = (found - expected).abs().max().into_scalar();
                assert!(worst < 2e-5, "{rows} rows: {worst}");
            }
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        let device = Device::flex();
        let weight = Tensor::<2>::ones([1, 4], &device);
        let empty = rms_norm(Tensor::zeros([0, 4], &device), weight, EPSILON, DType::F32);
        assert_eq!(empty.dims(), [0, 4]);
    }
}
