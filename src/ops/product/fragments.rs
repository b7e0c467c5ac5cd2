//! Products of halves by matrix units (tensor cores) that are given their numbers in registers, as on CUDA.

mod kernel;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use self::kernel::{Plan, STEP, Side, UNITS, product_fragments};
use super::cube::{CHUNK, Extents, LARGE, LEAST_SIDE, SMALL, Strided, operands, starts_at_a_chunk};
use super::operand::MatricesLaunch;
use crate::ops::cube::{multiplies_registers, types};

/// How matrix units take the product; none where they do not.
pub(super) fn plan(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor) -> Option<Plan> {
    let extents = Extents::of(left, right);
    let (of_left, of_right) = operands(left, right);
    let is_float = matches!(output.dtype, DType::F32 | DType::F16 | DType::BF16);
    let takes = is_float
        && suit(extents, &left.client, left.dtype)
        && of_left.is_whole(CHUNK)
        && of_right.is_whole(CHUNK)
        && [left, right].into_iter().all(starts_at_a_chunk);
    let side = |tile, operand: Strided| Side {
        tile,
        along: operand.along(),
    };
    let [rows, columns] = tile_of(extents, &left.client);
    let plan = Plan {
        left: side(rows, of_left),
        right: side(columns, of_right),
    };
    let hardware = &left.client.properties().hardware;
    let (_, most_y, most_z) = hardware.max_cube_count;
    let [y, _] = extents.cubes([rows, columns]);
    let fits = hardware.max_shared_memory_size >= plan.shared_bytes()
        && y <= most_y as usize
        && extents.batches <= most_z as usize;
    (takes && fits).then_some(plan)
}

/// The product by matrix units.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
pub(super) fn multiply(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor, plan: Plan) {
    let extents = Extents::of(left, right);
    let (of_left, of_right) = operands(left, right);
    let [y, x] = extents.cubes([plan.left.tile, plan.right.tile]);
    let launch = |operand: Strided| operand.launch(CHUNK);
    // SAFETY: places read are held back to the operands' last, steps are whole, places written are
    // compared with the output's extents, and both operands are of one type.
    unsafe {
        product_fragments::launch_unchecked(
            &output.client,
            CubeCount::Static(x as u32, y as u32, extents.batches as u32),
            CubeDim::new_1d(UNITS as u32),
            CHUNK,
            2,
            left.clone().into_buffer_arg(),
            right.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            MatricesLaunch::new(launch(of_left), launch(of_right), extents.inner),
            plan,
            types([left, output]),
        );
    }
}

/// Whether there are matrix units for numbers of this type, steps and chunks are whole, and tiles full enough.
pub(super) fn suit(extents: Extents, client: &Client, dtype: DType) -> bool {
    let element = dtype_to_storage_type(dtype);
    let loaded = &client.properties().features.matmul.ldmatrix;
    matches!(dtype, DType::F16 | DType::BF16)
        && multiplies_registers(client, element)
        && loaded.contains(&element)
        && extents.is_counted_in_32_bits()
        && extents.rows.min(extents.columns) >= LEAST_SIDE
        && extents.inner > 0
        && extents.batches > 0
        && extents.inner.is_multiple_of(STEP)
        && extents.columns.is_multiple_of(CHUNK)
}

/// Rows and columns of a tile for matrix units: the largest that gives each multiprocessor one.
fn tile_of(extents: Extents, client: &Client) -> [usize; 2] {
    let hardware = &client.properties().hardware;
    let processors = hardware.num_streaming_multiprocessors.unwrap_or(1) as usize;
    let is_filled = |[rows, columns]: &[usize; 2]| {
        let fits = |tile: usize, extent: usize| tile == SMALL || extent > SMALL;
        fits(*rows, extents.rows) && fits(*columns, extents.columns)
    };
    let is_enough = |tile: &[usize; 2]| {
        let [y, x] = extents.cubes(*tile);
        y * x * extents.batches >= processors
    };
    let choices = [[LARGE; 2], [LARGE, SMALL], [SMALL, LARGE]];
    let mut choices = choices.into_iter().filter(is_filled);
    choices.find(is_enough).unwrap_or([SMALL; 2])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops::product::cube::output;
    use crate::ops::product::exact::{INTERLEAVED, PLAIN, TRANSPOSED, expected, operand, read};

    fn cuda() -> Option<Device> {
        let device = device::open(&DeviceSpec::Cuda(0)).ok();
        if device.is_none() {
            eprintln!("skipped: no CUDA device");
        }
        device
    }

    /// The product by matrix units of each tile, in this layout; types are those of operands and output.
    fn check(
        device: &Device,
        batches: [usize; 2],
        sizes: [usize; 3],
        orders: [[usize; 3]; 2],
        [dtype, of_output]: [DType; 2],
    ) {
        let [rows, inner, columns] = sizes;
        let left = operand(device, [batches[0], rows, inner], orders[0], dtype);
        let right = operand(device, [batches[1], inner, columns], orders[1], dtype);
        for tile in [[128, 128], [128, 64], [64, 128], [64, 64]] {
            let found = output(&left, Extents::of(&left, &right), of_output);
            let mut plan = plan(&left, &right, &found).expect("matrix units take it");
            [plan.left.tile, plan.right.tile] = tile;
            multiply(&left, &right, &found, plan);
            let case = format!("{batches:?} {sizes:?} {orders:?} {dtype:?} {of_output:?} {tile:?}");
            assert_eq!(read(found), expected(batches, sizes), "{case}");
        }
    }

    #[test]
    fn matrix_units_multiply_exactly_in_every_layout_and_tile() {
        let Some(device) = cuda() else { return };
        for dtype in [DType::F16, DType::BF16] {
            let dtypes = [dtype, DType::F32];
            for left in [PLAIN, TRANSPOSED] {
                for right in [PLAIN, TRANSPOSED] {
                    let orders = [left, right];
                    check(&device, [1, 1], [128, 32, 128], orders, dtypes);
                    // Edges inside of tiles, one step and several.
                    check(&device, [1, 1], [72, 96, 136], orders, dtypes);
                    check(&device, [1, 1], [264, 64, 40], orders, [dtype, DType::F16]);
                }
            }
            check(&device, [1, 1], [37, 64, 40], [PLAIN; 2], dtypes);
            for batches in [[3, 3], [1, 3], [3, 1]] {
                check(&device, batches, [72, 32, 40], [PLAIN; 2], dtypes);
            }
            check(&device, [3, 3], [72, 32, 40], [INTERLEAVED; 2], dtypes);
        }
    }

    #[test]
    fn products_that_do_not_fill_steps_and_chunks_are_not_for_matrix_units() {
        let Some(device) = cuda() else { return };
        let is_taken = |sizes: [usize; 3], dtype| {
            let [rows, inner, columns] = sizes;
            let left = operand(&device, [1, rows, inner], PLAIN, dtype);
            let right = operand(&device, [1, inner, columns], PLAIN, dtype);
            let output = output(&left, Extents::of(&left, &right), dtype);
            plan(&left, &right, &output).is_some()
        };
        assert!(is_taken([64, 64, 64], DType::F16));
        for sizes in [[64, 48, 64], [64, 64, 60], [8, 64, 64], [64, 0, 64]] {
            assert!(!is_taken(sizes, DType::F16), "{sizes:?}");
        }
        assert!(!is_taken([64, 64, 64], DType::F32));
    }
}
