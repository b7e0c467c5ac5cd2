//! Sums and exponentials written so that the compiler takes several numbers at a time.
//!
//! No order of additions depends on the machine: a number is added to the lane of its place modulo
//! [`LANES`], and the lanes are added in halves. What is called inside [`macerator::WithSimd`] uses the
//! vectors of the machine it runs on, with the same results.

use macerator::{AutoArch, WithSimd};

/// Numbers taken side by side.
const LANES: usize = 16;

/// Runs a kernel with the widest vectors of this machine.
pub(super) fn run<K: WithSimd>(kernel: K) -> K::Output {
    AutoArch::new().dispatch(kernel)
}

/// `Σ aᵢ bᵢ`.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    add_up(sums)
}

/// The largest number; one that is not a number is passed over.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, *x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// Replaces a row `x` by `softmax(scale x)`; `scale` is above 0.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32], scale: f32) {
    let highest = largest(row);
    let mut sums = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *x = exp((*x - highest) * scale);
            *sum += *x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = exp((*x - highest) * scale);
        *sum += *x;
    }
    let factor = add_up(sums).recip();
    row.iter_mut().for_each(|x| *x *= factor);
}

/// `1 / (1 + e^−x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `eˣ` within two units in the last place; arguments out of range give the ends of it, `1e-38` and
/// `2e38`.
///
/// With `x = n ln 2 + r`: `2ⁿ` from the exponent's bits, `eʳ` from a polynomial of degree 7 (Cody and
/// Waite, Software Manual for the Elementary Functions, 1980).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const TERMS: [f32; 6] = [
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
    ];
    // Comparisons that keep what is not a number.
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum * r + term;
    }
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    (sum * r * r + r + 1.0) * power
}

#[inline(always)]
fn add_up(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        for step in -87_000..88_000 {
            let x = step as f32 * 1e-3;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "{x}: {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn a_row_with_something_that_is_not_a_number_has_no_softmax() {
        let mut row = [1.0, f32::NAN, 2.0];
        softmax(&mut row, 1.0);
        assert!(row.iter().all(|x| x.is_nan()));
    }

    #[test]
    fn sums_take_every_number_of_a_row_of_any_length() {
        for length in [0, 1, 15, 16, 17, 33] {
            let row: Vec<f32> = (1..=length).map(|x| x as f32).collect();
            let ones = vec![1.0; length];
            // 1 + 2 + … + n = n (n + 1) / 2.
            assert_eq!(dot(&row, &ones), (length * (length + 1) / 2) as f32);
        }
    }
}
