//! A row added to every row, as the bias of a linear map is.
//!
//! The row's gradient is the sum of all rows of the gradient, taken in `f32` whatever their type. Burn takes it on
//! GPUs with one cube for many columns, which is most of the GPU idle.

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

/// Every row plus the bias, which is rounded to the type of the rows.
///
/// # Shapes
/// `rows` `[N, O]`, `bias` `[1, O]`.
pub fn add_bias(rows: Tensor<2>, bias: Tensor<2>) -> Tensor<2> {
    if super::is_on_cpu(&rows) {
        return rows + bias.cast(DType::F32);
    }
    let (rows, bias) = (rows.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::add_bias(rows, bias))
}

/// Backends with the operation.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(any(feature = "wgpu", feature = "cuda"))
)]
pub trait AddBiasBackend: Backend {
    /// `[N, O]` and `[1, O]` to `[N, O]`, in the type of the rows.
    #[fusion(default)]
    fn add_bias(rows: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let bias = Self::float_cast(bias, rows.dtype().into());
        Self::float_add(rows, bias)
    }

    /// Sums of the columns of `[N, O]`, `[1, O]` of `dtype`, summed in `f32`.
    #[fusion(dtype = *dtype, shape = Shape::new([1, rows[1]]))]
    fn column_sums(rows: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        let sums = Self::float_sum_dim(Self::float_cast(rows, FloatDType::F32), 0);
        Self::float_cast(sums, dtype.into())
    }
}

#[cfg(feature = "flex")]
impl AddBiasBackend for burn::backend::flex::Flex {}

impl<B: AddBiasBackend, C: CheckpointStrategy> AddBiasBackend for Autodiff<B, C> {
    fn add_bias(rows: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = AddBiasStep
            .prepare::<C>([rows.node(), bias.node()])
            .compute_bound()
            .stateful();
        let (rows, bias) = (rows.into_primitive(), bias.into_primitive());
        match prepared {
            OpsKind::Tracked(step) => {
                let dtype = bias.dtype();
                step.finish(dtype, B::add_bias(rows, bias))
            }
            OpsKind::UnTracked(step) => step.finish(B::add_bias(rows, bias)),
        }
    }
}

/// The step of the autodiff graph; parents are rows and bias, whose type it keeps.
#[derive(Debug)]
struct AddBiasStep;

impl<B: AddBiasBackend> Backward<B, 2> for AddBiasStep {
    type State = DType;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let [for_rows, for_bias] = ops.parents;
        if let Some(node) = for_bias {
            grads.register::<B>(node.id, B::column_sums(gradient.clone(), ops.state));
        }
        if let Some(node) = for_rows {
            grads.register::<B>(node.id, gradient);
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops;

    #[test]
    fn halves_are_summed_without_rounding() {
        let device = Device::flex();
        let leaf = |values: &[f32], shape: [usize; 2], dtype| {
            let values = ops::floats::<2>(values.to_vec(), shape, &device);
            values.cast(dtype).autodiff().require_grad()
        };
        let rows = leaf(&[1.0, 2.0, 3.0, 4.0], [2, 2], DType::BF16);
        // 1.001 is 1 in bf16.
        let bias = leaf(&[1.001, -1.0], [1, 2], DType::F32);
        let output = add_bias(rows.clone(), bias.clone());
        assert_eq!(output.dtype(), DType::BF16);
        // 256 + 1 has one significant bit more than bf16.
        let factors = ops::floats::<2>(vec![256.0, 1.0, 1.0, 2.0], [2, 2], &device);
        let factors = factors.cast(DType::BF16).autodiff();
        let found = (output.clone() * factors).sum().backward();
        assert_eq!(
            ops::read_floats(output.inner()).unwrap(),
            [2.0, 1.0, 4.0, 3.0]
        );
        let (for_rows, for_bias) = (rows.grad(&found).unwrap(), bias.grad(&found).unwrap());
        assert_eq!(
            [for_rows.dtype(), for_bias.dtype()],
            [DType::BF16, DType::F32]
        );
        assert_eq!(ops::read_floats(for_rows).unwrap(), [256.0, 1.0, 1.0, 2.0]);
        assert_eq!(ops::read_floats(for_bias).unwrap(), [257.0, 3.0]);
    }
}
