//! Bounds on what an answer may cost: text written by a model is hostile.
//!
//! Steps are counted instead of time, so that a verdict never depends on the machine. A text beyond a
//! bound is not read, and a comparison that runs out of steps finds nothing equal.

use num_rational::BigRational;

/// Longest text that is read as one answer, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 4096;
/// Part of a completion, from its end, in which an answer is looked for, in bytes.
pub(super) const MAX_SEARCHED_BYTES: usize = 262_144;
/// Brackets, fractions, exponents within one another.
pub(super) const MAX_DEPTH: usize = 64;
/// Largest numerator or denominator of exact arithmetic, in bits; beyond it only `f64` is left.
pub(super) const MAX_BITS: u64 = 16_384;
/// Longest stretch between marks of mathematics, such as `$…$`, in bytes.
pub(super) const MAX_ENVIRONMENT_BYTES: usize = 1024;
/// Largest exponent of ten in a number such as `1e5`, either sign.
pub(super) const MAX_DECIMAL_EXPONENT: u64 = 512;
/// Most parts of the expressions that a product with a matrix or a determinant makes.
pub(super) const MAX_PARTS: usize = 8192;
/// Most terms of a polynomial that is multiplied out.
pub(super) const MAX_TERMS: usize = 1024;
/// Most different symbols of an expression whose polynomial is formed.
pub(super) const MAX_SYMBOLS: usize = 12;
/// Largest argument of an exact factorial.
pub(super) const MAX_FACTORIAL: u32 = 1000;

/// Steps of one comparison, each about a microsecond.
const STEPS: u64 = 200_000;

/// Steps that are left.
#[derive(Debug)]
pub(super) struct Steps(u64);

impl Default for Steps {
    fn default() -> Self {
        Self(STEPS)
    }
}

impl Steps {
    /// Takes `count` steps; `None` when fewer are left.
    pub fn take(&mut self, count: u64) -> Option<()> {
        match self.0.checked_sub(count) {
            Some(left) => {
                self.0 = left;
                Some(())
            }
            None => {
                self.0 = 0;
                None
            }
        }
    }

    /// `number`, paid for by its size; `None` when it is too large or no steps are left.
    pub fn pay(&mut self, number: BigRational) -> Option<BigRational> {
        let bits = bits(&number);
        self.take(1 + (bits / 256).pow(2))?;
        (bits <= MAX_BITS).then_some(number)
    }
}

/// Size of the larger of numerator and denominator, in bits.
pub(super) fn bits(number: &BigRational) -> u64 {
    number.numer().bits().max(number.denom().bits())
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use num_traits::One;

    use super::*;

    #[test]
    fn steps_run_out_for_good() {
        let mut steps = Steps(3);
        assert_eq!(steps.take(2), Some(()));
        assert_eq!(steps.take(2), None);
        assert_eq!(steps.take(1), None);
    }

    #[test]
    fn number_beyond_the_most_bits_is_refused() {
        let number = |bits: u64| BigRational::from_integer(BigInt::one() << (bits - 1));
        assert!(Steps::default().pay(number(MAX_BITS)).is_some());
        assert!(Steps::default().pay(number(MAX_BITS + 1)).is_none());
    }
}
