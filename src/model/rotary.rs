//! Rotary position embedding in the half-rotation form of the published Qwen and Llama weights.
//!
//! `RoPE(x)_t = x ⊙ cos(t·f) + rot(x) ⊙ sin(t·f)` with `rot([a, b]) = [−b, a]` on the two halves
//! of a head (RoFormer, arXiv:2104.09864; the weights are permuted to this form).

use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of every position up to a length, kept on the host.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    inverse_frequencies: Vec<f32>,
}

/// Cosines and sines of the positions of one batch.
///
/// # Shapes
/// Both `[B, 1, T, D]`, or `[1, 1, T, D]` when all rows share their positions.
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
        let shape = [rows, 1, columns, width];
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), device);
        Rotation {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }
}

impl Rotation {
    /// Rotates every head of `heads`.
    ///
    /// # Shapes
    /// `[B, H, T, D]` to the same.
    pub fn apply(&self, heads: Tensor<4>) -> Tensor<4> {
        let half = heads.dims()[3] / 2;
        let first = heads.clone().narrow(3, 0, half);
        let second = heads.clone().narrow(3, half, half);
        let rotated = Tensor::cat(vec![second.neg(), first], 3);
        heads * self.cos.clone() + rotated * self.sin.clone()
    }
}
