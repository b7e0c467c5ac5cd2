//! The counter-based generator Philox4x32-10 and the exponential numbers made of its words.

/// Four random words for a counter and a key.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let ([mut a, mut b, mut c, mut d], mut key) = (counter, key);
    for _ in 0..10 {
        let product = |multiplier: u32, word: u32| {
            let product = u64::from(multiplier) * u64::from(word);
            ((product >> 32) as u32, product as u32)
        };
        let (high0, low0) = product(MULTIPLIERS[0], a);
        let (high1, low1) = product(MULTIPLIERS[1], c);
        (a, b, c, d) = (high1 ^ b ^ key[0], low1, high0 ^ d ^ key[1], low0);
        key = [0, 1].map(|half| u32::wrapping_add(key[half], STEPS[half]));
    }
    [a, b, c, d]
}

/// `−log(1 − u)` for the uniform `u` that the word stands for: by `2 artanh(u / (2 − u))` where `u` is
/// small, which are the tokens that win.
fn exponential(word: u32) -> f32 {
    let uniform = ((word as f32 + 0.5) * 2.328_306_4e-10).min(0.999_999_94);
    if uniform < 0.25 {
        let t = uniform / (2.0 - uniform);
        let s = t * t;
        return 2.0 * t * (1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + s / 9.0))));
    }
    -(1.0 - uniform).ln()
}

/// The exponential numbers of every row's tokens, row by row.
pub(super) fn exponentials(streams: &[[u32; 3]], vocabulary: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(streams.len() * vocabulary);
    for (row, [low, high, counter]) in streams.iter().enumerate() {
        for block in 0..vocabulary.div_ceil(4) {
            let words = philox([block as u32, *counter, 0, 0], [*low, *high]);
            numbers.extend(words.map(exponential));
        }
        numbers.truncate((row + 1) * vocabulary);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_papers_known_answers() {
        // From the known-answer file of Random123, the authors' library.
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            philox(counter, [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn exponentials_are_exact_to_single_precision_from_the_least_to_the_largest() {
        for word in [
            0,
            1,
            1000,
            1 << 20,
            1 << 29,
            (1 << 30) - 1,
            1 << 30,
            3 << 30,
        ] {
            let uniform = (f64::from(word) + 0.5) / 2.0_f64.powi(32);
            let expected = -(-uniform).ln_1p();
            let found = f64::from(exponential(word));
            let error = (found / expected - 1.0).abs();
            assert!(error < 5e-7, "{word}: {found}, expected {expected}");
        }
        assert!(exponential(u32::MAX).is_finite());
    }

    #[test]
    fn rows_of_one_stream_are_equal_and_a_counter_moves_on() {
        let numbers = exponentials(&[[1, 2, 3], [1, 2, 3], [1, 2, 4]], 7);
        assert_eq!(numbers.len(), 21);
        assert_eq!(numbers[..7], numbers[7..14]);
        assert!((0..7).all(|index| numbers[index] != numbers[14 + index]));
    }
}
