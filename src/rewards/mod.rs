//! Rewards: what a completion earns, part by part, by rules and by models that judge.

mod accuracy;
mod alignment;
mod answer;
mod code;
mod code_format;
mod config;
mod configured;
mod context;
mod cosine;
mod format;
mod json_body;
mod json_schema;
mod language;
mod language_consistency;
mod length;
mod length_unit;
mod llm_judge;
mod math;
mod model_reward;
mod prose;
mod reading;
mod reasoning_steps;
mod repetition;
mod rubric;
mod soft_overlong;
mod tag_count;
mod tool_call;
mod words;

pub use accuracy::Accuracy;
pub use answer::{AnswerSource, summary};
pub use code::{Code, CodeConfig};
pub use code_format::{CodeFormat, CodeFormatConfig};
pub use config::RewardKind;
pub use configured::RewardConfig;
pub use context::{RewardContext, Scorer, Scorers};
pub use cosine::{Cosine, CosineConfig};
pub use format::{Format, FormatStyle};
pub use json_schema::{JsonSchema, JsonSchemaConfig};
pub use language::Language;
pub use language_consistency::{
    LanguageConsistency, LanguageConsistencyConfig, TargetLanguage, reasoning,
};
pub use length::{Length, LengthConfig, Unjudged};
pub use length_unit::LengthUnit;
pub use llm_judge::{LlmJudge, LlmJudgeConfig};
pub use math::{Math, MathAnswer};
pub use model_reward::{ModelReward, ModelRewardConfig};
pub use reading::{Reading, ScoredPart, TextForm};
pub use reasoning_steps::{ReasoningSteps, ReasoningStepsConfig};
pub use repetition::{Repetition, RepetitionConfig, RepetitionUnit};
pub(crate) use rubric::HostScores;
pub use rubric::{Graded, GradedPart, Rubric};
pub use soft_overlong::SoftOverlong;
pub use tag_count::TagCount;
pub use tool_call::{CallOrder, ToolCall, ToolCallConfig, ToolCallCredit};
pub use words::WordCount;

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
    /// The completion's tokens, the end token included.
    pub token_ids: &'a [u32],
    /// Whether the model ended the completion itself; false when it was cut off.
    pub finished: bool,
}

impl Attempt<'_> {
    /// Length of the completion in tokens, the end token included.
    pub fn token_count(&self) -> usize {
        self.token_ids.len()
    }
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

    /// The scores of all completions of one problem, in order. A rule that compares completions with
    /// each other gives its own; [`Reward::score`] is then its score of a group of one.
    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        attempts.iter().map(|attempt| self.score(attempt)).collect()
    }

    /// The scores of several problems' completions, group by group. A rule that is better asked for
    /// many at once gives its own; they are those of [`Reward::score_group`].
    fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
        let groups = groups.iter();
        groups.map(|group| self.score_group(group)).collect()
    }

    /// Whether scores are computed on the device that generates. Such a reward is asked after generation;
    /// the others are asked on a thread of their own while it goes on.
    fn needs_device(&self) -> bool {
        false
    }
}

impl<R: Reward + ?Sized> Reward for Arc<R> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        (**self).score(attempt)
    }

    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        (**self).score_group(attempts)
    }

    fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
        (**self).score_groups(groups)
    }

    fn needs_device(&self) -> bool {
        (**self).needs_device()
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
