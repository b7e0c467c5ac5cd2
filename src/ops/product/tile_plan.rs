//! What the kernel of tiles is compiled for.

use super::operand::Along;

/// Numbers of a vector in registers and shared memory.
pub(super) const QUAD: usize = 4;
/// Rows and columns of the output that a unit holds.
pub(super) const HELD: usize = 2 * QUAD;
/// Inner places of a step.
pub(super) const STEP: usize = 4 * QUAD;

/// What is known of an operand when the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Side {
    /// Rows or columns of the tile.
    pub tile: usize,
    pub along: Along,
    /// Numbers read at a time, 1 or 4: if 4, the axis that they lie along is a multiple of it.
    pub width: usize,
    /// Whether the last step ends beyond the inner axis.
    pub is_ragged: bool,
}

impl Side {
    /// Whether vectors lie across the rows of the tile.
    pub(super) fn is_turned(self) -> bool {
        self.width == QUAD && self.along == Along::Inner
    }

    /// Quads of a row of the tile.
    pub(super) fn quads(self) -> usize {
        self.tile / QUAD
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    pub left: Side,
    pub right: Side,
    /// Numbers written at a time, 1 or 4: if 4, columns are a multiple of it.
    pub written: usize,
    /// Teams of a cube.
    pub teams: usize,
}

impl Plan {
    /// Units of a team.
    pub(super) fn units(self) -> usize {
        units_of([self.left.tile, self.right.tile])
    }

    /// Quads of shared memory for the steps of the left and the right operand.
    pub(super) fn shared(self) -> [usize; 2] {
        shared_quads([self.left.tile, self.right.tile], self.teams)
    }

    /// Blocks of a step that a unit stages, at most.
    pub(super) fn shares(self) -> usize {
        (self.left.tile + self.right.tile).div_ceil(self.units())
    }
}

/// Units of a team that takes a tile of these rows and columns.
pub(super) const fn units_of([rows, columns]: [usize; 2]) -> usize {
    rows * columns / (HELD * HELD)
}

/// Quads of shared memory for the steps of the left and the right operand of teams with such a tile. The
/// left one's hold the sums of a team at the end.
const fn shared_quads([rows, columns]: [usize; 2], teams: usize) -> [usize; 2] {
    let [left, right] = [teams * rows / QUAD * STEP, teams * columns / QUAD * STEP];
    let sums = 2 * HELD * units_of([rows, columns]);
    if teams > 1 && sums > left {
        [sums, right]
    } else {
        [left, right]
    }
}

/// Bytes of shared memory for teams with such a tile.
pub(super) const fn shared_bytes(tile: [usize; 2], teams: usize) -> usize {
    let [left, right] = shared_quads(tile, teams);
    (left + right) * QUAD * size_of::<f32>()
}
