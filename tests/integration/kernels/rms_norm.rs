//! Normalisation of rows.

use burn::tensor::{DType, Device, Tensor};
use emberl::ops;

use super::{Numbers, assert_close, cpu, read, wgpu};

const EPSILON: f64 = 1e-5;

type Norm = fn(Tensor<2>, Tensor<2>, DType) -> Tensor<2>;

/// The output and the gradients of states and weight, with states of `F32`.
fn outputs(device: &Device, norm: Norm, shape: [usize; 2], dtype: DType) -> [Vec<f32>; 3] {
    let states = Numbers::new(shape, 1).leaf(device, DType::F32);
    let weight = Numbers::new([1, shape[1]], 2).leaf(device, dtype);
    let factors = Numbers::new(shape, 3).on(device, dtype).autodiff();
    let output = norm(states.clone(), weight.clone(), dtype);
    let found = (output.clone() * factors).sum().backward();
    let for_states = states.grad(&found).expect("a gradient");
    let for_weight = weight.grad(&found).expect("a gradient");
    if *device != cpu() {
        let types = [output.dtype(), for_states.dtype(), for_weight.dtype()];
        assert_eq!(types, [dtype, DType::F32, dtype]);
    }
    [read(output.inner()), read(for_states), read(for_weight)]
}

fn assert_agrees(device: &Device, shape: [usize; 2], dtype: DType, tolerance: f32) {
    let kernel: Norm = |states, weight, dtype| ops::rms_norm(states, weight, EPSILON, dtype);
    let plain: Norm = |states, weight, _| ops::rms_norm_reference(states, weight, EPSILON);
    let found = outputs(device, kernel, shape, dtype);
    let expected = outputs(&cpu(), plain, shape, dtype);
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(&format!("{shape:?} {dtype:?}"), found, expected, tolerance);
    }
}

#[test]
fn wgpu_norms_and_their_gradients_are_those_of_plain_tensor_functions() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    // One number, odd widths, one vector a unit, several, and rows past a chunk.
    for shape in [[1, 1], [3, 7], [9, 64], [19, 1100], [530, 12]] {
        assert_agrees(&device, shape, DType::F32, 2e-5);
    }
}

#[test]
fn wgpu_norms_of_f32_states_can_be_half_precise() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    // A number of F16 is off by up to 2^-11 of itself, a sum of 19 such by more.
    assert_agrees(&device, [19, 36], DType::F16, 4e-3);
}

#[test]
fn wgpu_norms_of_no_rows_are_no_rows() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let [output, for_states, for_weight] = outputs(
        &device,
        |states, weight, dtype| ops::rms_norm(states, weight, EPSILON, dtype),
        [0, 4],
        DType::F32,
    );
    assert!(output.is_empty() && for_states.is_empty());
    assert_eq!(for_weight, [0.0; 4]);
}
