//! Causal grouped-query attention (arXiv:2305.13245): `softmax(q kᵀ / √D) v` over the keys a query sees.
//!
//! On the CPU a block of queries is taken at a time, with no keys that none of them sees; the backward
//! pass takes the probabilities again from queries and keys (as FlashAttention does,
//! arXiv:2205.14135), so that nothing of size `[B, H, T, L]` is ever held. Elsewhere plain tensor
//! functions do it.

#[cfg(feature = "flex")]
mod flex;

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};

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
    /// Added to scores where plain tensor functions attend, `[B or 1, 1, T, L]`; none where all is seen.
    mask: Option<Tensor<4>>,
}

impl Sight {
    /// The last `queries` of `keys` tokens look; `starts` holds the first real column of every row, or
    /// of all rows.
    pub fn new(starts: &[usize], queries: usize, keys: usize, device: &Device) -> Self {
        let sees_all = queries == 1 && starts.iter().all(|&start| start == 0);
        let needs_mask = !sees_all && !device::is_cpu(device);
        Self {
            starts: starts.into(),
            mask: needs_mask.then(|| mask(starts, queries, keys, device)),
        }
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
    #[cfg(feature = "flex")]
    if device::is_cpu(&queries.device()) {
        let dtype = queries.dtype();
        let [queries, keys, values] = [queries, keys, values].map(|heads| heads.cast(DType::F32));
        return flex::attention(queries, keys, values, sight.starts.clone()).cast(dtype);
    }
    attention_reference(queries, keys, values, sight.mask.clone())
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

fn mask(starts: &[usize], queries: usize, keys: usize, device: &Device) -> Tensor<4> {
    let mut values = vec![HIDDEN; starts.len() * queries * keys];
    for (row, &start) in starts.iter().enumerate() {
        for query in 0..queries {
            let own = keys - queries + query;
            let line = (row * queries + query) * keys;
            values[line + start.min(own)..=line + own].fill(0.0);
        }
    }
    let shape = [starts.len(), 1, queries, keys];
    Tensor::from_data(TensorData::new(values, shape), device)
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
        let found = outputs(case, &move |q, k, v| attention(q, k, v, &sight));
        let mask = mask(starts, t, l, &device).autodiff();
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
