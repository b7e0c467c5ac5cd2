//! What rewards need beside their settings, handed in by those who have it.

use std::path::Path;
use std::sync::Arc;

use super::{Attempt, ModelRewardConfig};
use crate::error::Result;
use crate::tasks::Task;

/// What rewards need beside their settings. With nothing of it a rubric can be checked; rewards that
/// need what is not there fail when they are asked for a score.
#[derive(Clone, Default)]
pub struct RewardContext<'a> {
    /// Judges answers; without one the problem's reference does.
    pub verifier: Option<Arc<dyn Task>>,
    /// Loads reward models.
    pub scorers: Option<&'a dyn Scorers>,
    /// The stage's folder, for what rewards keep.
    pub folder: Option<&'a Path>,
}

impl RewardContext<'_> {
    /// A context with a verifier and nothing else.
    pub fn of(verifier: Option<Arc<dyn Task>>) -> Self {
        Self {
            verifier,
            ..Self::default()
        }
    }
}

/// Loads reward models to where they compute.
pub trait Scorers {
    /// The reward model of `config`.
    ///
    /// # Errors
    /// When the model folder is missing, broken or holds no reward model.
    fn load(&self, config: &ModelRewardConfig) -> Result<Box<dyn Scorer>>;
}

/// A reward model that is loaded.
pub trait Scorer: Send + Sync {
    /// What the model gives each completion, in order, each by itself.
    fn score(&self, attempts: &[Attempt<'_>]) -> Vec<Result<f32>>;
}
