//! Linear maps in mixed precision (arXiv:1710.03740), and the products they are made of.
//!
//! `y = x Wᵀ` in the type of `x`, whatever that of `W`. With the gradient `g` of `y`: `dx = g W` in the
//! type of `x`, `dW = gᵀ x` summed in `f32`. The graph holds `W`, and `x` where `W` is trained, as they
//! are: a rounded copy of `W` lives only while it is multiplied.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::Shape;
use burn::tensor::{DType, FloatDType, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::product;

/// `x Wᵀ`, in the type of the states `x`.
///
/// # Shapes
/// `states` `[N, I]`, `weight` `[O, I]`; returns `[N, O]`.
pub fn linear(states: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    if super::is_on_cpu(&states) {
        return states.matmul(weight.cast(DType::F32).transpose());
    }
    let ([n, i], [o, _]) = (states.dims(), weight.dims());
    let by_kernel = product::is_taken(&states.device(), states.dtype(), [n, i, o]);
    let (states, weight) = (states.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::linear_map(states, weight, by_kernel))
}

/// `a b` as `f32`: sums of halves are not rounded back.
///
/// # Shapes
/// `[M, K]` and `[K, N]`, both of one type; returns `[M, N]`.
pub fn matmul_f32(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    if a.dtype() == DType::F32 {
        return a.matmul(b);
    }
    let (a, b) = (a.into_dispatch(), b.into_dispatch());
    Tensor::from_dispatch(Dispatch::product(a, b, DType::F32))
}

/// Backends that multiply so.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(any(feature = "wgpu", feature = "cuda"))
)]
pub trait LinearBackend: Backend {
    /// `[N, I]` and `[O, I]` to `[N, O]`, in the type of the states; `by_kernel` as a
    /// [`product`](Self::product), else as Burn multiplies.
    #[fusion(default)]
    fn linear_map(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        by_kernel: bool,
    ) -> FloatTensor<Self> {
        let weight = Self::float_cast(weight, states.dtype().into());
        multiplied::<Self>(states, Self::float_transpose(weight), by_kernel)
    }

    /// `[M, K]` and `[K, N]` of one type to `[M, N]` of `dtype`, summed in `f32`.
    #[fusion(dtype = *dtype, shape = Shape::new([a[0], b[1]]))]
    fn product(a: FloatTensor<Self>, b: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        let [a, b] = [a, b].map(|matrix| Self::float_cast(matrix, FloatDType::F32));
        Self::float_cast(Self::float_matmul(a, b), dtype.into())
    }

    /// `gᵀ x` of `[N, O]` and `[N, I]`, both of one type, to `[O, I]`, `f32`.
    #[fusion(dtype = DType::F32, shape = Shape::new([gradient[1], states[1]]))]
    fn weight_gradient(
        gradient: FloatTensor<Self>,
        states: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::product(Self::float_transpose(gradient), states, DType::F32)
    }
}

/// `a b` in their type.
fn multiplied<B: LinearBackend>(
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    by_kernel: bool,
) -> FloatTensor<B> {
    let dtype = a.dtype();
    match by_kernel {
        true => B::product(a, b, dtype),
        false => B::float_matmul(a, b),
    }
}

#[cfg(feature = "flex")]
impl LinearBackend for burn::backend::flex::Flex {}

/// The step of the autodiff graph; parents are states and weight.
#[derive(Debug)]
struct LinearStep {
    by_kernel: bool,
}

impl<B: LinearBackend> Backward<B, 2> for LinearStep {
    /// The states, if the weight is tracked, and the weight.
    type State = (Option<FloatTensor<B>>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (states, weight) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let [for_states, for_weight] = ops.parents;
        if let (Some(node), Some(states)) = (for_weight, states) {
            let result = B::weight_gradient(gradient.clone(), states);
            let result = B::float_cast(result, weight.dtype().into());
            grads.register::<B>(node.id, result);
        }
        if let Some(node) = for_states {
            let weight = B::float_cast(weight, gradient.dtype().into());
            let result = multiplied::<B>(gradient, weight, self.by_kernel);
            grads.register::<B>(node.id, result);
        }
    }
}

impl<B: LinearBackend, C: CheckpointStrategy> LinearBackend for Autodiff<B, C> {
    fn linear_map(
        states: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        by_kernel: bool,
    ) -> FloatTensor<Self> {
        let prepared = LinearStep { by_kernel }
            .prepare::<C>([states.node(), weight.node()])
            .compute_bound()
            .stateful();
        let is_weight_tracked = weight.is_tracked();
        let (states, weight) = (states.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(step) => {
                let output = B::linear_map(states.clone(), weight.clone(), by_kernel);
                step.finish((is_weight_tracked.then_some(states), weight), output)
            }
            OpsKind::UnTracked(step) => step.finish(B::linear_map(states, weight, by_kernel)),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops;

    fn tensor(values: &[f32], shape: [usize; 2], dtype: DType) -> Tensor<2> {
        ops::floats::<2>(values.to_vec(), shape, &Device::flex()).cast(dtype)
    }

    #[test]
    fn sums_of_halves_are_not_rounded_back() {
        // 256 + 1 = 257 has nine significant bits, one more than bf16.
        let a = tensor(&[256.0, 1.0], [1, 2], DType::BF16);
        let b = tensor(&[1.0, 1.0], [2, 1], DType::BF16);
        let product = matmul_f32(a, b);
        assert_eq!(product.dtype(), DType::F32);
        assert_eq!(ops::read_floats(product).unwrap(), [257.0]);
    }

    #[test]
    fn a_map_rounds_its_weight_and_returns_gradients_in_the_types_of_its_inputs() {
        let leaf =
            |values: &[f32], shape, dtype| tensor(values, shape, dtype).autodiff().require_grad();
        let states = leaf(&[256.0, 2.0, 1.0, 3.0], [2, 2], DType::BF16);
        // 1.001 is 1 in bf16.
        let weight = leaf(&[1.001, -1.0], [1, 2], DType::F32);
        let output = linear(states.clone(), weight.clone());
        assert_eq!(output.dtype(), DType::BF16);
        let found = output.clone().sum().backward();
        assert_eq!(ops::read_floats(output.inner()).unwrap(), [254.0, -2.0]);
        let (for_states, for_weight) = (states.grad(&found), weight.grad(&found));
        let (for_states, for_weight) = (for_states.unwrap(), for_weight.unwrap());
        assert_eq!(
            [for_states.dtype(), for_weight.dtype()],
            [DType::BF16, DType::F32]
        );
        assert_eq!(
            ops::read_floats(for_states).unwrap(),
            [1.0, -1.0, 1.0, -1.0]
        );
        // 256 + 1, not rounded; 2 + 3.
        assert_eq!(ops::read_floats(for_weight).unwrap(), [257.0, 5.0]);
    }
}
