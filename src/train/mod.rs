//! Training: samples in, better weights out.
//!
//! The learner is blind to the algorithm: it sees samples, masks and an [`Objective`]. GRPO, SFT and
//! pretraining differ in how the samples were made and in the objective.
//!
//! Shape letters: `B` samples, `C` trained positions (padded), `N` trained tokens, `E` hidden width.

mod gradients;
mod grpo;
mod grpo_config;
mod learner;
pub mod loss;
mod objective;
mod optimizer;
mod pass;
mod pretrain;
mod readout;
mod sample;
mod saved_state;
mod schedule;
mod scoring;
mod sft;
mod slice;
mod slicing;
mod stage;
mod supervised;

pub use grpo::train_grpo;
pub use grpo_config::GrpoConfig;
pub use learner::{Learner, StepStats, quantile};
pub use objective::{LossInput, LossOutput, LossTotals, Objective, Predictions, StepTotals};
pub use optimizer::{AdamW, OptimConfig};
pub use pretrain::{NewModelConfig, PretrainConfig, pretrain};
pub use sample::{Batching, TrainingSample};
pub use saved_state::SavedState;
pub use schedule::Schedule;
pub use sft::{SftConfig, supervised_sample, train_sft};
pub use stage::{StageContext, StepRecord};
pub use supervised::{SupervisedPlan, Trained, train_supervised};
