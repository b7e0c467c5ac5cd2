//! Rollouts: problems in, graded completions and their advantages out. All host data.

mod advantage;
mod estimators;
mod evaluate;
mod rollouter;
mod types;

pub use advantage::{Advantages, RewardAggregation, RewardScale, RewardStats, group_advantages};
pub use estimators::{Estimate, majority, pass_at_1, pass_at_k};
pub use evaluate::{EvalConfig, Evaluation, EvaluationInput, evaluate};
pub use rollouter::Rollouter;
pub use types::{Rollout, RolloutGroup};
