//! The kernels of a decoding step. Arithmetic is in `f32`, whatever is read and written.

mod attend;
mod draw;
mod fill;
mod heads;
mod product;
mod rows;

pub(super) use attend::{Attention, attend};
pub(super) use draw::{Draw, Drawn, draw};
pub(super) use fill::fill;
pub(super) use product::MatrixUnits;
pub(super) use rows::{add_norm, embed, gate};

use burn_cubecl::cubecl::{self, prelude::*};

/// Where column `place` of `row` stands among `rows` when columns are split into chunks, `[S, B, chunk]`.
#[cube]
fn split(row: usize, place: usize, chunk: usize, rows: usize) -> usize {
    ((place / chunk) * rows + row) * chunk + place % chunk
}
