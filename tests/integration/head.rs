//! The hand-written backward pass of the output head against autodiff.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use emberl::device::{self, DeviceSpec};
use emberl::ops::{self, GPU_TILE_VALUES, HeadGradients, HeadSum, TILE_VALUES, TokenGradients};

use crate::oracle::fixture::{cpu, say};
use crate::oracle::gpu::wgpu;

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

#[test]
fn wgpu_gradients_are_those_of_the_cpu() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let sizes = [(6, 4, 11), (33, 8, 1000), (4200, 2, 8300)];
    for (n, e, v) in sizes {
        let case = Case::random(Size { n, e, v }, 0.7);
        let there = case.on(&device, DType::F32);
        for has_entropies in [false, true] {
            let expected = case.by_hand(has_entropies);
            let found = there.by_hand(has_entropies);
            for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                assert_same(name, found, expected, 2e-4);
            }
        }
    }
    const { assert!(4200 * 8300 > GPU_TILE_VALUES, "the last has two tiles") };
}

#[test]
fn wgpu_gradients_of_halves_are_those_of_the_cpu() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let case = Case::random(
        Size {
            n: 33,
            e: 8,
            v: 300,
        },
        1.0,
    );
    if !device.supports_dtype(DType::F16) {
        return say("skipped: the adapter does not compute in f16");
    }
    // Gradients that f16 would lose: they are scaled on their way.
    let faint = |gradients: &Tensor<1>| gradients.clone() * 1e-9;
    let case = Case {
        for_logprobs: faint(&case.for_logprobs),
        for_entropies: faint(&case.for_entropies),
        ..case.on(&cpu(), DType::F16)
    };
    let (found, expected) = (case.on(&device, DType::F16), case.on(&cpu(), DType::F32));
    let (found, expected) = (found.by_hand(true), expected.by_hand(true));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_same(name, found, expected, 5e-3);
    }
}

#[test]
fn wgpu_rows_are_added_as_on_the_cpu() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let (count, width, entries) = (1200, 37, 11);
    cpu().seed(5);
    let normal =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &cpu());
    let (sum, summands) = (normal([entries, width]), normal([count, width]));
    // Row 3 is never named, row 0 often.
    let named = [0, 7, 0, 2, 10, 1, 0, 5, 4, 6, 8, 9];
    let mut rows: Vec<i32> = (0..count).map(|place| named[place * place % 12]).collect();
    // Row 9 is named by the first and the last summands alone, far apart.
    rows[5] = 9;
    rows[count - 100] = 9;
    let added = |device: &Device| {
        let there = |tensor: &Tensor<2>| Tensor::from_data(tensor.to_data(), device);
        let rows = Tensor::<1, Int>::from_data(&rows[..], device);
        let before: Tensor<2> = there(&sum);
        let kept = before.clone();
        let after = ops::add_rows(before, rows, there(&summands));
        assert_eq!(
            ops::read_floats(kept).unwrap(),
            ops::read_floats(sum.clone()).unwrap()
        );
        ops::read_floats(after).expect("device works")
    };
    assert_same("sum", &added(&device), &added(&cpu()), 1e-5);
    let nothing = Tensor::<2>::zeros([0, width], &device);
    let none = Tensor::<1, Int>::from_data(TensorData::new(Vec::<i32>::new(), [0]), &device);
    let same = ops::add_rows(Tensor::ones([2, width], &device), none, nothing);
    assert_eq!(ops::read_floats(same).unwrap(), vec![1.0; 2 * width]);
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

    /// The same numbers on `device`, hidden states and head as `dtype`.
    fn on(&self, device: &Device, dtype: DType) -> Self {
        let matrix =
            |tensor: &Tensor<2>| Tensor::<2>::from_data(tensor.to_data(), device).cast(dtype);
        let vector = |tensor: &Tensor<1>| Tensor::from_data(tensor.to_data(), device);
        Self {
            hidden: matrix(&self.hidden),
            head: matrix(&self.head),
            targets: Tensor::from_data(self.targets.to_data(), device),
            for_logprobs: vector(&self.for_logprobs),
            for_entropies: vector(&self.for_entropies),
            temperature: self.temperature,
        }
    }

    /// Log-probabilities, entropies and gradients by the operation under test, that of the head in a new sum and on top
    /// of one that is held elsewhere, too.
    fn by_hand(&self, has_entropies: bool) -> [(&'static str, Vec<f32>); 6] {
        let (hidden, head, targets) = (&self.hidden, &self.head, &self.targets);
        let forward = ops::token_logprobs(hidden, head, targets, self.temperature);
        let gradients = TokenGradients {
            logprobs: self.for_logprobs.clone(),
            entropies: has_entropies.then(|| self.for_entropies.clone()),
        };
        let found = |sum: HeadSum| {
            let t = self.temperature;
            ops::head_gradients(hidden, head, targets, t, &forward, &gradients, sum)
        };
        let before = head.clone().cast(DType::F32);
        let onto = found(HeadSum::Of(before.clone()));
        let found = found(HeadSum::Empty);
        let read = |tensor: Tensor<2>| {
            assert_eq!(tensor.dtype(), DType::F32);
            ops::read_floats(tensor).expect("device works")
        };
        [
            ("logprobs", read(forward.logprobs.clone().unsqueeze_dim(1))),
            (
                "entropies",
                read(forward.entropies.clone().unsqueeze_dim(1)),
            ),
            ("hidden", read(found.hidden)),
            ("head", read(found.head.expect("summed"))),
            ("head on a sum", read(onto.head.expect("summed"))),
            ("the sum before", read(before)),
        ]
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

/// Compares to the largest number expected.
fn assert_same(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(0.0_f32, |max, value| max.max(value.abs()));
    assert!(largest > 0.0, "{what} is all zeros");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{what}, value {index}: {found}, expected {expected}"
        );
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
