//! The matrices of a launch.

use burn_cubecl::cubecl::{self, prelude::*};

/// The axis of an operand along which its numbers are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Along {
    /// The axis that is summed over.
    Inner,
    /// Rows of the left operand, columns of the right one.
    Outer,
}

/// An operand of a launch. Strides are in the vectors that the kernel reads.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Operand {
    /// Rows or columns of the output.
    pub count: usize,
    pub outer: usize,
    pub inner: usize,
    pub batch: usize,
}

/// The matrices of a launch.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Matrices {
    pub left: Operand,
    pub right: Operand,
    /// Places summed over.
    pub inner: usize,
}
