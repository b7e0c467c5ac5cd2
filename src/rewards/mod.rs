//! Rewards: what a completion earns, part by part, by rules alone.

mod accuracy;
mod answer;
mod config;
mod format;
mod math;
mod rubric;
mod soft_overlong;

pub use accuracy::Accuracy;
pub use answer::AnswerSource;
pub use config::RewardConfig;
pub use format::{Format, FormatStyle};
pub use math::{Math, MathAnswer};
pub use rubric::{Graded, GradedPart, Rubric};
pub use soft_overlong::SoftOverlong;

use std::sync::Arc;

use crate::data::Problem;
use crate::error::Result;

/// A completion to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What was asked.
    pub problem: &'a Problem,
    /// What the model wrote, special tokens left out.
    pub completion: &'a str,
    /// Length of the completion in tokens, the end token included.
    pub token_count: usize,
    /// Whether the model ended the completion itself; false when it was cut off.
    pub finished: bool,
}

/// A rule that scores completions.
pub trait Reward: Send + Sync {
    /// The name in metrics and samples; unique in a rubric.
    fn name(&self) -> &str;

    /// The score of `attempt`, finite and of any sign; `None` when the rule does not apply to it.
    ///
    /// # Errors
    /// When the rule itself fails, through no fault of the completion.
    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>>;
}

impl<R: Reward + ?Sized> Reward for Arc<R> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        (**self).score(attempt)
    }
}

/// A reward that a program adds to those of its recipe.
#[derive(Clone)]
pub struct AddedReward {
    /// Factor in the sum of rewards.
    pub weight: f64,
    /// The rule.
    pub reward: Arc<dyn Reward>,
}
