//! Difficulty levels as a setting: whole numbers from 1, drawn evenly.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::error::{Error, Result};

/// Checks a task's `levels`, of which `highest` is the hardest.
///
/// # Errors
/// When there is none or one is out of range.
pub(super) fn validate(levels: &[u8], highest: u8) -> Result<()> {
    let refuse = |problem: String| Err(Error::setting("levels", problem));
    if levels.is_empty() {
        return refuse(format!("is empty; give one or more of 1 to {highest}"));
    }
    match levels.iter().find(|level| !(1..=highest).contains(*level)) {
        Some(level) => refuse(format!("holds {level}, expected 1 to {highest}")),
        None => Ok(()),
    }
}

/// One of `levels`, which [`validate`] has seen.
pub(super) fn draw(levels: &[u8], rng: &mut dyn Rng) -> u8 {
    *levels
        .choose(rng)
        .expect("`validate` refuses an empty list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_out_of_range_are_refused_by_name() {
        assert!(validate(&[1, 3], 3).is_ok());
        let message = |levels: &[u8]| validate(levels, 3).unwrap_err().to_string();
        assert_eq!(
            message(&[]),
            "`levels`: is empty; give one or more of 1 to 3"
        );
        assert_eq!(message(&[1, 4]), "`levels`: holds 4, expected 1 to 3");
        assert_eq!(message(&[0]), "`levels`: holds 0, expected 1 to 3");
    }
}
