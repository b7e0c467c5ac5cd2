//! Losses over token log-probabilities, one idea a file.

mod policy;
mod preference;
mod reward;
mod supervised;
mod value;

pub use policy::{
    AdaptiveEntropy, EntropyControl, PolicyLoss, PolicyLossConfig, PolicyLossKind, RatioLevel,
    SapoConfig, VespoConfig,
};
pub use preference::{PreferenceLoss, PreferenceLossConfig, PreferenceLossKind};
pub use reward::{RewardLoss, RewardLossKind};
pub use supervised::{SupervisedLoss, SupervisedLossKind};
pub use value::ValueLoss;
