//! The gate on the CPU backend: one pass each way, in the operands' memory where no one else holds it.

use burn::backend::flex::{Flex, FlexTensor};
use macerator::{Simd, WithSimd};

use super::SwigluBackend;
use crate::ops::lanes::{self, sigmoid};

impl SwigluBackend for Flex {
    fn swiglu(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        let mut output = own(gate);
        lanes::run(Forward {
            gate: output.storage_mut(),
            up: up.to_contiguous().storage(),
        });
        output
    }

    fn swiglu_gradients(
        gate: FlexTensor,
        up: FlexTensor,
        gradient: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let (mut gate, mut up) = (own(gate), own(up));
        lanes::run(Back {
            gate: gate.storage_mut(),
            up: up.storage_mut(),
            gradient: gradient.to_contiguous().storage(),
        });
        (gate, up)
    }
}

/// The tensor with its numbers in order, without a second handle to them.
fn own(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// Replaces the gate by the product.
struct Forward<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        for (a, b) in self.gate.iter_mut().zip(self.up) {
            *a = *a * sigmoid(*a) * b;
        }
    }
}

/// Replaces gate and up by their gradients.
struct Back<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    gradient: &'a [f32],
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let operands = self.gate.iter_mut().zip(self.up);
        for ((a, b), g) in operands.zip(self.gradient) {
            let s = sigmoid(*a);
            let silu = *a * s;
            (*a, *b) = (g * *b * s * (1.0 + *a - silu), g * silu);
        }
    }
}
