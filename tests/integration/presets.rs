//! A preset from end to end: a teacher made in the run teaches a smaller student, which then learns on.

use std::fs;
use std::path::Path;

use emberl::device::{self, DeviceSpec};
use emberl::error::Result;
use emberl::pipeline::{Run, Summary};
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::stop::Stop;
use emberl::train::Machine;
use serde_json::Value;

const RECIPE: &str = r#"
preset = "distill"
skip = []
seed = 3
workers = 2

[eval]
problems = 4
samples = 2
sampling.max_completion_tokens = 16

[shared]
task = { kind = "countdown", levels = [1] }
template = "plain"
sampling.max_completion_tokens = 24

[shared.pretrain]
steps = 6
batch = 8
tokenizer = { vocabulary_size = 300 }
optim = { lr = 3e-3 }

[[stage]]
kind = "pretrain"
name = "teacher"
model = { hidden_size = 32, intermediate_size = 64, layers = 2, heads = 4, kv_heads = 2, initializer_range = 0.08 }

[[stage]]
kind = "pretrain"
name = "student"
model = { hidden_size = 16, intermediate_size = 32, layers = 1, heads = 2, kv_heads = 1, initializer_range = 0.08 }

[[stage]]                # a teacher that has learned nothing: whatever it says is kept
name = "teacher_data"
prompts = 6
samples = 2
prompts_per_batch = 3
keep.at_least = { accuracy = 0, format = 0 }
readability = { drop_unfinished = false, min_language_share = 0.0 }

[[stage]]
name = "distilled"
batch = 4
max_tokens = 64

[[stage]]
name = "beyond"
steps = 1
prompts_per_step = 2
group_size = 2
"#;

#[test]
fn a_preset_distills_a_teacher_into_a_student_that_learns_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let recipe = recipe().unwrap();
    let summary = run(&recipe, &path).unwrap();
    let names: Vec<_> = (summary.stages.iter())
        .map(|stage| (stage.name.as_str(), stage.eval.is_some()))
        .collect();
    let expected = [
        ("teacher", true),
        ("student", true),
        ("teacher_data", false),
        ("distilled", true),
        ("beyond", true),
    ];
    assert_eq!(names, expected);
    let data = fs::read_to_string(path.join("03-teacher_data/data.jsonl")).unwrap();
    for line in data.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["provenance"]["model"], "teacher", "{line}");
    }
    let width =
        |stage: &str| json(&path.join(stage).join("model/config.json"))["hidden_size"].clone();
    assert_eq!([width("01-teacher"), width("04-distilled")], [32, 16]);
    // What learns on is the student: before that stands what distillation made.
    let eval = |name: &str| json(&path.join(format!("eval-{name}.json")));
    assert_eq!(eval("before"), eval("04-distilled"));
    assert_eq!(eval("after"), eval("05-beyond"));
    let plain = fs::read_to_string(path.join("recipe.toml")).unwrap();
    assert!(!plain.contains("preset"), "{plain}");
    assert_eq!(
        run(&recipe, &path).unwrap(),
        summary,
        "nothing is done again"
    );
}

#[test]
fn a_plan_follows_each_stage_to_its_own_model() {
    let machine = Machine {
        is_cpu: true,
        workers: 2,
        gpu_bytes: None,
    };
    let plans = recipe().unwrap().plan(machine).unwrap();
    let peaks: Vec<_> = plans.iter().map(|plan| plan.peak_bytes).collect();
    assert_eq!(peaks.len(), 5);
    // The same work on the smaller model takes less.
    assert!(peaks[1] < peaks[0], "{peaks:?}");
}

fn recipe() -> Result<Recipe> {
    let recipe: Recipe = recipe::from_text(RECIPE, Path::new("presets.toml"), &[])?;
    recipe.validate()?;
    Ok(recipe)
}

fn run(recipe: &Recipe, folder: &Path) -> Result<Summary> {
    Run {
        recipe,
        folder,
        device: &device::open(&DeviceSpec::Cpu)?,
        screen: &Screen::new(true),
        stop: &Stop::default(),
        rewards: &[],
    }
    .execute()
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}
