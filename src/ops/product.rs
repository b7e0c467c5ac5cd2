//! Products of matrices on GPUs without matrix units, as every GPU is through WGSL.
//!
//! `C = A B` with sums in `f32`, each in the order of the inner axis. Where a GPU has matrix units Burn's
//! own products are far faster than this kernel.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) mod cube;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod tiles;

use burn::tensor::Device;

/// Whether the kernel takes the product `[rows, inner]` by `[inner, columns]` on `device`.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) fn is_taken(device: &Device, [rows, inner, columns]: [usize; 3]) -> bool {
    let extents = cube::Extents {
        batches: 1,
        rows,
        inner,
        columns,
    };
    match device.clone().without_autodiff().as_dispatch() {
        burn::backend::DispatchDevice::Cube(device) => extents.suit(&device.client()),
        _ => false,
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(super) fn is_taken(_: &Device, _: [usize; 3]) -> bool {
    false
}
