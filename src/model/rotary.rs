//! The angles of rotary position embedding: `t·f` for position `t` and every frequency `f` (RoFormer,
//! arXiv:2104.09864).

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::device;
use crate::ops::rotate_half;

/// Cosines and sines of every position up to a length, kept on the host.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    inverse_frequencies: Vec<f32>,
}

/// Cosines and sines of the positions of one batch.
///
/// # Shapes
/// Both `[B, T, 1, D]`, or `[1, T, 1, D]` when all rows share their positions.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl RotaryTable {
    /// A table for these inverse frequencies, one for each pair of head dimensions.
    pub fn new(inverse_frequencies: Vec<f32>) -> Self {
        Self {
            inverse_frequencies,
        }
    }

    /// The rotation of `rows × columns` positions given row by row.
    ///
    /// # Panics
    /// When `positions` does not hold `rows · columns` values.
    pub fn rotation(&self, positions: &[usize], rows: usize, device: &Device) -> Rotation {
        let columns = positions.len() / rows;
        assert_eq!(positions.len(), rows * columns, "positions fill the grid");
        let width = 2 * self.inverse_frequencies.len();
        let mut cos = Vec::with_capacity(positions.len() * width);
        let mut sin = Vec::with_capacity(positions.len() * width);
        for &position in positions {
            let angles = self.inverse_frequencies.iter().map(|f| position as f32 * f);
            let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
            for _half in 0..2 {
                cos.extend_from_slice(&cosines);
                sin.extend_from_slice(&sines);
            }
        }
        let shape = [rows, columns, 1, width];
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), device);
        Rotation {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }
}

impl Rotation {
    /// The rotations at `places` `[N]` among those of one row.
    ///
    /// # Shapes
    /// `[1, T, 1, D]` to `[1, N, 1, D]`.
    pub fn at(&self, places: Tensor<1, Int>) -> Self {
        Self {
            cos: self.cos.clone().select(1, places.clone()),
            sin: self.sin.clone().select(1, places),
        }
    }

    /// Rotates every head of `heads`; in `f32` on the CPU, with arithmetic in `f32` elsewhere.
    ///
    /// # Shapes
    /// `[B, T, H, D]` to the same.
    pub fn apply(&self, heads: Tensor<4>) -> Tensor<4> {
        let heads = match device::is_cpu(&heads.device()) {
            true => heads.cast(DType::F32),
            false => heads,
        };
        rotate_half(heads, &self.cos, &self.sin)
    }
}
