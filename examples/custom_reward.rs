//! Trains with a reward of one's own, brevity, beside the recipe's accuracy and format.
//!
//! `cargo run --release --example custom_reward`
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;
use std::sync::Arc;

use emberl::device;
use emberl::error::Result;
use emberl::pipeline::Run;
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::rewards::{AddedReward, Attempt, Reward};
use emberl::stop::Stop;

/// 1 for an empty completion, falling to 0 at `token_limit`; says nothing of one that was cut off.
struct Brevity {
    token_limit: usize,
}

impl Reward for Brevity {
    fn name(&self) -> &str {
        "brevity"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let used = attempt.token_count() as f64 / self.token_limit as f64;
        Ok(attempt.finished.then_some(1.0 - used.min(1.0)))
    }
}

fn main() -> Result<()> {
    let recipe: Recipe = recipe::load(Path::new("examples/r1_zero/recipe.toml"), &[])?;
    recipe.validate()?;
    let summary = Run {
        recipe: &recipe,
        folder: Path::new("runs/custom_reward"),
        device: &device::open(&recipe.device)?,
        screen: &Screen::new(false),
        stop: &Stop::default(),
        rewards: &[AddedReward {
            weight: 0.1,
            reward: Arc::new(Brevity { token_limit: 128 }),
        }],
    }
    .execute()?;
    if let Some(held_out) = summary.eval {
        println!("{} tokens before", held_out.before.mean_tokens);
        println!("{} tokens after", held_out.after.mean_tokens);
    }
    Ok(())
}
