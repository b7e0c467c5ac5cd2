//! Polynomials over the rationals and fractions of them: the normal form that decides equality.

use std::collections::BTreeMap;

use num_rational::BigRational;
use num_traits::{One, Zero};

use super::limits::{MAX_TERMS, Steps};

/// The exponent of each symbol.
type Monomial = Vec<u32>;

/// A polynomial: monomials with their coefficients, none of which is zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Polynomial(BTreeMap<Monomial, BigRational>);

/// One polynomial over another that is not zero.
#[derive(Clone, Debug)]
pub(super) struct Fraction {
    top: Polynomial,
    bottom: Polynomial,
}

impl Polynomial {
    fn constant(value: BigRational, symbols: usize) -> Self {
        Self::monomial(vec![0; symbols], value)
    }

    fn monomial(monomial: Monomial, coefficient: BigRational) -> Self {
        let terms = [(monomial, coefficient)];
        Self(
            terms
                .into_iter()
                .filter(|(_, value)| !value.is_zero())
                .collect(),
        )
    }

    /// The value of a constant polynomial.
    fn value(&self) -> Option<BigRational> {
        match self.0.first_key_value() {
            None => Some(BigRational::zero()),
            Some((monomial, value)) => {
                let is_constant = self.0.len() == 1 && monomial.iter().all(|&power| power == 0);
                is_constant.then(|| value.clone())
            }
        }
    }

    fn add(&mut self, monomial: Monomial, value: BigRational, steps: &mut Steps) -> Option<()> {
        let sum = match self.0.remove(&monomial) {
            Some(old) => old + value,
            None => value,
        };
        let sum = steps.pay(sum)?;
        if !sum.is_zero() {
            self.0.insert(monomial, sum);
        }
        (self.0.len() <= MAX_TERMS).then_some(())
    }

    fn plus(mut self, other: Self, steps: &mut Steps) -> Option<Self> {
        for (monomial, value) in other.0 {
            self.add(monomial, value, steps)?;
        }
        Some(self)
    }

    fn times(&self, other: &Self, steps: &mut Steps) -> Option<Self> {
        let mut product = Self(BTreeMap::new());
        for (left, one) in &self.0 {
            for (right, two) in &other.0 {
                let powers = left.iter().zip(right).map(|(a, b)| a.checked_add(*b));
                let value = steps.pay(one * two)?;
                product.add(powers.collect::<Option<_>>()?, value, steps)?;
            }
        }
        Some(product)
    }
}

impl Fraction {
    pub fn constant(value: BigRational, symbols: usize) -> Self {
        let top = Polynomial::constant(value, symbols);
        Self {
            top,
            bottom: Polynomial::constant(BigRational::one(), symbols),
        }
    }

    /// The symbol of number `index` of `symbols`.
    pub fn symbol(index: usize, symbols: usize) -> Self {
        let mut fraction = Self::constant(BigRational::one(), symbols);
        let mut powers = vec![0; symbols];
        powers[index] = 1;
        fraction.top = Polynomial::monomial(powers, BigRational::one());
        fraction
    }

    /// Its value, if it has no symbols.
    pub fn value(&self) -> Option<BigRational> {
        Some(self.top.value()? / self.bottom.value()?)
    }

    pub fn plus(self, other: Self, steps: &mut Steps) -> Option<Self> {
        if self.bottom == other.bottom {
            let top = self.top.plus(other.top, steps)?;
            return Some(Self {
                top,
                bottom: self.bottom,
            });
        }
        let left = self.top.times(&other.bottom, steps)?;
        let right = other.top.times(&self.bottom, steps)?;
        let bottom = self.bottom.times(&other.bottom, steps)?;
        Some(
            Self {
                top: left.plus(right, steps)?,
                bottom,
            }
            .reduced(),
        )
    }

    pub fn times(&self, other: &Self, steps: &mut Steps) -> Option<Self> {
        let top = self.top.times(&other.top, steps)?;
        let bottom = self.bottom.times(&other.bottom, steps)?;
        Some(Self { top, bottom }.reduced())
    }

    pub fn negated(mut self) -> Self {
        for value in self.top.0.values_mut() {
            *value = -std::mem::take(value);
        }
        self
    }

    /// `1 / self`; `None` for zero.
    pub fn inverse(self) -> Option<Self> {
        (!self.top.0.is_empty()).then_some(Self {
            top: self.bottom,
            bottom: self.top,
        })
    }

    /// The power with the exponent `exponent`, by repeated squaring.
    pub fn power(&self, mut exponent: u64, symbols: usize, steps: &mut Steps) -> Option<Self> {
        let mut square = self.clone();
        let mut power = Self::constant(BigRational::one(), symbols);
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = power.times(&square, steps)?;
            }
            exponent >>= 1;
            if exponent > 0 {
                square = square.times(&square, steps)?;
            }
        }
        Some(power)
    }

    /// Whether both are the same function: `a/b = c/d` when `ad = cb`.
    pub fn equals(&self, other: &Self, steps: &mut Steps) -> Option<bool> {
        let left = self.top.times(&other.bottom, steps)?;
        let right = other.top.times(&self.bottom, steps)?;
        Some(left == right)
    }

    /// A constant below goes into the coefficients above, which keeps both small.
    fn reduced(self) -> Self {
        let symbols = self
            .bottom
            .0
            .first_key_value()
            .map_or(0, |(monomial, _)| monomial.len());
        match self.bottom.value() {
            Some(divisor) if !divisor.is_one() && !divisor.is_zero() => {
                let terms = self
                    .top
                    .0
                    .into_iter()
                    .map(|(key, value)| (key, value / &divisor));
                let bottom = Polynomial::constant(BigRational::one(), symbols);
                Self {
                    top: Polynomial(terms.collect()),
                    bottom,
                }
            }
            _ => self,
        }
    }
}
