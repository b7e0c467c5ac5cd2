//! The gate of a feed-forward block (SwiGLU, arXiv:2002.05202): `silu(a) ⊙ b`.
//!
//! With `s = sigmoid(a)` and the gradient `g` of the product: `da = g ⊙ b ⊙ s ⊙ (1 + a (1 − s))`,
//! `db = g ⊙ a ⊙ s`. One pass each way, in f32 whatever the operands, and only `a` and `b` are kept
//! for the way back.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor, activation::silu};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::device;

/// `silu(gate) ⊙ up`.
///
/// # Shapes
/// All the same.
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    if device::is_cpu(&gate.device()) && gate.dtype() != DType::F32 {
        return swiglu_reference(gate, up);
    }
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(Dispatch::swiglu(gate, up))
}

/// The same from plain tensor functions: what every backend must agree with.
///
/// # Shapes
/// As [`swiglu`].
pub fn swiglu_reference(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate) * up
}

/// Backends with the operation.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(any(feature = "wgpu", feature = "cuda"))
)]
pub trait SwigluBackend: Backend {
    /// `silu(gate) ⊙ up`.
    #[fusion(dtype = gate, shape = gate)]
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradients with respect to gate and up.
    #[fusion(meta = |gate, up, _gradient| (gate.clone(), up.clone()))]
    fn swiglu_gradients(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let share = Self::sigmoid(gate.clone());
        let silu = Self::float_mul(gate.clone(), share.clone());
        let slope = Self::float_add_scalar(Self::float_sub(gate, silu.clone()), 1.0.into());
        let slope = Self::float_mul(share, slope);
        let for_gate = Self::float_mul(Self::float_mul(gradient.clone(), up), slope);
        (for_gate, Self::float_mul(gradient, silu))
    }
}

impl<B: SwigluBackend, C: CheckpointStrategy> SwigluBackend for Autodiff<B, C> {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = SwigluStep
            .prepare::<C>([gate.node(), up.node()])
            .compute_bound()
            .stateful();
        let (gate, up) = (gate.into_primitive(), up.into_primitive());
        match prepared {
            OpsKind::Tracked(step) => {
                let output = B::swiglu(gate.clone(), up.clone());
                step.finish((gate, up), output)
            }
            OpsKind::UnTracked(step) => step.finish(B::swiglu(gate, up)),
        }
    }
}

/// The step of the autodiff graph; parents are gate and up.
#[derive(Debug)]
struct SwigluStep;

impl<B: SwigluBackend> Backward<B, 2> for SwigluStep {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (gate, up) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let (for_gate, for_up) = B::swiglu_gradients(gate, up, gradient);
        for (node, gradient) in ops.parents.into_iter().zip([for_gate, for_up]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// The output and both gradients for a loss that weighs every output differently.
    fn outputs(product: fn(Tensor<3>, Tensor<3>) -> Tensor<3>, width: usize) -> [Tensor<3>; 3] {
        let device = Device::flex();
        device.seed(9);
        let normal = || Tensor::random([3, 2, width], Distribution::Normal(0.0, 4.0), &device);
        let leaf = || normal().autodiff().require_grad();
        let (gate, up) = (leaf(), leaf());
        let output = product(gate.clone(), up.clone());
        let found = (output.clone() * normal().autodiff()).sum().backward();
        let gradient = |leaf: Tensor<3>| leaf.grad(&found).expect("a gradient");
        [output.inner(), gradient(gate), gradient(up)]
    }

    #[test]
    fn output_and_gradients_are_those_of_plain_tensor_functions() {
        for width in [1, 7, 33] {
            let expected = outputs(swiglu_reference, width);
            for (found, expected) in outputs(swiglu, width).into_iter().zip(expected) {
                let worst: f32 = (found - expected).abs().max().into_scalar();
                assert!(worst < 5e-5, "{width}: {worst}");
            }
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        let empty = || Tensor::<3>::zeros([0, 2, 4], &Device::flex());
        assert_eq!(swiglu(empty(), empty()).dims(), [0, 2, 4]);
    }
}
