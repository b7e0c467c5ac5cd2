//! The gate of a feed-forward block.

use burn::tensor::{DType, Device, Tensor};
use emberl::ops;

use super::{Numbers, assert_close, cpu, read, wgpu};

/// The output and the gradient of gate and up, which lie next to each other.
fn outputs(
    device: &Device,
    product: &dyn Fn(Tensor<3>) -> Tensor<3>,
    [b, t, i]: [usize; 3],
    dtype: DType,
) -> [Vec<f32>; 2] {
    let joined = Numbers::new([b, t, 2 * i], 1).leaf(device, dtype);
    let factors = Numbers::new([b, t, i], 2).on(device, dtype).autodiff();
    let output = product(joined.clone());
    let found = (output.clone() * factors).sum().backward();
    let gradient = joined.grad(&found).expect("a gradient");
    [read(output.inner()), read(gradient)]
}

fn halves(joined: Tensor<3>) -> [Tensor<3>; 2] {
    let width = joined.dims()[2] / 2;
    [0, width].map(|start| joined.clone().narrow(2, start, width))
}

fn kernel(joined: Tensor<3>) -> Tensor<3> {
    let [gate, up] = halves(joined);
    ops::swiglu(gate, up)
}

fn plain(joined: Tensor<3>) -> Tensor<3> {
    let [gate, up] = halves(joined);
    ops::swiglu_reference(gate, up)
}

fn assert_agrees(device: &Device, shape: [usize; 3], dtype: DType, tolerance: f32) {
    let expected = outputs(&cpu(), &plain, shape, dtype);
    for device in [device, &cpu()] {
        let found = outputs(device, &kernel, shape, dtype);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(&format!("{shape:?} {dtype:?}"), found, expected, tolerance);
        }
    }
}

#[test]
fn wgpu_gates_and_their_gradients_are_those_of_plain_tensor_functions() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    for shape in [[1, 1, 1], [2, 3, 5], [3, 7, 36]] {
        assert_agrees(&device, shape, DType::F32, 2e-5);
    }
    assert_agrees(&device, [2, 3, 12], DType::F16, 4e-3);
}

#[test]
fn wgpu_gates_far_from_zero_are_open_or_shut() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let gate = [-1000.0, -90.0, 90.0, 1000.0];
    let gate = Tensor::<1>::from_floats(gate, &device).reshape([1, 1, 4]);
    let open = read(ops::swiglu(gate.clone(), gate.ones_like()));
    assert_close("gates", &open, &[0.0, 0.0, 90.0, 1000.0], 1e-6);
}

#[test]
fn wgpu_gates_of_no_rows_are_no_rows() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let empty = Tensor::<3>::zeros([0, 2, 4], &device);
    assert_eq!(ops::swiglu(empty.clone(), empty).dims(), [0, 2, 4]);
}
