//! Tensor functions that Burn lacks.

mod rms_norm;
mod token_logprobs;

pub use rms_norm::{RmsNormBackend, rms_norm, rms_norm_reference};
pub use token_logprobs::{
    HeadGradients, HeadSum, TILE_VALUES, TokenGradients, TokenLogprobs, head_gradients,
    token_logprobs,
};

use burn::tensor::{Tensor, TensorData};

use crate::error::{Error, Result};

/// Reads a float tensor's values back to the host.
///
/// # Errors
/// When the device failed: a kernel that could not run shows here, not where it was launched.
pub fn read_floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let device = format!("{:?}", tensor.device());
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::Device {
            device,
            problem: format!("result could not be read: {error:?}"),
        })
}

/// A tensor of floats from the host.
pub(crate) fn floats<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &burn::tensor::Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A tensor of indices from the host.
pub(crate) fn indices(
    values: impl IntoIterator<Item = usize>,
    device: &burn::tensor::Device,
) -> Tensor<1, burn::tensor::Int> {
    let values: Vec<i32> = values.into_iter().map(|index| index as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
