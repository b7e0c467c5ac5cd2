//! Soft overlong punishment: a completion pays for coming near its most tokens, before it is cut off.
//!
//! With length `n`, most tokens `m` and buffer `b`: 0 for `n <= m - b`, `((m - b) - n) / b` up to `m`,
//! -1 beyond (DAPO, arXiv:2503.14476, eq. 13).

use super::{Attempt, Reward};
use crate::error::{Error, Result};

/// The soft overlong reward, -1 to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftOverlong {
    max_tokens: usize,
    buffer_tokens: usize,
}

impl SoftOverlong {
    /// The reward that falls over the last `buffer_tokens` of `max_tokens`; a buffer of 0 punishes only
    /// what is longer.
    ///
    /// # Errors
    /// When the buffer is larger than all tokens, or there are none.
    pub fn new(max_tokens: usize, buffer_tokens: usize) -> Result<Self> {
        if max_tokens == 0 {
            let problem = "is 0, must be at least 1";
            return Err(Error::setting("rewards.soft_overlong.max_tokens", problem));
        }
        if buffer_tokens > max_tokens {
            let problem =
                format!("is {buffer_tokens}, must be at most `max_tokens` = {max_tokens}");
            return Err(Error::setting(
                "rewards.soft_overlong.buffer_tokens",
                problem,
            ));
        }
        Ok(Self {
            max_tokens,
            buffer_tokens,
        })
    }

    /// The reward of a completion of `token_count` tokens, the end token included.
    pub fn of(&self, token_count: usize) -> f64 {
        let free_tokens = self.max_tokens - self.buffer_tokens;
        if token_count <= free_tokens {
            0.0
        } else if token_count <= self.max_tokens {
            -((token_count - free_tokens) as f64) / self.buffer_tokens as f64
        } else {
            -1.0
        }
    }
}

impl Reward for SoftOverlong {
    fn name(&self) -> &str {
        "soft_overlong"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        Ok(Some(self.of(attempt.token_count())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punishment_grows_over_the_buffer_and_ends_at_minus_1() {
        let reward = SoftOverlong::new(10, 4).unwrap();
        let found: Vec<f64> = [0, 6, 7, 9, 10, 11].map(|n| reward.of(n)).into();
        assert_eq!(found, [0.0, 0.0, -0.25, -0.75, -1.0, -1.0]);
    }

    #[test]
    fn without_a_buffer_only_what_is_longer_is_punished() {
        let reward = SoftOverlong::new(10, 0).unwrap();
        assert_eq!([9, 10, 11].map(|n| reward.of(n)), [0.0, 0.0, -1.0]);
    }

    #[test]
    fn setting_out_of_range_is_named() {
        let message = SoftOverlong::new(10, 11).unwrap_err().to_string();
        assert_eq!(
            message,
            "`rewards.soft_overlong.buffer_tokens`: is 11, must be at most `max_tokens` = 10"
        );
        let message = SoftOverlong::new(0, 0).unwrap_err().to_string();
        assert!(
            message.contains("`rewards.soft_overlong.max_tokens`"),
            "{message}"
        );
    }
}
