//! Rows added to the rows of a matrix that indices name, as the gradient of an embedding is.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use crate::device;

/// `sum` with each row of `summands` added to the row that `rows` names, in order, so that the result
/// does not depend on timing; in place where no one else holds it.
///
/// # Shapes
/// `sum` `[V, E]`, `rows` `[N]`, `summands` `[N, E]`, without autodiff.
pub fn add_rows(sum: Tensor<2>, rows: Tensor<1, Int>, summands: Tensor<2>) -> Tensor<2> {
    if device::is_cpu(&sum.device()) {
        return add_rows_reference(sum, rows, summands);
    }
    on_gpu(sum, rows, summands)
}

/// The same from plain tensor functions, which go through the rows one by one.
///
/// # Shapes
/// As [`add_rows`].
pub fn add_rows_reference(sum: Tensor<2>, rows: Tensor<1, Int>, summands: Tensor<2>) -> Tensor<2> {
    sum.select_assign(0, rows, summands, IndexingUpdateOp::Add)
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn on_gpu(sum: Tensor<2>, rows: Tensor<1, Int>, summands: Tensor<2>) -> Tensor<2> {
    use burn::backend::Dispatch;

    use self::cube::AddRowsBackend;

    let (sum, rows) = (sum.into_dispatch(), rows.into_dispatch());
    Tensor::from_dispatch(Dispatch::add_rows(sum, rows, summands.into_dispatch()))
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn on_gpu(sum: Tensor<2>, rows: Tensor<1, Int>, summands: Tensor<2>) -> Tensor<2> {
    add_rows_reference(sum, rows, summands)
}
