//! Drawing tokens in one kernel.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;

use super::SampleFilters;
use super::draw::{DrawNumbers, DrawNumbersLaunch, FilterKinds, Parts, RowStream, draw_row};
use crate::ops::cube::{empty, grid};

/// Backends that run the kernel.
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
        let ids = empty(&logits, [rows], DType::I32);
        let logprobs = empty(&logits, [rows], DType::F32);
        let kinds = FilterKinds::new(filters, rows, vocabulary, &logits.client);
        let parts = Parts::run(&logits, &streams, filters, kinds);
        let (values, part_ids) = match &parts {
            Some(parts) => (&parts.values, &parts.ids),
            None => (&logits, &streams),
        };
        sample_kernel::launch(
            &logits.client,
            grid(rows, 1),
            kinds.last_dim(),
            logits.clone().into_tensor_arg(),
            streams.clone().into_tensor_arg(),
            values.clone().into_tensor_arg(),
            part_ids.clone().into_tensor_arg(),
            ids.clone().into_tensor_arg(),
            logprobs.clone().into_tensor_arg(),
            DrawNumbersLaunch::of(filters, vocabulary),
            kinds,
        );
        (ids, logprobs)
    }
}

#[cube(launch)]
fn sample_kernel(
    logits: &Tensor<f32>,
    streams: &Tensor<u32>,
    values: &Tensor<f32>,
    part_ids: &Tensor<u32>,
    ids: &mut Tensor<i32>,
    logprobs: &mut Tensor<f32>,
    numbers: DrawNumbers,
    #[comptime] kinds: FilterKinds,
) {
    let row = CUBE_POS_X as usize;
    let stream = RowStream::of_row(row, streams);
    let drawn = draw_row(logits, &stream, values, part_ids, &numbers, kinds);
    if UNIT_POS_X == 0 {
        ids[row] = i32::cast_from(drawn.id);
        logprobs[row] = drawn.logprob;
    }
}
