//! The gate over one tensor that holds gate and up next to each other.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

/// [`super::swiglu_joined`] of a tensor on a GPU.
pub(super) fn swiglu(joined: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::swiglu_joined(joined.into_dispatch()))
}

/// Backends with the operation.
#[backend_extension(Cube, Autodiff, Fusion)]
pub trait JoinedSwigluBackend: Backend {
    /// `[B, T, 2 I]` to `[B, T, I]`.
    #[fusion(dtype = joined, shape = Shape::new([joined[0], joined[1], joined[2] / 2]))]
    fn swiglu_joined(joined: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient with respect to gate and up, `[B, T, 2 I]`.
    #[fusion(dtype = joined, shape = joined)]
    fn swiglu_joined_gradient(
        joined: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl<B: JoinedSwigluBackend, C: CheckpointStrategy> JoinedSwigluBackend for Autodiff<B, C> {
    fn swiglu_joined(joined: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = JoinedSwigluStep
            .prepare::<C>([joined.node()])
            .compute_bound()
            .stateful();
        let joined = joined.into_primitive();
        match prepared {
            OpsKind::Tracked(step) => {
                let output = B::swiglu_joined(joined.clone());
                step.finish(joined, output)
            }
            OpsKind::UnTracked(step) => step.finish(B::swiglu_joined(joined)),
        }
    }

    fn swiglu_joined_gradient(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        unreachable!("gradients are taken below the graph")
    }
}

/// The step of the autodiff graph; its parent holds gate and up.
#[derive(Debug)]
struct JoinedSwigluStep;

impl<B: JoinedSwigluBackend> Backward<B, 1> for JoinedSwigluStep {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::swiglu_joined_gradient(ops.state, gradient));
        }
    }
}
