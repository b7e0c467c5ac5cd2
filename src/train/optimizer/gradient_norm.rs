//! Length of the gradient over all weights.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::ops::{self, HostFloats};
use crate::workers::Workers;

/// Numbers summed at a time; fixed, so that the sum does not depend on the number of workers.
const RUN: usize = 1 << 16;
/// Partial sums of a run: the compiler may add them side by side.
const LANES: usize = 8;

/// Euclidean norm over all gradients.
///
/// # Errors
/// When the device failed.
pub(super) fn gradient_norm(gradients: &mut [Tensor<2>], workers: &Workers) -> Result<f64> {
    let mut sum = 0.0;
    let mut pending = Vec::new();
    for gradient in gradients {
        if HostFloats::fit(gradient) {
            let placeholder = Tensor::empty([1, 1], &gradient.device());
            // The numbers are read where they are: a copy would be as large as the weight.
            let floats = HostFloats::take(std::mem::replace(gradient, placeholder))?;
            let runs = floats.values().chunks(RUN).collect();
            sum += workers.map(runs, sum_of_squares).iter().sum::<f64>();
            *gradient = floats.into_tensor();
        } else {
            pending.push(gradient.clone());
        }
    }
    sum += ops::sum_of_squares(&pending)?;
    Ok(sum.sqrt())
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0_f64; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    let rest = rest.iter().map(|value| f64::from(*value).powi(2));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_norm_is_taken_over_all_gradients() {
        let device = Device::flex();
        // 9 numbers of 2 and 70,000 of 0.5: 36 + 17,500 = 17,536.
        let twos = Tensor::<2>::full([3, 3], 2.0, &device);
        let halves = Tensor::<2>::full([7, 10_000], 0.5, &device);
        let mut gradients = [twos, halves.clone()];
        for count in [1, 2] {
            let norm = gradient_norm(&mut gradients, &Workers::new(count)).unwrap();
            assert!((norm - 17_536_f64.sqrt()).abs() < 1e-9);
        }
        let [_, kept] = gradients;
        assert_eq!(kept.to_data(), halves.to_data());
    }
}
