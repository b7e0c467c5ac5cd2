//! Causal grouped-query attention (arXiv:2305.13245): `softmax(q kᵀ / √D) v` over the keys a query sees.
//!
//! With `P` the softmax, `O = P v` and the gradient `G` of `O`: `dv = Pᵀ G`,
//! `dS = P ⊙ (G vᵀ − rowsum(P ⊙ G vᵀ)) / √D`, `dq = dS k`, `dk = dSᵀ q`. The graph holds queries, keys
//! and values alone: the backward pass takes the probabilities again (as FlashAttention does,
//! arXiv:2205.14135), so that nothing of size `[B, H, T, L]` is held in between. On the CPU a block of
//! queries is taken at a time, with no keys that none of them sees; on GPUs as many rows as bound what
//! is there for a moment, or, where matrix units are given their numbers in registers, as on CUDA, tiles
//! of which nothing leaves the registers.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod flash;
#[cfg(feature = "flex")]
mod flex;

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::Shape;
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::softmax};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::device;

/// Added to the score of a key that a query may not see; finite, since shaders may take infinities for
/// absent.
const HIDDEN: f32 = -1e9;

/// Which keys each query sees: those from its row's first token up to its own.
///
/// The queries of a row are its last tokens. One before its row's first token, which is padding, sees
/// its own key alone, so that no softmax is empty.
#[derive(Clone, Debug)]
pub struct Sight {
    starts: Arc<[usize]>,
    queries: usize,
    keys: usize,
    /// The starts where attention is taken, `[B or 1]` of `I32`.
    on_device: Tensor<1, Int>,
}

impl Sight {
    /// The last `queries` of `keys` tokens look; `starts` holds the first real column of every row, or
    /// of all rows.
    pub fn new(starts: &[usize], queries: usize, keys: usize, device: &Device) -> Self {
        let values: Vec<i32> = starts.iter().map(|&start| start as i32).collect();
        let data = TensorData::new(values, [starts.len()]);
        Self {
            starts: starts.into(),
            queries,
            keys,
            on_device: Tensor::from_data(data, (device, DType::I32)),
        }
    }

    /// What is added to the scores where plain tensor functions attend.
    ///
    /// # Shapes
    /// `[B or 1, 1, T, L]`.
    pub fn mask(&self) -> Tensor<4> {
        let (queries, keys) = (self.queries, self.keys);
        let mut values = vec![HIDDEN; self.starts.len() * queries * keys];
        for (row, &start) in self.starts.iter().enumerate() {
            for query in 0..queries {
                let own = keys - queries + query;
                let line = (row * queries + query) * keys;
                values[line + start.min(own)..=line + own].fill(0.0);
            }
        }
        let shape = [self.starts.len(), 1, queries, keys];
        Tensor::from_data(TensorData::new(values, shape), &self.on_device.device())
    }
}

/// Attends from every query head to its group's keys and values; the softmax is `f32` whatever they
/// are.
///
/// # Shapes
/// `queries` `[B, H, T, D]`, `keys` and `values` `[B, K, L, D]`; returns `[B, T, H·D]`.
pub fn attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    sight: &Sight,
) -> Tensor<3> {
    let dtype = queries.dtype();
    if device::is_cpu(&queries.device()) && dtype != DType::F32 {
        let [queries, keys, values] = [queries, keys, values].map(|heads| heads.cast(DType::F32));
        return attention(queries, keys, values, sight).cast(dtype);
    }
    let starts = sight.on_device.clone();
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if flash::takes(&queries.device(), dtype, queries.dims(), keys.dims()) {
        return flash::attention(queries, keys, values, starts);
    }
    let (queries, keys) = (queries.into_dispatch(), keys.into_dispatch());
    let values = values.into_dispatch();
    let output = Dispatch::causal_attention(queries, keys, values, starts.into_dispatch());
    Tensor::from_dispatch(output)
}

/// The same from plain tensor functions, with `mask` `[B or 1, 1, T, L]` added to the scores.
///
/// # Shapes
/// As [`attention`]. Keys are not repeated: the `G` heads of a group fold into the query axis.
pub fn attention_reference(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    mask: Option<Tensor<4>>,
) -> Tensor<3> {
    let [b, h, t, d] = queries.dims();
    let [_, k, l, _] = keys.dims();
    let scale = 1.0 / (d as f64).sqrt();
    let queries = (queries * scale).reshape([b, k, h / k * t, d]);
    let scores = queries.matmul(keys.swap_dims(2, 3)).cast(DType::F32);
    let weights = match mask {
        Some(mask) => {
            let scores = scores.reshape([b, h, t, l]) + mask;
            softmax(scores, 3).reshape([b, k, h / k * t, l])
        }
        None => softmax(scores, 3),
    };
    let weights = weights.cast(values.dtype());
    let heads = weights.matmul(values).reshape([b, h, t, d]);
    heads.swap_dims(1, 2).reshape([b, t, h * d])
}

/// Backends with the operation.
#[backend_extension(
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Flex: cfg(feature = "flex"),
    Autodiff,
    Fusion: cfg(any(feature = "wgpu", feature = "cuda"))
)]
pub trait AttentionBackend: Backend {
    /// `[B, H, T, D]`, twice `[B, K, L, D]` and `[B or 1]` to `[B, T, H·D]`.
    #[fusion(
        dtype = queries,
        shape = Shape::new([queries[0], queries[2], queries[1] * queries[3]])
    )]
    fn causal_attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradients with respect to queries, keys and values from that of the output.
    #[fusion(meta = |queries, keys, values, _starts, _gradient| {
        (queries.clone(), keys.clone(), values.clone())
    })]
    fn causal_attention_gradients(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl<B: AttentionBackend, C: CheckpointStrategy> AttentionBackend for Autodiff<B, C> {
    fn causal_attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let prepared = AttentionStep
            .prepare::<C>([queries.node(), keys.node(), values.node()])
            .compute_bound()
            .stateful();
        let (queries, keys) = (queries.into_primitive(), keys.into_primitive());
        let values = values.into_primitive();
        match prepared {
            OpsKind::Tracked(step) => {
                let held = (
                    queries.clone(),
                    keys.clone(),
                    values.clone(),
                    starts.clone(),
                );
                step.finish(held, B::causal_attention(queries, keys, values, starts))
            }
            OpsKind::UnTracked(step) => {
                step.finish(B::causal_attention(queries, keys, values, starts))
            }
        }
    }

    fn causal_attention_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("gradients are taken below the graph")
    }
}

/// The step of the autodiff graph; parents are queries, keys and values.
#[derive(Debug)]
struct AttentionStep;

impl<B: AttentionBackend> Backward<B, 3> for AttentionStep {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (queries, keys, values, starts) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let (for_queries, for_keys, for_values) =
            B::causal_attention_gradients(queries, keys, values, starts, gradient);
        let gradients = [for_queries, for_keys, for_values];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    /// Rows, query heads, key heads, queries, keys, head width.
    type Case = [usize; 6];

    type Attend = dyn Fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<3>;

    /// The output and three gradients for a loss that weighs every output differently.
    fn outputs([b, h, k, t, l, d]: Case, attend: &Attend) -> [Vec<f32>; 4] {
        let device = Device::flex();
        device.seed(3);
        let normal = Distribution::Normal(0.0, 1.5);
        let leaf = |shape: [usize; 4]| {
            let leaf = Tensor::<4>::random(shape, normal, &device);
            leaf.autodiff().require_grad()
        };
        // Heads are next to each other in memory, as projections give them.
        let queries = leaf([b, t, h, d]);
        let (keys, values) = (leaf([b, k, l, d]), leaf([b, k, l, d]));
        let factors = Tensor::<3>::random([b, t, h * d], normal, &device);
        let output = attend(
            queries.clone().swap_dims(1, 2),
            keys.clone(),
            values.clone(),
        );
        let found = (output.clone() * factors.autodiff()).sum().backward();
        let gradient = |leaf: &Tensor<4>| floats(leaf.grad(&found).expect("a gradient"));
        let gradients = [&queries, &keys, &values].map(gradient);
        let [for_queries, for_keys, for_values] = gradients;
        [floats(output.inner()), for_queries, for_keys, for_values]
    }

    fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    fn assert_agrees(case: Case, starts: &[usize]) {
        let [_, _, _, t, l, _] = case;
        let device = Device::flex();
        let sight = Sight::new(starts, t, l, &device);
        let mask = sight.mask().autodiff();
        let found = outputs(case, &move |q, k, v| attention(q, k, v, &sight));
        let plain = move |q, k, v| attention_reference(q, k, v, Some(mask.clone()));
        let expected = outputs(case, &plain);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            let gaps = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let worst = gaps.fold(0.0, f32::max);
            assert!(worst < 5e-5, "{case:?} {starts:?}: {worst}");
        }
    }

    #[test]
    fn output_and_gradients_are_those_of_plain_tensor_functions() {
        assert_agrees([1, 1, 1, 1, 1, 2], &[0]);
        assert_agrees([2, 6, 2, 7, 7, 6], &[0]);
        // Two blocks of queries, the second not full.
        assert_agrees([2, 2, 1, 71, 71, 20], &[0]);
    }

    #[test]
    fn padded_rows_and_cached_keys_are_those_of_plain_tensor_functions() {
        assert_agrees([3, 4, 2, 9, 9, 4], &[0, 3, 8]);
        assert_agrees([2, 4, 4, 66, 80, 4], &[0, 5]);
        // One query: the kernel of decoding.
        assert_agrees([3, 4, 2, 1, 23, 18], &[0, 3, 22]);
    }

    #[test]
    fn no_rows_give_no_rows() {
        let device = Device::flex();
        for tokens in [1, 3] {
            let heads = Tensor::<4>::zeros([0, 2, tokens, 4], &device);
            let sight = Sight::new(&[0], tokens, tokens, &device);
            let output = attention(heads.clone(), heads.clone(), heads, &sight);
            assert_eq!(output.dims(), [0, tokens, 8]);
        }
    }
}
