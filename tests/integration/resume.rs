//! A run that is killed and resumed ends with the weights of one that was not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::tiny::with_base;

/// All kinds of stages but the first, in a few seconds.
const RECIPE: &str = r#"
name = "tiny"
seed = 5
workers = 2
save_every = 3

[eval]
problems = 4
samples = 2
[eval.sampling]
max_completion_tokens = 24

[[stage]]
kind = "sft"
data = "examples.jsonl"
epochs = 4
batch = 2
packing = true
max_tokens = 96
optim = { lr = 1e-3 }

[[stage]]
kind = "dpo"
data = "pairs.jsonl"
epochs = 4
batch = 2
optim = { lr = 1e-3 }
batching = { micro_batch = 2 }

[[stage]]
kind = "reward_model"
data = "pairs.jsonl"
epochs = 4
batch = 2
held_out = 0.3
center_rewards_coefficient = 0.01
optim = { lr = 1e-3 }
batching = { micro_batch = 2 }

[[stage]]
kind = "grpo"
steps = 12
prompts_per_step = 4
group_size = 4
inner_epochs = 2
mini_batches = 2
rewards = [{ kind = "accuracy" }, { kind = "format", style = "think_answer_loose" }]
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 24 }
loss = { kind = "dapo", kl_coef = 0.01 }
watch = { every = 4, problems = 3 }
optim = { lr = 1e-3 }
batching = { micro_batch = 5 }
"#;

const EXAMPLES: &str = r#"{"prompt": "Make 3 from 1 2 5.\n", "completion": "<think>\n1+2=3 yes\n</think>\n<answer>1+2</answer>"}
{"prompt": "Make 7 from 2 5 9.\n", "completion": "<think>\n2+5=7 yes\n</think>\n<answer>2+5</answer>"}
{"text": "Make 4 from 9 5 1."}
"#;

const PAIRS: &str = r#"{"prompt": "Make 3 from 1 2 5.\n", "chosen": "<answer>1+2</answer>", "rejected": "<answer>5-1</answer>"}
{"prompt": "Make 7 from 2 5 9.\n", "chosen": "<answer>2+5</answer>", "rejected": "no"}
{"chosen": "Make 4 from 9 5 1. 9-5", "rejected": "Make 4 from 9 5 1. 5+1"}
"#;

/// Times, as shares of the undisturbed run's, at which the process is killed.
const KILLS: [f64; 3] = [0.23, 0.41, 0.37];

#[test]
fn a_run_killed_three_times_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recipe = with_base(RECIPE, "steps = 40\noptim = { lr = 3e-3 }");
    fs::write(folder.path().join("recipe.toml"), recipe).expect("the recipe");
    fs::write(folder.path().join("examples.jsonl"), EXAMPLES).expect("the examples");
    fs::write(folder.path().join("pairs.jsonl"), PAIRS).expect("the pairs");
    let started = Instant::now();
    let whole = start(folder.path(), "whole", false).wait_with_output();
    let whole = whole.expect("the program runs");
    assert!(
        whole.status.success(),
        "{}",
        String::from_utf8_lossy(&whole.stderr)
    );
    let duration = started.elapsed();
    for (index, share) in KILLS.into_iter().enumerate() {
        let mut process = start(folder.path(), "killed", index > 0);
        thread::sleep(duration.mul_f64(share));
        process.kill().expect("the process can be killed");
        process.wait().expect("the process ends");
        check_files(&folder.path().join("killed"));
    }
    let killed = start(folder.path(), "killed", true).wait_with_output();
    let killed = killed.expect("the program runs");
    assert!(
        killed.status.success(),
        "{}",
        String::from_utf8_lossy(&killed.stderr)
    );
    for file in [
        "01-pretrain",
        "02-sft",
        "03-dpo",
        "04-reward_model",
        "05-grpo",
    ] {
        let weights = |run: &str| {
            let path = folder
                .path()
                .join(run)
                .join(file)
                .join("model/model.safetensors");
            fs::read(path).expect("the stage's model")
        };
        assert!(
            weights("whole") == weights("killed"),
            "weights of {file} differ"
        );
    }
    assert_eq!(
        metrics(&folder.path().join("whole")),
        metrics(&folder.path().join("killed")),
    );
}

fn start(folder: &Path, out: &str, resume: bool) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberl"));
    command
        .args([
            "run",
            "recipe.toml",
            "--device",
            "cpu",
            "--quiet",
            "--out",
            out,
        ])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // A process killed before it made its folder starts anew.
    if resume && folder.join(out).join("recipe.toml").exists() {
        command.arg("--resume");
    }
    command.spawn().expect("the program starts")
}

/// Every file that is not a temporary sibling can be read whole.
fn check_files(folder: &Path) {
    for path in files(folder) {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = fs::read(&path).expect("a readable file");
        if name.ends_with(".partial") || path.to_string_lossy().contains("partial-") {
            continue;
        }
        if name.ends_with(".json") {
            serde_json::from_slice::<serde_json::Value>(&bytes)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if name.ends_with(".safetensors") {
            safetensors::SafeTensors::deserialize(&bytes)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

/// The losses and rewards of every step, without what the clock decides.
fn metrics(run: &Path) -> Vec<String> {
    let logs = files(run)
        .into_iter()
        .filter(|path| path.ends_with("metrics.jsonl"));
    let mut logs: Vec<PathBuf> = logs.collect();
    logs.sort();
    let lines = logs.iter().flat_map(|path| {
        let text = fs::read_to_string(path).expect("a readable log");
        text.lines().map(str::to_string).collect::<Vec<_>>()
    });
    lines.map(|line| timeless(&line)).collect()
}

/// A line of metrics without what the clock and the allocator decide.
pub fn timeless(line: &str) -> String {
    let mut record: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(line).expect("a whole line");
    record.retain(|name, _| !name.ends_with("seconds"));
    record.remove("tokens_per_second");
    record.remove("peak_memory_bytes");
    serde_json::Value::Object(record).to_string()
}
