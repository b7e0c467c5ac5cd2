//! A part of the oracle on the first adapter that wgpu finds, a software one included.
//!
//! Without an adapter each test says so and checks nothing; with `EMBERL_REQUIRE_WGPU` set it fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use burn::tensor::Device;
use emberl::device::{self, DeviceSpec};
use emberl::generation::{Engine, GenerationRequest};
use emberl::model::TokenGrid;
use emberl::seed::Seed;
use emberl::workers::Workers;

use super::fixture::{Worst, say};
use super::losses::LossCases;
use super::model_case::ModelCase;
use super::step_case::StepCase;
use super::{grpo_steps, models};

/// Loss cases to run, spread over all.
const LOSS_CASES: usize = 12;
/// Greedy tokens to make: each is one more shape to compile for.
const GREEDY_TOKENS: usize = 4;

static SKIPPED: AtomicUsize = AtomicUsize::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn wgpu_logits_are_those_of_transformers() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let [case, _] = ModelCase::of("qwen2", &device);
    let (rows, expected) = (case.rows(), case.logits());
    let grid = TokenGrid::left_padded(&rows[..2], 0);
    let worst = models::check_logits(&case, &grid, &rows[..2], &expected[..2]);
    eprintln!("wgpu: logits: largest difference {worst:.1e}");
}

#[test]
fn wgpu_greedy_ids_are_those_of_transformers() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let [case, _] = ModelCase::of("qwen2", &device);
    let prompts = case
        .tensors
        .unpadded("greedy_prompt_ids", "greedy_prompt_mask");
    let request = |prompt: &Vec<u32>| GenerationRequest {
        prompt: prompt.to_vec(),
        seed: Seed::new(0),
    };
    let requests: Vec<_> = prompts[..2].iter().map(request).collect();
    let workers = Workers::new(1);
    let engine = Engine::new(&case.decoder, Vec::new(), &workers);
    let found = engine.generate(&requests, &case.greedy(GREEDY_TOKENS), &|_, _| ());
    let expected = case.tensors.integer_rows("greedy_new_ids");
    for (found, expected) in found.expect("device works").iter().zip(expected) {
        let found: Vec<i64> = found.ids.iter().map(|id| i64::from(*id)).collect();
        assert_eq!(found, expected[..GREEDY_TOKENS]);
    }
}

#[test]
fn wgpu_losses_and_gradients_are_trls() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let all = LossCases::read();
    let mut worst = Worst::default();
    let stride = (all.cases.len() / LOSS_CASES).max(1);
    for case in all.cases.iter().step_by(stride) {
        all.check(case, &device, &mut worst);
    }
    worst.print("wgpu");
}

#[test]
fn wgpu_grpo_step_is_trls() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    let cases = StepCase::all("trl.GRPOTrainer").into_iter();
    let shortest = cases.min_by_key(|case| case.steps() * case.accumulation());
    let case = shortest.expect("there are steps");
    grpo_steps::check(&case, &device, &Workers::new(1));
}

/// A test's time with the adapter, at whose end the adapter has nothing left to do: a software one that
/// still compiles when the process ends takes it down.
pub struct Turn {
    device: Device,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = self.device.sync() {
            say(&format!("the adapter failed: {error:?}"));
        }
    }
}

/// The adapter, one test at a time; none, said aloud, when the machine has none.
pub fn wgpu() -> Option<(Turn, Device)> {
    let alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|broken| broken.into_inner());
    let adapters = device::adapters();
    let Some(adapter) = adapters.first() else {
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        say(&format!("skipped: no wgpu adapter ({count} skipped)"));
        let is_required = std::env::var_os("EMBERL_REQUIRE_WGPU").is_some();
        assert!(
            !is_required,
            "EMBERL_REQUIRE_WGPU is set and there is no adapter"
        );
        return None;
    };
    say(&format!("wgpu: {} ({})", adapter.name, adapter.driver));
    let spec = DeviceSpec::Wgpu(adapter.index);
    let device = device::open(&spec).expect("an adapter opens");
    let turn = Turn {
        device: device.clone(),
        _alone: alone,
    };
    Some((turn, device))
}
