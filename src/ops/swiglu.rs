//! The gate of a feed-forward block (SwiGLU, arXiv:2002.05202): `silu(a) ⊙ b`.
//!
//! With `s = sigmoid(a)` and the gradient `g` of the product: `da = g ⊙ b ⊙ s ⊙ (1 + a (1 − s))`,
//! `db = g ⊙ a ⊙ s`. On the CPU one pass each way, and only `a` and `b` are kept for the way back;
//! elsewhere plain tensor functions, which Burn fuses.

#[cfg(feature = "flex")]
mod flex;

use burn::tensor::{Tensor, activation::silu};

/// `silu(gate) ⊙ up`.
///
/// # Shapes
/// All the same.
pub fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if super::is_on_cpu(&gate) {
        return flex::swiglu(gate, up);
    }
    swiglu_reference(gate, up)
}

/// The same from plain tensor functions: what every backend must agree with.
///
/// # Shapes
/// As [`swiglu`].
pub fn swiglu_reference(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    silu(gate) * up
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// The output and both gradients for a loss that weighs every output differently.
    fn outputs(product: fn(Tensor<3>, Tensor<3>) -> Tensor<3>, width: usize) -> [Tensor<3>; 3] {
        let device = Device::flex();
        device.seed(9);
        let normal = || Tensor::random([3, 2, width], Distribution::Normal(0.0, 4.0), &device);
        let leaf = || normal().autodiff().require_grad();
        let (gate, up) = (leaf(), leaf());
        let output = product(gate.clone(), up.clone());
        let found = (output.clone() * normal().autodiff()).sum().backward();
        let gradient = |leaf: Tensor<3>| leaf.grad(&found).expect("a gradient");
        [output.inner(), gradient(gate), gradient(up)]
    }

    #[test]
    fn output_and_gradients_are_those_of_plain_tensor_functions() {
        for width in [1, 7, 33] {
            let expected = outputs(swiglu_reference, width);
            for (found, expected) in outputs(swiglu, width).into_iter().zip(expected) {
                let worst: f32 = (found - expected).abs().max().into_scalar();
                assert!(worst < 5e-5, "{width}: {worst}");
            }
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        let empty = || Tensor::<3>::zeros([0, 2, 4], &Device::flex());
        assert_eq!(swiglu(empty(), empty()).dims(), [0, 2, 4]);
    }
}
