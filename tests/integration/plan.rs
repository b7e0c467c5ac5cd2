//! What `emberl plan` foretells is what a run takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A model of 13 million weights: large enough that the process itself does not decide.
const RECIPE: &str = r#"
name = "plan"
device = "cpu"
workers = 2

[[stage]]
kind = "pretrain"
steps = 2
batch = 16
model = { hidden_size = 384, intermediate_size = 1536, layers = 6, heads = 6, kv_heads = 2 }
tokenizer = { vocabulary_size = 300 }
task = { kind = "countdown", levels = [1] }
"#;

/// What malloc, threads and pages of the program may add to either side.
const SPARE: f64 = 48e6;

#[test]
#[cfg(target_os = "linux")]
fn the_peak_is_within_15_percent_of_the_measured_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recipe = folder.path().join("recipe.toml");
    fs::write(&recipe, RECIPE).expect("a writable folder");
    for settings in [
        &[][..],
        &["stage.pretrain.batching.checkpointing=true"],
        &["stage.pretrain.optim.kind=\"adafactor\"", "workers=1"],
    ] {
        let planned = plan(&recipe, settings)["peak_bytes"]
            .as_f64()
            .expect("a number");
        let out = folder
            .path()
            .join(format!("run-{}", settings.join("")).replace('"', ""));
        let measured = measured(&recipe, settings, &out);
        assert!(
            (planned - measured).abs() <= 0.15 * measured + SPARE,
            "{settings:?}: planned {planned}, measured {measured}"
        );
    }
}

#[test]
fn a_model_that_is_too_large_is_told_with_what_would_help() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recipe = folder.path().join("recipe.toml");
    fs::write(&recipe, RECIPE).expect("a writable folder");
    // 1024 blocks of width 16384 are about 2.9 TB of weights.
    let settings = [
        "stage.pretrain.model.hidden_size=16384",
        "stage.pretrain.model.intermediate_size=32768",
        "stage.pretrain.model.heads=64",
        "stage.pretrain.model.layers=1024",
    ];
    let output = emberl("plan", &recipe, &settings).arg("--json").output();
    let output = output.expect("the program starts");
    let plan = parse(&output);
    assert_eq!(plan["stages"][0]["name"], "pretrain");
    if !plan["available_bytes"].is_null() {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(plan["fits"], false);
        let advice = plan["advice"][0]["set"].as_str().expect("advice");
        assert!(advice.starts_with("stage.pretrain.optim.kind="), "{advice}");
    }
}

fn emberl(command: &str, recipe: &Path, settings: &[&str]) -> Command {
    let mut emberl = Command::new(env!("CARGO_BIN_EXE_emberl"));
    emberl.arg(command).arg(recipe).env_remove("RUST_LOG");
    for setting in settings {
        emberl.args(["--set", setting]);
    }
    emberl
}

fn plan(recipe: &Path, settings: &[&str]) -> Value {
    let output = emberl("plan", recipe, settings).arg("--json").output();
    parse(&output.expect("the program starts"))
}

fn parse(output: &Output) -> Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {complaint}"))
}

/// The most that a run of its own process had resident.
fn measured(recipe: &Path, settings: &[&str], out: &Path) -> f64 {
    let mut run = emberl("run", recipe, settings);
    let output = run.arg("--quiet").arg("--out").arg(out).output();
    let output = output.expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let metrics = fs::read_to_string(out.join("01-pretrain/metrics.jsonl")).expect("a log");
    let last = metrics.lines().last().expect("a step");
    let last: Value = serde_json::from_str(last).expect("a record");
    last["peak_memory_bytes"].as_f64().expect("a number")
}
