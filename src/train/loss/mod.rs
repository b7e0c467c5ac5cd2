//! Losses over token log-probabilities, one idea a file.

mod policy;
mod supervised;

pub use policy::{PolicyLoss, PolicyLossConfig, PolicyLossKind, RatioLevel};
pub use supervised::{SupervisedLoss, SupervisedLossKind};
