//! A block's weights, and how its linear maps are split.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::{permute, reshape};
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{empty, matrix, primitive};
use crate::ops::decode::kernels::MatrixUnits;
use crate::ops::decode::{DecodeLayer, DecodeSettings, JoinedLinear};

/// Columns of a chunk are a multiple of this, for loads of several numbers.
const CHUNK_UNIT: usize = 8;
/// Fewest columns of a chunk.
const LEAST_CHUNK: usize = 192;
/// Most cubes of a product of few rows, 64 columns each.
const MOST_CUBES: usize = 160;

/// A block's weights and its cache.
pub(super) struct Layer {
    pub input_norm: CubeTensor,
    pub attention_in: Linear,
    pub head_norms: Option<(CubeTensor, CubeTensor)>,
    pub attention_out: Linear,
    pub output_norm: CubeTensor,
    pub gate_up: Linear,
    pub down: Linear,
    /// Keys and values, `[B, K, capacity, D]`.
    pub cache: (CubeTensor, CubeTensor),
}

/// A linear map whose input's columns are split: the products of the chunks are summed by what reads
/// them, so that a few rows keep a whole GPU busy.
pub(super) struct Linear {
    /// `[out, in]` with room between rows for matrix units, else `[S, out, in/S]`.
    pub weight: CubeTensor,
    /// `[1, out]`.
    pub bias: Option<CubeTensor>,
    /// What multiplies it; none where Burn looks for a kernel.
    pub units: Option<MatrixUnits>,
}

impl Layer {
    /// A block over these weights, its buffers beside `beside`.
    pub fn new(layer: DecodeLayer, settings: &DecodeSettings, beside: &CubeTensor) -> Self {
        let norm = |weight: Tensor<2>| primitive(weight.cast(DType::F32));
        let linear = |linear: JoinedLinear, is_split: bool| {
            let [out, width] = linear.weight.dims();
            let parts = if is_split { parts(out, width) } else { 1 };
            let weight = matrix(linear.weight.cast(settings.dtype));
            Linear::new(weight, parts, linear.bias.map(norm))
        };
        let (rows, heads) = (settings.rows, settings.key_heads);
        let shape = [rows, heads, settings.capacity, settings.head_width];
        Self {
            input_norm: norm(layer.input_norm),
            attention_in: linear(layer.attention_in, true),
            head_norms: layer.head_norms.map(|(q, k)| (norm(q), norm(k))),
            attention_out: linear(layer.attention_out, true),
            output_norm: norm(layer.output_norm),
            gate_up: linear(layer.gate_up, false),
            down: linear(layer.down, true),
            cache: (
                empty(beside, shape, settings.dtype),
                empty(beside, shape, settings.dtype),
            ),
        }
    }
}

impl Linear {
    /// The map of a weight `[out, in]`, its columns split into `parts`, and a bias `[1, out]`.
    pub fn new(weight: CubeTensor, parts: usize, bias: Option<CubeTensor>) -> Self {
        let units = MatrixUnits::of(&weight, parts);
        let weight = match units {
            Some(_) => weight,
            None => split(weight, parts),
        };
        Self {
            weight,
            bias,
            units,
        }
    }
}

/// `[out, in]` to `[S, out, in/S]`.
fn split(weight: CubeTensor, parts: usize) -> CubeTensor {
    let [out, width] = weight.meta.shape().dims();
    let parts = reshape(
        into_contiguous(weight),
        Shape::new([out, parts, width / parts]),
    );
    into_contiguous(permute(parts, &[1, 0, 2]))
}

/// Chunks of the `width` columns of a linear map to `out` columns: few enough that each is worth a
/// product, and that the products do not crowd a GPU.
pub(super) fn parts(out: usize, width: usize) -> usize {
    let fits = |parts: &usize| {
        let is_even = width.is_multiple_of(parts * CHUNK_UNIT);
        is_even && width / parts >= LEAST_CHUNK && parts * out.div_ceil(64) <= MOST_CUBES
    };
    [16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}
