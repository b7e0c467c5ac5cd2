//! The dynamic tree map: which number in [-1, 1] each of the 256 codes stands for
//! (arXiv:2110.02861, section 1.3; arXiv:1511.04561).
//!
//! A code spends leading zeros on the decimal exponent, from 10⁻⁶ to 1, and the bits that are left on
//! a fraction in (0.1, 1), so that large numbers are exact to half a percent and seven decades fit.
//! Exponent `10^(i − 6)` has `2^i` fractions a sign, twice as many where all numbers are positive; they
//! are the centres of equal parts of [0.1, 1]. 0 and 1 have codes of their own.

use std::sync::LazyLock;

/// Decimal exponents.
const DECADES: i32 = 7;

/// The numbers of the codes, in ascending order, and where one code's range ends.
#[derive(Debug)]
pub(super) struct DynamicMap {
    values: [f32; 256],
    /// Between code `i` and `i + 1`; the last is never passed.
    midpoints: [f32; 256],
    /// By the upper half of a number's bits: the code of the lowest number that has them. No two
    /// midpoints share an upper half, so that one more comparison finds the code of any number.
    lowest: Vec<u8>,
}

/// Codes of numbers of either sign.
pub(super) static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
/// Codes of numbers of at least zero.
pub(super) static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

impl DynamicMap {
    fn new(signed: bool) -> Self {
        let mut numbers = vec![0.0, 1.0];
        for decade in 0..DECADES {
            let fractions = 1 << (decade + i32::from(!signed));
            let exponent = 10_f64.powi(decade + 1 - DECADES);
            for index in 0..fractions {
                let part = (f64::from(index) + 0.5) / f64::from(fractions);
                let number = (0.1 + 0.9 * part) * exponent;
                numbers.push(number);
                if signed {
                    numbers.push(-number);
                }
            }
        }
        numbers.sort_by(f64::total_cmp);
        let values: [f32; 256] = std::array::from_fn(|code| numbers[code] as f32);
        let midpoint = |code: usize| match numbers.get(code + 1) {
            Some(next) => ((numbers[code] + next) / 2.0) as f32,
            None => f32::INFINITY,
        };
        let midpoints = std::array::from_fn(midpoint);
        let lowest = (0..=u16::MAX).map(|upper| search(&midpoints, lowest_with(upper)));
        Self {
            values,
            midpoints,
            lowest: lowest.collect(),
        }
    }

    /// The number of a code.
    pub(super) fn value(&self, code: u8) -> f32 {
        self.values[usize::from(code)]
    }

    /// The code of the number nearest to `value`; the lower one where two are as near.
    pub(super) fn nearest(&self, value: f32) -> u8 {
        let code = self.lowest[(value.to_bits() >> 16) as usize];
        code + u8::from(value > self.midpoints[usize::from(code)])
    }
}

/// The code of `value`: how many midpoints are below it.
fn search(midpoints: &[f32; 256], value: f32) -> u8 {
    midpoints[..255].partition_point(|midpoint| value > *midpoint) as u8
}

/// The lowest number whose bits start with `upper`.
fn lowest_with(upper: u16) -> f32 {
    let is_negative = upper >> 15 == 1;
    let lower = if is_negative { 0xffff } else { 0 };
    f32::from_bits(u32::from(upper) << 16 | lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_the_numbers_of_the_paper() {
        // Smallest fraction of either sign: the middle of [0.1, 1]; of positive numbers the middle
        // of its lower half. Largest below 1: the middle of the last of 64 or 128 parts.
        let near = |found: f32, expected: f64| (f64::from(found) / expected - 1.0).abs() < 1e-6;
        assert_eq!(SIGNED.value(127), 0.0);
        assert!(near(SIGNED.value(128), 0.55e-6));
        assert!(near(SIGNED.value(126), -0.55e-6));
        assert!(near(SIGNED.value(254), 1.0 - 0.45 / 64.0));
        assert!(near(SIGNED.value(0), -1.0 + 0.45 / 64.0));
        assert_eq!(UNSIGNED.value(0), 0.0);
        assert!(near(UNSIGNED.value(1), 0.325e-6));
        assert!(near(UNSIGNED.value(254), 1.0 - 0.45 / 128.0));
        assert_eq!((SIGNED.value(255), UNSIGNED.value(255)), (1.0, 1.0));
    }

    #[test]
    fn every_code_is_the_nearest_to_its_own_number() {
        for map in [&*SIGNED, &*UNSIGNED] {
            for code in 0..=255 {
                assert_eq!(map.nearest(map.value(code)), code);
            }
        }
    }

    #[test]
    fn the_nearest_of_all_codes_is_found() {
        for map in [&*SIGNED, &*UNSIGNED] {
            for index in -2000_i32..=2000 {
                let share = index as f32 / 2000.0;
                let value = share * share * share;
                let distance = |code: u8| (map.value(code) - value).abs();
                let best = (0..=255).map(distance).fold(f32::INFINITY, f32::min);
                assert!(distance(map.nearest(value)) <= best * 1.0001, "{value}");
            }
        }
    }

    #[test]
    fn the_table_finds_what_a_search_finds() {
        for map in [&*SIGNED, &*UNSIGNED] {
            let agree = |bits: u32| {
                let value = f32::from_bits(bits);
                // What is no number has no place among midpoints; its block decodes to none.
                if value.is_nan() {
                    return;
                }
                assert_eq!(map.nearest(value), search(&map.midpoints, value), "{value}");
            };
            for upper in 0..=u32::from(u16::MAX) {
                for lower in [0, 1, 0x7fff, 0xffff] {
                    agree(upper << 16 | lower);
                }
            }
            for midpoint in &map.midpoints[..255] {
                let bits = midpoint.to_bits();
                (bits - 1..=bits + 1).for_each(agree);
            }
        }
    }

    #[test]
    fn the_error_stays_within_half_a_part_of_the_decade() {
        // Decade i of positive numbers has 2^(i + 1) parts of 0.9 · 10^(i − 6); the gap between two
        // decades is no wider than half a part of each.
        for decade in 0..DECADES {
            let exponent = 10_f64.powi(decade + 1 - DECADES);
            let half_part = 0.45 * exponent / f64::from(1 << (decade + 1));
            for index in 0..=1000 {
                let value = (0.1 + 0.9 * f64::from(index) / 1000.0) * exponent;
                let found = UNSIGNED.value(UNSIGNED.nearest(value as f32));
                let error = (f64::from(found) - value).abs();
                assert!(error <= half_part * 1.0001, "{value}: {error}");
            }
        }
    }
}
