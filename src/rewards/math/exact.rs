//! Exact arithmetic: expressions as fractions of polynomials, constants as rational numbers.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::expression::{Expression, Function};
use super::limits::{MAX_BITS, MAX_FACTORIAL, MAX_SYMBOLS, Steps, bits};
use super::polynomial::Fraction;

/// Whether both expressions are equal; `None` when that cannot be decided exactly within bounds.
pub(super) fn equal(left: &Expression, right: &Expression, steps: &mut Steps) -> Option<bool> {
    let mut symbols = left.symbols();
    symbols.extend(right.symbols());
    symbols.sort_unstable();
    symbols.dedup();
    if symbols.len() > MAX_SYMBOLS {
        return None;
    }
    let mut exact = Exact {
        symbols: &symbols,
        steps,
    };
    let left = exact.fraction(left)?;
    let right = exact.fraction(right)?;
    left.equals(&right, steps)
}

/// The value of `expression`, if it is rational and within bounds.
pub(super) fn value(expression: &Expression, steps: &mut Steps) -> Option<BigRational> {
    let mut exact = Exact {
        symbols: &[],
        steps,
    };
    exact.fraction(expression)?.value()
}

struct Exact<'a, 's> {
    /// Sorted.
    symbols: &'a [&'a str],
    steps: &'s mut Steps,
}

impl Exact<'_, '_> {
    fn fraction(&mut self, expression: &Expression) -> Option<Fraction> {
        self.steps.take(1)?;
        match expression {
            Expression::Number(value) | Expression::Decimal(value) => {
                let value = self.steps.pay(value.clone())?;
                Some(Fraction::constant(value, self.symbols.len()))
            }
            Expression::Percent(inner) => {
                let hundredth = BigRational::new(1.into(), 100.into());
                let hundredth = Fraction::constant(hundredth, self.symbols.len());
                self.fraction(inner)?.times(&hundredth, self.steps)
            }
            Expression::Constant(_) => None,
            Expression::Symbol(name) => {
                let index = self.symbols.binary_search(&name.as_str()).ok()?;
                Some(Fraction::symbol(index, self.symbols.len()))
            }
            Expression::Sum(terms) => {
                let mut sum = self.fraction(terms.first()?)?;
                for term in &terms[1..] {
                    sum = sum.plus(self.fraction(term)?, self.steps)?;
                }
                Some(sum)
            }
            Expression::Product(factors) => {
                let mut product = self.fraction(factors.first()?)?;
                for factor in &factors[1..] {
                    product = product.times(&self.fraction(factor)?, self.steps)?;
                }
                Some(product)
            }
            Expression::Negative(inner) => Some(self.fraction(inner)?.negated()),
            Expression::Power(base, exponent) => self.power(base, exponent),
            Expression::Apply(function, arguments) => {
                let value = self.applied(*function, arguments)?;
                Some(Fraction::constant(value, self.symbols.len()))
            }
        }
    }

    fn value(&mut self, expression: &Expression) -> Option<BigRational> {
        self.fraction(expression)?.value()
    }

    fn power(&mut self, base: &Expression, exponent: &Expression) -> Option<Fraction> {
        let exponent = self.value(exponent)?;
        let base = self.fraction(base)?;
        if !exponent.is_integer() {
            let degree = exponent.denom().to_u32()?;
            let base = base.value().filter(|value| !value.is_negative())?;
            let root = self.root(&base, degree)?;
            let root = Fraction::constant(root, self.symbols.len());
            return self.integer_power(root, exponent.numer());
        }
        self.integer_power(base, exponent.numer())
    }

    fn integer_power(&mut self, base: Fraction, exponent: &BigInt) -> Option<Fraction> {
        let size = exponent.abs().to_u64()?;
        if let Some(value) = base.value() {
            let is_unit = value.is_zero() || value.abs().is_one();
            if !is_unit && bits(&value).checked_mul(size)? > 2 * MAX_BITS {
                return None;
            }
            if value.is_zero() && size == 0 {
                return None;
            }
        } else if size > u64::from(u16::MAX) {
            return None;
        }
        let power = base.power(size, self.symbols.len(), self.steps)?;
        if exponent.is_negative() {
            power.inverse()
        } else {
            Some(power)
        }
    }

    /// The root of `degree` of a number that is not negative, if it is rational.
    fn root(&mut self, value: &BigRational, degree: u32) -> Option<BigRational> {
        if degree == 0 || u64::from(degree) > MAX_BITS {
            return None;
        }
        self.steps.take(1 + (bits(value) / 64).pow(2))?;
        let part = |number: &BigInt| {
            let root = number.nth_root(degree);
            (root.pow(degree) == *number).then_some(root)
        };
        Some(BigRational::new(part(value.numer())?, part(value.denom())?))
    }

    fn applied(&mut self, function: Function, arguments: &[Expression]) -> Option<BigRational> {
        let values = arguments.iter().map(|argument| self.value(argument));
        let values = values.collect::<Option<Vec<_>>>()?;
        let first = values.first()?;
        let whole = |value: &BigRational| value.is_integer().then(|| value.to_integer());
        match function {
            Function::Abs => Some(first.abs()),
            Function::Floor => Some(first.floor()),
            Function::Ceil => Some(first.ceil()),
            Function::Max => values.into_iter().max(),
            Function::Min => values.into_iter().min(),
            Function::Factorial => self.factorial(&whole(first)?),
            Function::Binomial => self.binomial(&whole(first)?, &whole(values.get(1)?)?),
            Function::Root => self.real_root(first, values.get(1)?),
            Function::Mod => {
                let divisor = values.get(1).filter(|divisor| !divisor.is_zero())?;
                Some(first - divisor * (first / divisor).floor())
            }
            Function::Gcd | Function::Lcm => {
                let numbers = values.iter().map(whole).collect::<Option<Vec<_>>>()?;
                let joined = numbers.into_iter().reduce(|a, b| {
                    if function == Function::Gcd {
                        a.gcd(&b)
                    } else {
                        a.lcm(&b)
                    }
                })?;
                self.steps.pay(BigRational::from_integer(joined))
            }
            _ => None,
        }
    }

    fn real_root(&mut self, radicand: &BigRational, degree: &BigRational) -> Option<BigRational> {
        let degree = degree
            .is_integer()
            .then(|| degree.to_integer().to_u32())??;
        if !radicand.is_negative() {
            return self.root(radicand, degree);
        }
        (degree % 2 == 1)
            .then(|| self.root(&-radicand, degree))?
            .map(|root| -root)
    }

    fn factorial(&mut self, number: &BigInt) -> Option<BigRational> {
        let number = number.to_u32().filter(|&number| number <= MAX_FACTORIAL)?;
        let product = (1..=number).fold(BigInt::one(), |product, factor| product * factor);
        self.steps.take(u64::from(number))?;
        self.steps.pay(BigRational::from_integer(product))
    }

    fn binomial(&mut self, items: &BigInt, chosen: &BigInt) -> Option<BigRational> {
        let items = items.to_u32()?;
        let chosen = match chosen.to_i64()? {
            chosen if chosen < 0 || chosen > i64::from(items) => return Some(BigRational::zero()),
            chosen => u32::try_from(chosen)
                .ok()?
                .min(items - u32::try_from(chosen).ok()?),
        };
        if chosen > MAX_FACTORIAL {
            return None;
        }
        self.steps.take(u64::from(chosen))?;
        let count = (0..chosen).fold(BigInt::one(), |count, k| count * (items - k) / (k + 1));
        self.steps.pay(BigRational::from_integer(count))
    }
}

/// `value` rounded to `places` decimals, half to even, in units of the last place.
pub(super) fn rounded(value: &BigRational, places: u32) -> BigInt {
    let scaled = value * BigRational::from_integer(BigInt::from(10).pow(places));
    let below = scaled.floor().to_integer();
    let rest = scaled - BigRational::from_integer(below.clone());
    let half = BigRational::new(1.into(), 2.into());
    let up = rest > half || (rest == half && below.is_odd());
    if up { below + 1 } else { below }
}
