//! Products to test kernels with: operands are exact in every type, products in `f32` and `f16`.

use burn::backend::DispatchDevice;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Device, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::ops::{into_data_sync, permute};
use burn_cubecl::tensor::CubeTensor;

/// Small whole numbers, whose products sum up to less than 2048, the most that `f16` counts to.
fn number(place: usize) -> f32 {
    (place * 7 % 9) as f32 - 4.0
}

/// `[B, M, N]` of the numbers, as batches of rows of another order of axes in memory.
pub(super) fn operand(
    device: &Device,
    dims: [usize; 3],
    order: [usize; 3],
    dtype: DType,
) -> CubeTensor {
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        panic!("an adapter is a CubeCL device");
    };
    let stored = order.map(|axis| dims[axis]);
    let mut strides = [0; 3];
    for (axis, stride) in strides.iter_mut().enumerate() {
        *stride = dims[axis + 1..].iter().product();
    }
    let count = stored.iter().product();
    let value = |place: usize| {
        let places = [
            place / (stored[1] * stored[2]),
            place / stored[2] % stored[1],
            place % stored[2],
        ];
        let own = (0..3).map(|axis| places[axis] * strides[order[axis]]);
        number(own.sum())
    };
    let values: Vec<f32> = (0..count).map(value).collect();
    let data = TensorData::new(values, stored).convert_dtype(dtype);
    let tensor = CubeBackend::float_from_data(data, device);
    let back = [0, 1, 2].map(|axis| order.iter().position(|from| *from == axis).unwrap());
    permute(tensor, &back)
}

/// Of `[M, K]` and `[K, N]` of the numbers, with as many batches on each side.
pub(super) fn expected([left, right]: [usize; 2], [rows, inner, columns]: [usize; 3]) -> Vec<f32> {
    let mut all = Vec::new();
    for batch in 0..if left == 1 { right } else { left } {
        for row in 0..rows {
            let of_left = (if left == 1 { 0 } else { batch } * rows + row) * inner;
            for column in 0..columns {
                let of_right = if right == 1 { 0 } else { batch } * inner * columns + column;
                let terms =
                    (0..inner).map(|k| number(of_left + k) * number(of_right + k * columns));
                all.push(terms.sum());
            }
        }
    }
    all
}

pub(super) const PLAIN: [usize; 3] = [0, 1, 2];
pub(super) const TRANSPOSED: [usize; 3] = [0, 2, 1];
pub(super) const INTERLEAVED: [usize; 3] = [1, 0, 2];

pub(super) fn read(tensor: CubeTensor) -> Vec<f32> {
    let data = into_data_sync(tensor).convert_dtype(DType::F32);
    data.try_into_vec().unwrap()
}
