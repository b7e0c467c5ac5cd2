//! The tiles of a vocabulary.

use burn::tensor::{Int, Tensor};

#[cfg(any(feature = "wgpu", feature = "cuda"))]
use super::cube::{TilePlace, add_part};
use super::has_kernels;
use crate::{device, ops};

/// Most values a `[N, tile]` tensor may hold on the CPU: 64 MiB of f32.
pub const TILE_VALUES: usize = 1 << 24;

/// The same on a GPU, where a tile should be a few large kernels: 128 MiB of f32, the most that every
/// device binds at once. With as many halves of `dz` and the rounded head of 152 thousand entries 896
/// wide that is half a gigabyte.
pub const GPU_TILE_VALUES: usize = 1 << 25;

/// From so many bytes of memory on, a GPU takes twice as many: products of larger tiles fill it better.
const LARGE_GPU_BYTES: usize = 32 << 30;

/// Entries of a tile on a GPU are a multiple of this: rows of halves are then multiples of the 512 bytes
/// that CUDA pads rows to, and no kernel has to copy a tile without its padding.
const TILE_UNIT: usize = 256;

/// Neighbouring entries of the vocabulary.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    start: usize,
    entries: usize,
    is_whole: bool,
}

impl Tile {
    /// The tile's rows of the head.
    pub(super) fn of(self, head: &Tensor<2>) -> Tensor<2> {
        head.clone().narrow(0, self.start, self.entries)
    }

    /// Where the tile stands for a kernel.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(super) fn place(self, temperature: f64) -> TilePlace {
        TilePlace {
            start: self.start,
            factor: (1.0 / temperature) as f32,
        }
    }

    /// Where each target stands in the tile, and 1 if it does, else 0; `[N, 1]` each.
    pub(super) fn places(self, targets: &Tensor<1, Int>) -> (Tensor<2, Int>, Tensor<2>) {
        let places: Tensor<2, Int> = targets.clone().unsqueeze_dim(1);
        if self.is_whole {
            let inside = places.ones_like().float();
            return (places, inside);
        }
        let places = places - self.start as i32;
        let last = self.entries as i32 - 1;
        let before = places.clone().lower_elem(0);
        let outside = places.clone().greater_elem(last).bool_or(before);
        (places.clamp(0, last), outside.bool_not().float())
    }

    /// Adds to the tile's rows of `sum`, in place where nobody else holds it.
    pub(super) fn add(self, sum: Tensor<2>, part: Tensor<2>) -> Tensor<2> {
        match has_kernels(&sum) {
            _ if self.is_whole => sum + part,
            true => self.add_by_kernel(sum, part),
            false => self.add_by_tensors(sum, part),
        }
    }

    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn add_by_kernel(self, sum: Tensor<2>, part: Tensor<2>) -> Tensor<2> {
        add_part(sum, part, self.start)
    }

    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    fn add_by_kernel(self, sum: Tensor<2>, part: Tensor<2>) -> Tensor<2> {
        self.add_by_tensors(sum, part)
    }

    fn add_by_tensors(self, sum: Tensor<2>, part: Tensor<2>) -> Tensor<2> {
        let [_, width] = part.dims();
        let rows = self.of(&sum) + part;
        sum.slice_assign([self.start..self.start + self.entries, 0..width], rows)
    }
}

/// The tiles of the vocabulary for `N` tokens.
pub(super) fn tiles(hidden: &Tensor<2>, head: &Tensor<2>) -> Vec<Tile> {
    let [n, _] = hidden.dims();
    let [v, _] = head.dims();
    let device = head.device();
    let size = match device::is_cpu(&device) {
        true => cpu_tile_entries(n, v),
        false => gpu_tile_entries(n, v, most_gpu_values(ops::gpu_bytes(&device))),
    };
    (0..v)
        .step_by(size)
        .map(|start| Tile {
            start,
            entries: size.min(v - start),
            is_whole: size >= v,
        })
        .collect()
}

/// Entries of a tile of `vocabulary` for `tokens` tokens on the CPU: as many as may be.
fn cpu_tile_entries(tokens: usize, vocabulary: usize) -> usize {
    (TILE_VALUES / tokens.max(1)).clamp(1, vocabulary.max(1))
}

/// Most values of a tile on a GPU of so much memory, where that is known.
fn most_gpu_values(bytes: Option<usize>) -> usize {
    match bytes.is_some_and(|bytes| bytes >= LARGE_GPU_BYTES) {
        true => 2 * GPU_TILE_VALUES,
        false => GPU_TILE_VALUES,
    }
}

/// Entries of a tile of `vocabulary` for `tokens` tokens on a GPU; all tiles are about as large, so that one kernel is
/// tuned for them.
fn gpu_tile_entries(tokens: usize, vocabulary: usize, values: usize) -> usize {
    let most = values / tokens.max(1) / TILE_UNIT * TILE_UNIT;
    let tiles = vocabulary.div_ceil(most.max(TILE_UNIT)).max(1);
    vocabulary
        .div_ceil(tiles)
        .next_multiple_of(TILE_UNIT)
        .max(TILE_UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_a_gpu_are_even() {
        let entries = |tokens, vocabulary| gpu_tile_entries(tokens, vocabulary, GPU_TILE_VALUES);
        // 151,936 entries are 19 tiles of 2^25 / 4096 = 8192 at most, which makes 7996.6 each, and of that
        // the next multiple of 256.
        assert_eq!(entries(4096, 151_936), 8192);
        // 2^25 / 4200 = 7989, of which 7936 are whole units: three tiles of 5300 each.
        assert_eq!(entries(4200, 15_900), 5376);
        assert_eq!(entries(7, 100), 256);
        assert_eq!(entries(0, 0), 256);
    }

    #[test]
    fn tiles_of_the_cpu_are_as_large_as_can_be() {
        // 2^24 / 4096 = 4096.
        assert_eq!(cpu_tile_entries(4096, 151_936), 4096);
        assert_eq!(cpu_tile_entries(7, 100), 100);
        assert_eq!(cpu_tile_entries(0, 0), 1);
    }

    #[test]
    fn tiles_are_larger_on_a_gpu_with_much_memory() {
        let values = [None, Some((32 << 30) - 1), Some(32 << 30)].map(most_gpu_values);
        assert_eq!(values, [1 << 25, 1 << 25, 1 << 26]);
    }
}
