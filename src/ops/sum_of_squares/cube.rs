//! Sums of squares on GPUs.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{Block, cube_sum, cubes, types, vector_size};

/// Sums of one tensor, each by a cube.
const PARTS: usize = 256;

/// Sums that add up to the whole, `PARTS` a tensor.
pub(super) fn parts(tensors: &[Tensor<2>]) -> Tensor<1> {
    let shape = [tensors.len() * PARTS];
    let empty = Tensor::<1>::zeros(shape, (&tensors[0].device(), DType::F32));
    let add = |parts: Tensor<1>, (index, tensor): (usize, &Tensor<2>)| {
        let values = tensor.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::square_sums(values, parts.into_dispatch(), index))
    };
    tensors.iter().enumerate().fold(empty, add)
}

/// Backends with the operation.
#[backend_extension(Cube, Fusion)]
pub trait SquareSumsBackend: Backend {
    /// Puts the sums of `values` in the place of tensor `index`.
    #[fusion(dtype = parts, shape = parts)]
    fn square_sums(
        values: FloatTensor<Self>,
        parts: FloatTensor<Self>,
        index: usize,
    ) -> FloatTensor<Self>;
}

impl SquareSumsBackend for CubeBackend {
    fn square_sums(values: CubeTensor, parts: CubeTensor, index: usize) -> CubeTensor {
        // A transposed tensor's numbers are the same.
        let is_transposed = values.meta.strides()[0] == 1;
        let values = match is_transposed {
            true => permute(values, &[1, 0]),
            false => values,
        };
        let values = into_contiguous(values);
        let count = values.meta.num_elements();
        if count > 0 {
            let vector = vector_size(count, &[&values]);
            let block = Block::new(&values.client, count / vector / PARTS);
            sums::launch(
                &parts.client,
                cubes(&parts.client, PARTS),
                block.dim(),
                vector,
                values.clone().into_buffer_arg(),
                parts.clone().into_buffer_arg(),
                count / vector,
                index * PARTS,
                block,
                types([&values])[0],
            );
        }
        parts
    }
}

#[cube(launch)]
fn sums<X: Float, N: Size>(
    values: &[Vector<X, N>],
    parts: &mut [f32],
    count: usize,
    first: usize,
    #[comptime] block: Block,
    #[define(X)] _type: ElemType,
) {
    let parts_of_tensor = comptime!(PARTS);
    if CUBE_POS >= parts_of_tensor {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut place = CUBE_POS * block.units as usize + UNIT_POS as usize;
    while place < count {
        let x = Vector::<f32, N>::cast_from(values[place]);
        sum += x * x;
        place += comptime!(PARTS * block.units as usize);
    }
    let sum = cube_sum(Vector::vector_sum(sum), block);
    if UNIT_POS == 0 {
        parts[first + CUBE_POS] = sum;
    }
}
