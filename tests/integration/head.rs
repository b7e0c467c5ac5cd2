//! The hand-written backward pass of the output head against autodiff.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Distribution, Int, Tensor};
use emberl::device::{self, DeviceSpec};
use emberl::ops::{self, HeadGradients, HeadSum, TILE_VALUES, TokenGradients};

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
fn gradients_of_one_tile_are_those_of_autodiff() {
    for temperature in [1.0, 0.7] {
        check(Size { n: 6, e: 4, v: 11 }, temperature);
    }
}

#[test]
fn gradients_of_several_tiles_are_those_of_autodiff() {
    let size = Size {
        n: 4200,
        e: 2,
        v: 9001,
    };
    assert!(size.n * size.v > 2 * TILE_VALUES, "three tiles, one narrow");
    check(size, 0.7);
}

fn check(size: Size, temperature: f64) {
    let case = Case::random(size, temperature);
    let (logprobs, entropies, expected) = case.by_autodiff();
    let (hidden, head) = (&case.hidden, &case.head);
    let forward = ops::token_logprobs(hidden, head, &case.targets, temperature);
    assert_close("logprobs", forward.logprobs.clone(), logprobs);
    assert_close("entropies", forward.entropies.clone(), entropies);
    let gradients = TokenGradients {
        logprobs: case.for_logprobs.clone(),
        entropies: Some(case.for_entropies.clone()),
    };
    let found = |sum: HeadSum| {
        let targets = &case.targets;
        ops::head_gradients(
            hidden,
            head,
            targets,
            temperature,
            &forward,
            &gradients,
            sum,
        )
    };
    let (for_hidden, for_head) = (expected.hidden, expected.head.expect("a leaf has one"));
    let empty = found(HeadSum::Empty);
    assert_close("hidden", empty.hidden, for_hidden.clone());
    assert_close("head", empty.head.expect("summed"), for_head.clone());
    let onto = found(HeadSum::Of(head.clone()));
    let summed = onto.head.expect("summed");
    assert_close("head on a sum", summed, for_head + head.clone());
    let frozen = found(HeadSum::Frozen);
    assert_close("hidden of a frozen head", frozen.hidden, for_hidden);
    assert!(frozen.head.is_none());
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

    /// Log-probabilities, entropies and gradients.
    fn by_autodiff(&self) -> (Tensor<1>, Tensor<1>, HeadGradients) {
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
        let outputs = (logprobs.clone().inner(), entropies.clone().inner());
        let loss = (logprobs * self.for_logprobs.clone()).sum()
            + (entropies * self.for_entropies.clone()).sum();
        let mut gradients = loss.backward();
        let mut take = |leaf: Tensor<2>| leaf.grad_remove(&mut gradients).expect("a leaf has one");
        let gradients = HeadGradients {
            hidden: take(hidden),
            head: Some(take(head)),
        };
        (outputs.0, outputs.1, gradients)
    }
}

fn assert_close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>) {
    let found = ops::read_floats(found).expect("device works");
    let expected = ops::read_floats(expected).expect("device works");
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
            "{what}, value {index}: {found}, expected {expected}"
        );
    }
}
