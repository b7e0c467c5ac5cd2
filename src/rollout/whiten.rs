//! Whitening: shifts and scales the values of a batch's tokens to mean 0 and variance 1.
//!
//! `(x - mean) / sqrt(var + 1e-8)` over all tokens that count, variance with n - 1, as verl's and
//! TRL's `masked_whiten`. Where these fail on one token alone, it gets 0 here. Computed in f64.

use super::advantage::{mean, standard_deviation};

/// Whitens `values[completion][token]` over the tokens in `masks`, all others become 0.
///
/// # Panics
/// When values and masks have not as many completions and tokens.
pub fn whiten(values: &mut [Vec<f32>], masks: &[Vec<bool>]) {
    let (found, expected) = (values.len(), masks.len());
    assert!(found == expected, "{found} rows for {expected} masks");
    let mut counting = Vec::new();
    for (row, mask) in values.iter().zip(masks) {
        let (found, expected) = (row.len(), mask.len());
        assert!(
            found == expected,
            "{found} values for a mask of {expected} tokens"
        );
        let tokens = row.iter().zip(mask).filter(|(_, counts)| **counts);
        counting.extend(tokens.map(|(value, _)| f64::from(*value)));
    }
    let mean = mean(&counting).unwrap_or(0.0);
    let variance = standard_deviation(&counting, mean).map_or(0.0, |std| std * std);
    let scale = (variance + VARIANCE_FLOOR).sqrt().recip();
    for (row, mask) in values.iter_mut().zip(masks) {
        for (value, &counts) in row.iter_mut().zip(mask) {
            let whitened = (f64::from(*value) - mean) * scale;
            *value = if counts { whitened as f32 } else { 0.0 };
        }
    }
}

/// Added to the variance before its root divides.
const VARIANCE_FLOOR: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_are_those_of_the_tokens_that_count() {
        // 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14 over 2: deviation √7.
        let mut values = vec![vec![1.0, 50.0, 2.0], vec![6.0, -9.0]];
        let masks = [vec![true, false, true], vec![true, false]];
        whiten(&mut values, &masks);
        let unit = 7_f32.sqrt().recip();
        let expected = [vec![-2.0 * unit, 0.0, -unit], vec![3.0 * unit, 0.0]];
        for (found, expected) in values.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn equal_values_and_a_single_one_become_0() {
        let mut equal = vec![vec![0.1, 0.1, 0.1]];
        whiten(&mut equal, &[vec![true; 3]]);
        assert_eq!(equal, [[0.0; 3]]);
        let mut single = vec![vec![5.0, 1.0]];
        whiten(&mut single, &[vec![true, false]]);
        assert_eq!(single, [[0.0; 2]]);
    }

    #[test]
    fn batch_without_tokens_that_count_becomes_0() {
        let mut values = vec![vec![5.0], vec![]];
        whiten(&mut values, &[vec![false], vec![]]);
        assert_eq!(values, [vec![0.0], vec![]]);
    }
}
