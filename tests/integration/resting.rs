//! A run that is interrupted wherever it can rest, again and again, ends as one that was not: inside
//! a rollout, inside an accumulation, between inner epochs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use emberl::device::{self, DeviceSpec};
use emberl::error::{Error, Result};
use emberl::pipeline::{Run, Summary};
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::rewards::{AddedReward, Attempt, Reward};
use emberl::stop::Stop;

use crate::tiny::with_base;

/// What the stage that makes the model is told.
const BASE_SETTINGS: &str = r#"steps = 12
optim = { lr = 3e-3, kind = "adamw_8bit" }
batching = { micro_batch = 3 }"#;

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
kind = "sft"
data = "examples.jsonl"
epochs = 3
batch = 2
packing = true
max_tokens = 40
lora = { rank = 2 }
optim = { lr = 1e-2, schedule = "linear" }
batching = { micro_batch = 1 }

[[stage]]
kind = "dpo"
data = "pairs.jsonl"
epochs = 2
batch = 2
optim = { lr = 1e-3 }
batching = { micro_batch = 2 }

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
watch = { every = 2, problems = 5, samples = 3 }
sampler_correction = { mode = "token_truncate" }
optim = { lr = 1e-3, schedule = "cosine", warmup_steps = 3 }
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

const EXAMPLES: &str = r#"{"prompt": "Make 3 from 1 2 5.\n", "completion": "<think>\n1+2=3 yes\n</think>"}
{"prompt": "Make 7 from 2 5 9.\n", "completion": "<answer>2+5</answer>"}
{"text": "Make 4 from 9 5 1."}
"#;

const PAIRS: &str = r#"{"prompt": "Make 3 from 1 2 5.\n", "chosen": "1+2=3 yes", "rejected": "5-2 no"}
{"prompt": "Make 7 from 2 5 9.\n", "chosen": "<answer>2+5</answer>", "rejected": "9-5"}
{"prompt": "Make 8 from 2 6 9.\n", "chosen": "2+6=8 yes", "rejected": "9-6=3"}
"#;

/// The stages' folders.
const STAGES: [&str; 6] = [
    "01-pretrain",
    "02-sft",
    "03-dpo",
    "04-grpo",
    "05-ppo",
    "06-adapter",
];

/// Places between interruptions. One place at a time, a run still gets on; the others have no divisor
/// in common with the loops they fall into.
const STRIDES: [usize; 2] = [1, 7];

#[test]
fn a_run_interrupted_at_every_kind_of_place_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("examples.jsonl"), EXAMPLES).expect("the examples");
    fs::write(folder.path().join("pairs.jsonl"), PAIRS).expect("the pairs");
    let whole = folder.path().join("whole");
    run(&whole, &Stop::default()).expect("the run ends");
    let steps = metrics(&whole.join("04-grpo"));
    let looked = steps
        .iter()
        .map(|line| line.contains("\"held_out_pass_at_1\":"));
    assert_eq!(looked.collect::<Vec<_>>(), [true, false, true, false]);
    for stride in STRIDES {
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

/// A reward that never gives the same number twice: what was graded once must not be graded again.
struct Moody(AtomicU32);

impl Reward for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let draws = self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Some(f64::from(draws) + 0.01 * attempt.token_count() as f64))
    }
}

#[test]
fn completions_are_graded_once_whatever_interrupts_the_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recipe: Recipe = recipe::from_text(MOODY, Path::new("moody.toml"), &[]).expect("a recipe");
    let moody = Arc::new(Moody(AtomicU32::new(0)));
    let mut interruptions = 0;
    let run = |stop: &Stop| {
        Run {
            recipe: &recipe,
            folder: folder.path(),
            device: &device::open(&DeviceSpec::Cpu)?,
            screen: &Screen::new(false),
            stop,
            rewards: &[AddedReward {
                weight: 1.0,
                reward: moody.clone(),
            }],
        }
        .execute()
    };
    while let Err(error) = run(&Stop::at(2)) {
        assert!(matches!(error, Error::Interrupted), "{error}");
        interruptions += 1;
    }
    assert!(interruptions > 5, "only {interruptions} interruptions");
    // Two steps of 2 · 4 completions.
    assert_eq!(moody.0.load(Ordering::Relaxed), 16);
}

const MOODY: &str = r#"
name = "moody"
workers = 1
save_every = 1
eval = { problems = 1, samples = 1, sampling = { max_completion_tokens = 4 } }

[[stage]]
kind = "pretrain"
steps = 2
batch = 4
model = { hidden_size = 16, intermediate_size = 16, layers = 1, heads = 2, kv_heads = 1 }
tokenizer = { vocabulary_size = 300 }
task = { kind = "countdown", levels = [1] }

[[stage]]
kind = "grpo"
steps = 2
prompts_per_step = 2
group_size = 4
rollout_batch = 4
inner_epochs = 2
rewards = [{ kind = "format" }]
task = { kind = "countdown", levels = [1] }
sampling = { max_completion_tokens = 6 }
batching = { micro_batch = 3 }
"#;

fn run(folder: &Path, stop: &Stop) -> Result<Summary> {
    let data = folder.parent().expect("a folder beside the data");
    let recipe = with_base(RECIPE, BASE_SETTINGS);
    let recipe = recipe.replace("data = \"", &format!("data = \"{}/", data.display()));
    let recipe: Recipe = recipe::from_text(&recipe, Path::new("resting.toml"), &[])?;
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
fn metrics(stage: &Path) -> Vec<String> {
    let text = fs::read_to_string(stage.join("metrics.jsonl")).expect("a log");
    text.lines().map(crate::resume::timeless).collect()
}
