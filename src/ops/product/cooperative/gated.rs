//! The product of states with a gate and what it gates, one beside the other (SwiGLU, arXiv:2002.05202), for SPIR-V.

use burn::tensor::DType;
use burn_cubecl::cubecl::cmma::{self, MatrixLayout};
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::kernel::{Chunk, Quad, SUMS, corner, summed};
use super::{PLANE, PLANES, Plan, SIDE, UNITS, plan};
use crate::ops::cube::{sigmoid, types};
use crate::ops::product::cube::{CHUNK, Extents, SMALL, operands};
use crate::ops::product::operand::{Along, Matrices, MatricesLaunch};
use crate::ops::product::tile_plan::QUAD;
use crate::ops::shader::is_spirv;

/// Columns that a cube writes.
const COLUMNS: usize = SMALL / 2;

/// `silu(gate) ⊙ up` of the halves of `states · weight + bias`, which are rounded to halves first; false where there is
/// no kernel for it.
///
/// # Shapes
/// `states` `[1, B, E]`, `weight` `[1, E, 2I]`, the gate first, `bias` `[1, 2I]` of `f32`; `gated` `[S, B, I/S]`, the
/// columns split.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
pub(in crate::ops) fn gated_product(
    states: &CubeTensor,
    weight: &CubeTensor,
    bias: Option<&CubeTensor>,
    gated: &CubeTensor,
) -> bool {
    let [parts, rows, chunk] = gated.meta.shape().dims();
    let client = &gated.client;
    let plan = plan(states, weight, gated).map(|plan| Plan {
        tile: SMALL,
        ..plan
    });
    let Some(plan) = plan.filter(|plan| {
        is_spirv(client)
            && gated.dtype == DType::F16
            && chunk.is_multiple_of(QUAD)
            && plan.along == [Along::Inner; 2]
    }) else {
        return false;
    };
    let extents = Extents::of(states, weight);
    let (of_states, of_weight) = operands(states, weight);
    let (x, y) = ((parts * chunk).div_ceil(COLUMNS), rows.div_ceil(SMALL));
    // SAFETY: lines read are held back to the operands' last, places are compared with the inner extent, places
    // written with the output's extents, and both operands are of one type.
    unsafe {
        gated_product_matrices::launch_unchecked(
            client,
            CubeCount::Static(x as u32, y as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            states.clone().into_buffer_arg(),
            weight.clone().into_buffer_arg(),
            bias.unwrap_or(gated).clone().into_buffer_arg(),
            gated.clone().into_buffer_arg(),
            MatricesLaunch::new(
                of_states.launch(CHUNK),
                of_weight.launch(CHUNK),
                extents.inner,
            ),
            chunk,
            bias.is_some(),
            plan,
            types([gated])[0],
        );
    }
    true
}

/// Sums, then writes what lies in the output, a matrix of each plane after the other: of the planes beside each other,
/// the first has the gate.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn gated_product_matrices<X: Float>(
    states: &[Chunk],
    weight: &[Chunk],
    bias: &[Vector<f32, Quad>],
    gated: &mut [Vector<X, Quad>],
    matrices: &Matrices,
    chunk: usize,
    #[comptime] has_bias: bool,
    #[comptime] plan: Plan,
    #[define(X)] _type: ElemType,
) {
    let sums = summed::<X>(states, weight, matrices, true, plan);
    let mut shared = Shared::<[Vector<f32, Quad>]>::new_slice(comptime!(UNITS / PLANE * SUMS));
    let (rows, columns) = (matrices.left.count, matrices.right.count / 2);
    let unit = UNIT_POS as usize;
    let own = unit / PLANE * SUMS;
    let (plane, inside) = (unit / SUMS * PLANES, unit % SUMS);
    let (corner_row, _) = corner(plane * PLANE, plan);
    let row = CUBE_POS_Y as usize * SMALL + corner_row + inside / comptime!(SIDE / QUAD);
    let column = CUBE_POS_X as usize * COLUMNS + inside % comptime!(SIDE / QUAD) * QUAD;
    let blocks = comptime!(plan.blocks());
    #[unroll]
    for block in 0..comptime!(blocks * blocks) {
        sync_cube();
        let stride = comptime!(SIDE as u32);
        let sum = sums.index(block);
        cmma::store(
            &mut shared[own..own + SUMS],
            sum,
            stride,
            MatrixLayout::RowMajor,
        );
        sync_cube();
        let row = row + comptime!(block / blocks * SIDE);
        let column = column + comptime!(block % blocks * SIDE);
        if row < rows && column < columns {
            let mut gate = rounded::<X>(shared[plane * SUMS + inside]);
            let mut up = rounded::<X>(shared[(plane + 1) * SUMS + inside]);
            if comptime!(has_bias) {
                gate += bias[column / QUAD];
                up += bias[(columns + column) / QUAD];
            }
            let line = column / chunk * rows + row;
            let number = line * chunk + column % chunk;
            gated[number / QUAD] = Vector::cast_from(gate * sigmoid(gate) * up);
        }
    }
}

#[cube]
fn rounded<X: Float>(sums: Vector<f32, Quad>) -> Vector<f32, Quad> {
    Vector::cast_from(Vector::<X, Quad>::cast_from(sums))
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor, activation::silu};
    use burn_cubecl::ops::{into_data_sync, permute};

    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops::cube::{empty, primitive};
    use crate::ops::product::cooperative::has_units;

    #[test]
    fn gated_products_are_those_of_plain_tensor_functions() {
        let Ok(gpu) = device::open(&DeviceSpec::Vulkan(0)) else {
            eprintln!("skipped: no discrete GPU for SPIR-V");
            return;
        };
        let cpu = Device::flex();
        let random = |shape: [usize; 2], dtype: DType| {
            let normal = Distribution::Normal(0.0, 1.0);
            Tensor::<2>::random(shape, normal, &cpu).cast(dtype)
        };
        // Rows, inner places, columns of the output and of a chunk of it.
        for [rows, inner, columns, chunk] in [[64, 96, 64, 64], [70, 104, 88, 44], [8, 64, 40, 8]] {
            // Sums of about 1: where they are rounded the other way, what they gate changes by little.
            let states = (random([rows, inner], DType::F32) * 0.1).cast(DType::F16);
            let weight = random([2 * columns, inner], DType::F16);
            let bias = random([1, 2 * columns], DType::F32);
            let there = |tensor: &Tensor<2>| tensor.clone().to_device(&gpu);
            let left = primitive(there(&states).unsqueeze::<3>());
            if !has_units(&left.client) {
                eprintln!("skipped: no matrix units for SPIR-V");
                return;
            }
            let right = primitive(there(&weight).unsqueeze::<3>());
            let of_gpu = primitive(there(&bias));
            let gated = empty(&left, [columns / chunk, rows, chunk], DType::F16);
            let right = permute(right, &[0, 2, 1]);
            assert!(gated_product(&left, &right, Some(&of_gpu), &gated));
            let found = into_data_sync(gated).convert::<f32>();
            let found = found.try_into_vec::<f32>().unwrap();

            let wide = |tensor: Tensor<2>| tensor.cast(DType::F32);
            let joined = wide(states).matmul(wide(weight).transpose());
            let joined = wide(joined.cast(DType::F16)) + bias;
            let [gate, up] = [0, columns].map(|from| joined.clone().narrow(1, from, columns));
            let expected = (silu(gate) * up).reshape([rows, columns / chunk, chunk]);
            let expected = expected.swap_dims(0, 1).into_data();
            let expected = expected.try_into_vec::<f32>().unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                let gap = (found - expected).abs();
                assert!(gap < 4e-3 * (1.0 + expected.abs()), "{found} {expected}");
            }
        }
    }
}
