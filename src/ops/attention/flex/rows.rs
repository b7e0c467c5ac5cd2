//! What attention does to the scores of a row of keys.

use macerator::{Simd, WithSimd};

use crate::ops::lanes::{dot, softmax};

/// Values of this many keys are added to the output together.
const TOGETHER: usize = 4;

/// Turns the scores of queries that follow each other into probabilities, 0 where a key is not seen.
pub(super) struct Probabilities<'a> {
    /// `[queries, keys]`.
    pub scores: &'a mut [f32],
    pub keys: usize,
    /// The first query's own key.
    pub first: usize,
    /// The first key that is no padding.
    pub start: usize,
    pub scale: f32,
}

impl WithSimd for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let rows = self.scores.chunks_exact_mut(self.keys);
        for (own, row) in (self.first..).zip(rows) {
            let start = self.start.min(own);
            row[..start].fill(0.0);
            softmax(&mut row[start..=own], self.scale);
            row[own + 1..].fill(0.0);
        }
    }
}

/// Turns gradients of probabilities into gradients of the products of queries and keys:
/// `p ⊙ (g − Σ p ⊙ g) / √D`.
pub(super) struct ScoreGradients<'a> {
    pub keys: usize,
    /// `[queries, keys]`.
    pub probabilities: &'a [f32],
    /// `[queries, keys]`.
    pub gradients: &'a mut [f32],
    pub scale: f32,
}

impl WithSimd for ScoreGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let rows = self.gradients.chunks_exact_mut(self.keys);
        for (gradients, p) in rows.zip(self.probabilities.chunks_exact(self.keys)) {
            let mean = dot(gradients, p);
            for (g, p) in gradients.iter_mut().zip(p) {
                *g = p * (*g - mean) * self.scale;
            }
        }
    }
}

/// Attends from the newest token of a row with all query heads of a group.
pub(super) struct NewestQuery<'a> {
    /// `[G, D]`.
    pub queries: &'a [f32],
    /// `[keys, D]`.
    pub keys: &'a [f32],
    /// `[keys, D]`.
    pub values: &'a [f32],
    /// `[keys]`, overwritten.
    pub scores: &'a mut [f32],
    pub scale: f32,
    /// `[G, D]`, zeros.
    pub output: &'a mut [f32],
}

impl WithSimd for NewestQuery<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let width = self.keys.len() / self.scores.len();
        let heads = self.queries.chunks_exact(width);
        for (query, output) in heads.zip(self.output.chunks_exact_mut(width)) {
            for (score, key) in self.scores.iter_mut().zip(self.keys.chunks_exact(width)) {
                *score = dot(query, key);
            }
            softmax(self.scores, self.scale);
            mix(self.scores, self.values, output);
        }
    }
}

/// Adds `Σ pᵢ vᵢ` over rows `v`.
#[inline(always)]
fn mix(probabilities: &[f32], values: &[f32], output: &mut [f32]) {
    let width = output.len();
    let (quads, rest) = probabilities.as_chunks::<TOGETHER>();
    let rows = values.chunks_exact(TOGETHER * width);
    let last = rows.remainder();
    for (p, rows) in quads.iter().zip(rows) {
        let (first, second) = rows.split_at(2 * width);
        let ((a, b), (c, d)) = (first.split_at(width), second.split_at(width));
        let rows = a.iter().zip(b).zip(c.iter().zip(d));
        for (sum, ((a, b), (c, d))) in output.iter_mut().zip(rows) {
            *sum += (p[0] * a + p[1] * b) + (p[2] * c + p[3] * d);
        }
    }
    for (p, row) in rest.iter().zip(last.chunks_exact(width)) {
        for (sum, value) in output.iter_mut().zip(row) {
            *sum += p * value;
        }
    }
}
