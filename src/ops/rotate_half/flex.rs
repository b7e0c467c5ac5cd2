//! Half-rotation on the CPU backend: one pass.

use burn::backend::flex::{Flex, FlexTensor};
use macerator::{Simd, WithSimd};

use super::RotateHalfBackend;
use crate::ops::lanes;

impl RotateHalfBackend for Flex {
    fn rotate_half(heads: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        turn(heads, &cos, &sin, 1.0)
    }

    fn rotate_half_gradient(gradient: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        turn(gradient, &cos, &sin, -1.0)
    }
}

/// Turns forwards (`direction` 1) or back (-1).
fn turn(heads: FlexTensor, cos: &FlexTensor, sin: &FlexTensor, direction: f32) -> FlexTensor {
    let [_, _, count, width] = heads.layout().shape().dims();
    let (cos, sin) = (cos.to_contiguous(), sin.to_contiguous());
    let mut output = heads.to_contiguous();
    drop(heads);
    lanes::run(Turn {
        heads: output.storage_mut(),
        count,
        width,
        cos: cos.storage(),
        sin: sin.storage(),
        direction,
    });
    output
}

struct Turn<'a> {
    heads: &'a mut [f32],
    /// Heads of a position.
    count: usize,
    width: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    direction: f32,
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let width = self.width;
        let angles = self
            .cos
            .chunks_exact(width)
            .zip(self.sin.chunks_exact(width));
        let positions = self.heads.chunks_exact_mut(self.count * width);
        // Rows that share their positions go through the same angles again.
        for (heads, (cos, sin)) in positions.zip(angles.cycle()) {
            for head in heads.chunks_exact_mut(width) {
                let (first, second) = head.split_at_mut(width / 2);
                let halves = first.iter_mut().zip(second);
                for ((a, b), (cos, sin)) in halves.zip(cos.iter().zip(sin)) {
                    let sin = sin * self.direction;
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}
