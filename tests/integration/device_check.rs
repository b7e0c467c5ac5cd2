//! `emberl devices --check`: the table and the exit code, on the CPU and on the first adapter.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use emberl::device::{self, DeviceSpec};
use emberl::model::{Decoder, Family, ModelConfig, WeightDtype};
use emberl::seed::Seed;

use crate::oracle;
use crate::oracle::gpu::wgpu;

/// Every line of the table but the head, for each device.
const CHECKS: [&str; 19] = [
    "logits",
    "logits with cache",
    "decoded log-probs",
    "log-probs",
    "gradients",
    "adamw step",
    "loss grpo",
    "loss bnpo",
    "loss dr_grpo",
    "loss dapo",
    "loss luspo",
    "loss cispo",
    "loss sapo",
    "loss vespo",
    "advantages",
    "greedy ids",
    "greedy log-probs",
    "sampled ids",
    "sampled log-probs",
];

#[test]
fn cpu_with_threads_is_the_cpu_without() {
    let output = check(&["--device", "cpu"]);
    assert_all_ok(&output, "cpu");
}

#[test]
fn a_model_folder_is_checked_with() {
    let model = oracle::folder().join("models/qwen3");
    let output = check(&[&model.to_string_lossy(), "--device", "cpu"]);
    assert_all_ok(&output, "cpu");
}

#[test]
fn wgpu_device_passes_every_check() {
    let Some((_turn, _device)) = wgpu() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    tiny_model(folder.path());
    let output = check(&[&folder.path().to_string_lossy(), "--device", "wgpu:0"]);
    assert_all_ok(&output, "wgpu:0");
}

/// Writes a model of one block whose widths are all alike: a software adapter takes seconds to compile
/// the product of a new shape.
fn tiny_model(folder: &Path) {
    let config = ModelConfig {
        vocab_size: 16,
        hidden_size: 16,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        max_position_embeddings: 64,
        tie_word_embeddings: true,
        ..ModelConfig::of_family(Family::Llama)
    };
    let cpu = device::open(&DeviceSpec::Cpu).expect("the CPU");
    let decoder = Decoder::random(config, 0.3, Seed::new(7), &cpu);
    let saved = decoder.save(folder, WeightDtype::F32);
    saved.expect("the folder can be written");
}

#[test]
fn a_precision_names_its_rows_and_leaves_the_losses() {
    let output = check(&["--device", "cpu", "--precision", "bf16"]);
    assert_all_ok(&output, "cpu");
    let table = String::from_utf8_lossy(&output.stdout);
    let dtypes = |dtype: &str| table.matches(&format!("  cpu     {dtype} ")).count();
    assert_eq!(
        (dtypes("bf16"), dtypes("f32")),
        (6, CHECKS.len() - 6),
        "{table}"
    );
}

#[test]
fn device_and_model_that_are_not_there_are_told_apart() {
    let output = check(&["--device", "cuda:99"]);
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    let output = check(&["no-such-folder", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("no-such-folder"));
}

#[test]
fn the_cpu_is_not_tuned() {
    let output = devices(&["--tune", "no-such-folder", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(complaint(&output).contains("expected a GPU"));
}

fn check(options: &[&str]) -> Output {
    devices(&[&["--check"], options].concat())
}

fn devices(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emberl"))
        .arg("devices")
        .args(options)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        // Which kernels are fastest is no matter here.
        .env("CUBECL_AUTOTUNE_LEVEL", "minimal")
        .output()
        .expect("the program starts")
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_all_ok(output: &Output, device: &str) {
    let table = String::from_utf8_lossy(&output.stdout);
    eprintln!("{table}");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{table}{}",
        complaint(output)
    );
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty());
    let rows: Vec<&str> = rows.collect();
    let names = rows
        .iter()
        .filter_map(|row| row.split_once(&format!("  {device}  ")));
    let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, CHECKS);
    assert!(rows.iter().all(|row| row.ends_with("  ok")), "{table}");
}
