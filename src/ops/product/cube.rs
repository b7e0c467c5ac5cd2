//! Which kernel takes a product, and launches of the kernel of tiles.

use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;

#[cfg(feature = "wgpu")]
use super::cooperative;
use super::fragments;
use super::operand::{Along, MatricesLaunch, OperandLaunch};
use super::tile_plan::{Plan, QUAD, STEP, Side, shared_bytes, units_of};
use super::tiles::product_tiles;
use crate::ops::cube::{empty, types};

/// Blocks of an output, 128 × 128 each, that keep a GPU busy.
pub(in crate::ops) const ENOUGH_BLOCKS: usize = 256;
/// Rows or columns of a tile.
pub(super) const SMALL: usize = 64;
pub(super) const LARGE: usize = 128;
/// Fewest rows and columns that fill enough of a tile.
pub(super) const LEAST_SIDE: usize = 32;
/// Halves that are read at a time: 16 bytes.
pub(in crate::ops) const CHUNK: usize = 8;
/// Small tiles that keep a GPU busy with one team each.
const ENOUGH_TEAMS: usize = 1024;
/// Teams of a cube where there are fewer.
const TEAMS: usize = 4;
/// Fewest steps along the inner axis that a team is worth having for.
const LEAST_STEPS: usize = 2;

/// `a b` in `dtype`, contiguous, of operands in one type.
///
/// # Shapes
/// `[M, K]` and `[K, N]` to `[M, N]`, or `[B or 1, M, K]` and `[B or 1, K, N]` to `[B, M, N]`.
pub(in crate::ops) fn product(left: CubeTensor, right: CubeTensor, dtype: DType) -> CubeTensor {
    let output = output(&left, Extents::of(&left, &right), dtype);
    product_into(left, right, output.clone())
        .expect("products of tensors in one number type have a kernel");
    output
}

/// Writes `a b` to a contiguous output of the shape that [`product`] has.
///
/// # Errors
/// When no kernel of Burn's takes a product that is left to Burn.
pub(in crate::ops) fn product_into(
    left: CubeTensor,
    right: CubeTensor,
    output: CubeTensor,
) -> Result<(), impl std::fmt::Debug + use<>> {
    let extents = Extents::of(&left, &right);
    if let Some(plan) = fragments::plan(&left, &right, &output) {
        fragments::multiply(&left, &right, &output, plan);
        return Ok(());
    }
    #[cfg(feature = "wgpu")]
    if let Some(plan) = cooperative::plan(&left, &right, &output) {
        cooperative::multiply(&left, &right, &output, plan);
        return Ok(());
    }
    if extents.suit(&left.client) {
        by_tiles(&left, &right, &output, extents.cut(&left.client));
        return Ok(());
    }
    let dtype = output.dtype;
    matmul(left, right, Some(output), MatmulStrategy::default(), dtype).map(drop)
}

/// `silu(gate) ⊙ up` of the halves of `states · weight + bias` in one kernel; false where there is none for it.
///
/// # Shapes
/// `states` `[1, B, E]`, `weight` `[1, E, 2I]`, the gate first, `bias` `[1, 2I]` of `f32`; `gated` `[S, B, I/S]`, the
/// columns split.
pub(in crate::ops) fn gated_product_into(
    states: &CubeTensor,
    weight: &CubeTensor,
    bias: Option<&CubeTensor>,
    gated: &CubeTensor,
) -> bool {
    #[cfg(feature = "wgpu")]
    {
        cooperative::gated_product(states, weight, bias, gated)
    }
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = (states, weight, bias, gated);
        false
    }
}

/// Whether products of halves are taken by matrix units that planes load whole matrices into.
pub(in crate::ops) fn loads_matrices(client: &Client) -> bool {
    #[cfg(feature = "wgpu")]
    {
        cooperative::has_units(client)
    }
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = client;
        false
    }
}

/// How a product is cut into work for cubes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Rows and columns of a tile.
    tile: [usize; 2],
    /// Teams of a cube, which share the inner axis.
    teams: usize,
}

/// The sizes of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub batches: usize,
    pub rows: usize,
    /// Places summed over.
    pub inner: usize,
    pub columns: usize,
}

impl Extents {
    pub(super) fn of(left: &CubeTensor, right: &CubeTensor) -> Self {
        let of_left @ [left_batches, rows, inner] = dims(left);
        let of_right @ [right_batches, other, columns] = dims(right);
        let batches = match left_batches {
            1 => right_batches,
            _ => left_batches,
        };
        assert!(
            inner == other && [1, batches].contains(&right_batches),
            "{of_left:?} and {of_right:?} have no product"
        );
        assert_eq!(left.dtype, right.dtype, "operands are of one type");
        Self {
            batches,
            rows,
            inner,
            columns,
        }
    }

    /// Whether the kernel of tiles multiplies faster than Burn's: where there are no matrix units, and tiles
    /// to fill.
    pub(super) fn suit(self, client: &Client) -> bool {
        let properties = client.properties();
        let (hardware, matrix_units) = (&properties.hardware, &properties.features.matmul);
        let [y, x] = self.cubes(self.tiles());
        let (most_x, most_y, most_z) = hardware.max_cube_count;
        let fits = |count: usize, most: u32| count <= most as usize;
        matrix_units.cmma.is_empty()
            && matrix_units.mma.is_empty()
            && matrix_units.cube_mma.is_empty()
            && hardware.max_shared_memory_size >= shared_bytes([LARGE; 2], 1)
            && fits(units_of([LARGE; 2]), hardware.max_units_per_cube)
            && fits(x, most_x)
            && fits(y, most_y)
            && fits(self.batches, most_z)
            && self.is_counted_in_32_bits()
            && self.rows.min(self.columns) >= LEAST_SIDE
            && self.inner >= STEP
    }

    /// Whether the kernels, whose indices have 32 bits, can count the numbers of each matrix.
    pub(super) fn is_counted_in_32_bits(self) -> bool {
        let matrices = [
            [self.rows, self.inner],
            [self.inner, self.columns],
            [self.rows, self.columns],
        ];
        let count = |[rows, columns]: [usize; 2]| {
            let rows = self.batches.saturating_mul(rows);
            rows.saturating_mul(columns)
        };
        matrices
            .map(count)
            .into_iter()
            .all(|count| u32::try_from(count).is_ok())
    }

    /// Tiles, and the teams that keep a GPU busy where they are few.
    fn cut(self, client: &Client) -> Cut {
        let tile = self.tiles();
        let [y, x] = self.cubes(tile);
        let hardware = &client.properties().hardware;
        let teams_help = tile == [SMALL; 2]
            && y * x * self.batches < ENOUGH_TEAMS
            && self.inner >= TEAMS * LEAST_STEPS * STEP
            && hardware.max_shared_memory_size >= shared_bytes(tile, TEAMS);
        Cut {
            tile,
            teams: if teams_help { TEAMS } else { 1 },
        }
    }

    /// Rows and columns of a tile: large ones, unless they are too few or half of them empty.
    fn tiles(self) -> [usize; 2] {
        let side = |extent: usize| match extent.div_ceil(SMALL) {
            1 | 3 => SMALL,
            _ => LARGE,
        };
        let (rows, columns) = (side(self.rows), side(self.columns));
        let is_enough = |tiles: &[usize; 2]| {
            let [y, x] = self.cubes(*tiles);
            y * x * self.batches >= ENOUGH_BLOCKS
        };
        let choices = [[rows, columns], [rows, SMALL]];
        choices.into_iter().find(is_enough).unwrap_or([SMALL; 2])
    }

    /// Cubes along rows and columns.
    pub(super) fn cubes(self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        [self.rows.div_ceil(rows), self.columns.div_ceil(columns)]
    }
}

/// The product by the kernel of tiles.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
fn by_tiles(left: &CubeTensor, right: &CubeTensor, output: &CubeTensor, cut: Cut) {
    let extents = Extents::of(left, right);
    if output.meta.num_elements() == 0 {
        return;
    }
    let inner = extents.inner;
    assert!(inner > 0, "a sum of nothing is not for this kernel");
    let [rows, columns] = cut.tile;
    let steps = cut.teams * STEP;
    let (of_left, of_right) = operands(left, right);
    let launch = |operand: Strided| operand.launch(operand.width());
    let plan = Plan {
        left: of_left.side(rows, steps),
        right: of_right.side(columns, steps),
        written: match extents.columns.is_multiple_of(QUAD) {
            true => QUAD,
            false => 1,
        },
        teams: cut.teams,
    };
    let [y, x] = extents.cubes(cut.tile).map(|count| count as u32);
    // SAFETY: places read are held back to the operands' last, places written are compared with the
    // output's extents, both operands are of one type, and the loop counts up to the inner extent.
    unsafe {
        product_tiles::launch_unchecked(
            &output.client,
            CubeCount::Static(x, y, extents.batches as u32),
            CubeDim::new_1d((plan.teams * plan.units()) as u32),
            of_left.width(),
            of_right.width(),
            plan.written,
            left.clone().into_buffer_arg(),
            right.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            MatricesLaunch::new(launch(of_left), launch(of_right), inner),
            plan,
            types([left, output]),
        );
    }
}

/// The operands of a product, their outer axes rows and columns.
pub(super) fn operands(left: &CubeTensor, right: &CubeTensor) -> (Strided, Strided) {
    let extents = Extents::of(left, right);
    let [batch, row, place] = strides(left);
    let of_left = Strided::new([extents.rows, extents.inner], [batch, row, place]);
    let [batch, place, column] = strides(right);
    let of_right = Strided::new([extents.columns, extents.inner], [batch, column, place]);
    (of_left, of_right)
}

/// Whether a tensor of halves begins where a chunk may be read.
pub(in crate::ops) fn starts_at_a_chunk(tensor: &CubeTensor) -> bool {
    let start = tensor.handle.offset_start.unwrap_or(0);
    start.is_multiple_of((CHUNK * tensor.dtype.size()) as u64)
}

/// The output of a product beside a tensor on its device.
pub(super) fn output(beside: &CubeTensor, extents: Extents, dtype: DType) -> CubeTensor {
    let Extents { rows, columns, .. } = extents;
    match beside.meta.shape().num_dims() {
        2 => empty(beside, [rows, columns], dtype),
        _ => empty(beside, [extents.batches, rows, columns], dtype),
    }
}

/// Batches, rows and columns; a matrix is a batch of one.
fn dims(tensor: &CubeTensor) -> [usize; 3] {
    match tensor.meta.shape()[..] {
        [rows, columns] => [1, rows, columns],
        [batches, rows, columns] => [batches, rows, columns],
        ref dims => panic!("{dims:?} are not those of matrices"),
    }
}

/// Numbers from one batch, row and column to the next; none between batches that share a matrix.
fn strides(tensor: &CubeTensor) -> [usize; 3] {
    match (dims(tensor), &tensor.meta.strides()[..]) {
        ([1, ..], &[.., row, column]) => [0, row, column],
        (_, &[batch, row, column]) => [batch, row, column],
        (_, strides) => panic!("{strides:?} are not those of matrices"),
    }
}

/// An operand in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strided {
    /// Extents of its outer and inner axes.
    extents: [usize; 2],
    batch: usize,
    outer: usize,
    inner: usize,
}

impl Strided {
    fn new(extents: [usize; 2], [batch, outer, inner]: [usize; 3]) -> Self {
        Self {
            extents,
            batch,
            outer,
            inner,
        }
    }

    pub(super) fn along(self) -> Along {
        match self.inner {
            1 => Along::Inner,
            _ => Along::Outer,
        }
    }

    /// Numbers read at a time by the kernel of tiles. A view starts where the device aligns memory, which is
    /// a multiple of them.
    fn width(self) -> usize {
        match self.is_whole(QUAD) {
            true => QUAD,
            false => 1,
        }
    }

    /// Whether all of it lies in vectors of so many neighbours.
    pub(super) fn is_whole(self, width: usize) -> bool {
        let [count, places] = self.extents;
        let (extent, step, other) = match self.along() {
            Along::Inner => (places, self.inner, self.outer),
            Along::Outer => (count, self.outer, self.inner),
        };
        let is_multiple = |numbers: usize| numbers.is_multiple_of(width);
        step == 1 && [extent, other, self.batch].into_iter().all(is_multiple)
    }

    /// The side of a tile, whose cube takes so many inner places at a time.
    fn side(self, tile: usize, steps: usize) -> Side {
        Side {
            tile,
            along: self.along(),
            width: self.width(),
            is_ragged: !self.extents[1].is_multiple_of(steps),
        }
    }

    /// The operand of a launch that reads so many numbers at a time.
    pub(super) fn launch(self, width: usize) -> OperandLaunch {
        let [count, outer, inner, batch] = self.in_vectors(width);
        OperandLaunch::new(count, outer, inner, batch)
    }

    /// Rows or columns of the output, and the strides of outer axis, inner axis and batches, in vectors.
    pub(super) fn in_vectors(self, width: usize) -> [usize; 4] {
        let [outer, inner, batch] =
            [self.outer, self.inner, self.batch].map(|stride| stride / width);
        [self.extents[0], outer, inner, batch]
    }
}

#[cfg(test)]
#[cfg(feature = "wgpu")]
mod tests {
    use burn::backend::DispatchDevice;
    use burn::tensor::{Device, FloatDType};

    use super::*;
    use crate::device::{self, DeviceSpec};
    use crate::ops::product::exact::{INTERLEAVED, PLAIN, TRANSPOSED, expected, operand, read};

    fn gpu() -> Option<Device> {
        let adapter = device::adapters().into_iter().next();
        if adapter.is_none() {
            eprintln!("skipped: no wgpu adapter");
        }
        adapter.map(|adapter| device::open(&DeviceSpec::Wgpu(adapter.index)).unwrap())
    }

    #[test]
    fn matrices_of_more_numbers_than_32_bits_count_are_not_for_the_kernels() {
        let is_counted = |batches, [rows, inner, columns]: [usize; 3]| {
            let extents = Extents {
                batches,
                rows,
                inner,
                columns,
            };
            extents.is_counted_in_32_bits()
        };
        assert!(is_counted(1, [1 << 16, 64, (1 << 16) - 1]));
        assert!(!is_counted(1, [1 << 16, 64, 1 << 16]));
        assert!(!is_counted(2, [1 << 16, 64, 1 << 15]));
        assert!(!is_counted(1, [1 << 20, 1 << 12, 64]));
        assert!(!is_counted(usize::MAX, [2, 2, 2]));
    }

    /// Whether a product of batches stored so is that of the host, by a team for each tile.
    fn check(
        device: &Device,
        batches: [usize; 2],
        sizes: [usize; 3],
        orders: [[usize; 3]; 2],
        dtypes: [DType; 2],
        tile: [usize; 2],
    ) {
        let cut = Cut { tile, teams: 1 };
        check_cut(device, batches, sizes, orders, dtypes, cut);
    }

    fn check_cut(
        device: &Device,
        batches: [usize; 2],
        sizes: [usize; 3],
        orders: [[usize; 3]; 2],
        [dtype, of_output]: [DType; 2],
        cut: Cut,
    ) {
        let [rows, inner, columns] = sizes;
        let left = operand(device, [batches[0], rows, inner], orders[0], dtype);
        let right = operand(device, [batches[1], inner, columns], orders[1], dtype);
        let found = output(&left, Extents::of(&left, &right), of_output);
        by_tiles(&left, &right, &found, cut);
        let found = read(found);
        let case = format!("{batches:?} {sizes:?} {orders:?} {dtype:?} {of_output:?} {cut:?}");
        assert_eq!(found, expected(batches, sizes), "{case}");
    }

    const SINGLES: [DType; 2] = [DType::F32; 2];

    #[test]
    fn products_in_every_layout_and_tile_are_exact() {
        let Some(device) = gpu() else { return };
        let layouts = [
            [PLAIN, TRANSPOSED],
            [PLAIN, PLAIN],
            [TRANSPOSED, PLAIN],
            [TRANSPOSED, TRANSPOSED],
        ];
        for orders in layouts {
            check(&device, [1, 1], [64, 32, 64], orders, SINGLES, [64, 64]);
            check(&device, [1, 1], [132, 36, 260], orders, SINGLES, [128, 128]);
        }
        let orders = [PLAIN, TRANSPOSED];
        check(&device, [1, 1], [256, 64, 72], orders, SINGLES, [128, 64]);
        check(&device, [1, 1], [72, 64, 256], orders, SINGLES, [64, 128]);
    }

    #[test]
    fn odd_sizes_and_none_at_all_are_right() {
        let Some(device) = gpu() else { return };
        for orders in [[PLAIN, PLAIN], [TRANSPOSED, TRANSPOSED]] {
            check(&device, [1, 1], [1, 1, 1], orders, SINGLES, [64, 64]);
            check(&device, [1, 1], [129, 67, 33], orders, SINGLES, [64, 64]);
            check(&device, [1, 1], [129, 67, 33], orders, SINGLES, [128, 128]);
        }
        for sizes in [[0, 5, 3], [4, 5, 0]] {
            check(&device, [2, 1], sizes, [PLAIN; 2], SINGLES, [64, 64]);
        }
        check(&device, [0, 1], [4, 5, 3], [PLAIN; 2], SINGLES, [64, 64]);
    }

    #[test]
    fn batches_are_shared_and_interleaved() {
        let Some(device) = gpu() else { return };
        let sizes = [68, 20, 40];
        for batches in [[3, 3], [1, 3], [3, 1]] {
            check(&device, batches, sizes, [PLAIN; 2], SINGLES, [64, 64]);
        }
        let orders = [INTERLEAVED, INTERLEAVED];
        check(&device, [3, 3], sizes, orders, SINGLES, [64, 64]);
        check(&device, [3, 3], [5, 3, 7], orders, SINGLES, [64, 64]);
    }

    #[test]
    fn halves_multiply_to_halves_and_singles() {
        let Some(device) = gpu() else { return };
        if !device.supports_dtype(FloatDType::F16) {
            eprintln!("skipped: the adapter has no f16");
            return;
        }
        for output in [DType::F16, DType::F32] {
            let dtypes = [DType::F16, output];
            let orders = [PLAIN, TRANSPOSED];
            check(&device, [1, 1], [128, 32, 128], orders, dtypes, [128, 128]);
            check(&device, [2, 2], [33, 19, 65], orders, dtypes, [64, 64]);
        }
    }

    #[test]
    fn teams_add_up_their_sums() {
        let Some(device) = gpu() else { return };
        for teams in [2, 4] {
            let cut = Cut {
                tile: [64, 64],
                teams,
            };
            let orders = [PLAIN, TRANSPOSED];
            check_cut(&device, [1, 1], [64, 256, 64], orders, SINGLES, cut);
            // The last step is the first team's alone, and not whole.
            check_cut(&device, [2, 2], [40, 131, 70], orders, SINGLES, cut);
        }
    }

    #[test]
    fn few_small_tiles_are_for_teams() {
        let Some(device) = gpu() else { return };
        let DispatchDevice::Cube(device) = device.as_dispatch() else {
            panic!("an adapter is a CubeCL device");
        };
        let teams = |inner, columns| {
            let extents = Extents {
                batches: 1,
                rows: 64,
                inner,
                columns,
            };
            extents.cut(&device.client()).teams
        };
        assert_eq!(teams(896, 9728), TEAMS);
        // 2,374 tiles.
        assert_eq!(teams(896, 151_936), 1);
        assert_eq!(teams(96, 9728), 1);
    }

    #[test]
    fn tiles_are_large_where_they_are_many_and_full() {
        let tiles = |batches, rows, columns| {
            let extents = Extents {
                batches,
                rows,
                inner: 64,
                columns,
            };
            extents.tiles()
        };
        // 64 * 7 = 448 large tiles.
        assert_eq!(tiles(1, 8192, 896), [128, 128]);
        // 32 * 7 = 224 are too few, twice as many are not.
        assert_eq!(tiles(1, 4096, 896), [128, 64]);
        // 64 large, 128 of half the columns.
        assert_eq!(tiles(1, 8192, 128), [64, 64]);
        // Sixty-four columns leave half of a large tile empty, and so do 65 to 128 none.
        assert_eq!(tiles(128, 1792, 64), [128, 64]);
        assert_eq!(tiles(128, 1792, 65), [128, 128]);
    }
}
