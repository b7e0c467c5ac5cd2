//! Between Burn's tensors and kernels.

use burn::backend::DispatchTensorKind;
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::client::Client;
use burn_cubecl::cubecl::features::Plane;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::CubeCount;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

/// A tensor's elements, as kernels are compiled for.
pub(super) fn element(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_storage_type(tensor.dtype)
}

/// A grid of cubes.
pub(super) fn grid(x: usize, y: usize) -> CubeCount {
    CubeCount::Static(x as u32, y as u32, 1)
}

/// Whether units of a plane can sum and compare what they hold.
pub(super) fn has_planes(client: &Client) -> bool {
    client.properties().features.plane.contains(Plane::Ops)
}

/// The device's own tensor, contiguous.
///
/// # Panics
/// When the tensor is not on a device that kernels run on.
pub(super) fn primitive<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(tensor) => {
            let tensor = tensor.float();
            let client = tensor.client.clone();
            into_contiguous(client.resolve_tensor_float::<CubeBackend>(tensor))
        }
        _ => panic!("kernels run on GPUs"),
    }
}
