//! `emberl devices --check`: the table and the exit code, on the CPU and on the first adapter.

use std::process::{Command, Output, Stdio};

use crate::oracle;
use crate::oracle::gpu::wgpu;

/// Every line of the table but the head, for each device.
const CHECKS: [&str; 18] = [
    "logits",
    "logits with cache",
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
    let output = check(&["--device", "wgpu:0"]);
    assert_all_ok(&output, "wgpu:0");
}

#[test]
fn device_and_model_that_are_not_there_are_told_apart() {
    let output = check(&["--device", "cuda:99"]);
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    let output = check(&["no-such-folder", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("no-such-folder"));
}

fn check(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emberl"))
        .args(["devices", "--check"])
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
