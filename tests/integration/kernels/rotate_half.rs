//! Rotary position embedding.

use burn::tensor::{DType, Device, Tensor};
use emberl::ops;

use super::{Numbers, assert_close, cpu, read, wgpu};

type Rotate = fn(Tensor<4>, &Tensor<4>, &Tensor<4>) -> Tensor<4>;

/// The output and the gradient of heads whose angles are those of `rows` rows; `by_head` says whether
/// they lie in memory head by head.
fn outputs(
    device: &Device,
    rotate: Rotate,
    ([b, t, h, half], rows): ([usize; 4], usize),
    by_head: bool,
    dtype: DType,
) -> [Vec<f32>; 2] {
    let angles = Numbers::new([rows, t, 1, half], 1).on(device, DType::F32);
    let angles = Tensor::cat(vec![angles.clone(), angles], 3);
    let (cos, sin) = (angles.clone().cos().autodiff(), angles.sin().autodiff());
    let width = 2 * half;
    let heads = match by_head {
        true => Numbers::new([b, h, t, width], 2).leaf(device, dtype),
        false => Numbers::new([b, t, h, width], 2).leaf(device, dtype),
    };
    let view = match by_head {
        true => heads.clone().swap_dims(1, 2),
        false => heads.clone(),
    };
    let factors = Numbers::new([b, h, t, width], 3).on(device, dtype);
    let output = rotate(view, &cos, &sin).swap_dims(1, 2);
    let found = (output.clone() * factors.autodiff()).sum().backward();
    let gradient = heads.grad(&found).expect("a gradient");
    [read(output.inner()), read(gradient)]
}

#[test]
fn wgpu_rotations_and_their_gradients_are_those_of_plain_tensor_functions() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let cases = [([1, 1, 1, 1], 1), ([3, 5, 2, 6], 3), ([2, 3, 4, 16], 1)];
    for (case, by_head) in cases
        .into_iter()
        .flat_map(|case| [(case, true), (case, false)])
    {
        let plain = ops::rotate_half_reference;
        let expected = outputs(&cpu(), plain, case, by_head, DType::F32);
        let found = outputs(&device, ops::rotate_half, case, by_head, DType::F32);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(&format!("{case:?}"), found, expected, 1e-5);
        }
    }
    let case = ([2, 3, 2, 8], 2);
    let expected = outputs(&cpu(), ops::rotate_half_reference, case, false, DType::F16);
    let found = outputs(&device, ops::rotate_half, case, false, DType::F16);
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(&format!("{case:?} F16"), found, expected, 2e-3);
    }
}

#[test]
fn wgpu_rotation_of_no_rows_is_no_rows() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let case = ([0, 2, 3, 4], 1);
    let [output, gradient] = outputs(&device, ops::rotate_half, case, false, DType::F32);
    assert!(output.is_empty() && gradient.is_empty());
}
