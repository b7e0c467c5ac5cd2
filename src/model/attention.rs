//! Grouped-query attention (arXiv:2305.13245): `softmax(q kᵀ / √D + mask) v`.

use burn::tensor::{Tensor, activation::softmax};

/// Attends from every query head to its group's keys and values.
///
/// # Shapes
/// `queries` `[B, H, T, D]`, `keys` and `values` `[B, K, L, D]`, `mask` `[B or 1, 1, T, L]` added to
/// the scores; returns `[B, T, H·D]`. Keys are not repeated: the `G` heads of a group fold into the
/// query axis.
pub(super) fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    mask: Option<Tensor<4>>,
) -> Tensor<3> {
    let [b, h, t, d] = queries.dims();
    let [_, k, l, _] = keys.dims();
    let scale = 1.0 / (d as f64).sqrt();
    let queries = (queries * scale).reshape([b, k, h / k * t, d]);
    let scores = queries.matmul(keys.swap_dims(2, 3));
    let weights = match mask {
        Some(mask) => {
            let scores = scores.reshape([b, h, t, l]) + mask;
            softmax(scores, 3).reshape([b, k, h / k * t, l])
        }
        None => softmax(scores, 3),
    };
    let heads = weights.matmul(values).reshape([b, h, t, d]);
    heads.swap_dims(1, 2).reshape([b, t, h * d])
}
