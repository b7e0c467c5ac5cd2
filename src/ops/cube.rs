//! What the kernels written in CubeCL share: their launches and the reductions over a cube's units.
//!
//! CubeCL compiles them for every GPU: to CUDA, SPIR-V, WGSL and Metal. Arithmetic is in f32,
//! whatever the numbers' type in memory, and every sum is taken in one fixed order.

mod sum_of_rows;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::{DispatchDevice, DispatchTensorKind};
use burn::tensor::{DType, Device, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::features::{MmaConfig, Plane};
use burn_cubecl::cubecl::ir::FloatKind;
use burn_cubecl::cubecl::std::tensor::copy_into;
use burn_cubecl::cubecl::{self, calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

pub(super) use self::sum_of_rows::sum_of_rows;

/// Most units of a cube that every device has.
const MOST_UNITS: usize = 256;

/// The units of a cube along one axis, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Block {
    /// Units of a cube.
    pub units: u32,
    /// Units that add up without shared memory; 0 where the device has no such planes.
    pub plane: u32,
}

impl Block {
    /// A cube for `work` items, of which a unit may take several.
    pub(super) fn new(client: &Client, work: usize) -> Self {
        let most = MOST_UNITS.min(client.properties().hardware.max_units_per_cube as usize);
        let least = (plane_units(client).max(1) as usize).min(most);
        Self::of(client, work.next_power_of_two().clamp(least, most))
    }

    /// The largest cube that kernels are launched with.
    pub(super) fn largest(client: &Client) -> Self {
        Self::new(client, MOST_UNITS)
    }

    /// A cube of `units`, a power of two that the device has.
    pub(super) fn of(client: &Client, units: usize) -> Self {
        let (units, plane) = (units as u32, plane_units(client));
        // A plane that does not fill the cube evenly is none.
        let plane = if units.is_multiple_of(plane.max(1)) {
            plane
        } else {
            0
        };
        Self { units, plane }
    }

    /// The launch's cube.
    pub(super) fn dim(self) -> CubeDim {
        CubeDim::new_1d(self.units)
    }
}

/// Units that sum and compare what they hold without shared memory; 0 where there are no such planes, or
/// planes of more than one size.
fn plane_units(client: &Client) -> u32 {
    let properties = client.properties();
    let hardware = &properties.hardware;
    let is_fixed = hardware.plane_size_min == hardware.plane_size_max;
    match properties.features.plane.contains(Plane::Ops) && is_fixed {
        true => hardware.plane_size_max,
        false => 0,
    }
}

/// Whether planes of 32 units multiply `[16, 16]` by `[16, 8]` of such numbers from registers laid out as on
/// CUDA, with sums in `f32` (`mma.sync.m16n8k16` of PTX).
pub(super) fn multiplies_registers(client: &Client, element: ElemType) -> bool {
    let properties = client.properties();
    let hardware = &properties.hardware;
    let config = MmaConfig {
        a_type: element,
        b_type: element,
        cd_type: ElemType::Float(FloatKind::F32),
        m: 16,
        n: 8,
        k: 16,
    };
    properties.features.matmul.mma.contains(&config)
        && [hardware.plane_size_min, hardware.plane_size_max] == [32; 2]
}

/// How two numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fold {
    Sum,
    Max,
}

/// Cubes of a launch, at least `count`: those past the last have nothing to do.
pub(super) fn cubes(client: &Client, count: usize) -> CubeCount {
    calculate_cube_count_elemwise(client, count, CubeDim::new_single())
}

/// Exactly `x` times `y` cubes.
pub(super) fn grid(x: usize, y: usize) -> CubeCount {
    CubeCount::Static(x as u32, y as u32, 1)
}

/// A launch of one unit an item, at least `count`.
pub(super) fn units(client: &Client, count: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, count);
    (calculate_cube_count_elemwise(client, count, dim), dim)
}

/// A new contiguous tensor beside `other`.
pub(super) fn empty(other: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (other.client.clone(), other.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// The device's own tensor, contiguous.
///
/// # Panics
/// When the tensor is not on a device that kernels run on.
pub(super) fn primitive<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    into_contiguous(as_it_lies(tensor))
}

/// The device's own matrix, the numbers of a row one after the other; there may be room between rows, as CUDA likes
/// it, and nothing is copied for that.
///
/// # Panics
/// As [`primitive`].
pub(super) fn matrix(tensor: Tensor<2>) -> CubeTensor {
    let matrix = as_it_lies(tensor);
    match matrix.meta.strides()[1] {
        1 => matrix,
        _ => into_contiguous(matrix),
    }
}

/// Bytes of the memory of a device that kernels run on, if its driver says.
pub(super) fn memory_bytes(device: &Device) -> Option<usize> {
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return None;
    };
    let bytes = device.client().properties().memory.max_memory()?;
    usize::try_from(bytes).ok()
}

fn as_it_lies<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(tensor) => {
            let tensor = tensor.float();
            let client = tensor.client.clone();
            client.resolve_tensor_float::<CubeBackend>(tensor)
        }
        _ => panic!("kernels run on GPUs"),
    }
}

/// The same numbers in new memory.
pub(super) fn copy(tensor: &CubeTensor) -> CubeTensor {
    let output = empty(tensor, tensor.meta.shape().clone(), tensor.dtype);
    let [element] = types([tensor]);
    let (from, to) = (tensor.clone().binding(), output.clone().binding());
    copy_into(&tensor.client, from, to, element);
    output
}

/// Number types of tensors in memory.
pub(super) fn types<const N: usize>(tensors: [&CubeTensor; N]) -> [ElemType; N] {
    tensors.map(|tensor| dtype_to_storage_type(tensor.dtype))
}

/// Numbers read at a time from contiguous tensors whose rows are multiples of `width` numbers.
pub(super) fn vector_size(width: usize, tensors: &[&CubeTensor]) -> usize {
    let sizes = tensors.iter().map(|tensor| tensor.dtype.size());
    let client = &tensors[0].client;
    let vectors = client.io_optimized_vector_sizes(sizes.max().unwrap_or(1));
    let fitting = vectors.filter(|size| width.is_multiple_of(*size));
    fitting.max().unwrap_or(1)
}

/// Sum over the units of a cube, for each of them.
#[cube]
pub(super) fn cube_sum(value: f32, #[comptime] block: Block) -> f32 {
    fold(value, block, Fold::Sum)
}

/// Largest over the units of a cube, for each of them.
#[cube]
pub(super) fn cube_max(value: f32, #[comptime] block: Block) -> f32 {
    fold(value, block, Fold::Max)
}

#[cube]
fn fold(value: f32, #[comptime] block: Block, #[comptime] how: Fold) -> f32 {
    if comptime!(block.plane == 0) {
        fold_by_halves(value, block, how)
    } else {
        fold_by_planes(value, block, how)
    }
}

#[cube]
fn fold_by_halves(value: f32, #[comptime] block: Block, #[comptime] how: Fold) -> f32 {
    let mut values = Shared::<[f32]>::new_slice(comptime!(block.units as usize));
    let unit = UNIT_POS as usize;
    values[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(block.units.ilog2()) {
        let half = comptime!((block.units >> (step + 1)) as usize);
        if unit < half {
            values[unit] = both(values[unit], values[unit + half], how);
        }
        sync_cube();
    }
    let result = values[0];
    sync_cube();
    result
}

#[cube]
fn fold_by_planes(value: f32, #[comptime] block: Block, #[comptime] how: Fold) -> f32 {
    let of_plane = if comptime!(how == Fold::Sum) {
        plane_sum(value)
    } else {
        plane_max(value)
    };
    if comptime!(block.plane == block.units) {
        of_plane
    } else {
        let planes = comptime!((block.units / block.plane) as usize);
        let mut values = Shared::<[f32]>::new_slice(planes);
        if UNIT_POS_PLANE == 0 {
            values[(UNIT_POS / block.plane) as usize] = of_plane;
        }
        sync_cube();
        let mut result = values[0];
        #[unroll]
        for plane in 1..planes {
            result = both(result, values[plane], how);
        }
        sync_cube();
        result
    }
}

/// `1 / (1 + exp(−x))` of every number.
#[cube]
pub(super) fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0);
    // Shaders may take infinities for absent.
    let power = min(-x, Vector::new(80.0));
    one / (one + power.exp())
}

#[cube]
fn both(first: f32, second: f32, #[comptime] how: Fold) -> f32 {
    if comptime!(how == Fold::Sum) {
        first + second
    } else {
        max(first, second)
    }
}

#[cfg(test)]
#[cfg(feature = "wgpu")]
mod tests {
    use burn::backend::ops::FloatTensorOps;
    use burn::backend::{DispatchDevice, TensorMetadata};
    use burn::tensor::TensorData;
    use burn_cubecl::CubeBackend;
    use burn_cubecl::ops::into_data_sync;

    use super::*;
    use crate::device::{self, DeviceSpec};

    /// Each unit's sum and maximum of the values, one a unit.
    #[cube(launch)]
    fn folded(values: &[f32], output: &mut [f32], #[comptime] block: Block) {
        let unit = UNIT_POS as usize;
        let value = values[unit];
        output[unit] = cube_sum(value, block);
        output[unit + block.units as usize] = cube_max(value, block);
    }

    #[test]
    fn every_unit_has_the_sum_and_maximum_with_planes_or_without() {
        let Some(adapter) = device::adapters().into_iter().next() else {
            eprintln!("skipped: no wgpu adapter");
            return;
        };
        let device = device::open(&DeviceSpec::Wgpu(adapter.index)).unwrap();
        let DispatchDevice::Cube(device) = device.as_dispatch() else {
            panic!("an adapter is a CubeCL device");
        };
        for work in [1, 33, 200] {
            let with_planes = Block::new(&device.client(), work);
            let without = Block {
                plane: 0,
                ..with_planes
            };
            for block in [with_planes, without] {
                let units = block.units as usize;
                // 0, -3, 6, -9, ..: n of them, an even number, sum to -3 n / 2.
                let signs = [1.0, -1.0].into_iter().cycle();
                let values = signs.zip(0..units).map(|(sign, i)| sign * 3.0 * i as f32);
                let data = TensorData::new(values.collect::<Vec<f32>>(), [units]);
                let values = CubeBackend::float_from_data(data, device);
                let output = empty(&values, [2 * units], values.dtype());
                folded::launch(
                    &output.client,
                    CubeCount::new_single(),
                    block.dim(),
                    values.into_buffer_arg(),
                    output.clone().into_buffer_arg(),
                    block,
                );
                let found: Vec<f32> = into_data_sync(output).try_into_vec().unwrap();
                let (sum, most) = match units {
                    1 => (0.0, 0.0),
                    _ => (-1.5 * units as f32, 3.0 * (units - 2) as f32),
                };
                let expected = [vec![sum; units], vec![most; units]].concat();
                assert_eq!(found, expected, "{block:?}");
            }
        }
    }
}
