//! What joins the stages of a pipeline: the model a stage starts from, files that stages make for each
//! other, examples from a model's own completions, an evaluation after each.

use std::fs;
use std::path::Path;

use emberl::data::{Example, read_examples};
use emberl::device::{self, DeviceSpec};
use emberl::error::{Error, Result};
use emberl::pipeline::{Run, Summary};
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::stop::Stop;
use emberl::train::Machine;
use serde_json::Value;

use crate::tiny::with_base;

/// R1's phases in little: what a trained model writes teaches the base, which is made first.
const RECIPE: &str = r#"
name = "joints"
seed = 3
workers = 2

[eval]
problems = 8
samples = 2
each_stage = true
[eval.sampling]
max_completion_tokens = 12

[[stage]]
kind = "grpo"
name = "zero"
steps = 2
prompts_per_step = 4
group_size = 4
rewards = [{ kind = "soft_overlong", max_tokens = 24, buffer_tokens = 20 }, { kind = "repetition", ngram = 1, parts = ["sums"] }]
sampling = { max_completion_tokens = 24 }
optim = { lr = 1e-2 }
[[stage.task.parts]]
name = "numbers"
share = 1
task = { kind = "countdown", levels = [1] }
[[stage.task.parts]]
name = "sums"
share = 1
task = { kind = "arithmetic" }
[stage.task]
kind = "mixture"

[[stage]]
kind = "sample"
prompts = 8
samples = 3
prompts_per_batch = 3
write_as = "chat"
rewards = [{ kind = "accuracy" }, { kind = "repetition" }]
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 24 }
keep = { at_least = { repetition = -0.5 }, per_prompt = 2, choose = "shortest" }
readability = { drop_unfinished = false }

[[stage]]
kind = "sft"
from = "pretrain"
data = ["stage:sample/data.jsonl", "more.jsonl"]
epochs = 1
batch = 4
max_tokens = 64
optim = { lr = 0.0 }
"#;

const MORE: &str = "{\"prompt\": \"Make 3 from 1 2 5.\\n\", \"completion\": \"1+2=3 yes\"}\n";

#[test]
fn examples_of_one_model_teach_another_and_each_is_evaluated() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("more.jsonl"), MORE).expect("the examples");
    let whole = folder.path().join("whole");
    let summary = run(&whole, &Stop::default()).expect("the run ends");
    check_examples(&whole);
    check_evaluations(&whole, &summary);
    check_parts(&whole);
    // At a learning rate of 0 the weights stay those that the stage started from.
    let weights = |run: &Path, stage: &str| {
        fs::read(run.join(stage).join("model/model.safetensors")).expect("a model")
    };
    assert!(weights(&whole, "04-sft") == weights(&whole, "01-pretrain"));
    assert!(weights(&whole, "02-zero") != weights(&whole, "01-pretrain"));
    assert!(!whole.join("03-sample/model").exists());

    let cut = folder.path().join("cut");
    let mut interrupted_while_sampling = 0;
    while let Err(error) = run(&cut, &Stop::at(2)) {
        assert!(matches!(error, Error::Interrupted), "{error}");
        let samples = cut.join("03-sample/samples.jsonl");
        let is_sampling = samples.exists() && !cut.join("03-sample/done.json").exists();
        interrupted_while_sampling += usize::from(is_sampling);
    }
    assert!(interrupted_while_sampling > 0);
    for file in ["samples.jsonl", "data.jsonl", "rejected.json"] {
        let read = |run: &Path| fs::read_to_string(run.join("03-sample").join(file)).expect(file);
        assert_eq!(read(&whole), read(&cut), "{file}");
    }
    let metrics = |run: &Path| {
        let text = fs::read_to_string(run.join("03-sample/metrics.jsonl")).expect("a log");
        let lines = text.lines().map(crate::resume::timeless);
        lines.collect::<Vec<_>>()
    };
    assert_eq!(metrics(&whole).len(), 3);
    assert_eq!(metrics(&whole), metrics(&cut));
    assert!(weights(&whole, "04-sft") == weights(&cut, "04-sft"));
}

/// Every example is a completion that was kept and says where it is from; the rest is counted.
fn check_examples(run: &Path) {
    let stage = run.join("03-sample");
    let rejected = json(&stage.join("rejected.json"));
    assert_eq!(rejected["completions"], 24);
    let counts = rejected["rejected"].as_object().expect("reasons").values();
    let dropped: u64 = counts.map(|count| count.as_u64().expect("a count")).sum();
    let kept = rejected["kept"].as_u64().expect("a count");
    assert_eq!(kept + dropped, 24);
    // 8 prompts of which 2 of 3 completions at most are kept.
    assert!((1..=16).contains(&kept), "{kept}");
    let data = stage.join("data.jsonl");
    let examples = read_examples(&data).expect("examples");
    assert_eq!(examples.len() as u64, kept);
    assert!(
        examples
            .iter()
            .all(|example| matches!(example, Example::ChatCompletion { .. }))
    );
    let text = fs::read_to_string(&data).expect("a readable file");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a record");
        let provenance = &line["provenance"];
        assert_eq!(provenance["model"], "zero");
        assert_eq!(provenance["stage"], "sample");
        let repetition = provenance["rewards"]["repetition"].as_f64();
        assert!(
            repetition.is_some_and(|score| score >= -0.5),
            "{provenance}"
        );
    }
    let recipe = fs::read_to_string(run.join("recipe.toml")).expect("the recipe");
    assert!(recipe.contains("stage:sample/data.jsonl"), "{recipe}");
}

/// Every model has its results; that of the base is the one before reinforcement learning.
fn check_evaluations(run: &Path, summary: &Summary) {
    let names: Vec<_> = (summary.stages.iter())
        .map(|stage| (stage.name.as_str(), stage.eval.is_some()))
        .collect();
    let expected = [
        ("pretrain", true),
        ("zero", true),
        ("sample", false),
        ("sft", true),
    ];
    assert_eq!(names, expected);
    let eval = |name: &str| json(&run.join(format!("eval-{name}.json")));
    assert_eq!(eval("01-pretrain"), eval("before"));
    assert_eq!(eval("04-sft"), eval("after"));
    assert_eq!(eval("04-sft"), eval("01-pretrain"));
    let written = json(&run.join("summary.json"));
    assert_eq!(written["stages"][1]["eval"], eval("02-zero"));
}

/// Both parts of the mixture are asked and evaluated, and a reward is for its part only.
fn check_parts(run: &Path) {
    let text = fs::read_to_string(run.join("02-zero/samples.jsonl")).expect("a log");
    let mut seen = [0, 0];
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a record");
        let is_sum = line["prompt"]
            .as_str()
            .is_some_and(|prompt| prompt.ends_with("=?\n"));
        assert_eq!(line["rewards"]["repetition"].is_number(), is_sum, "{line}");
        assert!(line["rewards"]["soft_overlong"].is_number(), "{line}");
        seen[usize::from(is_sum)] += 1;
    }
    assert!(seen[0] > 0 && seen[0] + seen[1] == 32, "{seen:?}");
    let parts = json(&run.join("eval-before.json"))["parts"].clone();
    let parts = parts.as_object().expect("results part by part");
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["numbers", "sums"]);
}

#[test]
fn a_plan_foretells_what_other_stages_make_and_says_so() {
    let recipe = recipe(Path::new("nowhere")).expect("a recipe");
    let machine = Machine {
        is_cpu: true,
        workers: 2,
        gpu_bytes: None,
    };
    let plans = recipe.plan(machine).expect("a plan");
    let notes: Vec<_> = plans.iter().map(|plan| plan.notes.len()).collect();
    assert_eq!(notes, [0, 0, 0, 1]);
    assert!(plans[3].notes[0].contains("foretold from `batch` and `max_tokens`"));
    let phases = |stage: usize| {
        let phases = plans[stage].phases.iter();
        phases.map(|phase| phase.name).collect::<Vec<_>>()
    };
    assert_eq!(phases(2), ["load", "evaluate", "rollout"]);
    assert!(phases(3).contains(&"learn"));
}

fn recipe(data: &Path) -> Result<Recipe> {
    let text = with_base(RECIPE, "steps = 12\noptim = { lr = 3e-3 }");
    let text = text.replace("more.jsonl", &data.join("more.jsonl").display().to_string());
    let recipe: Recipe = recipe::from_text(&text, Path::new("joints.toml"), &[])?;
    recipe.validate()?;
    Ok(recipe)
}

fn run(folder: &Path, stop: &Stop) -> Result<Summary> {
    let recipe = recipe(folder.parent().expect("a folder beside the data"))?;
    Run {
        recipe: &recipe,
        folder,
        device: &device::open(&DeviceSpec::Cpu)?,
        screen: &Screen::new(true),
        stop,
        rewards: &[],
    }
    .execute()
}

fn json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("json")
}
