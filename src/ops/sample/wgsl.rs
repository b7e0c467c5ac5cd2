//! Drawing tokens by the shader.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::SampleFilters;
use crate::ops::shader::Shader;

const SHADER: Shader = Shader {
    name: "sample",
    source: include_str!("../../../shaders/sample.wgsl"),
};

/// Backends that run the shader.
#[backend_extension(Cube, Fusion)]
pub trait SampleBackend: Backend {
    /// `[B, V]` of `f32` and `[B, 3]` of `i32`, nothing empty, to ids and log-probabilities `[B]`.
    #[fusion(meta = drawn)]
    fn sample(
        logits: FloatTensor<Self>,
        streams: IntTensor<Self>,
        filters: SampleFilters,
    ) -> (IntTensor<Self>, FloatTensor<Self>);
}

fn drawn(logits: &TensorSpec, _: &TensorSpec, _: &SampleFilters) -> (TensorSpec, TensorSpec) {
    let spec = |dtype| TensorSpec::new(Shape::new([logits.shape[0]]), dtype);
    (spec(DType::I32), spec(DType::F32))
}

impl SampleBackend for CubeBackend {
    fn sample(
        logits: FloatTensor<Self>,
        streams: IntTensor<Self>,
        filters: SampleFilters,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (logits, streams) = (into_contiguous(logits), into_contiguous(streams));
        let shape = logits.shape();
        let (rows, vocabulary) = (shape[0], shape[1]);
        let empty = |dtype| {
            let (client, device) = (logits.client.clone(), logits.device.clone());
            empty_device_contiguous_dtype(client, device, Shape::new([rows]), dtype)
        };
        let (ids, logprobs) = (empty(DType::I32), empty(DType::F32));
        let settings = settings(rows, vocabulary, filters);
        SHADER.launch(rows, &[&logits, &streams, &ids, &logprobs], &settings);
        (ids, logprobs)
    }
}

/// The words of the shader's `Settings`.
fn settings(rows: usize, vocabulary: usize, filters: SampleFilters) -> [u32; 6] {
    let is_greedy = filters.temperature == 0.0;
    let min_p = if is_greedy { 0.0 } else { filters.min_p };
    [
        rows as u32,
        vocabulary as u32,
        filters.temperature.to_bits(),
        filters.top_k.min(vocabulary) as u32,
        ((1.0 - filters.top_p) as f32).to_bits(),
        min_p.to_bits(),
    ]
}
