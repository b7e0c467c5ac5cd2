//! A factor that brings gradients into the range of `f16` (arXiv:1710.03740, section 3.2).
//!
//! It is taken anew from each gradient that enters a backward pass, on the device, so that the largest
//! number is 1 there; what the pass gives is divided by it. Other types hold gradients as they are.

use burn::tensor::{DType, Tensor};

/// A gradient smaller than this counts as nothing to scale.
const SMALLEST: f64 = 1e-30;

/// The factor; none where the type needs none.
#[derive(Clone, Debug)]
pub(crate) struct GradientScale(Option<Tensor<1>>);

impl GradientScale {
    /// The factor for `gradient` on its way through a pass in `dtype`.
    pub(crate) fn of<const R: usize>(gradient: &Tensor<R>, dtype: DType) -> Self {
        if dtype != DType::F16 {
            return Self(None);
        }
        let largest = gradient.clone().abs().max().clamp_min(SMALLEST);
        Self(Some(largest.recip()))
    }

    /// `tensor` times the factor.
    pub(crate) fn scale<const R: usize>(&self, tensor: Tensor<R>) -> Tensor<R> {
        match &self.0 {
            Some(factor) => tensor * factor.clone().reshape([1; R]),
            None => tensor,
        }
    }

    /// `tensor` over the factor.
    pub(crate) fn unscale<const R: usize>(&self, tensor: Tensor<R>) -> Tensor<R> {
        match &self.0 {
            Some(factor) => tensor / factor.clone().reshape([1; R]),
            None => tensor,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops;

    #[test]
    fn gradients_below_the_range_of_f16_survive_it_and_zeros_stay_zero() {
        let tensor = |values: [f32; 2]| ops::floats(values.to_vec(), [1, 2], &Device::flex());
        let through = |values| {
            let gradient: Tensor<2> = tensor(values);
            let scale = GradientScale::of(&gradient, DType::F16);
            let passed = scale.scale(gradient).cast(DType::F16).cast(DType::F32);
            ops::read_floats(scale.unscale(passed)).unwrap()
        };
        let found = through([-1e-9, 2e-10]);
        assert!((found[0] + 1e-9).abs() < 1e-13 && (found[1] - 2e-10).abs() < 1e-13);
        assert_eq!(through([0.0, 0.0]), [0.0, 0.0]);
    }
}
