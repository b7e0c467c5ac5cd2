//! Training: samples in, better weights out.
//!
//! The learner is blind to the algorithm: it sees samples, masks and an [`Objective`]. GRPO, DPO, SFT
//! and pretraining differ in how the samples were made and in the objective.
//!
//! Shape letters: `B` samples, `C` trained positions (padded), `N` trained tokens, `E` hidden width.

mod dpo;
mod dpo_config;
mod example_tokens;
mod gradients;
mod layout;
mod learner;
mod learner_state;
pub mod loss;
mod objective;
mod optimizer;
mod pass;
mod plan;
mod pretrain;
mod readout;
mod rehearsal;
mod rejection_sampling;
mod reward_model;
mod rl;
mod rollout_rehearsal;
mod sample;
mod sampler_correction;
mod schedule;
mod scoring;
mod sft;
mod slice;
mod slice_stats;
mod slicing;
mod stage;
mod states;
mod supervised;
mod trained_tokens;

pub use dpo::{preference_samples, train_dpo};
pub use dpo_config::DpoConfig;
pub use example_tokens::{LossOn, supervised_sample};
pub use learner::{Learner, StepStats, quantile};
pub use objective::{LossInput, LossOutput, LossTotals, Objective, Predictions, StepTotals};
pub use optimizer::{OptimConfig, OptimKind, Optimizer};
pub use plan::{Machine, PartPlan, PhasePlan, Rollouts, StagePlan, Workload, WorstCase};
pub use pretrain::{NewModelConfig, Prepared, PretrainConfig, pretrain};
pub use rejection_sampling::{SampleConfig, SampledModel, sample_examples};
pub use reward_model::{
    HeldOutReport, RewardModel, RewardModelConfig, RewardModels, reward_samples, score_texts,
    train_reward_model,
};
pub use rl::{CriticConfig, ReferenceConfig, RlConfig, WatchConfig, train_grpo, train_ppo};
pub use rollout_rehearsal::RolloutRehearsal;
pub use sample::{Batching, TrainingSample};
pub use sampler_correction::{SamplerCorrection, SamplerCorrectionMode};
pub use schedule::Schedule;
pub use sft::{SftConfig, train_sft};
pub use stage::{StageContext, StepRecord};
pub use states::{SavedState, States};
pub use supervised::{SupervisedPlan, Trained, train_supervised};
