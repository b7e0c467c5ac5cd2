//! The hand-written backward pass of the output head against autodiff.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Distribution, Int, Tensor};
use emberl::device::{self, DeviceSpec};
use emberl::ops::{self, HeadGradients};

/// Tokens, hidden width and vocabulary.
#[derive(Clone, Copy)]
struct Size {
    n: usize,
    e: usize,
    v: usize,
}

/// A head's inputs and the gradients that a loss sends into its outputs.
struct Case {
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    for_logprobs: Tensor<1>,
    for_entropies: Tensor<1>,
    temperature: f64,
}

#[test]
fn gradients_of_one_chunk_are_those_of_autodiff() {
    for temperature in [1.0, 0.7] {
        check(Size { n: 6, e: 4, v: 11 }, temperature);
    }
}

#[test]
fn gradients_of_several_chunks_are_those_of_autodiff() {
    // 4200 · 4096 values are more than the 2^24 of one chunk.
    let size = Size {
        n: 4200,
        e: 2,
        v: 4096,
    };
    check(size, 0.7);
}

fn check(size: Size, temperature: f64) {
    let case = Case::random(size, temperature);
    let (hidden, head) = (&case.hidden, &case.head);
    let forward = ops::token_logprobs(hidden, head, &case.targets, temperature);
    let found = ops::head_gradients(
        hidden,
        head,
        &case.targets,
        temperature,
        &forward,
        &case.for_logprobs,
        Some(&case.for_entropies),
    );
    let expected = case.by_autodiff();
    assert_close("hidden", found.hidden, expected.hidden);
    assert_close("head", found.head, expected.head);
}

impl Case {
    fn random(Size { n, e, v }: Size, temperature: f64) -> Self {
        let device: Device = device::open(&DeviceSpec::Cpu).expect("this build has a CPU backend");
        device.seed(7);
        let normal = Distribution::Normal(0.0, 1.0);
        let targets: Vec<i32> = (0..n).map(|token| (token * 7 % v) as i32).collect();
        Self {
            hidden: Tensor::random([n, e], normal, &device),
            head: Tensor::random([v, e], normal, &device),
            targets: Tensor::from_data(&targets[..], &device),
            for_logprobs: Tensor::random([n], normal, &device),
            for_entropies: Tensor::random([n], normal, &device),
            temperature,
        }
    }

    fn by_autodiff(&self) -> HeadGradients {
        let track = |tensor: &Tensor<2>| tensor.clone().autodiff().require_grad();
        let (hidden, head) = (track(&self.hidden), track(&self.head));
        let logits = hidden.clone().matmul(head.clone().transpose()) / self.temperature;
        let log_p = log_softmax(logits, 1);
        let chosen = self.targets.clone().unsqueeze_dim(1);
        let logprobs: Tensor<1> = log_p.clone().gather(1, chosen).squeeze_dim(1);
        let entropies: Tensor<1> = (log_p.clone().exp() * log_p)
            .sum_dim(1)
            .neg()
            .squeeze_dim(1);
        let loss = (logprobs * self.for_logprobs.clone()).sum()
            + (entropies * self.for_entropies.clone()).sum();
        let mut gradients = loss.backward();
        let mut take = |leaf: Tensor<2>| leaf.grad_remove(&mut gradients).expect("a leaf has one");
        HeadGradients {
            hidden: take(hidden),
            head: take(head),
        }
    }
}

fn assert_close(what: &str, found: Tensor<2>, expected: Tensor<2>) {
    let found = ops::read_floats(found).expect("device works");
    let expected = ops::read_floats(expected).expect("device works");
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
            "gradient of {what}, value {index}: {found}, expected {expected}"
        );
    }
}
