//! The gate on the CPU backend: one pass each way, in the operands' memory where no one else holds it.

use burn::backend::flex::{Flex, FlexTensor};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use macerator::{Simd, WithSimd};

use crate::ops::lanes::{self, sigmoid};

/// [`super::swiglu`] of tensors on the CPU.
pub(super) fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
    Tensor::from_dispatch(Dispatch::swiglu(gate, up))
}

/// Backends with the operation.
#[backend_extension(Flex, Autodiff)]
pub trait SwigluBackend: Backend {
    /// `silu(gate) ⊙ up`.
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl SwigluBackend for Flex {
    fn swiglu(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        let mut output = own(gate);
        lanes::run(Forward {
            gate: output.storage_mut(),
            up: up.to_contiguous().storage(),
        });
        output
    }
}

impl<C: CheckpointStrategy> SwigluBackend for Autodiff<Flex, C> {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = SwigluStep
            .prepare::<C>([gate.node(), up.node()])
            .compute_bound()
            .stateful();
        let (gate, up) = (gate.into_primitive(), up.into_primitive());
        match prepared {
            OpsKind::Tracked(step) => {
                let output = Flex::swiglu(gate.clone(), up.clone());
                step.finish((gate, up), output)
            }
            OpsKind::UnTracked(step) => step.finish(Flex::swiglu(gate, up)),
        }
    }
}

/// The step of the autodiff graph; parents are gate and up.
#[derive(Debug)]
struct SwigluStep;

impl Backward<Flex, 2> for SwigluStep {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (gate, up) = ops.state;
        let (mut gate, mut up) = (own(gate), own(up));
        let gradient = grads.consume::<Flex>(&ops.node);
        lanes::run(Back {
            gate: gate.storage_mut(),
            up: up.storage_mut(),
            gradient: gradient.to_contiguous().storage(),
        });
        for (node, gradient) in ops.parents.into_iter().zip([gate, up]) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// The tensor with its numbers in order, without a second handle to them.
fn own(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// Replaces the gate by the product.
struct Forward<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        for (a, b) in self.gate.iter_mut().zip(self.up) {
            *a = *a * sigmoid(*a) * b;
        }
    }
}

/// Replaces gate and up by their gradients.
struct Back<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    gradient: &'a [f32],
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let operands = self.gate.iter_mut().zip(self.up);
        for ((a, b), g) in operands.zip(self.gradient) {
            let s = sigmoid(*a);
            let silu = *a * s;
            (*a, *b) = (g * *b * s * (1.0 + *a - silu), g * silu);
        }
    }
}
