//! Adaptive entropy control: a bonus that comes in only when the policy becomes too sure of itself
//! (Skywork-OR1, arXiv:2505.22312).
//!
//! After every optimiser step the coefficient rises by a fixed amount if the step's mean entropy was
//! at or under the target, else it falls by as much; the next step applies it only if that entropy
//! was at or under the target, so the first step of a run has no bonus.

use serde::{Deserialize, Serialize};

use super::config::{NOT_NEGATIVE, NUMBER, POSITIVE, check, is_not_negative, is_positive};
use super::entropy::{KEPT_ENTROPY, KEPT_TOKENS};
use crate::error::Result;
use crate::train::StepStats;

/// Settings of the adaptive entropy coefficient (arXiv:2505.22312); it starts at `entropy_coef`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveEntropy {
    /// Mean entropy, in nats, of the tokens that the policy loss acts on, under which the bonus
    /// comes in.
    pub target: f64,
    /// How much the coefficient moves after each optimiser step.
    pub step: f64,
    /// Least coefficient.
    pub min: f64,
    /// Largest coefficient.
    pub max: f64,
}

impl Default for AdaptiveEntropy {
    fn default() -> Self {
        Self {
            target: 0.2,
            step: 0.005,
            min: 0.0,
            max: 1.0,
        }
    }
}

impl AdaptiveEntropy {
    pub(super) fn validate(&self, key: &str) -> Result<()> {
        let is_above = self.max.is_finite() && self.max >= self.min;
        check(
            key,
            &[
                ("target", is_not_negative(self.target), NOT_NEGATIVE),
                ("step", is_positive(self.step), POSITIVE),
                ("min", self.min.is_finite(), NUMBER),
                ("max", is_above, "must be at least `min`"),
            ],
        )
    }
}

/// The state of an adaptive entropy coefficient, to be saved with a run's other state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropyControl {
    /// The recipe's, not the state's.
    #[serde(skip)]
    settings: AdaptiveEntropy,
    #[serde(with = "crate::exact")]
    coef: f64,
    /// Mean entropy of the last step, nats.
    #[serde(with = "crate::exact")]
    last_entropy: Option<f64>,
}

impl EntropyControl {
    /// The state before the first step.
    pub fn new(settings: AdaptiveEntropy, start: f64) -> Self {
        Self {
            settings,
            coef: start,
            last_entropy: None,
        }
    }

    /// The same control where `saved` stopped.
    pub fn resume(self, saved: Self) -> Self {
        Self {
            settings: self.settings,
            ..saved
        }
    }

    /// What the coming optimiser step multiplies the mean entropy by.
    pub fn coef(&self) -> f64 {
        match self.last_entropy {
            Some(entropy) if entropy <= self.settings.target => self.coef,
            _ => 0.0,
        }
    }

    /// Moves the coefficient after an optimiser step of the policy loss; a step on no token moves
    /// nothing.
    pub fn observe(&mut self, stats: &StepStats) {
        let mean = |name: &str| stats.means.get(name).copied();
        let entropy = match (mean(KEPT_ENTROPY), mean(KEPT_TOKENS)) {
            (Some(entropy), Some(share)) => Some(entropy / share),
            _ => mean("entropy"),
        };
        if let Some(entropy) = entropy {
            self.update(entropy);
        }
    }

    /// Moves the coefficient after an optimiser step with this mean entropy, in nats.
    pub fn update(&mut self, entropy: f64) {
        let AdaptiveEntropy {
            target,
            step,
            min,
            max,
        } = self.settings;
        self.coef = match entropy <= target {
            true => (self.coef + step).min(max),
            false => (self.coef - step).max(min),
        };
        self.last_entropy = Some(entropy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> EntropyControl {
        let settings = AdaptiveEntropy {
            target: 0.5,
            step: 0.25,
            min: 0.125,
            max: 1.0,
        };
        EntropyControl::new(settings, 0.5)
    }

    #[test]
    fn coefficient_rises_at_or_under_the_target_and_acts_only_there() {
        let mut control = control();
        assert_eq!(control.coef(), 0.0, "nothing is measured yet");
        control.update(0.5);
        assert_eq!(control.coef(), 0.75);
        control.update(0.6);
        assert_eq!(control.coef(), 0.0, "entropy is above the target");
        // 0.75 − 0.25 + 0.25.
        control.update(0.4);
        assert_eq!(control.coef(), 0.75);
    }

    #[test]
    fn coefficient_stays_between_its_bounds() {
        let mut control = control();
        for _ in 0..5 {
            control.update(0.1);
        }
        assert_eq!(control.coef(), 1.0);
        for _ in 0..9 {
            control.update(0.9);
        }
        // From the least, 0.125, up by 0.25.
        control.update(0.1);
        assert_eq!(control.coef(), 0.375);
    }

    #[test]
    fn measured_entropy_is_that_of_the_tokens_the_entropy_mask_keeps() {
        let mut stats = StepStats::default();
        let mut control = control();
        control.observe(&stats);
        assert_eq!(control, self::control(), "no token, no measurement");
        stats.means.insert("entropy".into(), 0.4);
        control.observe(&stats);
        assert_eq!(control.last_entropy, Some(0.4));
        // A quarter of the tokens is kept: their mean is 0.225 / 0.25.
        stats.means.insert(KEPT_ENTROPY.into(), 0.225);
        stats.means.insert(KEPT_TOKENS.into(), 0.25);
        control.observe(&stats);
        assert_eq!(control.last_entropy, Some(0.9));
    }

    #[test]
    fn saved_state_goes_on_where_it_stopped() {
        let mut before = control();
        before.update(0.3);
        let text = serde_json::to_string(&before).unwrap();
        let after: EntropyControl = serde_json::from_str(&text).unwrap();
        assert_eq!(control().resume(after), before);
        let fresh = serde_json::to_string(&control()).unwrap();
        let fresh: EntropyControl = serde_json::from_str(&fresh).unwrap();
        let fresh = control().resume(fresh);
        assert_eq!(fresh.coef(), 0.0);
    }
}
