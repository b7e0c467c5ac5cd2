//! One step of AdamW (arXiv:1711.05101) over one weight, in torch's order of operations.
//!
//! With the clipped gradient `g = s G`: `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
//! `w ← (1 − η λ) w − (m / (√v / √(1 − β₂ᵗ) + ε)) η / (1 − β₁ᵗ)`. One pass over the four tensors changes
//! them in their own memory.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;

use burn::tensor::Tensor;

use super::host_floats::{HostFloats, share_size};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use crate::device;
use crate::error::Result;
use crate::workers::Workers;

/// The numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Factor on the gradient, `s`: below 1 where it is clipped.
    pub gradient_scale: f64,
    /// Factor on the weight, `1 − η λ`: 1 where it does not decay.
    pub decay: f64,
    /// Decay of the first moment, `β₁`.
    pub beta1: f64,
    /// Decay of the second moment, `β₂`.
    pub beta2: f64,
    /// Added to the root of the second moment, `ε`.
    pub epsilon: f64,
    /// Learning rate over the first moment's correction, `η / (1 − β₁ᵗ)`.
    pub rate: f64,
    /// Root of the second moment's correction, `√(1 − β₂ᵗ)`.
    pub root_scale: f64,
}

/// Takes the step; returns the weight and its first and second moment.
///
/// # Shapes
/// All `[R, C]`.
///
/// # Errors
/// When the tensors' numbers cannot be reached.
pub fn adamw_step(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    [first, second]: [Tensor<2>; 2],
    step: AdamWStep,
    workers: &Workers,
) -> Result<[Tensor<2>; 3]> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if !device::is_cpu(&weight.device()) {
        return Ok(cube::adamw_step(weight, gradient, [first, second], step));
    }
    if !HostFloats::fit(&weight) {
        return Ok(adamw_step_reference(
            weight,
            gradient,
            [first, second],
            step,
        ));
    }
    let gradient = HostFloats::take(gradient)?;
    let mut weight = HostFloats::take(weight)?;
    let mut first = HostFloats::take(first)?;
    let mut second = HostFloats::take(second)?;
    let share = share_size(gradient.values().len(), workers);
    let weights = weight.values_mut().chunks_mut(share);
    let gradients = gradient.values().chunks(share);
    let firsts = first.values_mut().chunks_mut(share);
    let seconds = second.values_mut().chunks_mut(share);
    let shares = weights.zip(gradients).zip(firsts).zip(seconds).collect();
    workers.map(shares, |(((w, g), m), v)| step.apply(w, g, m, v));
    Ok([weight, first, second].map(HostFloats::into_tensor))
}

/// The same from plain tensor functions: what every backend must agree with.
///
/// # Shapes
/// As [`adamw_step`].
pub fn adamw_step_reference(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    [first, second]: [Tensor<2>; 2],
    step: AdamWStep,
) -> [Tensor<2>; 3] {
    let gradient = gradient * step.gradient_scale;
    let first = first * step.beta1 + gradient.clone() * (1.0 - step.beta1);
    let second = second * step.beta2 + gradient.square() * (1.0 - step.beta2);
    let root = second.clone().sqrt() / step.root_scale + step.epsilon;
    let weight = weight * step.decay - first.clone() / root * step.rate;
    [weight, first, second]
}

impl AdamWStep {
    /// Takes the step over as many numbers of each.
    pub(super) fn apply(
        &self,
        weight: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let (scale, decay) = (self.gradient_scale as f32, self.decay as f32);
        let (keep1, add1) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        let (keep2, add2) = (self.beta2 as f32, (1.0 - self.beta2) as f32);
        let (root_scale, epsilon) = (self.root_scale as f32, self.epsilon as f32);
        let rate = self.rate as f32;
        let moments = first.iter_mut().zip(second);
        for ((w, g), (m, v)) in weight.iter_mut().zip(gradient).zip(moments) {
            let g = g * scale;
            *m = *m * keep1 + g * add1;
            *v = *v * keep2 + g * g * add2;
            let root = v.sqrt() / root_scale + epsilon;
            *w = *w * decay - *m / root * rate;
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::ops;
    use crate::seed::Seed;

    const STEP: AdamWStep = AdamWStep {
        gradient_scale: 0.37,
        decay: 0.999,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        rate: 3e-3,
        root_scale: 0.21,
    };

    fn random(shape: [usize; 2], spread: f32, rng: &mut ChaCha8Rng) -> Tensor<2> {
        ops::normal_floats(shape, spread, rng, &Device::flex())
    }

    fn bits(tensor: Tensor<2>) -> Vec<u32> {
        let values = ops::read_floats(tensor).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn a_step_is_that_of_plain_tensor_functions_bit_for_bit() {
        let rng = &mut Seed::new(3).rng();
        // The last is cut into three shares by three workers.
        for shape in [[1, 1], [7, 33], [3, 70_000]] {
            let (weight, gradient) = (random(shape, 1.0, rng), random(shape, 0.1, rng));
            let moments = [random(shape, 0.1, rng), random(shape, 0.01, rng).square()];
            let expected =
                adamw_step_reference(weight.clone(), gradient.clone(), moments.clone(), STEP);
            let expected = expected.map(bits);
            for count in [1, 3] {
                let (weight, gradient) = (weight.clone(), gradient.clone());
                let workers = Workers::new(count);
                let found = adamw_step(weight, gradient, moments.clone(), STEP, &workers);
                assert_eq!(found.unwrap().map(bits), expected);
            }
        }
    }

    #[test]
    fn a_transposed_gradient_counts_by_its_places() {
        let rng = &mut Seed::new(4).rng();
        let (weight, gradient) = (
            random([5, 3], 1.0, rng),
            random([3, 5], 0.1, rng).transpose(),
        );
        let zeros = || [weight.zeros_like(), weight.zeros_like()];
        let expected = adamw_step_reference(weight.clone(), gradient.clone(), zeros(), STEP);
        let workers = Workers::new(1);
        let found = adamw_step(weight.clone(), gradient, zeros(), STEP, &workers);
        assert_eq!(found.unwrap().map(bits), expected.map(bits));
    }

    #[test]
    fn weight_and_moments_keep_their_memory() {
        let zeros = || Tensor::<2>::zeros([4, 4], &Device::flex());
        let floats = [zeros(), zeros(), zeros()].map(|tensor| HostFloats::take(tensor).unwrap());
        let places = [0, 1, 2].map(|index| floats[index].values().as_ptr());
        let [weight, first, second] = floats.map(HostFloats::into_tensor);
        let workers = Workers::new(1);
        let stepped = adamw_step(weight, zeros(), [first, second], STEP, &workers).unwrap();
        let stepped = stepped.map(|tensor| HostFloats::take(tensor).unwrap());
        assert_eq!(
            [0, 1, 2].map(|index| stepped[index].values().as_ptr()),
            places
        );
    }
}
