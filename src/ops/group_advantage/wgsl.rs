//! Group-relative advantages by the shader.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::AdvantageDivisor;
use crate::ops::shader::Shader;

const SHADER: Shader = Shader {
    name: "group_advantage",
    source: include_str!("../../../shaders/group_advantage.wgsl"),
};

/// Backends that run the shader.
#[backend_extension(Cube, Fusion)]
pub trait GroupAdvantageBackend: Backend {
    /// `[groups, group_size]` to the same, `f32`, nothing empty.
    #[fusion(dtype = rewards, shape = rewards)]
    fn group_advantage(rewards: FloatTensor<Self>, divisor: AdvantageDivisor) -> FloatTensor<Self>;
}

impl GroupAdvantageBackend for CubeBackend {
    fn group_advantage(rewards: FloatTensor<Self>, divisor: AdvantageDivisor) -> FloatTensor<Self> {
        let rewards = into_contiguous(rewards);
        let shape = rewards.shape();
        let (groups, group_size) = (shape[0], shape[1]);
        let advantages = empty_device_contiguous_dtype(
            rewards.client.clone(),
            rewards.device.clone(),
            shape,
            rewards.dtype,
        );
        let scale = match divisor {
            AdvantageDivisor::GroupStd => 0,
            AdvantageDivisor::BatchStd => 1,
            AdvantageDivisor::None => 2,
        };
        let settings = [groups as u32, group_size as u32, scale, 0];
        SHADER.launch(groups, &[&rewards, &advantages], &settings);
        advantages
    }
}
