//! Products of halves by matrix units (tensor cores) that are given their numbers in registers, as on CUDA.

mod kernel;
mod shares;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use self::kernel::{Plan, STEP, Side, UNITS, product_fragments};
use self::shares::{Shares, SharesLaunch, add_parts, product_fragments_shared};
use super::cube::{CHUNK, Extents, LARGE, LEAST_SIDE, SMALL, Strided, operands, starts_at_a_chunk};
use super::operand::MatricesLaunch;
use crate::ops::cube::{empty, grid, multiplies_registers, types};

/// Numbers that are written at a time.
const PAIR: usize = 2;
/// Most parts of a tile.
const MOST_PARTS: usize = 16;
/// Fewest steps of a part.
const LEAST_STEPS: usize = 4;

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
pub(super) fn multiply(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor, plan: Plan) {
    let extents = Extents::of(left, right);
    match share_out(extents, plan, slots(&left.client)) {
        Some(shares) => multiply_shared(left, right, output, plan, shares),
        None => multiply_whole(left, right, output, plan),
    }
}

/// A cube a tile.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
fn multiply_whole(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor, plan: Plan) {
    let extents = Extents::of(left, right);
    let [y, x] = extents.cubes(plan.tile());
    // SAFETY: places read are held back to the operands' last, steps are whole, places written are
    // compared with the output's extents, and both operands are of one type.
    unsafe {
        product_fragments::launch_unchecked(
            &output.client,
            CubeCount::Static(x as u32, y as u32, extents.batches as u32),
            CubeDim::new_1d(UNITS as u32),
            CHUNK,
            PAIR,
            left.clone().into_buffer_arg(),
            right.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            matrices(left, right),
            plan,
            types([left, output]),
        );
    }
}

/// A cube a tile or a part of one, as they are shared out.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
fn multiply_shared(
    left: &CubeTensor,
    right: &CubeTensor,
    output: &CubeTensor,
    plan: Plan,
    shares: Shares,
) {
    let extents = Extents::of(left, right);
    let [y, x] = extents.cubes(plan.tile());
    let rest = y * x - shares.whole;
    let [rows, columns] = plan.tile();
    let sums = empty(output, [rest, shares.parts, rows, columns], DType::F32);
    let launch = || SharesLaunch::new(shares.whole, shares.parts, shares.across);
    // SAFETY: places read are held back to the operands' last, steps are whole, places written in the output are
    // compared with its extents, those of sums are whole tiles as many as there are parts, and both operands are of
    // one type.
    unsafe {
        product_fragments_shared::launch_unchecked(
            &output.client,
            grid(shares.whole + rest * shares.parts, 1),
            CubeDim::new_1d(UNITS as u32),
            CHUNK,
            PAIR,
            left.clone().into_buffer_arg(),
            right.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            matrices(left, right),
            launch(),
            plan,
            types([left, output]),
        );
        add_parts::launch_unchecked(
            &output.client,
            grid(rows * columns / PAIR / UNITS, rest),
            CubeDim::new_1d(UNITS as u32),
            PAIR,
            sums.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            extents.rows,
            extents.columns,
            launch(),
            plan,
            types([output])[0],
        );
    }
}

fn matrices(left: &CubeTensor, right: &CubeTensor) -> MatricesLaunch {
    let (of_left, of_right) = operands(left, right);
    let launch = |operand: Strided| operand.launch(CHUNK);
    MatricesLaunch::new(
        launch(of_left),
        launch(of_right),
        Extents::of(left, right).inner,
    )
}

/// Cubes of large tiles that a device runs at a time: their sums and fragments leave room for two in the registers
/// of a multiprocessor.
fn slots(client: &Client) -> usize {
    let processors = client.properties().hardware.num_streaming_multiprocessors;
    2 * processors.unwrap_or(0) as usize
}

/// How tiles are shared out where those left over after full rounds of `slots` are so few that parts of them make a
/// round, too; none where they are not.
fn share_out(extents: Extents, plan: Plan, slots: usize) -> Option<Shares> {
    let [y, x] = extents.cubes(plan.tile());
    let rest = (y * x).checked_rem(slots)?;
    let most = (extents.inner / STEP / LEAST_STEPS).min(MOST_PARTS);
    let parts = slots.checked_div(rest)?.min(most);
    let helps = plan.tile() == [LARGE; 2] && extents.batches == 1 && y * x > slots && parts > 1;
    helps.then_some(Shares {
        whole: y * x - rest,
        parts,
        across: x,
    })
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
    use crate::ops::product::operand::Along;

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
    fn tiles_of_which_a_gpu_is_left_idle_are_shared_out() {
        let shares = |[rows, inner, columns]: [usize; 3]| {
            let extents = Extents {
                batches: 1,
                rows,
                inner,
                columns,
            };
            let side = Side {
                tile: LARGE,
                along: Along::Inner,
            };
            let plan = Plan {
                left: side,
                right: side,
            };
            share_out(extents, plan, 264)
        };
        // 7 x 38 = 264 + 2 tiles of 256 steps: two can have sixteen parts, the most that there are.
        let found = shares([896, 8192, 4864]).unwrap();
        assert_eq!([found.whole, found.parts, found.across], [264, 16, 38]);
        // 64 x 38 = 9 x 264 + 56 tiles of 28 steps: four parts of 7.
        let found = shares([8192, 896, 4864]).unwrap();
        assert_eq!([found.whole, found.parts, found.across], [2376, 4, 38]);
        // 448 = 264 + 184 tiles, which leave no room; 224, which are no full round; 264, which are one.
        for sizes in [[8192, 896, 896], [4096, 8192, 896], [264 * 128, 896, 128]] {
            assert!(shares(sizes).is_none(), "{sizes:?}");
        }
    }

    #[test]
    fn parts_of_tiles_add_up_exactly() {
        let Some(device) = cuda() else { return };
        for orders in [[PLAIN, PLAIN], [TRANSPOSED, PLAIN], [PLAIN, TRANSPOSED]] {
            for of_output in [DType::F32, DType::F16] {
                // Nine tiles, the last of rows and columns cut off, of five steps.
                let sizes @ [rows, inner, columns] = [264, 160, 264];
                let left = operand(&device, [1, rows, inner], orders[0], DType::BF16);
                let right = operand(&device, [1, inner, columns], orders[1], DType::BF16);
                let found = output(&left, Extents::of(&left, &right), of_output);
                let mut plan = plan(&left, &right, &found).expect("matrix units take it");
                [plan.left.tile, plan.right.tile] = [LARGE; 2];
                let shares = Shares {
                    whole: 4,
                    parts: 3,
                    across: 3,
                };
                multiply_shared(&left, &right, &found, plan, shares);
                let case = format!("{orders:?} {of_output:?}");
                assert_eq!(read(found), expected([1, 1], sizes), "{case}");
            }
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
