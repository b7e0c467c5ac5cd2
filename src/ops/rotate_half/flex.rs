//! Half-rotation on the CPU backend: one pass.

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

use crate::ops::lanes;

/// [`super::rotate_half`] of tensors on the CPU.
pub(super) fn rotate_half(heads: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let (heads, cos) = (heads.into_dispatch(), cos.into_dispatch());
    Tensor::from_dispatch(Dispatch::rotate_half(heads, cos, sin.into_dispatch()))
}

/// Backends with the operation.
#[backend_extension(Flex, Autodiff)]
pub trait RotateHalfBackend: Backend {
    /// `[B, T, H, D]` and twice `[B or 1, T, 1, D]` to `[B, T, H, D]`.
    fn rotate_half(
        heads: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl RotateHalfBackend for Flex {
    fn rotate_half(heads: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        turn(heads, &cos, &sin, 1.0)
    }
}

impl<C: CheckpointStrategy> RotateHalfBackend for Autodiff<Flex, C> {
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
        let output = turn(heads.into_primitive(), &cos, &sin, 1.0);
        match prepared {
            OpsKind::Tracked(step) => step.finish((cos, sin), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }
}

/// The step of the autodiff graph; its parent is the heads.
#[derive(Debug)]
struct RotateHalfStep;

impl Backward<Flex, 1> for RotateHalfStep {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cos, sin) = ops.state;
        let gradient = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, turn(gradient, &cos, &sin, -1.0));
        }
    }
}

/// Turns forwards (`direction` 1) or back (-1).
fn turn(heads: FlexTensor, cos: &FlexTensor, sin: &FlexTensor, direction: f32) -> FlexTensor {
    let [_, _, count, width] = heads.layout().shape().dims();
    let (cos, sin) = (cos.to_contiguous(), sin.to_contiguous());
    let mut output = heads.to_contiguous();
    drop(heads);
    lanes::run(Turn {
        heads: output.storage_mut(),
        count,
        width,
        cos: cos.storage(),
        sin: sin.storage(),
        direction,
    });
    output
}

struct Turn<'a> {
    heads: &'a mut [f32],
    /// Heads of a position.
    count: usize,
    width: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    direction: f32,
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let width = self.width;
        let angles = self
            .cos
            .chunks_exact(width)
            .zip(self.sin.chunks_exact(width));
        let positions = self.heads.chunks_exact_mut(self.count * width);
        // Rows that share their positions go through the same angles again.
        for (heads, (cos, sin)) in positions.zip(angles.cycle()) {
            for head in heads.chunks_exact_mut(width) {
                let (first, second) = head.split_at_mut(width / 2);
                let halves = first.iter_mut().zip(second);
                for ((a, b), (cos, sin)) in halves.zip(cos.iter().zip(sin)) {
                    let sin = sin * self.direction;
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}
