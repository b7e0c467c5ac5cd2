//! Causal grouped-query attention.

use burn::tensor::{DType, Device, Tensor};
use emberl::ops::{self, Sight};

use super::{Numbers, assert_close, cpu, read, wgpu};

/// Rows, query heads, key heads, queries, keys, head width.
type Case = [usize; 6];

type Attend = fn(Tensor<4>, Tensor<4>, Tensor<4>, &Sight) -> Tensor<3>;

const PLAIN: Attend = |queries, keys, values, sight| {
    ops::attention_reference(queries, keys, values, Some(sight.mask().autodiff()))
};

/// The output and the gradients of queries, keys and values.
fn outputs(
    device: &Device,
    attend: Attend,
    [b, h, k, t, l, d]: Case,
    starts: &[usize],
    dtype: DType,
) -> [Vec<f32>; 4] {
    // Heads are next to each other in memory, as projections give them.
    let queries = Numbers::new([b, t, h, d], 1).leaf(device, dtype);
    let keys = Numbers::new([b, l, k, d], 2).leaf(device, dtype);
    let values = Numbers::new([b, k, l, d], 3).leaf(device, dtype);
    let factors = Numbers::new([b, t, h * d], 4).on(device, dtype);
    let sight = Sight::new(starts, t, l, device);
    let output = attend(
        queries.clone().swap_dims(1, 2),
        keys.clone().swap_dims(1, 2),
        values.clone(),
        &sight,
    );
    let found = (output.clone() * factors.autodiff()).sum().backward();
    let gradients = [&queries, &keys, &values].map(|leaf| {
        let gradient = leaf.grad(&found).expect("a gradient");
        read(gradient)
    });
    let [for_queries, for_keys, for_values] = gradients;
    [read(output.inner()), for_queries, for_keys, for_values]
}

fn assert_agrees(device: &Device, case: Case, starts: &[usize], dtype: DType, tolerance: f32) {
    let expected = outputs(&cpu(), PLAIN, case, starts, dtype);
    let found = outputs(device, ops::attention, case, starts, dtype);
    let names = ["output", "queries", "keys", "values"];
    for ((found, expected), name) in found.iter().zip(&expected).zip(names) {
        let name = format!("{case:?} {starts:?} {dtype:?} {name}");
        assert_close(&name, found, expected, tolerance);
    }
}

#[test]
fn wgpu_attention_and_its_gradients_are_those_of_plain_tensor_functions() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    assert_agrees(&device, [1, 1, 1, 1, 1, 2], &[0], DType::F32, 5e-5);
    assert_agrees(&device, [2, 6, 2, 7, 7, 6], &[0], DType::F32, 5e-5);
    assert_agrees(&device, [3, 4, 2, 8, 8, 4], &[0, 3, 7], DType::F32, 5e-5);
    // Queries after a cache, whose rows start late.
    assert_agrees(&device, [2, 4, 4, 3, 12, 4], &[1, 10], DType::F32, 5e-5);
}

#[test]
fn wgpu_attention_of_one_new_token_is_that_of_plain_tensor_functions() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    assert_agrees(&device, [3, 4, 2, 1, 23, 4], &[0, 3, 22], DType::F32, 5e-5);
    // More keys than a cube has units, in vectors and one by one.
    for keys in [1028, 263] {
        assert_agrees(&device, [1, 2, 1, 1, keys, 4], &[5], DType::F32, 5e-5);
    }
}

#[test]
fn wgpu_attention_of_half_precision_is_that_of_plain_tensor_functions() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    assert_agrees(&device, [2, 4, 2, 8, 8, 4], &[0, 3], DType::F16, 6e-3);
}

#[test]
fn wgpu_attention_of_no_rows_is_no_rows() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    for tokens in [1, 3] {
        let case = [0, 2, 1, tokens, tokens, 4];
        let found = outputs(&device, ops::attention, case, &[0], DType::F32);
        assert!(found.iter().all(Vec::is_empty));
    }
}
