//! Attention on GPUs: scores by a batched matrix product, their softmax by a kernel of its own, and
//! both again on the way back.
//!
//! Rows and key-value heads are one axis of batches, `M`; the query heads of a group fold into the
//! queries, `G·T`, so that keys and values are never repeated.

mod softmax;

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{into_contiguous, slice};
use burn_cubecl::ops::{permute, reshape};
use burn_cubecl::tensor::CubeTensor;

use self::softmax::{Scores, probabilities, score_gradients};
use super::AttentionBackend;
use crate::ops::cube::empty;
use crate::ops::product::cube::product;

/// Scores taken at a time, unless those of a single batch are more: a gibibyte of `f32`; few in tests,
/// so that slices are met.
const MOST_SCORES: usize = if cfg!(test) { 300 } else { 1 << 28 };

impl AttentionBackend for CubeBackend {
    fn causal_attention(
        queries: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        starts: CubeTensor,
    ) -> CubeTensor {
        let dims = Dims::new(&queries, &keys);
        let Dims { b, k, g, t, d, .. } = dims;
        if dims.is_empty() {
            return empty(&queries, [b, t, k * g * d], queries.dtype);
        }
        let heads = Heads::new(dims, queries, keys, values, starts);
        let [output] = in_slices(dims, |batches| [heads.attend(batches)]);
        let output = permute(reshape(output, Shape::new([b, k * g, t, d])), &[0, 2, 1, 3]);
        reshape(output, Shape::new([b, t, k * g * d]))
    }

    fn causal_attention_gradients(
        queries: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        starts: CubeTensor,
        gradient: CubeTensor,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let dims = Dims::new(&queries, &keys);
        let Dims { b, k, g, t, l, d } = dims;
        if dims.is_empty() {
            let zeros = |tensor: CubeTensor| {
                Self::float_zeros(tensor.shape(), &tensor.device, tensor.dtype.into())
            };
            return (zeros(queries), zeros(keys), zeros(values));
        }
        let dtype = queries.dtype;
        let heads = Heads::new(dims, queries, keys, values, starts);
        let gradient = reshape(into_contiguous(gradient), Shape::new([b, t, k * g, d]));
        let gradient = Self::float_cast(gradient, dtype.into());
        let gradient = into_contiguous(permute(gradient, &[0, 2, 1, 3]));
        let gradient = reshape(gradient, Shape::new([b * k, g * t, d]));
        let [for_queries, for_keys, for_values] =
            in_slices(dims, |batches| heads.gradients(&gradient, batches));
        let of_keys = || Shape::new([b, k, l, d]);
        (
            reshape(for_queries, Shape::new([b, k * g, t, d])),
            reshape(for_keys, of_keys()),
            reshape(for_values, of_keys()),
        )
    }
}

/// Rows, key-value heads, query heads of each, queries, keys, head width.
#[derive(Clone, Copy, Debug)]
struct Dims {
    b: usize,
    k: usize,
    g: usize,
    t: usize,
    l: usize,
    d: usize,
}

impl Dims {
    fn new(queries: &CubeTensor, keys: &CubeTensor) -> Self {
        let [b, h, t, d] = queries.meta.shape().dims();
        let [_, k, l, _] = keys.meta.shape().dims();
        let g = h.checked_div(k).unwrap_or(0);
        Self { b, k, g, t, l, d }
    }

    fn is_empty(self) -> bool {
        self.b * self.k * self.g * self.t * self.l * self.d == 0
    }
}

/// What attends to what, with rows and key-value heads as one axis.
struct Heads {
    dims: Dims,
    /// `[M, G·T, D]`.
    queries: CubeTensor,
    /// Both `[M, L, D]`.
    keys: CubeTensor,
    values: CubeTensor,
    starts: CubeTensor,
}

impl Heads {
    fn new(
        dims: Dims,
        queries: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        starts: CubeTensor,
    ) -> Self {
        let Dims { b, k, g, t, l, d } = dims;
        // A view where strides allow it, as those of a cache with room to spare do.
        let flat = |tensor| reshape(tensor, Shape::new([b * k, l, d]));
        Self {
            dims,
            queries: reshape(queries, Shape::new([b * k, g * t, d])),
            keys: flat(keys),
            values: flat(values),
            starts,
        }
    }

    /// The output of some batches, `[m, G·T, D]`.
    fn attend(&self, batches: Range<usize>) -> CubeTensor {
        let dtype = self.queries.dtype;
        let scores = self.scores(&batches);
        let weights = probabilities(&scores, dtype);
        drop(scores);
        product(weights, self.part(&self.values, &batches), dtype)
    }

    /// Gradients of some batches' queries, keys and values.
    fn gradients(&self, gradient: &CubeTensor, batches: Range<usize>) -> [CubeTensor; 3] {
        let dtype = self.queries.dtype;
        let gradient = self.part(gradient, &batches);
        let values = transposed(self.part(&self.values, &batches));
        let for_weights = product(gradient.clone(), values, DType::F32);
        let scores = self.scores(&batches);
        let (weights, for_scores) = score_gradients(&scores, &for_weights, dtype);
        drop((scores, for_weights));
        let for_values = product(transposed(weights), gradient, self.values.dtype);
        let keys = self.part(&self.keys, &batches);
        let for_queries = product(for_scores.clone(), keys, dtype);
        let queries = self.part(&self.queries, &batches);
        let for_keys = product(transposed(for_scores), queries, self.keys.dtype);
        [for_queries, for_keys, for_values]
    }

    /// `q kᵀ` of some batches, `[m, G·T, L]` of `f32`.
    fn scores<'a>(&'a self, batches: &Range<usize>) -> Scores<'a> {
        let queries = self.part(&self.queries, batches);
        let keys = transposed(self.part(&self.keys, batches));
        let Dims { k, g, t, l, d, .. } = self.dims;
        Scores {
            values: product(queries, keys, DType::F32),
            starts: &self.starts,
            first: batches.start,
            heads: k,
            group: g,
            queries: t,
            keys: l,
            scale: (d as f32).sqrt().recip(),
        }
    }

    /// Some batches of a tensor `[M, .., ..]`.
    fn part(&self, tensor: &CubeTensor, batches: &Range<usize>) -> CubeTensor {
        let [all, rows, columns] = tensor.meta.shape().dims();
        match *batches == (0..all) {
            true => tensor.clone(),
            false => slice(tensor.clone(), &[batches.clone(), 0..rows, 0..columns]),
        }
    }
}

/// Runs `step` over as many batches at a time as bound the scores, and joins what it gives.
fn in_slices<const N: usize>(
    dims: Dims,
    step: impl Fn(Range<usize>) -> [CubeTensor; N],
) -> [CubeTensor; N] {
    let batches = dims.b * dims.k;
    let scores = dims.g * dims.t * dims.l;
    let size = (MOST_SCORES / scores).max(1);
    if size >= batches {
        return step(0..batches);
    }
    let mut parts: [Vec<CubeTensor>; N] = std::array::from_fn(|_| Vec::new());
    for start in (0..batches).step_by(size) {
        let made = step(start..batches.min(start + size));
        for (parts, made) in parts.iter_mut().zip(made) {
            parts.push(made);
        }
    }
    parts.map(|parts| CubeBackend::float_cat(parts, 0))
}

fn transposed(batches: CubeTensor) -> CubeTensor {
    permute(batches, &[0, 2, 1])
}

#[cfg(test)]
#[cfg(all(feature = "flex", feature = "wgpu"))]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use crate::device::{self, DeviceSpec};
    use crate::ops::{Sight, attention, read_floats};

    /// The output and three gradients on a device, of rows that start late.
    fn outputs(device: &Device, operands: &[Tensor<4>; 4]) -> [Vec<f32>; 4] {
        let to_device = |tensor: &Tensor<4>| tensor.clone().to_device(device);
        let [queries, keys, values, factors] = operands.each_ref().map(to_device);
        let leaves = [queries, keys, values].map(|leaf| leaf.autodiff().require_grad());
        let [queries, keys, values] = leaves.clone();
        let sight = Sight::new(&[0, 2, 5], 6, 6, device);
        let output = attention(queries, keys, values, &sight);
        let factors: Tensor<3> = factors.reshape(output.dims());
        let found = (output.clone() * factors.autodiff()).sum().backward();
        let gradients = leaves.map(|leaf| leaf.grad(&found).expect("a gradient"));
        let [for_queries, for_keys, for_values] = gradients.map(|it| read_floats(it).unwrap());
        let output = read_floats(output.inner()).unwrap();
        [output, for_queries, for_keys, for_values]
    }

    #[test]
    fn slices_of_batches_make_the_whole() {
        let Some(adapter) = device::adapters().into_iter().next() else {
            eprintln!("skipped: no wgpu adapter");
            return;
        };
        let gpu = device::open(&DeviceSpec::Wgpu(adapter.index)).unwrap();
        let cpu = Device::flex();
        cpu.seed(8);
        let normal = Distribution::Normal(0.0, 1.0);
        let random = |shape: [usize; 4]| Tensor::<4>::random(shape, normal, &cpu);
        // 72 scores in each of 15 batches: slices of 4, the last of 3, which cross rows.
        let (of_queries, of_keys) = ([3, 10, 6, 4], [3, 5, 6, 4]);
        let shapes = [of_queries, of_keys, of_keys, of_queries];
        let operands = shapes.map(random);
        let (found, expected) = (outputs(&gpu, &operands), outputs(&cpu, &operands));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            let gaps = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(gaps.fold(0.0, f32::max) < 5e-5);
        }
    }
}
