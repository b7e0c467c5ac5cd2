//! The step of AdamW and the length of gradients.

use burn::tensor::{DType, Device, Tensor};
use emberl::ops::{self, AdamWStep};
use emberl::workers::Workers;

use super::{Numbers, assert_close, cpu, read, wgpu};

const STEP: AdamWStep = AdamWStep {
    gradient_scale: 0.37,
    decay: 0.999,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    rate: 3e-3,
    root_scale: 0.21,
};

struct Operands {
    weight: Tensor<2>,
    gradient: Tensor<2>,
    moments: [Tensor<2>; 2],
}

fn operands(device: &Device, [rows, columns]: [usize; 2]) -> Operands {
    let numbers = |seed| Numbers::new([rows, columns], seed).on(device, DType::F32);
    let transposed = Numbers::new([columns, rows], 2).on(device, DType::F32);
    Operands {
        weight: numbers(1),
        gradient: transposed.transpose(),
        moments: [numbers(3) * 0.1, numbers(4).square() * 0.01],
    }
}

fn stepped(device: &Device, shape: [usize; 2]) -> [Tensor<2>; 3] {
    let Operands {
        weight,
        gradient,
        moments,
    } = operands(device, shape);
    let workers = Workers::new(1);
    ops::adamw_step(weight, gradient, moments, STEP, &workers).expect("the device works")
}

#[test]
fn wgpu_steps_are_those_of_the_cpu() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    for shape in [[1, 1], [3, 7], [5, 64]] {
        let (found, expected) = (stepped(&device, shape), stepped(&cpu(), shape));
        for (found, expected) in found.into_iter().zip(expected) {
            assert_close(&format!("{shape:?}"), &read(found), &read(expected), 1e-6);
        }
    }
}

#[test]
fn wgpu_step_leaves_what_others_hold() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let held = operands(&device, [4, 6]);
    let before = read(held.weight.clone());
    let workers = Workers::new(1);
    let moments = held.moments.clone();
    let stepped = ops::adamw_step(held.weight.clone(), held.gradient, moments, STEP, &workers);
    let [weight, ..] = stepped.expect("the device works");
    assert_ne!(read(weight), before);
    assert_eq!(read(held.weight), before);
}

#[test]
fn wgpu_squares_are_summed_over_all_tensors() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    // 9 numbers of 2, 70,001 of 0.5 and none: 36 + 17,500.25.
    let twos = Tensor::<2>::full([3, 3], 2.0, &device);
    let halves = Tensor::<2>::full([1, 70_001], 0.5, &device);
    let none = Tensor::<2>::zeros([0, 4], &device);
    let tensors = [twos, halves.transpose(), none];
    let sum = ops::sum_of_squares(&tensors).expect("the device works");
    assert!((sum - 17_536.25).abs() < 1e-2, "{sum}");
    assert_eq!(ops::sum_of_squares(&[]).expect("nothing to fail"), 0.0);
}
