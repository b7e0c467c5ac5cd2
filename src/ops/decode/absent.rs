//! In a build without GPUs.

use burn::tensor::{Device, Tensor};

use super::{DecodeRow, DecodeSettings, DecodeWeights, DecodedToken};
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

    /// Moves every row on.
    ///
    /// # Errors
    /// None.
    pub fn round(&mut self, _: &[DecodeRow], _: usize) -> Result<Vec<Vec<DecodedToken>>> {
        match *self {}
    }
}
