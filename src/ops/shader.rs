//! Shaders: WGSL kernels, on the devices that compile WGSL.
//!
//! A shader `shaders/NAME.wgsl` has a twin `src/ops/NAME.rs`. All its tensors are bound
//! `read_write`, for Burn keeps several in one buffer; its settings come last, bound `read`.

#[cfg(feature = "wgpu")]
mod launch;

#[cfg(feature = "wgpu")]
pub(super) use launch::{Shader, launch_source};

use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn_cubecl::cubecl::prelude::Client;

/// Whether kernels written in WGSL run on `device`.
#[cfg(feature = "wgpu")]
pub(super) fn compiles_wgsl(device: &Device) -> bool {
    use burn::backend::DispatchDevice;

    match device.as_dispatch() {
        DispatchDevice::Cube(device) => is_wgsl(&device.client()),
        _ => false,
    }
}

/// Whether this is a client of the runtime that compiles WGSL; others refuse it.
#[cfg(feature = "wgpu")]
pub(super) fn is_wgsl(client: &Client) -> bool {
    client.name() == "wgpu<wgsl>"
}

/// Whether this is a client of the runtime that compiles kernels to SPIR-V.
#[cfg(feature = "wgpu")]
pub(super) fn is_spirv(client: &Client) -> bool {
    client.name() == "wgpu<spirv>"
}

/// Whether kernels written in WGSL run on `device`: not in this build.
#[cfg(not(feature = "wgpu"))]
pub(super) fn compiles_wgsl(_: &Device) -> bool {
    false
}
