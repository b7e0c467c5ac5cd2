//! The kernels of a decoding step. Arithmetic is in `f32`, whatever is read and written.

mod attend;
mod draw;
mod fill;
mod heads;
mod rows;

pub(super) use attend::attend;
pub(super) use draw::{Draw, Drawn, draw};
pub(super) use fill::fill;
pub(super) use heads::{Heads, place_heads};
pub(super) use rows::{add_norm, embed, gate};
