//! Sums of columns on GPUs: of chunks of rows first, so that all of a GPU has work, then of the chunks; the order
//! is fixed.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::AddBiasBackend;
use crate::ops::cube::{Block, cubes, empty, sum_of_rows, types, vector_size};

/// Chunks of rows, at most.
const MOST_CHUNKS: usize = 512;
/// Rows of a chunk, at least.
const LEAST_CHUNK: usize = 8;

impl AddBiasBackend for CubeBackend {
    fn column_sums(rows: CubeTensor, dtype: DType) -> CubeTensor {
        let rows = into_contiguous(rows);
        let [count, width] = rows.meta.shape().dims();
        let vector = vector_size(width, &[&rows]);
        let vectors = width / vector;
        let chunk = count.div_ceil(MOST_CHUNKS).max(LEAST_CHUNK);
        let chunks = count.div_ceil(chunk);
        let sums = empty(&rows, [chunks, width], DType::F32);
        if count * width > 0 {
            let block = Block::new(&rows.client, vectors);
            chunk_sums::launch(
                &rows.client,
                cubes(&rows.client, chunks),
                block.dim(),
                vector,
                rows.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                count,
                vectors,
                chunk,
                types([&rows])[0],
            );
        }
        sum_of_rows(sums, dtype)
    }
}

/// Sums of the rows of every chunk, a cube a chunk.
#[cube(launch)]
fn chunk_sums<X: Float, N: Size>(
    rows: &[Vector<X, N>],
    sums: &mut [Vector<f32, N>],
    count: usize,
    vectors: usize,
    chunk: usize,
    #[define(X)] _type: ElemType,
) {
    let first = CUBE_POS * chunk;
    if first >= count {
        terminate!();
    }
    let last = min(first + chunk, count);
    let mut place = UNIT_POS as usize;
    while place < vectors {
        let mut sum = Vector::<f32, N>::new(0.0);
        for row in first..last {
            sum += Vector::cast_from(rows[row * vectors + place]);
        }
        sums[CUBE_POS * vectors + place] = sum;
        place += CUBE_DIM as usize;
    }
}

#[cfg(test)]
#[cfg(all(feature = "flex", feature = "wgpu"))]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use crate::device::{self, DeviceSpec};
    use crate::ops::{add_bias, read_floats};

    /// The output and the gradient of the bias.
    fn outputs(device: &Device, operands: &[Tensor<2>; 3]) -> [Vec<f32>; 2] {
        let [rows, bias, factors] = operands.each_ref().map(|it| it.clone().to_device(device));
        let bias = bias.autodiff().require_grad();
        let output = add_bias(rows.autodiff(), bias.clone());
        let found = (output.clone() * factors.autodiff()).sum().backward();
        [output.inner(), bias.grad(&found).unwrap()].map(|it| read_floats(it).unwrap())
    }

    #[test]
    fn sums_of_chunks_are_those_of_all_rows() {
        let Some(adapter) = device::adapters().into_iter().next() else {
            eprintln!("skipped: no wgpu adapter");
            return;
        };
        let gpu = device::open(&DeviceSpec::Wgpu(adapter.index)).unwrap();
        let cpu = Device::flex();
        cpu.seed(5);
        let normal = Distribution::Normal(0.0, 1.0);
        // Vectors and none, rows wider than a cube, chunks of more rows than eight, no rows.
        for [rows, width] in [[37, 12], [20, 7], [9, 1100], [5000, 4], [0, 4]] {
            let random = |rows| Tensor::<2>::random([rows, width], normal, &cpu);
            let operands = [random(rows), random(1), random(rows)];
            let (found, expected) = (outputs(&gpu, &operands), outputs(&cpu, &operands));
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.len(), expected.len());
                let gaps = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
                let gap = gaps.fold(0.0, f32::max);
                assert!(gap < 1e-3, "{rows} x {width}: {gap}");
            }
        }
    }
}
