//! Products of halves by matrix units (tensor cores) that a plane loads matrices of 16 × 16 into, as through Vulkan:
//! by a shader where WGSL reaches them, else by a kernel of the same tiles and steps.

mod gated;
mod kernel;

use burn::tensor::DType;
use burn_cubecl::cubecl::features::MmaConfig;
use burn_cubecl::cubecl::ir::FloatKind;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

pub(in crate::ops) use self::gated::gated_product;
use self::kernel::product_matrices;
use super::cube::{CHUNK, ENOUGH_BLOCKS, Extents, LARGE, SMALL, operands, starts_at_a_chunk};
use super::operand::{Along, MatricesLaunch};
use super::tile_plan::QUAD;
use super::wgsl;
use crate::ops::cube::types;
use crate::ops::shader::is_spirv;

/// Units of a plane.
const PLANE: usize = 32;
/// Planes of the kernel's cube along each side of its tile.
const PLANES: usize = 2;
/// Units of the kernel's cube.
const UNITS: usize = PLANES * PLANES * PLANE;
/// Rows, columns and inner places of a matrix.
const SIDE: usize = 16;
/// Fewest rows and columns that are worth a tile: a few rows leave most of it empty, but reading what they are
/// multiplied by takes longer than multiplying.
const LEAST_SIDE: usize = 8;
/// Chunks of a step of an operand that a unit of the kernel stages.
const STAGED: usize = 4;

/// What the kernel and the shader are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    /// Rows, and columns, of a tile.
    pub tile: usize,
    /// The axes along which the numbers of the operands are neighbours.
    pub along: [Along; 2],
}

impl Plan {
    /// Inner places of a step.
    pub fn step(self) -> usize {
        STAGED * CHUNK * UNITS / self.tile
    }

    /// Matrices along each side of a plane's part of the tile.
    fn blocks(self) -> usize {
        self.tile / PLANES / SIDE
    }

    /// Chunks of a line of an operand's step. Lines are rows or columns of the tile where the operand lies along the
    /// inner axis, else places of the step.
    fn length(self, along: Along) -> usize {
        match along {
            Along::Inner => self.step() / CHUNK,
            Along::Outer => self.tile / CHUNK,
        }
    }

    /// Chunks from a line of an operand's step to the next: one is left free, so that the units of a plane do not
    /// meet in a bank.
    fn line(self, along: Along) -> usize {
        self.length(along) + 1
    }

    /// Chunks of an operand's step.
    fn staged(self, along: Along) -> usize {
        STAGED * UNITS / self.length(along) * self.line(along)
    }

    /// Bytes of shared memory: steps of halves, and a matrix of sums of each plane.
    fn shared_bytes(self, units: usize) -> usize {
        let [left, right] = self.along.map(|along| self.staged(along));
        (left + right) * CHUNK * 2 + units / PLANE * SIDE * SIDE * size_of::<f32>()
    }
}

/// How matrix units take the product; none where they do not.
pub(super) fn plan(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor) -> Option<Plan> {
    let extents = Extents::of(left, right);
    let (of_left, of_right) = operands(left, right);
    let plan = Plan {
        tile: tile_of(extents),
        along: [of_left.along(), of_right.along()],
    };
    let lies_in_chunks = of_left.is_whole(CHUNK)
        && of_right.is_whole(CHUNK)
        && [left, right].into_iter().all(starts_at_a_chunk);
    let is_written = matches!(output.dtype, DType::F16 | DType::F32);
    let units = suit(extents, &left.client, left.dtype)?;
    let shared = left.client.properties().hardware.max_shared_memory_size;
    let takes = lies_in_chunks && is_written && shared >= plan.shared_bytes(units);
    takes.then_some(plan)
}

/// The product by matrix units.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
pub(super) fn multiply(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor, plan: Plan) {
    let extents = Extents::of(left, right);
    let [y, x] = extents.cubes([plan.tile; 2]);
    let count = CubeCount::Static(x as u32, y as u32, extents.batches as u32);
    if wgsl::multiplies(&left.client) {
        return wgsl::multiply(left, right, output, count, plan);
    }
    let (of_left, of_right) = operands(left, right);
    // SAFETY: lines read are held back to the operands' last, places are compared with the inner extent, places
    // written with the output's extents, and both operands are of one type.
    unsafe {
        product_matrices::launch_unchecked(
            &output.client,
            count,
            CubeDim::new_1d(UNITS as u32),
            left.clone().into_buffer_arg(),
            right.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            MatricesLaunch::new(of_left.launch(CHUNK), of_right.launch(CHUNK), extents.inner),
            plan,
            types([left, output]),
        );
    }
}

/// Units of a cube for such a product; none where there are no matrix units for numbers of this type, or tiles too
/// empty.
pub(super) fn suit(extents: Extents, client: &Client, dtype: DType) -> Option<usize> {
    let hardware = &client.properties().hardware;
    let [y, x] = extents.cubes([SMALL; 2]);
    let most = hardware.max_cube_count;
    let suits = dtype == DType::F16
        && extents.is_counted_in_32_bits()
        && extents.rows.min(extents.columns) >= LEAST_SIDE
        && extents.columns.is_multiple_of(QUAD)
        && extents.inner > 0
        && extents.batches > 0
        && x <= most.0 as usize
        && y <= most.1 as usize
        && extents.batches <= most.2 as usize
        && [hardware.plane_size_min, hardware.plane_size_max] == [PLANE as u32; 2];
    let units = suits.then(|| cube_units(client)).flatten();
    units.filter(|units| *units <= hardware.max_units_per_cube as usize)
}

/// Whether there are matrix units for the shader or the kernel.
pub(super) fn has_units(client: &Client) -> bool {
    cube_units(client).is_some()
}

/// Units of a cube of the shader or the kernel; none where planes do not multiply matrices of halves, with sums in
/// `f32`.
fn cube_units(client: &Client) -> Option<usize> {
    let config = MmaConfig {
        a_type: ElemType::Float(FloatKind::F16),
        b_type: ElemType::Float(FloatKind::F16),
        cd_type: ElemType::Float(FloatKind::F32),
        m: SIDE as u32,
        n: SIDE as u32,
        k: SIDE as u32,
    };
    let has_units = || client.properties().features.matmul.cmma.contains(&config);
    if wgsl::multiplies(client) {
        return Some(wgsl::UNITS);
    }
    (is_spirv(client) && has_units()).then_some(UNITS)
}

/// Rows and columns of a tile: large ones, unless they are too few or half of them empty.
fn tile_of(extents: Extents) -> usize {
    let [y, x] = extents.cubes([LARGE; 2]);
    let is_filled = extents.rows.min(extents.columns) > SMALL;
    match is_filled && y * x * extents.batches >= ENOUGH_BLOCKS / 2 {
        true => LARGE,
        false => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops::product::cube::output;
    use crate::ops::product::exact::{INTERLEAVED, PLAIN, TRANSPOSED, expected, operand, read};

    /// Devices whose matrix units may suit.
    const DEVICES: [DeviceSpec; 2] = [DeviceSpec::Wgpu(0), DeviceSpec::Vulkan(0)];

    /// Runs `check` with each device that has matrix units.
    fn on_matrix_units(check: impl Fn(&Device)) {
        for spec in DEVICES {
            let has_units = |device: &Device| match device.as_dispatch() {
                burn::backend::DispatchDevice::Cube(device) => has_units(&device.client()),
                _ => false,
            };
            match device::open(&spec).ok().filter(has_units) {
                Some(device) => check(&device),
                None => eprintln!("skipped: no matrix units on {spec}"),
            }
        }
    }

    /// The product by matrix units with each tile, in this layout.
    fn check(
        device: &Device,
        batches: [usize; 2],
        sizes: [usize; 3],
        orders: [[usize; 3]; 2],
        of_output: DType,
    ) {
        let [rows, inner, columns] = sizes;
        let left = operand(device, [batches[0], rows, inner], orders[0], DType::F16);
        let right = operand(device, [batches[1], inner, columns], orders[1], DType::F16);
        for tile in [LARGE, SMALL] {
            let found = output(&left, Extents::of(&left, &right), of_output);
            let mut plan = plan(&left, &right, &found).expect("matrix units take it");
            plan.tile = tile;
            multiply(&left, &right, &found, plan);
            let case = format!("{batches:?} {sizes:?} {orders:?} {of_output:?} {plan:?}");
            assert_eq!(read(found), expected(batches, sizes), "{case}");
        }
    }

    #[test]
    fn matrix_units_multiply_exactly_in_every_layout_and_tile() {
        on_matrix_units(|device| {
            for left in [PLAIN, TRANSPOSED] {
                for right in [PLAIN, TRANSPOSED] {
                    let orders = [left, right];
                    check(device, [1, 1], [128, 32, 128], orders, DType::F32);
                    // Edges inside of tiles, and steps that are not whole.
                    check(device, [1, 1], [72, 104, 136], orders, DType::F32);
                    check(device, [1, 1], [264, 72, 40], orders, DType::F16);
                }
            }
            for rows in [LEAST_SIDE, 37] {
                check(device, [1, 1], [rows, 64, 40], [PLAIN; 2], DType::F32);
            }
            for batches in [[3, 3], [1, 3], [3, 1]] {
                check(device, batches, [72, 40, 40], [PLAIN; 2], DType::F32);
            }
            check(device, [3, 3], [72, 40, 40], [INTERLEAVED; 2], DType::F32);
        });
    }

    #[test]
    fn products_that_do_not_fill_chunks_are_not_for_matrix_units() {
        on_matrix_units(|device| {
            let is_taken = |sizes: [usize; 3], dtype| {
                let [rows, inner, columns] = sizes;
                let left = operand(device, [1, rows, inner], PLAIN, dtype);
                let right = operand(device, [1, inner, columns], PLAIN, dtype);
                let output = output(&left, Extents::of(&left, &right), dtype);
                plan(&left, &right, &output).is_some()
            };
            assert!(is_taken([64, 64, 64], DType::F16));
            for sizes in [[64, 68, 64], [64, 64, 60], [4, 64, 64], [64, 0, 64]] {
                assert!(!is_taken(sizes, DType::F16), "{sizes:?}");
            }
            assert!(!is_taken([64, 64, 64], DType::F32));
        });
    }

    #[test]
    fn tiles_are_large_where_they_are_many_and_full() {
        let tile = |rows, columns| {
            let extents = Extents {
                batches: 1,
                rows,
                inner: 64,
                columns,
            };
            tile_of(extents)
        };
        // 64 * 7 = 448 large tiles, 7 * 7 are too few, and 64 columns fill half of one.
        assert_eq!(tile(8192, 896), LARGE);
        assert_eq!(tile(896, 896), SMALL);
        assert_eq!(tile(1 << 20, 64), SMALL);
    }

    #[test]
    fn every_plan_fits_in_the_least_shared_memory_of_such_devices() {
        let plan = |tile, along| Plan { tile, along };
        for left in [Along::Inner, Along::Outer] {
            for right in [Along::Inner, Along::Outer] {
                for tile in [LARGE, SMALL] {
                    let plan = plan(tile, [left, right]);
                    assert!(plan.shared_bytes(wgsl::UNITS) <= 32 << 10, "{plan:?}");
                }
            }
        }
        assert_eq!(plan(LARGE, [Along::Inner; 2]).step(), 32);
        assert_eq!(plan(SMALL, [Along::Inner; 2]).step(), 64);
    }
}
