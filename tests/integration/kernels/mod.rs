//! Kernels of GPUs say what plain tensor functions say on the CPU, forward and backward.
//!
//! They run on the first adapter that wgpu finds, a software one included.

mod attention;
mod optimizer;
mod rms_norm;
mod rotate_half;
mod swiglu;

use burn::tensor::{DType, Device, Tensor, TensorData};
use emberl::ops;
use emberl::seed::Seed;
use rand::RngExt;

use crate::oracle::fixture::cpu;
use crate::oracle::gpu::wgpu;

/// Numbers in [-2, 2) of a shape.
struct Numbers<const D: usize> {
    values: Vec<f32>,
    shape: [usize; D],
}

impl<const D: usize> Numbers<D> {
    fn new(shape: [usize; D], seed: u64) -> Self {
        let mut rng = Seed::new(seed).rng();
        let count = shape.iter().product();
        let values = (0..count).map(|_| rng.random::<f32>() * 4.0 - 2.0);
        Self {
            values: values.collect(),
            shape,
        }
    }

    /// On a device, rounded to `dtype` and kept in it or, on the CPU, in `f32`.
    fn on(&self, device: &Device, dtype: DType) -> Tensor<D> {
        let data = TensorData::new(self.values.clone(), self.shape);
        let numbers = Tensor::<D>::from_data(data, device).cast(dtype);
        match *device == cpu() {
            true => numbers.cast(DType::F32),
            false => numbers,
        }
    }

    fn leaf(&self, device: &Device, dtype: DType) -> Tensor<D> {
        self.on(device, dtype).autodiff().require_grad()
    }
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    ops::read_floats(tensor.cast(DType::F32)).expect("the device works")
}

/// Panics unless the numbers differ by at most `tolerance` of what is expected, or of 1.
fn assert_close(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let gap = (found - expected).abs();
        assert!(
            gap <= tolerance * expected.abs().max(1.0),
            "{name}: number {place} is {found}, expected {expected}"
        );
    }
}
