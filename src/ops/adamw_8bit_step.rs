//! One step of AdamW over one weight whose moments are kept as 8-bit codes (arXiv:2110.02861).
//!
//! On the CPU the moments are never there as a whole: block after block of [`BLOCK`] numbers is
//! decoded, stepped and encoded again. Elsewhere they visit the device as tensors.

mod block_codes;
mod dynamic_map;

pub use block_codes::{BLOCK, BlockCodes, MomentSign};

use burn::tensor::Tensor;

use self::block_codes::BlockCodesMut;
use super::adamw_step::{AdamWStep, adamw_step_reference};
use super::host_floats::{HostFloats, share_size};
use super::{floats, read_floats};
use crate::error::Result;
use crate::workers::Workers;

/// Takes the step, changes the first and second moment and returns the weight.
///
/// # Shapes
/// `weight` and `gradient` `[R, C]`; both moments hold `R C` numbers.
///
/// # Errors
/// When the device failed.
pub fn adamw_8bit_step(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    [first, second]: [&mut BlockCodes; 2],
    step: AdamWStep,
    workers: &Workers,
) -> Result<Tensor<2>> {
    if !HostFloats::fit(&weight) {
        return step_on_device(weight, gradient, [first, second], step);
    }
    let gradient = HostFloats::take(gradient)?;
    let mut weight = HostFloats::take(weight)?;
    let share = share_size(gradient.values().len(), workers);
    let weights = weight.values_mut().chunks_mut(share);
    let gradients = gradient.values().chunks(share);
    let moments = first.split_mut(share).zip(second.split_mut(share));
    let shares = weights.zip(gradients).zip(moments).collect();
    workers.map(shares, |((w, g), (m, v))| step_blocks(w, g, m, v, step));
    Ok(weight.into_tensor())
}

fn step_blocks(
    weight: &mut [f32],
    gradient: &[f32],
    mut first: BlockCodesMut<'_>,
    mut second: BlockCodesMut<'_>,
    step: AdamWStep,
) {
    let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
    let blocks = weight.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK));
    for (index, (weight, gradient)) in blocks.enumerate() {
        let (m, v) = (&mut m[..weight.len()], &mut v[..weight.len()]);
        first.decode(index, m);
        second.decode(index, v);
        step.apply(weight, gradient, m, v);
        first.encode(index, m);
        second.encode(index, v);
    }
}

/// The step by plain tensor functions.
fn step_on_device(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    moments: [&mut BlockCodes; 2],
    step: AdamWStep,
) -> Result<Tensor<2>> {
    let (shape, device) = (weight.dims(), weight.device());
    let [first, second] = moments;
    let tensors = [&*first, &*second].map(|codes| floats(codes.to_floats(), shape, &device));
    let [weight, new_first, new_second] = adamw_step_reference(weight, gradient, tensors, step);
    first.set(&read_floats(new_first)?);
    second.set(&read_floats(new_second)?);
    Ok(weight)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops::normal_floats;
    use crate::seed::Seed;

    const STEP: AdamWStep = AdamWStep {
        gradient_scale: 0.5,
        decay: 1.0,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        rate: 1e-2,
        root_scale: 0.05,
    };

    type Step<'a> =
        &'a dyn Fn(Tensor<2>, Tensor<2>, [&mut BlockCodes; 2], AdamWStep) -> Result<Tensor<2>>;

    /// The weight and the moments' codes and maxima after four steps.
    fn four_steps(step: Step<'_>) -> (Vec<f32>, [BlockCodes; 2]) {
        let (device, mut rng) = (Device::flex(), Seed::new(5).rng());
        let shape = [2, 70_001];
        let mut normal = |spread| normal_floats(shape, spread, &mut rng, &device);
        let mut weight: Tensor<2> = normal(1.0);
        let mut first = BlockCodes::zeros(140_002, MomentSign::Either);
        let mut second = BlockCodes::zeros(140_002, MomentSign::Positive);
        for _ in 0..4 {
            weight = step(weight, normal(0.1), [&mut first, &mut second], STEP).unwrap();
        }
        (read_floats(weight).unwrap(), [first, second])
    }

    #[test]
    fn blocks_in_shares_and_whole_tensors_give_the_same() {
        let expected = four_steps(&step_on_device);
        for count in [1, 2, 3] {
            let workers = Workers::new(count);
            let fused: Step<'_> = &|w, g, moments, s| adamw_8bit_step(w, g, moments, s, &workers);
            assert!(four_steps(fused) == expected, "{count} workers");
        }
    }
}
