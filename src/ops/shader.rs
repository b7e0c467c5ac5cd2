//! Shaders: WGSL kernels, on the devices that compile WGSL.
//!
//! A shader `shaders/NAME.wgsl` has a twin `src/ops/NAME.rs`. All its tensors are bound
//! `read_write`, for Burn keeps several in one buffer; its settings come last, bound `read`.

#[cfg(feature = "wgpu")]
mod launch;

#[cfg(feature = "wgpu")]
pub(super) use launch::Shader;

use burn::tensor::Device;

/// Whether kernels written in WGSL run on `device`.
#[cfg(feature = "wgpu")]
pub(super) fn compiles_wgsl(device: &Device) -> bool {
    use burn::backend::DispatchDevice;

    match device.as_dispatch() {
        DispatchDevice::Cube(device) => device.client().name() == launch::WGSL_RUNTIME,
        _ => false,
    }
}

/// Whether kernels written in WGSL run on `device`: not in this build.
#[cfg(not(feature = "wgpu"))]
pub(super) fn compiles_wgsl(_: &Device) -> bool {
    false
}
