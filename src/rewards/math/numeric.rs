//! Numerical values: an expression in complex `f64` with a bound on its rounding error.
//!
//! The error is carried along to first order, so that two values are held equal when they differ by no
//! more than their errors allow, and a value that is lost in its error counts as undefined.

use std::f64::consts::{E, PI};

use num_complex::Complex64;
use num_traits::ToPrimitive;

use super::expression::{Constant, Expression, Function};
use super::limits::Steps;

/// A value and how far it may be off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub value: Complex64,
    pub error: f64,
}

/// Relative difference up to which two values agree.
const AGREEMENT: f64 = 1e-9;
/// Relative error from which on a value is undefined.
const LOST: f64 = 1e-7;
/// How much larger than the first-order bound an error may be.
const SLACK: f64 = 32.0;

impl Sample {
    /// `None` when the value is not finite or lost in its error.
    fn new(value: Complex64, error: f64) -> Option<Self> {
        let error = error + value.norm() * f64::EPSILON;
        let is_found =
            value.is_finite() && error.is_finite() && error < LOST * value.norm().max(1.0);
        is_found.then_some(Self { value, error })
    }

    fn real(value: f64) -> Option<Self> {
        Self::new(Complex64::new(value, 0.0), 0.0)
    }

    /// Whether both agree within 1e-9 of the larger, or within their errors.
    pub fn agrees(self, other: Self) -> bool {
        let difference = (self.value - other.value).norm();
        let larger = self.value.norm().max(other.value.norm());
        difference <= AGREEMENT * larger || difference <= SLACK * (self.error + other.error)
    }

    /// Whether it is zero within its error.
    pub fn is_zero(self) -> bool {
        self.value.norm() <= SLACK * self.error.max(f64::MIN_POSITIVE)
    }

    fn plus(self, other: Self) -> Option<Self> {
        Self::new(self.value + other.value, self.error + other.error)
    }

    fn times(self, other: Self) -> Option<Self> {
        let error = self.value.norm() * other.error + other.value.norm() * self.error;
        Self::new(self.value * other.value, error)
    }

    fn is_real(self) -> bool {
        self.value.im.abs() <= SLACK * self.error
    }
}

/// Values of the symbols, the same for the same name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Which point; other numbers give other values.
    pub number: u64,
}

impl Point {
    /// A value between 0.3 and 2.8, at odd points of either sign.
    fn symbol(self, name: &str) -> f64 {
        let mut state = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            state = mixed(state ^ u64::from(byte));
        }
        let unit = (mixed(state) >> 11) as f64 / (1_u64 << 53) as f64;
        let size = 0.3 + 2.5 * unit;
        if self.number % 2 == 1 && state & 1 == 1 {
            -size
        } else {
            size
        }
    }
}

/// SplitMix64's output function.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The value of `expression` at `point`; `None` when it is undefined there or no steps are left.
pub(super) fn evaluate(expression: &Expression, point: Point, steps: &mut Steps) -> Option<Sample> {
    steps.take(1)?;
    match expression {
        Expression::Number(value) | Expression::Decimal(value) => {
            steps.take(super::limits::bits(value) / 512)?;
            Sample::real(value.to_f64()?)
        }
        Expression::Percent(inner) => evaluate(inner, point, steps)?.times(Sample::real(0.01)?),
        Expression::Constant(Constant::Pi) => Sample::real(PI),
        Expression::Constant(Constant::E) => Sample::real(E),
        Expression::Constant(Constant::I) => Sample::new(Complex64::i(), 0.0),
        Expression::Constant(Constant::Infinity) => None,
        Expression::Symbol(name) => Sample::real(point.symbol(name)),
        Expression::Sum(terms) => {
            let mut sum = Sample {
                value: Complex64::ZERO,
                error: 0.0,
            };
            for term in terms {
                sum = sum.plus(evaluate(term, point, steps)?)?;
            }
            Some(sum)
        }
        Expression::Product(factors) => {
            let mut product = Sample::real(1.0)?;
            for factor in factors {
                product = product.times(evaluate(factor, point, steps)?)?;
            }
            Some(product)
        }
        Expression::Negative(inner) => {
            let Sample { value, error } = evaluate(inner, point, steps)?;
            Some(Sample {
                value: -value,
                error,
            })
        }
        Expression::Power(base, exponent) => {
            let base = evaluate(base, point, steps)?;
            power(base, evaluate(exponent, point, steps)?)
        }
        Expression::Apply(function, arguments) => {
            let samples = arguments
                .iter()
                .map(|argument| evaluate(argument, point, steps));
            apply(*function, &samples.collect::<Option<Vec<_>>>()?)
        }
    }
}

fn power(base: Sample, exponent: Sample) -> Option<Sample> {
    if base.value == Complex64::ZERO {
        let positive = exponent.is_real() && exponent.value.re > 0.0;
        return if positive { Sample::real(0.0) } else { None };
    }
    if base.is_zero() {
        return None;
    }
    let whole = exponent.value.re;
    let is_whole = exponent.value.im == 0.0 && whole.fract() == 0.0 && whole.abs() <= 1024.0;
    let value = if is_whole {
        base.value.powi(whole as i32)
    } else if base.value.im == 0.0 && base.value.re > 0.0 && exponent.value.im == 0.0 {
        Complex64::new(base.value.re.powf(whole), 0.0)
    } else {
        base.value.powc(exponent.value)
    };
    let relative = exponent.value.norm() * base.error / base.value.norm()
        + base.value.ln().norm() * (exponent.error + exponent.value.norm() * f64::EPSILON);
    Sample::new(value, value.norm() * relative)
}

fn apply(function: Function, arguments: &[Sample]) -> Option<Sample> {
    let first = *arguments.first()?;
    let (z, error) = (first.value, first.error);
    match function {
        Function::Ln if first.is_zero() => None,
        Function::Ln => Sample::new(z.ln(), error / z.norm()),
        Function::Abs => Sample::new(Complex64::new(z.norm(), 0.0), error),
        Function::Root => root(first, *arguments.get(1)?),
        Function::Floor | Function::Ceil | Function::Max | Function::Min => {
            steplike(function, arguments)
        }
        Function::Factorial => factorial(first),
        Function::Binomial => {
            let (n, k) = (first, *arguments.get(1)?);
            let minus = Sample {
                value: -k.value,
                error: k.error,
            };
            let below = factorial(k)?.times(factorial(n.plus(minus)?)?)?;
            factorial(n)?.times(power(below, Sample::real(-1.0)?)?)
        }
        Function::Mod => {
            let divisor = *arguments.get(1)?;
            let quotient = first.times(power(divisor, Sample::real(-1.0)?)?)?;
            let whole = steplike(Function::Floor, &[quotient])?.times(divisor)?;
            first.plus(Sample {
                value: -whole.value,
                error: whole.error,
            })
        }
        Function::Gcd | Function::Lcm => None,
        _ => elementary(function, z, error),
    }
}

/// Trigonometric and hyperbolic functions and their inverses.
fn elementary(function: Function, z: Complex64, error: f64) -> Option<Sample> {
    let one = Complex64::ONE;
    // The derivative's size bounds how the argument's error grows.
    let (value, slope) = match function {
        Function::Sin => (z.sin(), z.cos()),
        Function::Cos => (z.cos(), z.sin()),
        Function::Tan => (z.tan(), one + z.tan() * z.tan()),
        Function::Cot => (one / z.tan(), one + one / (z.tan() * z.tan())),
        Function::Sec => (one / z.cos(), z.tan() / z.cos()),
        Function::Csc => (one / z.sin(), one / (z.sin() * z.tan())),
        Function::Arcsin => (z.asin(), one / (one - z * z).sqrt()),
        Function::Arccos => (z.acos(), one / (one - z * z).sqrt()),
        Function::Arctan => (z.atan(), one / (one + z * z)),
        Function::Sinh => (z.sinh(), z.cosh()),
        Function::Cosh => (z.cosh(), z.sinh()),
        Function::Tanh => (z.tanh(), one),
        Function::Arsinh => (z.asinh(), one / (one + z * z).sqrt()),
        Function::Arcosh => (z.acosh(), one / (z * z - one).sqrt()),
        Function::Artanh => (z.atanh(), one / (one - z * z)),
        _ => return None,
    };
    let slope = if slope.is_finite() { slope.norm() } else { 1.0 };
    // Complex functions are good to a few units in the last place of their parts.
    Sample::new(
        value,
        slope * error + 8.0 * f64::EPSILON * (1.0 + value.norm()),
    )
}

/// Functions of real arguments that jump or bend.
fn steplike(function: Function, arguments: &[Sample]) -> Option<Sample> {
    if !arguments.iter().all(|sample| sample.is_real()) {
        return None;
    }
    let values = arguments.iter().map(|sample| sample.value.re);
    let error = arguments
        .iter()
        .map(|sample| sample.error)
        .fold(0.0, f64::max);
    match function {
        Function::Max => Sample::new(values.reduce(f64::max)?.into(), error),
        Function::Min => Sample::new(values.reduce(f64::min)?.into(), error),
        _ => {
            let value = arguments.first()?.value.re;
            let near = value.round();
            // Beside a whole number the error decides, and the number is meant.
            let value = if (value - near).abs() <= SLACK * error {
                near
            } else {
                value
            };
            Sample::real(if function == Function::Floor {
                value.floor()
            } else {
                value.ceil()
            })
        }
    }
}

/// The real root where there is one, else the principal one.
fn root(radicand: Sample, degree: Sample) -> Option<Sample> {
    let exponent = power(degree, Sample::real(-1.0)?)?;
    let is_odd = degree.value.im == 0.0 && degree.value.re.rem_euclid(2.0) == 1.0;
    if is_odd && radicand.is_real() && radicand.value.re < 0.0 {
        let size = Sample {
            value: -radicand.value,
            error: radicand.error,
        };
        let Sample { value, error } = power(size, exponent)?;
        return Some(Sample {
            value: -value,
            error,
        });
    }
    power(radicand, exponent)
}

/// `Γ(z + 1)` of a real argument, by Lanczos's approximation (g = 7, nine terms).
fn factorial(sample: Sample) -> Option<Sample> {
    const G: f64 = 7.0;
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = sample.value.re;
    if !sample.is_real() || x > 170.0 || (x < 0.0 && (x - x.round()).abs() <= SLACK * sample.error)
    {
        return None;
    }
    if x < -0.5 {
        // Γ(x + 1) Γ(-x) = -π / sin(πx)
        let reflected = factorial(Sample {
            value: Complex64::new(-x - 1.0, 0.0),
            ..sample
        })?;
        let value = -PI / ((PI * x).sin() * reflected.value.re);
        return Sample::new(value.into(), value.abs() * 1e-13);
    }
    let mut sum = TERMS[0];
    for (index, term) in TERMS.iter().enumerate().skip(1) {
        sum += term / (x + index as f64);
    }
    let t = x + G + 0.5;
    let value = (2.0 * PI).sqrt() * t.powf(x + 0.5) * (-t).exp() * sum;
    Sample::new(value.into(), value.abs() * (1e-13 + sample.error * t.ln()))
}
