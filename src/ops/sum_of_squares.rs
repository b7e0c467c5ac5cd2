//! Sum of the squares of many tensors' numbers, in one transfer from the device.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;

use burn::tensor::Tensor;

use super::read_floats;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use crate::device;
use crate::error::Result;

/// The sum over all numbers of all tensors, which are on one device.
///
/// On GPUs one kernel a tensor, added up in a fixed order; the rest of the sum is taken in `f64`.
///
/// # Shapes
/// Each its own `[R, C]`.
///
/// # Errors
/// When the device failed.
pub fn sum_of_squares(tensors: &[Tensor<2>]) -> Result<f64> {
    if tensors.is_empty() {
        return Ok(0.0);
    }
    let parts = parts_on_device(tensors);
    Ok(read_floats(parts)?.into_iter().map(f64::from).sum())
}

/// Sums that add up to the whole.
fn parts_on_device(tensors: &[Tensor<2>]) -> Tensor<1> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if !device::is_cpu(&tensors[0].device()) {
        return cube::parts(tensors);
    }
    let sums = tensors.iter().map(|tensor| tensor.clone().square().sum());
    Tensor::cat(sums.collect(), 0)
}
