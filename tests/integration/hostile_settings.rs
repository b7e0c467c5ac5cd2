//! Settings of reinforcement learning at their edges: each is a named error or trains, never a panic
//! and never weights that are no numbers.

use std::fs;
use std::path::Path;

use emberl::device::{self, DeviceSpec};
use emberl::error::{Error, Result};
use emberl::model::Decoder;
use emberl::ops;
use emberl::pipeline::Run;
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::stop::Stop;

const RECIPE: &str = r#"
name = "edges"
workers = 2
eval = { problems = 1, samples = 1, sampling = { max_completion_tokens = 4 } }

[[stage]]
kind = "pretrain"
steps = 2
batch = 4
model = { hidden_size = 16, intermediate_size = 16, layers = 1, heads = 2, kv_heads = 1 }
tokenizer = { vocabulary_size = 300 }
task = { kind = "countdown", levels = [1] }

[[stage]]
kind = "KIND"
steps = 2
prompts_per_step = 3
group_size = 3
rewards = [{ kind = "soft_overlong", max_tokens = 8, buffer_tokens = 8 }]
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 8 }
optim = { lr = 1e-2 }
"#;

#[test]
fn what_can_be_trained_is_trained() {
    for (kind, line) in [
        ("grpo", ""),
        ("grpo", "kl_in_reward = { coef = 0.0 }"),
        ("grpo", "kl_in_reward = { coef = 0.1, estimator = \"k3\" }"),
        ("grpo", "mini_batches = 8"),
        (
            "grpo",
            "batching = { micro_batch = 2, checkpointing = true }",
        ),
        (
            "grpo",
            "mask_truncated = true\nsampling.max_completion_tokens = 1",
        ),
        (
            "grpo",
            "advantage = { kind = \"leave_one_out\", normalize_advantages = true }",
        ),
        (
            "grpo",
            "advantage = { kind = \"reinforce_plus_plus\" }\ngroup_size = 1",
        ),
        (
            "grpo",
            "advantage = { kind = \"reinforce_plus_plus_baseline\" }",
        ),
        (
            "grpo",
            "dynamic_sampling = { max_rounds = 2 }\nsampling.max_completion_tokens = 1",
        ),
        (
            "grpo",
            "loss = { kind = \"vespo\" }\nsampler_correction = { mode = \"token_mask\" }",
        ),
        (
            "grpo",
            "loss = { top_entropy_share = 0.2, entropy_coef = 0.1, adaptive_entropy = {} }",
        ),
        (
            "grpo",
            "loss = { off_policy_threshold = 0.01, clip_low = 1.0, clip_high = 10.0 }",
        ),
        (
            "grpo",
            "reference = { update_every = 1 }\nloss = { kl_coef = 0.5, kl_estimator = \"k1\" }",
        ),
        (
            "grpo",
            "lora = { rank = 1, targets = [\"q_proj\"] }\nloss = { kl_coef = 0.5 }",
        ),
        ("ppo", ""),
        (
            "ppo",
            "group_size = 1\ncritic = { clip_value = 0.0, warmup_steps = 1 }",
        ),
        (
            "ppo",
            "mask_truncated = true\nsampling.max_completion_tokens = 1",
        ),
        ("ppo", "lora = { rank = 2 }\nkl_in_reward = { coef = 0.1 }"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let trained = train(kind, line, folder.path());
        trained.unwrap_or_else(|error| panic!("{kind}, {line}: {error}"));
        let model = folder.path().join(format!("run/02-{kind}/model"));
        for weight in load(&model).parameters() {
            let values = ops::read_floats(weight.clone()).expect("device works");
            assert!(values.iter().all(|v| v.is_finite()), "{kind}, {line}");
        }
    }
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    for (kind, line, key) in [
        ("grpo", "group_size = 1", "group_size"),
        ("grpo", "group_size = 99999999999", "group_size"),
        ("grpo", "inner_epochs = 0", "inner_epochs"),
        ("grpo", "mini_batches = 10", "mini_batches"),
        ("grpo", "critic = {}", "critic"),
        ("grpo", "rewards = []", "rewards"),
        (
            "grpo",
            "reference = { update_every = 5 }",
            "reference.update_every",
        ),
        ("grpo", "reference = { mix = 0.5 }", "reference.mix"),
        ("grpo", "curriculum = {}", "curriculum.reward"),
        (
            "grpo",
            "kl_in_reward = { coef = -1.0 }",
            "kl_in_reward.coef",
        ),
        ("grpo", "optim = { epsilon = 0.0 }", "optim.epsilon"),
        (
            "grpo",
            "sampling.temperature = 1e-60",
            "sampling.temperature",
        ),
        (
            "grpo",
            "sampling.top_p = 0.9\nsampler_correction = {}",
            "sampler_correction",
        ),
        ("grpo", "lora = { rank = 0 }", "lora.rank"),
        (
            "ppo",
            "advantage = { kind = \"leave_one_out\" }",
            "advantage",
        ),
        (
            "ppo",
            "group_size = 1\ndynamic_sampling = {}",
            "dynamic_sampling",
        ),
        (
            "ppo",
            "critic = { warmup_steps = 2 }",
            "critic.warmup_steps",
        ),
        (
            "ppo",
            "critic = { gae = { lambda = 2.0 } }",
            "critic.gae.lambda",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = train(kind, line, folder.path()).expect_err(line);
        let Error::Setting { key: found, .. } = &error else {
            panic!("{kind}, {line}: {error}");
        };
        assert!(found.contains(key), "{kind}, {line}: {error}");
    }
}

#[test]
fn a_stage_that_may_learn_from_nothing_changes_nothing() {
    let line = "mask_truncated = true\nsampling.max_completion_tokens = 1";
    for kind in ["grpo", "ppo"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        train(kind, line, folder.path()).expect("the run ends");
        let weights = |stage: &str| {
            let path = folder.path().join("run").join(stage);
            fs::read(path.join("model/model.safetensors")).expect("a model")
        };
        assert!(
            weights("01-pretrain") == weights(&format!("02-{kind}")),
            "{kind}"
        );
    }
}

/// Runs the recipe with the lines of `changes` in place of its own.
fn train(kind: &str, changes: &str, folder: &Path) -> Result<()> {
    let mut text = RECIPE.replace("KIND", kind);
    for line in changes.lines() {
        let (key, value) = line.split_once(" = ").expect("a key and a value");
        if let Some(inner) = key.strip_prefix("sampling.") {
            let table = format!("sampling = {{ {inner} = {value}, ");
            let rest = text.replace(
                "sampling = { max_completion_tokens = 8 }",
                &format!("{table}}}"),
            );
            text = rest.replace(", }", " }");
            continue;
        }
        let own = text.rfind(&format!("\n{key} = "));
        let stage = text.rfind("[[stage]]").expect("a stage");
        if let Some(start) = own.filter(|start| *start > stage) {
            let end = text[start + 1..]
                .find('\n')
                .map_or(text.len(), |end| start + 1 + end);
            text.replace_range(start..end, "");
        }
        text.push_str(line);
        text.push('\n');
    }
    let recipe: Recipe = recipe::from_text(&text, Path::new("edges.toml"), &[])?;
    recipe.validate()?;
    let run = Run {
        recipe: &recipe,
        folder: &folder.join("run"),
        device: &device::open(&DeviceSpec::Cpu)?,
        screen: &Screen::new(false),
        stop: &Stop::default(),
        rewards: &[],
    };
    run.execute().map(drop)
}

fn load(model: &Path) -> Decoder {
    let device = device::open(&DeviceSpec::Cpu).expect("this build has the CPU backend");
    Decoder::load(model, &device).expect("the model loads")
}
