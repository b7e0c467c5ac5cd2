//! Root-mean-square normalisation (arXiv:1910.07467) with a backward pass of its own.
//!
//! `y = x r ⊙ w` with `r = 1 / √(mean(x²) + ε)` for each row. With `x̂ = x r` and the gradient `g` of
//! `y`: `dx = r (g ⊙ w − x̂ mean(g ⊙ w ⊙ x̂))`, `dw = Σ_rows g ⊙ x̂`. The graph holds the input and the
//! weight, nothing in between.

#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

/// Normalises every row and scales it by the weight.
///
/// # Shapes
/// `states` `[N, E]`, `weight` `[1, E]`; returns `[N, E]`.
pub fn rms_norm(states: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let (states, weight) = (states.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::rms_norm(states, weight, epsilon))
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
    /// `[N, E]` and `[1, E]` to `[N, E]`.
    #[fusion(default)]
    fn rms_norm(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let root = inverse_root::<Self>(states.clone(), epsilon);
        Self::float_mul(Self::float_mul(states, root), weight)
    }

    /// Gradient with respect to the states, `[N, E]`.
    #[fusion(default)]
    fn rms_norm_states_gradient(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let root = inverse_root::<Self>(states.clone(), epsilon);
        let normed = Self::float_mul(states, root.clone());
        let scaled = Self::float_mul(gradient, weight);
        let mean = Self::float_mean_dim(Self::float_mul(scaled.clone(), normed.clone()), 1);
        Self::float_mul(Self::float_sub(scaled, Self::float_mul(normed, mean)), root)
    }

    /// Gradient with respect to the weight, `[1, E]`.
    #[fusion(default)]
    fn rms_norm_weight_gradient(
        states: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let root = inverse_root::<Self>(states.clone(), epsilon);
        let normed = Self::float_mul(states, root);
        Self::float_sum_dim(Self::float_mul(gradient, normed), 0)
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl RmsNormBackend for burn_cubecl::CubeBackend {}

fn inverse_root<B: Backend>(states: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let variance = B::float_mean_dim(B::float_mul(states.clone(), states), 1);
    B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())))
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
            let result = B::rms_norm_weight_gradient(states, gradient, epsilon);
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
    ) -> FloatTensor<Self> {
        let prepared = RmsNormStep
            .prepare::<C>([states.node(), weight.node()])
            .compute_bound()
            .stateful();
        let (states, weight) = (states.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(step) => {
                let output = B::rms_norm(states.clone(), weight.clone(), epsilon);
                step.finish((states, weight, epsilon), output)
            }
            OpsKind::UnTracked(step) => step.finish(B::rms_norm(states, weight, epsilon)),
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
            let expected = outputs(rms_norm_reference, rows);
            for (found, expected) in outputs(rms_norm, rows).into_iter().zip(expected) {
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
        let empty = rms_norm(Tensor::zeros([0, 4], &device), weight, EPSILON);
        assert_eq!(empty.dims(), [0, 4]);
    }
}
