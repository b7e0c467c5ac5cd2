//! Rotary position embedding in the half-rotation form of the published Qwen and Llama weights
//! (RoFormer, arXiv:2104.09864).
//!
//! `y = x ⊙ cos + rot(x) ⊙ sin` with `rot([a, b]) = [−b, a]` on the two halves of a head. The gradient
//! turns back: the same with `−sin`. One pass each way: on the CPU in the heads' own memory where no
//! one else holds it; on GPUs from and to any order of heads and tokens.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::device;

/// Rotates every head by the angles of its position.
///
/// On GPUs the heads may be shorter numbers than the angles, and the result lies in memory head by
/// head, `[B, H, T, D]`, as attention reads it.
///
/// # Shapes
/// `heads` `[B, T, H, D]`, `cos` and `sin` `[B or 1, T, 1, D]`, equal in both halves of `D`; returns
/// `[B, T, H, D]`.
pub fn rotate_half(heads: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    if device::is_cpu(&heads.device()) && heads.dtype() != DType::F32 {
        return rotate_half_reference(heads, cos, sin);
    }
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::rotate_half(heads.into_dispatch(), cos, sin))
}

/// The same from plain tensor functions: what every backend must agree with.
///
/// # Shapes
/// As [`rotate_half`].
pub fn rotate_half_reference(heads: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let half = heads.dims()[3] / 2;
    let first = heads.clone().narrow(3, 0, half);
    let second = heads.clone().narrow(3, half, half);
    let rotated = Tensor::cat(vec![second.neg(), first], 3);
    heads * cos.clone() + rotated * sin.clone()
}

/// Backends with the operation.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(any(feature = "wgpu", feature = "cuda"))
)]
pub trait RotateHalfBackend: Backend {
    /// `[B, T, H, D]` and twice `[B or 1, T, 1, D]` to `[B, T, H, D]`.
    #[fusion(dtype = heads, shape = heads)]
    fn rotate_half(
        heads: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Turns the gradient back: that of the heads.
    #[fusion(dtype = gradient, shape = gradient)]
    fn rotate_half_gradient(
        gradient: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::rotate_half(gradient, cos, Self::float_neg(sin))
    }
}

impl<B: RotateHalfBackend, C: CheckpointStrategy> RotateHalfBackend for Autodiff<B, C> {
    fn rotate_half(
        heads: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let prepared = RotateHalfStep
            .prepare::<C>([heads.node()])
            .compute_bound()
            .stateful();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let output = B::rotate_half(heads.into_primitive(), cos.clone(), sin.clone());
        match prepared {
            OpsKind::Tracked(step) => step.finish((cos, sin), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

/// The step of the autodiff graph; its parent is the heads.
#[derive(Debug)]
struct RotateHalfStep;

impl<B: RotateHalfBackend> Backward<B, 1> for RotateHalfStep {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cos, sin) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::rotate_half_gradient(gradient, cos, sin));
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    type Rotate = fn(Tensor<4>, &Tensor<4>, &Tensor<4>) -> Tensor<4>;

    /// The output and the gradient for a loss that weighs every output differently, where `rows` of
    /// three rows have positions of their own.
    fn outputs(rotate: Rotate, rows: usize, half: usize) -> [Tensor<4>; 2] {
        let device = Device::flex();
        device.seed(5);
        let shape = [3, 5, 2, 2 * half];
        let normal = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let angles = normal([rows, 5, 1, half]);
        let angles = Tensor::cat(vec![angles.clone(), angles], 3);
        let (cos, sin) = (angles.clone().cos().autodiff(), angles.sin().autodiff());
        let heads = normal(shape).autodiff().require_grad();
        let output = rotate(heads.clone(), &cos, &sin);
        let found = (output.clone() * normal(shape).autodiff()).sum().backward();
        [output.inner(), heads.grad(&found).expect("a gradient")]
    }

    #[test]
    fn output_and_gradient_are_those_of_plain_tensor_functions() {
        for (rows, half) in [(1, 1), (3, 7), (1, 16)] {
            let expected = outputs(rotate_half_reference, rows, half);
            for (found, expected) in outputs(rotate_half, rows, half).into_iter().zip(expected) {
                let worst: f32 = (found - expected).abs().max().into_scalar();
                assert!(worst < 1e-6, "{rows} {half}: {worst}");
            }
        }
    }

    #[test]
    fn heads_that_others_hold_keep_their_values() {
        let device = Device::flex();
        let heads = Tensor::<4>::ones([1, 1, 1, 2], &device);
        let (cos, sin) = (heads.clone() * 0.0, heads.clone());
        let rotated = rotate_half(heads.clone(), &cos, &sin);
        let read = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().unwrap();
        // A quarter turn takes (1, 1) to (-1, 1).
        assert_eq!(read(rotated), [-1.0, 1.0]);
        assert_eq!(read(heads), [1.0, 1.0]);
    }

    #[test]
    fn no_rows_give_no_rows() {
        let device = Device::flex();
        let angles = Tensor::<4>::zeros([1, 2, 1, 4], &device);
        let empty = rotate_half(Tensor::zeros([0, 2, 3, 4], &device), &angles, &angles);
        assert_eq!(empty.dims(), [0, 2, 3, 4]);
    }
}
