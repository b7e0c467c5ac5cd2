//! Reward models from data to reward: two are trained by the program, then they grade a policy.

use std::fs;
use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use emberl::data::Prompt;
use emberl::precision::Precision;
use emberl::train::{RewardModel, RewardModels};
use emberl::workers::Workers;
use serde_json::Value;

use crate::oracle::fixture::cpu;
use crate::tiny::with_base;

const MODELS: &str = r#"
name = "models"
seed = 3
workers = 2

[[stage]]
kind = "reward_model"
name = "helpful"
data = "pairs.jsonl"
epochs = 3
batch = 16
held_out = 0.2
optim = { lr = 3e-3 }

[[stage]]
kind = "reward_model"
name = "safe"
data = "labels.jsonl"
loss = "pointwise"
texts = "chat"
epochs = 3
batch = 16
held_out = 0.2
optim = { lr = 3e-3 }
"#;

const POLICY: &str = r#"
name = "policy"
model = "models/01-pretrain/model"
workers = 2
eval = { problems = 2, samples = 2, sampling = { max_completion_tokens = 8 } }

[[stage]]
kind = "grpo"
steps = 2
prompts_per_step = 2
group_size = 4
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 24 }
rewards = [
    { kind = "accuracy" },
    { kind = "reward_model", name = "helpful", model = "models/02-helpful/model", mean = 0.5, scale = 2.0 },
    { kind = "reward_model", name = "safe", model = "models/03-safe/model", sigmoid = true },
]
"#;

/// Pairs whose better answer ends in `!` and thinks about it or not, and answers that are good if they do.
fn data() -> (String, String) {
    let (mut pairs, mut labels) = (String::new(), String::new());
    for number in 0..120 {
        let prompt = format!("Make {number}.\\n");
        let thought = if number % 2 == 0 {
            "<think>no</think>"
        } else {
            ""
        };
        let (good, bad) = (format!("{thought}{number}!"), format!("{number}?"));
        pairs += &format!(
            "{{\"prompt\": \"{prompt}\", \"chosen\": \"{good}\", \"rejected\": \"{bad}\"}}\n"
        );
        for (answer, label) in [(good, true), (bad, false)] {
            labels += &format!(
                "{{\"prompt\": \"{prompt}\", \"completion\": \"{answer}\", \"label\": {label}}}\n"
            );
        }
    }
    (pairs, labels)
}

#[test]
fn trained_reward_models_tell_good_from_bad_and_grade_a_policy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let (pairs, labels) = data();
    write("pairs.jsonl", &pairs);
    write("labels.jsonl", &labels);
    let models = with_base(MODELS, "steps = 20\noptim = { lr = 3e-3 }");
    write("models.toml", &models);
    write("policy.toml", POLICY);
    run(folder.path(), "models");
    for (stage, scores, items) in [("02-helpful", "answer", 24), ("03-safe", "response", 48)] {
        let stage = folder.path().join("models").join(stage);
        let report = json(&stage.join("reward_model.json"));
        assert_eq!(report["scores"], scores);
        assert_eq!(report["held_out"]["items"], items);
        let accuracy = report["held_out"]["accuracy"].as_f64().expect("a number");
        assert!(accuracy > 0.9, "{report}");
        assert_eq!(json(&stage.join("model/reward_model.json")), report);
        let done = json(&stage.join("done.json"));
        assert_eq!(done["metrics"]["held_out/accuracy"], accuracy);
    }
    run(folder.path(), "policy");
    check_samples(folder.path());
    check_score_command(folder.path());
    check_audit(folder.path());
}

/// The run's report says what rules pay for and models prefer, and `emberl audit --run` says the same.
fn check_audit(folder: &Path) {
    let report = fs::read_to_string(folder.join("policy/report/audit.txt")).expect("a report");
    let head = report.lines().next().expect("a line");
    let columns: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(columns, ["grpo", "accuracy", "total", "verdict"]);
    for start in ["right answer ", "helpful ", "safe "] {
        assert!(
            report.lines().any(|line| line.starts_with(start)),
            "{start}: {report}"
        );
    }
    let lines = |probe: &str| {
        report
            .lines()
            .filter(|line| line.starts_with(probe))
            .count()
    };
    for probe in [
        "good answer ",
        "padded with its own words ",
        "padded with filler ",
    ] {
        assert_eq!(lines(probe), 2, "{report}");
    }
    let audit = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emberl"));
        command
            .args(["audit", "policy.toml", "--device", "cpu"])
            .args(options);
        let output = command.current_dir(folder).output().expect("starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        String::from_utf8(output.stdout).expect("a text")
    };
    assert_eq!(audit(&["--run", "policy"]), report);
    let alone = audit(&[]);
    let note = "(reward `helpful` is left out: it is a model, which is audited with its run)";
    assert!(
        alone.contains(note) && !alone.contains("good answer"),
        "{alone}"
    );
    let records = audit(&["--run", "policy", "--json"]);
    let records = records.lines().map(serde_json::from_str::<Value>);
    let records: Vec<Value> = records.collect::<Result<_, _>>().expect("records");
    let probes = records.iter().filter(|record| record["reward"] == "safe");
    // What the reward gives is a probability.
    let scores = probes.map(|record| record["score"].as_f64().expect("a score"));
    let scores: Vec<f64> = scores.collect();
    assert_eq!(scores.len(), 4);
    assert!(
        scores.iter().all(|score| (0.0..=1.0).contains(score)),
        "{scores:?}"
    );
}

/// `emberl score` says of a text what the reward says of it, put as in training.
fn check_score_command(folder: &Path) {
    let model = folder.join("models/02-helpful/model");
    let line = r#"{"text": "Make 3.\n3!<|im_end|>"}"#;
    fs::write(folder.join("in.jsonl"), line).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberl"));
    command.args(["score", "--device", "cpu", "--input", "in.jsonl"]);
    command
        .args(["--output", "out.jsonl", "--model"])
        .arg(&model);
    let output = command.current_dir(folder).output().expect("starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let found = json(&folder.join("out.jsonl"))["score"].as_f64();
    let device = cpu();
    let prompt = Prompt::Text("Make 3.\n".into());
    let scores = load(folder, "02-helpful", &device).score(&[(&prompt, "<think>7</think>3!")]);
    let expected = f64::from(*scores[0].as_ref().expect("a score"));
    assert!(
        (found.expect("a number") - expected).abs() < 1e-5,
        "{found:?} {expected}"
    );
}

fn load(folder: &Path, stage: &str, device: &Device) -> RewardModel {
    let place = RewardModels {
        device,
        precision: Precision::F32,
        workers: Workers::new(1),
    };
    let model = folder.join("models").join(stage).join("model");
    RewardModel::load(&model, None, None, &place).expect("the model loads")
}

/// What the policy's completions earned is what the models say of them.
fn check_samples(folder: &Path) {
    let device = cpu();
    let [helpful, safe] = ["02-helpful", "03-safe"].map(|stage| load(folder, stage, &device));
    let samples = fs::read_to_string(folder.join("policy/01-grpo/samples.jsonl")).unwrap();
    let mut compared = 0;
    for line in samples.lines() {
        let sample: Value = serde_json::from_str(line).expect("a sample");
        let prompt: Prompt = serde_json::from_value(sample["prompt"].clone()).expect("a prompt");
        let completion = sample["completion"].as_str().expect("a text");
        let score = |model: &RewardModel| {
            let scores = model.score(&[(&prompt, completion)]);
            f64::from(*scores[0].as_ref().expect("a score"))
        };
        let parts = [
            ("helpful", (score(&helpful) - 0.5) / 2.0),
            ("safe", 1.0 / (1.0 + (-score(&safe)).exp())),
        ];
        for (part, expected) in parts {
            let found = sample["rewards"][part].as_f64().expect("a number");
            assert!(
                (found - expected).abs() < 1e-5,
                "{part}: {found} {expected}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * 2 * 2 * 4);
}

#[test]
fn a_reward_without_its_model_stops_the_run_with_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = crate::oracle::folder().join("steps/base");
    let base = base.display().to_string();
    let recipe = POLICY
        .replace("models/01-pretrain/model", &base)
        .replace("models/02-helpful/model", &base);
    fs::write(folder.path().join("policy.toml"), recipe).unwrap();
    let output = emberl(folder.path(), "policy").output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    let expected = "config.json: `architectures`: is a language model's, expected a reward model's";
    assert!(complaint.contains(expected), "{complaint}");
}

fn emberl(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberl"));
    command.args(["run", &format!("{name}.toml"), "--device", "cpu", "--quiet"]);
    command.args(["--out", name]).current_dir(folder);
    command
}

fn run(folder: &Path, name: &str) {
    let output = emberl(folder, name).output().expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}
