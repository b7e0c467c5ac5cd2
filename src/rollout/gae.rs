//! Generalized advantage estimation: a critic's values turned to advantages (arXiv:1506.02438, eq. 16).
//!
//! `δ_t = r_t + gamma · V_{t+1} - V_t` and `A_t = δ_t + gamma · lambda · A_{t+1}`; the critic learns
//! the return `A_t + V_t`. Tokens outside the mask are passed over, as verl does. Summed in f64. PPO
//! whitens the advantages over the batch afterwards ([`whiten`](super::whiten())), never the returns.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of [`gae`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GaeConfig {
    /// What a reward is worth one token earlier, 0 to 1. PPO of language models takes 1.
    pub gamma: f64,
    /// From trusting the critic (0) to trusting the rewards (1). TRL takes 0.95.
    pub lambda: f64,
}

impl Default for GaeConfig {
    fn default() -> Self {
        Self {
            gamma: 1.0,
            lambda: 0.95,
        }
    }
}

impl GaeConfig {
    /// Checks the ranges; `key` names the table in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        for (name, value) in [("gamma", self.gamma), ("lambda", self.lambda)] {
            if !(0.0..=1.0).contains(&value) {
                let problem = format!("is {value}, expected 0 to 1");
                return Err(Error::setting(format!("{key}.{name}"), problem));
            }
        }
        Ok(())
    }
}

/// Advantages and returns of one completion's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Gae {
    /// Of every token; 0 outside the mask.
    pub advantages: Vec<f32>,
    /// What the critic should have said of every token: its advantage plus its value.
    pub returns: Vec<f32>,
}

/// The advantages of one completion.
///
/// `rewards` and `values` hold one for each token, the value being the critic's before the token.
/// After the last token nothing is expected, also where the completion was cut off: as in TRL, what
/// is not written earns nothing.
///
/// # Panics
/// When rewards, values and mask have not as many tokens.
pub fn gae(rewards: &[f32], values: &[f32], mask: &[bool], config: GaeConfig) -> Gae {
    let tokens = mask.len();
    assert!(
        rewards.len() == tokens && values.len() == tokens,
        "{} rewards and {} values for a mask of {tokens} tokens",
        rewards.len(),
        values.len()
    );
    let mut advantages = vec![0.0; tokens];
    let mut returns = values.to_vec();
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for token in (0..tokens).rev().filter(|&token| mask[token]) {
        let value = f64::from(values[token]);
        let delta = f64::from(rewards[token]) + config.gamma * next_value - value;
        next_advantage = delta + config.gamma * config.lambda * next_advantage;
        next_value = value;
        advantages[token] = next_advantage as f32;
        returns[token] = (next_advantage + value) as f32;
    }
    Gae {
        advantages,
        returns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALVES: GaeConfig = GaeConfig {
        gamma: 0.5,
        lambda: 0.5,
    };

    #[test]
    fn advantages_are_discounted_sums_of_the_critics_errors() {
        // δ = 8 - 4 = 4; 0 + 0.5 · 4 - 1 = 1; 1 + 0.5 · 1 - 2 = -0.5.
        // A = 4; 1 + 0.25 · 4 = 2; -0.5 + 0.25 · 2 = 0.
        let found = gae(&[1.0, 0.0, 8.0], &[2.0, 1.0, 4.0], &[true; 3], HALVES);
        assert_eq!(found.advantages, [0.0, 2.0, 4.0]);
        assert_eq!(found.returns, [2.0, 3.0, 8.0]);
    }

    #[test]
    fn tokens_that_do_not_count_are_passed_over() {
        // As `[1, 8]` with values `[2, 4]`: δ = 4 and 1 + 0.5 · 4 - 2 = 1; A = 4 and 1 + 0.25 · 4 = 2.
        let mask = [false, true, false, true, false];
        let rewards = [9.0, 1.0, 9.0, 8.0, 9.0];
        let found = gae(&rewards, &[7.0, 2.0, 7.0, 4.0, 7.0], &mask, HALVES);
        assert_eq!(found.advantages, [0.0, 2.0, 0.0, 4.0, 0.0]);
        assert_eq!(found.returns, [7.0, 4.0, 7.0, 8.0, 7.0]);
    }

    #[test]
    fn lambda_1_gives_returns_minus_values() {
        let config = GaeConfig {
            gamma: 1.0,
            lambda: 1.0,
        };
        let (rewards, values) = ([0.5, 0.25, 2.0], [1.0, 3.0, -1.0]);
        let found = gae(&rewards, &values, &[true; 3], config);
        let returns = super::super::returns(&rewards, 1.0, &[true; 3]);
        assert_eq!(found.returns, returns);
        assert_eq!(found.advantages, [1.75, -0.75, 3.0]);
    }

    #[test]
    fn setting_out_of_range_is_named() {
        let config = GaeConfig {
            gamma: 1.5,
            ..GaeConfig::default()
        };
        let message = config.validate("gae").unwrap_err().to_string();
        assert_eq!(message, "`gae.gamma`: is 1.5, expected 0 to 1");
    }
}
