//! Rollouts: problems in, graded completions and their advantages out. All host data.

mod advantage;
mod advantage_estimator;
mod audit;
mod curriculum;
mod dynamic_sampling;
mod estimators;
mod eval_config;
mod evaluate;
mod gae;
mod grading;
mod held_out_completion;
mod kl_penalty;
mod pass_rates;
mod rejection;
mod returns;
mod rollouter;
mod self_checks;
mod types;
mod whiten;
mod win_rate;
mod worked_examples;

pub use advantage::{Advantages, RewardAggregation, RewardScale, RewardStats, group_advantages};
pub use advantage_estimator::{AdvantageEstimator, AdvantageInput, TokenAdvantages};
pub use audit::{Audit, AuditInput, AuditRow, ModelAudit, ModelProbe, Verdict};
pub use curriculum::{Curriculum, CurriculumConfig, Picked};
pub use dynamic_sampling::{DynamicSampling, teaches};
pub use estimators::{Estimate, majority, pass_at_1, pass_at_k};
pub use eval_config::EvalConfig;
pub use evaluate::{Evaluated, Evaluation, EvaluationInput, evaluate};
pub(crate) use evaluate::{PROBLEMS_AT_ONCE, held_out};
pub use gae::{Gae, GaeConfig, gae};
pub use held_out_completion::HeldOutCompletion;
pub use kl_penalty::{KlEstimator, KlPenalty};
pub use pass_rates::PassRates;
pub use rejection::{
    Choice, DecontaminationConfig, Duplicates, KeepConfig, Readability, ReadabilityConfig,
    Rejection, Sieve, TestPrompts,
};
pub use returns::{returns, token_rewards};
pub use rollouter::{GradedRollouts, Rollouter};
pub use self_checks::{MARKS, SelfCheck, SelfCheckStats, self_checks};
pub use types::{Rollout, RolloutGroup};
pub use whiten::whiten;
pub use win_rate::{MeanScores, WinRate, WinRateConfig};
pub use worked_examples::WorkedExamples;
