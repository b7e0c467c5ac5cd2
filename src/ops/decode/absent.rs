//! In a build without GPUs.

use burn::tensor::{Device, Tensor};

use super::{DecodeHost, DecodeRow, DecodeSettings, DecodeWeights};
use crate::error::Result;

/// A recorded decoding step: there is none in this build.
#[derive(Debug)]
pub enum DecodeProgram {}

impl DecodeProgram {
    /// Whether programs run on `device`: not in this build.
    pub fn runs_on(_: &Device) -> bool {
        false
    }

    /// A program over these weights.
    ///
    /// # Errors
    /// None.
    ///
    /// # Panics
    /// Always.
    pub fn new(_: DecodeWeights, _: DecodeSettings) -> Result<Self> {
        unreachable!("no device of this build runs programs")
    }

    /// Copies prompts into rows.
    pub fn fill(&mut self, _: impl Iterator<Item = (Tensor<4>, Tensor<4>)>, _: &[(usize, usize)]) {
        match *self {}
    }

    /// Moves the rows on.
    ///
    /// # Errors
    /// None.
    pub fn rounds(&mut self, _: &[DecodeRow], _: &mut impl DecodeHost) -> Result<()> {
        match *self {}
    }
}
