//! Products on GPUs.
//!
//! A weight's gradient is a small matrix summed over many tokens: too few blocks of it to keep a GPU
//! busy. The tokens are split, the products of the parts taken as one batch, and added up in order.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::ops::{permute, reshape};
use burn_cubecl::tensor::CubeTensor;

use super::LinearBackend;
use crate::ops::cube::{empty, types, units, vector_size};
use crate::ops::product::cube::{ENOUGH_BLOCKS, loads_matrices, product};

/// Rows and columns of an output's block that a kernel computes at a time, about.
const BLOCK: usize = 128;
/// Fewest tokens of a part.
const LEAST_TOKENS: usize = 256;

impl LinearBackend for CubeBackend {
    fn product(a: CubeTensor, b: CubeTensor, dtype: DType) -> CubeTensor {
        product(a, b, dtype)
    }

    fn weight_gradient(gradient: CubeTensor, states: CubeTensor) -> CubeTensor {
        let [tokens, outputs] = gradient.meta.shape().dims();
        let [_, inputs] = states.meta.shape().dims();
        let parts = parts(tokens, outputs, inputs, enough_blocks(&gradient.client));
        if parts == 1 {
            return product(permute(gradient, &[1, 0]), states, DType::F32);
        }
        let split = |tensor, columns| {
            let shape = [parts, tokens / parts, columns];
            reshape(tensor, Shape::new(shape))
        };
        let gradient = permute(split(gradient, outputs), &[0, 2, 1]);
        sum_of_parts(product(gradient, split(states, inputs), DType::F32))
    }
}

/// Blocks that keep a GPU busy to the end: more where planes load matrices, since nothing says there how many blocks
/// are taken at a time. The last ones, which may leave most of a GPU idle, are then a small share.
fn enough_blocks(client: &Client) -> usize {
    match loads_matrices(client) {
        true => 4 * ENOUGH_BLOCKS,
        false => ENOUGH_BLOCKS,
    }
}

/// Parts of the tokens, a power of two.
fn parts(tokens: usize, outputs: usize, inputs: usize, enough: usize) -> usize {
    let blocks = outputs.div_ceil(BLOCK) * inputs.div_ceil(BLOCK);
    let fits = |parts: &usize| {
        tokens.is_multiple_of(*parts)
            && tokens / parts >= LEAST_TOKENS
            && (parts / 2) * blocks < enough
    };
    [16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// `[S, O, I]` to `[O, I]`.
fn sum_of_parts(products: CubeTensor) -> CubeTensor {
    let [parts, outputs, inputs] = products.meta.shape().dims();
    let output = empty(&products, [outputs, inputs], DType::F32);
    let count = outputs * inputs;
    if count > 0 {
        let vector = vector_size(count, &[&products]);
        let (cubes, dim) = units(&products.client, count / vector);
        parts_added::launch(
            &products.client,
            cubes,
            dim,
            vector,
            products.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            count / vector,
            parts,
            types([&products])[0],
        );
    }
    output
}

#[cube(launch)]
fn parts_added<X: Float, N: Size>(
    products: &[Vector<X, N>],
    output: &mut [Vector<X, N>],
    count: usize,
    #[comptime] parts: usize,
    #[define(X)] _type: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let mut sum = products[ABSOLUTE_POS];
    #[unroll]
    for part in 1..parts {
        sum += products[part * count + ABSOLUTE_POS];
    }
    output[ABSOLUTE_POS] = sum;
}

#[cfg(test)]
#[cfg(all(feature = "flex", feature = "wgpu"))]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops::{linear, read_floats};

    #[test]
    fn tokens_are_split_as_far_as_blocks_are_few() {
        let few = |tokens, outputs, inputs| parts(tokens, outputs, inputs, 256);
        // One block of 7: sixteen parts make 112, which is not yet enough; 49 blocks: four parts are
        // 196, eight 392; 266 are enough.
        assert_eq!(few(4096, 128, 896), 16);
        assert_eq!(few(4096, 896, 896), 8);
        assert_eq!(few(4096, 4864, 896), 1);
        assert_eq!(few(1024, 128, 896), 4);
        assert_eq!(few(4100, 128, 896), 4);
        assert_eq!(few(4097, 128, 896), 1);
        assert_eq!(few(0, 0, 0), 1);
        // Two parts of 266 are 532, four 1064.
        assert_eq!(parts(4096, 4864, 896, 1024), 4);
    }

    #[test]
    fn gradient_of_a_weight_from_parts_is_that_of_the_whole() {
        let Some(adapter) = device::adapters().into_iter().next() else {
            eprintln!("skipped: no wgpu adapter");
            return;
        };
        let gpu = device::open(&DeviceSpec::Wgpu(adapter.index)).unwrap();
        let cpu = Device::flex();
        cpu.seed(3);
        let normal = Distribution::Normal(0.0, 1.0);
        assert_eq!(parts(512, 3, 5, ENOUGH_BLOCKS), 2);
        let states: Tensor<2> = Tensor::random([512, 5], normal, &cpu);
        let weight: Tensor<2> = Tensor::random([3, 5], normal, &cpu);
        let factors: Tensor<2> = Tensor::random([512, 3], normal, &cpu);
        let gradient = |device: &Device| {
            let weight = weight.clone().to_device(device).autodiff().require_grad();
            let output = linear(states.clone().to_device(device).autodiff(), weight.clone());
            let factors = factors.clone().to_device(device).autodiff();
            let found = (output * factors).sum().backward();
            read_floats(weight.grad(&found).unwrap()).unwrap()
        };
        let (found, expected) = (gradient(&gpu), gradient(&cpu));
        assert_eq!(found.len(), 15);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 2e-4, "{found} {expected}");
        }
    }

    #[test]
    fn a_map_large_enough_for_the_kernel_has_the_output_and_gradients_of_the_cpu() {
        let Some(adapter) = device::adapters().into_iter().next() else {
            eprintln!("skipped: no wgpu adapter");
            return;
        };
        let gpu = device::open(&DeviceSpec::Wgpu(adapter.index)).unwrap();
        let cpu = Device::flex();
        cpu.seed(4);
        let normal = Distribution::Normal(0.0, 1.0);
        let random = |shape: [usize; 2]| Tensor::<2>::random(shape, normal, &cpu);
        let (states, weight, factors) = (random([72, 40]), random([36, 40]), random([72, 36]));
        let all = |device: &Device| {
            let leaf = |tensor: &Tensor<2>| tensor.clone().to_device(device).autodiff();
            let [states, weight] = [&states, &weight].map(|it| leaf(it).require_grad());
            let output = linear(states.clone(), weight.clone());
            let found = (output.clone() * leaf(&factors)).sum().backward();
            let gradients = [states, weight].map(|it| it.grad(&found).unwrap());
            let [for_states, for_weight] = gradients;
            [output.inner(), for_states, for_weight].map(|it| read_floats(it).unwrap())
        };
        for (found, expected) in all(&gpu).iter().zip(&all(&cpu)) {
            assert_eq!(found.len(), expected.len());
            let gaps = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(gaps.fold(0.0, f32::max) < 1e-4);
        }
    }
}
