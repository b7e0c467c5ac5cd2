//! Correction for a sampler whose probabilities differ from the trainer's, as TRL's.
//!
//! A token that the sampler gave `log p` and the trainer, before the step's updates, `log π_old` has
//! the importance ratio `e^(log π_old − log p)`; a sequence has the product of its tokens'. What the
//! ratio becomes out of bounds depends on the mode. The policy loss is multiplied by it, but that of
//! `vespo`, whose own weight takes it in.

use serde::{Deserialize, Serialize};

use super::loss::PolicyLossKind;
use crate::error::{Error, Result};

/// What one ratio covers, and what becomes of a ratio out of bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerCorrectionMode {
    /// Each token's ratio is held inside the bounds.
    TokenTruncate,
    /// Each token's ratio is 0 outside the bounds.
    TokenMask,
    /// The sequence's ratio is held inside the bounds.
    SequenceTruncate,
    /// The sequence's ratio is 0 outside the bounds.
    #[default]
    SequenceMask,
}

/// Settings of the correction for the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerCorrection {
    /// What one ratio covers, and what becomes of a ratio out of bounds.
    pub mode: SamplerCorrectionMode,
    /// Largest ratio, above 0. TRL takes 3.
    pub max: f64,
    /// Least ratio, under `max`; unset is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
}

impl Default for SamplerCorrection {
    fn default() -> Self {
        Self {
            mode: SamplerCorrectionMode::SequenceMask,
            max: 3.0,
            min: None,
        }
    }
}

impl SamplerCorrection {
    /// Checks the ranges, and that a loss of this `kind` can use the mode; `key` names the settings
    /// in the message.
    ///
    /// # Errors
    /// Names the first value that is wrong.
    pub fn validate(&self, key: &str, kind: PolicyLossKind) -> Result<()> {
        let wrong =
            |field: &str, problem: &str| Err(Error::setting(format!("{key}.{field}"), problem));
        if !(self.max.is_finite() && self.max > 0.0) {
            return wrong("max", "must be above 0");
        }
        if self.min.is_some_and(|min| !(0.0..self.max).contains(&min)) {
            return wrong("min", "must be at least 0 and under `max`");
        }
        if kind == PolicyLossKind::Vespo && self.covers_sequences() {
            return wrong(
                "mode",
                "must be `token_truncate` or `token_mask` with `vespo`",
            );
        }
        Ok(())
    }

    /// The factor of each token of one completion.
    ///
    /// A token that does not count in the loss, or whose log-probability the sampler did not give
    /// (NaN), has the ratio 1.
    ///
    /// # Panics
    /// When the arguments do not have one value a token each.
    pub fn factors(
        &self,
        old_logprobs: &[f32],
        sampler_logprobs: &[f32],
        loss_mask: &[bool],
    ) -> Vec<f32> {
        let tokens = loss_mask.len();
        let given = [old_logprobs.len(), sampler_logprobs.len()];
        assert_eq!(given, [tokens; 2], "log-probabilities of {tokens} tokens");
        let pairs = old_logprobs.iter().zip(sampler_logprobs).zip(loss_mask);
        let log_ratios = pairs.map(|((old, sampler), counts)| match counts {
            true => finite(old - sampler),
            false => 0.0,
        });
        match self.covers_sequences() {
            true => vec![self.bound(log_ratios.sum::<f32>().exp()); tokens],
            false => log_ratios.map(|log| self.bound(log.exp())).collect(),
        }
    }

    fn covers_sequences(&self) -> bool {
        use SamplerCorrectionMode::{SequenceMask, SequenceTruncate};
        matches!(self.mode, SequenceMask | SequenceTruncate)
    }

    fn bound(&self, ratio: f32) -> f32 {
        use SamplerCorrectionMode::{SequenceTruncate, TokenTruncate};
        let (min, max) = (self.min.unwrap_or(0.0) as f32, self.max as f32);
        match self.mode {
            TokenTruncate | SequenceTruncate => ratio.max(min).min(max),
            _ if (min..=max).contains(&ratio) => ratio,
            _ => 0.0,
        }
    }
}

/// `log_ratio` as a number: 0 for what is unknown, the largest for infinity.
fn finite(log_ratio: f32) -> f32 {
    match log_ratio.is_nan() {
        true => 0.0,
        false => log_ratio.clamp(f32::MIN, f32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [f32; 3] = [-1.0, -2.0, -3.0];

    fn factors(mode: SamplerCorrectionMode, sampler: [f32; 3], mask: [bool; 3]) -> Vec<f32> {
        let correction = SamplerCorrection {
            mode,
            max: 2.0,
            min: Some(0.5),
        };
        correction.factors(&OLD, &sampler, &mask)
    }

    #[test]
    fn tokens_that_do_not_count_or_are_unknown_leave_the_ratio_alone() {
        // Ratios: e^9 of a token that does not count, 1 of an unknown one, e^−½.
        let (sampler, mask) = ([-10.0, f32::NAN, -2.5], [false, true, true]);
        let kept = (-0.5_f32).exp();
        let found = factors(SamplerCorrectionMode::TokenMask, sampler, mask);
        assert_eq!(found, [1.0, 1.0, kept]);
        let found = factors(SamplerCorrectionMode::SequenceMask, sampler, mask);
        assert_eq!(found, [kept; 3]);
    }

    #[test]
    fn a_token_that_the_sampler_held_impossible_is_out_of_bounds() {
        let sampler = [f32::NEG_INFINITY, -2.0, -3.0];
        let found = factors(SamplerCorrectionMode::TokenTruncate, sampler, [true; 3]);
        assert_eq!(found, [2.0, 1.0, 1.0]);
        let found = factors(SamplerCorrectionMode::SequenceMask, sampler, [true; 3]);
        assert_eq!(found, [0.0; 3]);
    }

    #[test]
    fn broken_settings_are_named() {
        let problem = |json: &str, kind| {
            let correction: SamplerCorrection = serde_json::from_str(json).unwrap();
            correction
                .validate("correction", kind)
                .err()
                .map(|error| error.to_string())
        };
        let (grpo, vespo) = (PolicyLossKind::Grpo, PolicyLossKind::Vespo);
        assert_eq!(problem("{}", grpo), None);
        assert_eq!(problem(r#"{"mode": "token_mask"}"#, vespo), None);
        for (json, kind, key) in [
            (r#"{"max": 0.0}"#, grpo, "correction.max"),
            (r#"{"min": 3.0}"#, grpo, "correction.min"),
            ("{}", vespo, "correction.mode"),
        ] {
            let problem = problem(json, kind).unwrap();
            assert!(problem.contains(&format!("`{key}`")), "{problem}");
        }
    }
}
