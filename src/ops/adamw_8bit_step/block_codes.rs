//! Numbers kept as one byte each, in blocks that share a scale (arXiv:2110.02861, section 2.1).
//!
//! A block's numbers are divided by its largest magnitude and take the nearest code of the dynamic
//! map. One departure: a second moment above 0 never becomes 0, which would leave `ε` alone below the
//! first moment; it takes the smallest code instead (the zero-point problem, arXiv:2309.01507).

use super::dynamic_map::{DynamicMap, SIGNED, UNSIGNED};

/// Numbers of a block.
pub const BLOCK: usize = 256;

/// What signs a moment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentSign {
    /// Either: a mean of gradients.
    Either,
    /// Never negative: a mean of squares.
    Positive,
}

/// Numbers as codes and the largest magnitude of each block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCodes {
    sign: MomentSign,
    codes: Vec<u8>,
    maxima: Vec<f32>,
}

/// A run of whole blocks of [`BlockCodes`], to be changed.
#[derive(Debug)]
pub(super) struct BlockCodesMut<'a> {
    sign: MomentSign,
    map: &'static DynamicMap,
    codes: &'a mut [u8],
    maxima: &'a mut [f32],
}

impl BlockCodes {
    /// As many zeros.
    pub fn zeros(numbers: usize, sign: MomentSign) -> Self {
        let zero = sign.map().nearest(0.0);
        Self {
            sign,
            codes: vec![zero; numbers],
            maxima: vec![0.0; numbers.div_ceil(BLOCK)],
        }
    }

    /// The numbers that these codes and maxima stand for; none if there is not a maximum a block.
    pub fn from_parts(codes: Vec<u8>, maxima: Vec<f32>, sign: MomentSign) -> Option<Self> {
        let fits = maxima.len() == codes.len().div_ceil(BLOCK);
        fits.then_some(Self {
            sign,
            codes,
            maxima,
        })
    }

    /// One code a number.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The largest magnitude of each block.
    pub fn maxima(&self) -> &[f32] {
        &self.maxima
    }

    /// The numbers.
    pub fn to_floats(&self) -> Vec<f32> {
        let map = self.sign.map();
        let blocks = self.codes.chunks(BLOCK).zip(&self.maxima);
        blocks
            .flat_map(|(codes, max)| codes.iter().map(move |code| map.value(*code) * max))
            .collect()
    }

    /// Sets all numbers.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn set(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.codes.len(), "one number a code");
        let (sign, map) = (self.sign, self.sign.map());
        let mut whole = BlockCodesMut {
            sign,
            map,
            codes: &mut self.codes,
            maxima: &mut self.maxima,
        };
        for (index, block) in values.chunks(BLOCK).enumerate() {
            whole.encode(index, block);
        }
    }

    /// Runs of `numbers` each, a multiple of [`BLOCK`]; the last may be shorter.
    pub(super) fn split_mut(&mut self, numbers: usize) -> impl Iterator<Item = BlockCodesMut<'_>> {
        let (sign, map) = (self.sign, self.sign.map());
        let maxima = self.maxima.chunks_mut(numbers / BLOCK);
        let runs = self.codes.chunks_mut(numbers).zip(maxima);
        runs.map(move |(codes, maxima)| BlockCodesMut {
            sign,
            map,
            codes,
            maxima,
        })
    }
}

impl BlockCodesMut<'_> {
    /// Reads the numbers of block `index` of the run.
    pub(super) fn decode(&self, index: usize, values: &mut [f32]) {
        let max = self.maxima[index];
        let codes = &self.codes[index * BLOCK..][..values.len()];
        for (value, code) in values.iter_mut().zip(codes) {
            *value = self.map.value(*code) * max;
        }
    }

    /// Sets the numbers of block `index` of the run.
    pub(super) fn encode(&mut self, index: usize, values: &[f32]) {
        // Magnitudes are ordered like their bits, which the compiler compares side by side; one that
        // is not a number is the largest, and shows when the block is decoded.
        let magnitudes = values.iter().map(|value| value.abs().to_bits());
        let max = f32::from_bits(magnitudes.max().unwrap_or(0));
        self.maxima[index] = max;
        // In a block of zeros every share is zero.
        let divisor = if max > 0.0 { max } else { 1.0 };
        let codes = &mut self.codes[index * BLOCK..][..values.len()];
        let lowest = |value: f32| u8::from(self.sign == MomentSign::Positive && value > 0.0);
        for (code, value) in codes.iter_mut().zip(values) {
            *code = self.map.nearest(value / divisor).max(lowest(*value));
        }
    }
}

impl MomentSign {
    fn map(self) -> &'static DynamicMap {
        match self {
            Self::Either => &SIGNED,
            Self::Positive => &UNSIGNED,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::seed::Seed;

    /// 1,000 numbers over many decades, the largest of each block positive.
    fn numbers(sign: MomentSign) -> Vec<f32> {
        let normal = Normal::new(0.0_f32, 3.0).unwrap();
        let mut rng = Seed::new(11).rng();
        let mut draw = || normal.sample(&mut rng);
        let mut values: Vec<f32> = (0..1000).map(|_| draw() * draw().exp()).collect();
        if sign == MomentSign::Positive {
            values.iter_mut().for_each(|value| *value *= *value);
        }
        for block in values.chunks_mut(BLOCK) {
            block[3] = block.iter().fold(1.0, |max: f32, v| max.max(v.abs()));
        }
        values
    }

    fn encoded(values: &[f32], sign: MomentSign) -> BlockCodes {
        let mut codes = BlockCodes::zeros(values.len(), sign);
        codes.set(values);
        codes
    }

    #[test]
    fn encoding_what_was_decoded_gives_the_same_codes() {
        for sign in [MomentSign::Either, MomentSign::Positive] {
            let codes = encoded(&numbers(sign), sign);
            assert_eq!(encoded(&codes.to_floats(), sign), codes);
        }
    }

    #[test]
    fn numbers_come_back_within_half_a_part_of_their_block() {
        // The widest parts: 0.9 / 64 of the largest magnitude for either sign, 0.9 / 128 else; the
        // lowest number is met half a part below -1.
        for (sign, bound) in [
            (MomentSign::Either, 0.45 / 64.0),
            (MomentSign::Positive, 0.45 / 128.0),
        ] {
            let values = numbers(sign);
            let codes = encoded(&values, sign);
            for (index, (found, value)) in codes.to_floats().iter().zip(&values).enumerate() {
                let error = (found - value).abs() / codes.maxima()[index / BLOCK];
                assert!(error <= bound * 1.0001, "{value}: {error}");
            }
        }
    }

    #[test]
    fn a_small_second_moment_does_not_vanish() {
        let codes = encoded(&[1.0, 1e-12, 0.0], MomentSign::Positive);
        assert_eq!(codes.codes(), [255, 1, 0]);
        let codes = encoded(&[1.0, 1e-12, 0.0], MomentSign::Either);
        assert_eq!(codes.codes(), [255, 127, 127]);
    }

    #[test]
    fn what_is_no_number_does_not_become_one() {
        let codes = encoded(&[1.0, f32::NAN, -2.0], MomentSign::Either);
        assert!(codes.to_floats().iter().all(|value| value.is_nan()));
    }

    #[test]
    fn zeros_are_zeros() {
        for sign in [MomentSign::Either, MomentSign::Positive] {
            let zeros = BlockCodes::zeros(300, sign);
            assert_eq!(zeros.to_floats(), vec![0.0; 300]);
            assert_eq!(encoded(&[0.0; 300], sign), zeros);
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let parts = |codes, maxima| {
            BlockCodes::from_parts(vec![0; codes], vec![1.0; maxima], MomentSign::Either)
        };
        assert!(parts(257, 2).is_some());
        assert!(parts(257, 1).is_none() && parts(256, 2).is_none());
    }
}
