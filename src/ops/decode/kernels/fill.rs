//! From a prompt's keys and values to the rows that continue it.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{grid, types};

/// Units of a cube that has a token's keys of one head.
const UNITS: u32 = 64;

/// Copies prompts into rows of a cache.
///
/// # Shapes
/// `prompts` `[P, K, T, D]`, of which as many tokens are copied as the cache holds; `cache`
/// `[B, K, capacity, D]`; `places` `[N, 2]`: each a prompt and the row that gets it.
pub fn fill(prompts: &CubeTensor, places: &CubeTensor, cache: &CubeTensor) {
    let [_, heads, tokens, width] = prompts.meta.shape().dims();
    let [_, _, capacity, _] = cache.meta.shape().dims();
    let [copies, _] = places.meta.shape().dims();
    fill_kernel::launch(
        &cache.client,
        grid(heads * tokens, copies),
        CubeDim::new_1d(UNITS),
        prompts.clone().into_tensor_arg(),
        places.clone().into_tensor_arg(),
        cache.clone().into_tensor_arg(),
        heads,
        tokens,
        capacity,
        width,
        types([prompts, cache]),
    );
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn fill_kernel<P: Float, F: Float>(
    prompts: &Tensor<P>,
    places: &Tensor<u32>,
    cache: &mut Tensor<F>,
    heads: usize,
    tokens: usize,
    capacity: usize,
    width: usize,
    #[define(P, F)] _elements: [ElemType; 2],
) {
    let copy = CUBE_POS_Y as usize;
    let head = CUBE_POS_X as usize / tokens;
    let token = CUBE_POS_X as usize % tokens;
    let prompt = places[2 * copy] as usize;
    let row = places[2 * copy + 1] as usize;
    let source = ((prompt * heads + head) * tokens + token) * width;
    let target = ((row * heads + head) * capacity + token) * width;
    let mut place = UNIT_POS_X as usize;
    while token < capacity && place < width {
        cache[target + place] = F::cast_from(prompts[source + place]);
        place += CUBE_DIM_X as usize;
    }
}
