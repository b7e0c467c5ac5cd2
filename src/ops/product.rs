//! Products of matrices on GPUs: `C = A B` with sums in `f32`, in one order.
//!
//! One kernel is for matrix units that are given their numbers in registers, as on CUDA, another for those that
//! planes load whole matrices into, as through Vulkan; both take halves. A third is for GPUs without matrix units, as
//! most are through WGSL. All else is left to Burn.

#[cfg(feature = "wgpu")]
mod cooperative;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) mod cube;
#[cfg(test)]
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod exact;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod fragments;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod operand;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod tile_plan;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod tiles;
#[cfg(feature = "wgpu")]
mod wgsl;

use burn::tensor::{DType, Device};

/// Whether a kernel is for the product `[rows, inner]` by `[inner, columns]` of this type on `device`.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) fn is_taken(device: &Device, dtype: DType, [rows, inner, columns]: [usize; 3]) -> bool {
    let extents = cube::Extents {
        batches: 1,
        rows,
        inner,
        columns,
    };
    match device.clone().without_autodiff().as_dispatch() {
        burn::backend::DispatchDevice::Cube(device) => {
            let client = device.client();
            #[cfg(feature = "wgpu")]
            if cooperative::suit(extents, &client, dtype).is_some() {
                return true;
            }
            extents.suit(&client) || fragments::suit(extents, &client, dtype)
        }
        _ => false,
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(super) fn is_taken(_: &Device, _: DType, _: [usize; 3]) -> bool {
    false
}
