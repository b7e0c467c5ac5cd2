//! Rewards and returns of a completion's tokens.
//!
//! A token outside the mask (a tool's output) is no action of the policy: it earns nothing, and the
//! return of what follows passes over it undiscounted. verl's REINFORCE++ instead forgets there what
//! follows; the two agree where the mask has no gaps.

/// What each token earns: minus its KL penalty, and the completion's reward on the last token that
/// counts (verl's token-level rewards).
///
/// `kl_penalties` holds one per token, or nothing at all. Tokens outside `mask` earn 0.
///
/// # Panics
/// When the penalties are as many as neither the tokens nor none.
pub fn token_rewards(reward: f64, kl_penalties: &[f32], mask: &[bool]) -> Vec<f32> {
    let (found, expected) = (kl_penalties.len(), mask.len());
    assert!(
        found == 0 || found == expected,
        "{found} KL penalties for {expected} tokens"
    );
    let last = mask.iter().rposition(|&counts| counts);
    let token_reward = |(index, &counts): (usize, &bool)| {
        if !counts {
            return 0.0;
        }
        let penalty = kl_penalties.get(index).copied().unwrap_or(0.0);
        let earned = if Some(index) == last { reward } else { 0.0 };
        (earned - f64::from(penalty)) as f32
    };
    mask.iter().enumerate().map(token_reward).collect()
}

/// `R_t = r_t + gamma · R_{t+1}` over the tokens that count, 0 elsewhere. Summed in f64.
///
/// # Panics
/// When rewards and mask have not as many tokens.
pub fn returns(rewards: &[f32], gamma: f64, mask: &[bool]) -> Vec<f32> {
    let (found, expected) = (rewards.len(), mask.len());
    assert!(
        found == expected,
        "{found} token rewards for a mask of {expected} tokens"
    );
    let mut returns = vec![0.0; rewards.len()];
    let mut following = 0.0;
    for token in (0..rewards.len()).rev().filter(|&token| mask[token]) {
        following = f64::from(rewards[token]) + gamma * following;
        returns[token] = following as f32;
    }
    returns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reward_stands_on_the_last_token_that_counts() {
        let mask = [true, false, true, false];
        assert_eq!(token_rewards(2.0, &[], &mask), [0.0, 0.0, 2.0, 0.0]);
        let penalties = [0.5, 8.0, 0.25, 8.0];
        let earned = token_rewards(2.0, &penalties, &mask);
        assert_eq!(earned, [-0.5, 0.0, 1.75, 0.0]);
        assert_eq!(token_rewards(2.0, &[], &[false]), [0.0]);
    }

    #[test]
    fn returns_are_discounted_sums_of_what_follows() {
        // 4; 2 + 4 / 2 = 4; 1 + 4 / 2 = 3.
        assert_eq!(returns(&[1.0, 2.0, 4.0], 0.5, &[true; 3]), [3.0, 4.0, 4.0]);
        assert_eq!(returns(&[1.0, 2.0, 4.0], 1.0, &[true; 3]), [7.0, 6.0, 4.0]);
    }

    #[test]
    fn return_passes_over_tokens_that_do_not_count() {
        // 4; 1 + 4 / 2 = 3, as if the middle token were not there.
        let mask = [true, false, true];
        assert_eq!(returns(&[1.0, 9.0, 4.0], 0.5, &mask), [3.0, 0.0, 4.0]);
    }
}
