//! A run that is interrupted wherever it can rest, again and again, ends as one that was not: inside
//! a rollout, inside an accumulation, between inner epochs.

use std::fs;
use std::path::Path;

use emberl::device::{self, DeviceSpec};
use emberl::error::{Error, Result};
use emberl::pipeline::{Run, Summary};
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::stop::Stop;

/// Everything that has a state, in little.
const RECIPE: &str = r#"
name = "resting"
seed = 11
workers = 2
save_every = 3

[eval]
problems = 2
samples = 2
[eval.sampling]
max_completion_tokens = 12

[[stage]]
kind = "pretrain"
steps = 12
batch = 8
model = { hidden_size = 32, intermediate_size = 64, layers = 2, heads = 4, kv_heads = 2, initializer_range = 0.08 }
tokenizer = { vocabulary_size = 300 }
task = { kind = "countdown", levels = [1] }
optim = { lr = 3e-3, kind = "adamw_8bit" }
batching = { micro_batch = 3 }

[[stage]]
kind = "grpo"
steps = 4
prompts_per_step = 4
group_size = 4
rollout_batch = 8
inner_epochs = 2
mini_batches = 2
rewards = [{ kind = "accuracy" }, { kind = "format", style = "think_answer_loose" }, { kind = "soft_overlong", max_tokens = 24, buffer_tokens = 20 }]
task = { kind = "countdown", levels = [1, 2] }
sampling = { max_completion_tokens = 24 }
loss = { kind = "dapo", kl_coef = 0.01, entropy_coef = 0.01, adaptive_entropy = { target = 5.0 } }
reference = { update_every = 2, mix = 0.6 }
dynamic_sampling = { max_rounds = 2 }
curriculum = {}
sampler_correction = { mode = "token_truncate" }
optim = { lr = 1e-3 }
batching = { micro_batch = 3, checkpointing = true }

[[stage]]
kind = "ppo"
steps = 3
prompts_per_step = 4
group_size = 2
inner_epochs = 2
rewards = [{ kind = "format", style = "think_answer_loose" }, { kind = "soft_overlong", max_tokens = 24, buffer_tokens = 20 }]
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 24 }
kl_in_reward = { coef = 0.05 }
critic = { optim = { lr = 1e-3 }, warmup_steps = 1 }
optim = { lr = 1e-3, kind = "adafactor" }
batching = { micro_batch = 5 }

[[stage]]
kind = "grpo"
name = "adapter"
steps = 2
prompts_per_step = 2
group_size = 4
rewards = [{ kind = "soft_overlong", max_tokens = 24, buffer_tokens = 20 }]
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 24 }
loss = { kl_coef = 0.1 }
lora = { rank = 4 }
optim = { lr = 1e-2 }
batching = { micro_batch = 3 }
"#;

/// The stages' folders.
const STAGES: [&str; 4] = ["01-pretrain", "02-grpo", "03-ppo", "04-adapter"];

#[test]
fn a_run_interrupted_at_every_kind_of_place_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = folder.path().join("whole");
    run(&whole, &Stop::default()).expect("the run ends");
    // Numbers of places that have no divisor in common with the loops they fall into.
    for stride in [7, 11] {
        let cut = folder.path().join(format!("cut-{stride}"));
        let mut interruptions = 0;
        while let Err(error) = run(&cut, &Stop::at(stride)) {
            assert!(matches!(error, Error::Interrupted), "{error}");
            interruptions += 1;
        }
        assert!(interruptions > 10, "only {interruptions} interruptions");
        for stage in STAGES {
            for file in ["model/model.safetensors", "samples.jsonl"] {
                let read = |run: &Path| fs::read(run.join(stage).join(file)).ok();
                assert!(
                    read(&whole) == read(&cut),
                    "{stage}/{file}, every {stride} places"
                );
            }
            assert_eq!(metrics(&whole.join(stage)), metrics(&cut.join(stage)));
        }
    }
}

fn run(folder: &Path, stop: &Stop) -> Result<Summary> {
    let recipe: Recipe = recipe::from_text(RECIPE, Path::new("resting.toml"), &[])?;
    recipe.validate()?;
    Run {
        recipe: &recipe,
        folder,
        device: &device::open(&DeviceSpec::Cpu)?,
        screen: &Screen::new(false),
        stop,
        rewards: &[],
    }
    .execute()
}

/// The metrics of every step, without what the clock and the allocator decide.
fn metrics(stage: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(stage.join("metrics.jsonl")).expect("a log");
    text.lines()
        .map(|line| {
            let mut record: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).expect("a record");
            record.retain(|name, _| !name.ends_with("seconds"));
            record.remove("tokens_per_second");
            record.remove("peak_memory_bytes");
            record.into()
        })
        .collect()
}
