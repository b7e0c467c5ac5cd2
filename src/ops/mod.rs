//! Tensor functions that Burn lacks.

mod adamw_8bit_step;
mod adamw_step;
mod add_bias;
mod add_rows;
mod attention;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
mod decode;
mod gradient_scale;
mod group_advantage;
mod host_floats;
#[cfg(feature = "flex")]
mod lanes;
mod linear;
mod product;
mod rms_norm;
mod rotate_half;
mod sample;
mod shader;
mod sum_of_squares;
mod swiglu;
mod token_logprobs;

pub use adamw_8bit_step::{BLOCK, BlockCodes, MomentSign, adamw_8bit_step};
pub use adamw_step::{AdamWStep, adamw_step, adamw_step_reference};
pub use add_bias::{AddBiasBackend, add_bias};
pub use add_rows::{add_rows, add_rows_reference};
pub use attention::{Sight, attention, attention_reference};
pub use decode::{
    DecodeHost, DecodeLayer, DecodeProgram, DecodeRow, DecodeSettings, DecodeWeights, DecodedToken,
    JoinedLinear,
};
pub(crate) use gradient_scale::GradientScale;
pub use group_advantage::{AdvantageDivisor, group_advantage, group_advantage_reference};
pub(crate) use host_floats::HostFloats;
pub use linear::{LinearBackend, linear, matmul_f32};
pub use rms_norm::{RmsNormBackend, rms_norm, rms_norm_reference};
pub use rotate_half::{rotate_half, rotate_half_reference};
pub use sample::{SampleFilters, SampledTokens, sample, sample_reference, sample_streams};
pub use sum_of_squares::sum_of_squares;
pub use swiglu::{swiglu, swiglu_reference};
pub use token_logprobs::{
    GPU_TILE_VALUES, HeadGradients, HeadSum, TILE_VALUES, TokenGradients, TokenLogprobs,
    head_gradients, token_logprobs,
};

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device;
use crate::error::{Error, Result};

/// Bytes of a GPU's memory, where its driver says so, as through CUDA and SPIR-V; none for the CPU.
pub fn gpu_bytes(device: &Device) -> Option<usize> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    {
        cube::memory_bytes(&device.clone().without_autodiff())
    }
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    {
        let _ = device;
        None
    }
}

/// Whether a tensor's numbers are `f32` in the host's memory.
fn is_on_cpu<const D: usize>(tensor: &Tensor<D>) -> bool {
    device::is_cpu(&tensor.device()) && tensor.dtype() == DType::F32
}

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

/// A tensor of normal numbers from the host: the device's own stream is shared by all tests.
#[cfg(test)]
pub(crate) fn normal_floats(
    shape: [usize; 2],
    deviation: f32,
    rng: &mut rand_chacha::ChaCha8Rng,
    device: &burn::tensor::Device,
) -> Tensor<2> {
    use rand_distr::{Distribution, Normal};

    let normal = Normal::new(0.0, deviation).unwrap();
    let numbers = shape[0] * shape[1];
    floats(
        normal.sample_iter(rng).take(numbers).collect(),
        shape,
        device,
    )
}
