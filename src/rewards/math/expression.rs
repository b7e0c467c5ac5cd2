//! What an answer can be once it is read: expressions, and the sets, tuples and relations of them.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::One;

/// An expression; it is at most a few hundred levels deep, as the parser's depth is bounded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    /// An exact number.
    Number(BigRational),
    /// A number written with a decimal point, by its exact value.
    Decimal(BigRational),
    /// So many hundredths.
    Percent(Box<Self>),
    /// π, e, i or ∞.
    Constant(Constant),
    /// A variable, or a word that stands for itself.
    Symbol(String),
    /// The sum of its terms.
    Sum(Vec<Self>),
    /// The product of its factors, in the order written; a divisor is a power of -1.
    Product(Vec<Self>),
    /// The same with the other sign.
    Negative(Box<Self>),
    /// Base and exponent.
    Power(Box<Self>, Box<Self>),
    /// A function of its arguments.
    Apply(Function, Vec<Self>),
}

/// Numbers with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Constant {
    Pi,
    E,
    I,
    Infinity,
}

/// Functions an expression can apply; all but the last six take one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Arsinh,
    Arcosh,
    Artanh,
    Ln,
    Abs,
    Floor,
    Ceil,
    Factorial,
    /// The real root where there is one: radicand, degree.
    Root,
    /// Items, items chosen.
    Binomial,
    /// Remainder: dividend, divisor.
    Mod,
    /// Of one or more arguments, as the next three.
    Gcd,
    Lcm,
    Max,
    Min,
}

/// An answer as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Expression(Expression),
    /// Rows of equal length.
    Matrix(Vec<Vec<Expression>>),
    /// Several answers in no order: written in braces, or without brackets.
    List(Vec<Self>),
    /// A point or an ordered list; two in round brackets may mean an open interval.
    Tuple(Vec<Self>),
    Interval(Interval),
    Named(NamedSet),
    Combined(SetOperation, Box<(Self, Self)>),
    Relation(Relation),
}

/// An interval with at least one closed end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Interval {
    pub low: Expression,
    pub high: Expression,
    pub low_closed: bool,
    pub high_closed: bool,
}

/// Sets with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedSet {
    Empty,
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOperation {
    Union,
    Intersection,
    Difference,
}

/// A chain of comparisons: `first`, then each operator with what stands right of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Relation {
    pub first: Box<Value>,
    /// Never empty.
    pub links: Vec<(Comparison, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Comparison {
    /// The comparison with both sides exchanged.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            Self::Equal | Self::Unequal => self,
        }
    }
}

impl Expression {
    pub fn integer(value: i64) -> Self {
        Self::Number(BigRational::from_integer(BigInt::from(value)))
    }

    pub fn negated(self) -> Self {
        Self::Negative(Box::new(self))
    }

    pub fn raised(self, exponent: Self) -> Self {
        Self::Power(Box::new(self), Box::new(exponent))
    }

    /// `1 / self`.
    pub fn inverse(self) -> Self {
        self.raised(Self::Number(-BigRational::one()))
    }

    /// `self - other`.
    pub fn minus(&self, other: &Self) -> Self {
        Self::Sum(vec![self.clone(), other.clone().negated()])
    }

    /// How many expressions it is made of, itself included.
    pub fn parts(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |_| count += 1);
        count
    }

    /// The names of its symbols, each as often as it stands there.
    pub fn symbols(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.visit(&mut |expression| {
            if let Self::Symbol(name) = expression {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Calls `see` with this expression and all within it.
    pub fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Number(_) | Self::Decimal(_) | Self::Constant(_) | Self::Symbol(_) => {}
            Self::Percent(inner) | Self::Negative(inner) => inner.visit(see),
            Self::Power(base, exponent) => {
                base.visit(see);
                exponent.visit(see);
            }
            Self::Sum(parts) | Self::Product(parts) | Self::Apply(_, parts) => {
                for part in parts {
                    part.visit(see);
                }
            }
        }
    }
}

impl Value {
    /// The expression, if it is one.
    pub fn expression(&self) -> Option<&Expression> {
        match self {
            Self::Expression(expression) => Some(expression),
            _ => None,
        }
    }

    /// Calls `see` with every expression that is a part of it.
    pub fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Expression)) {
        match self {
            Self::Expression(expression) => see(expression),
            Self::Matrix(rows) => rows.iter().flatten().for_each(see),
            Self::List(values) | Self::Tuple(values) => {
                for value in values {
                    value.visit(see);
                }
            }
            Self::Interval(interval) => {
                see(&interval.low);
                see(&interval.high);
            }
            Self::Named(_) => {}
            Self::Combined(_, sides) => {
                sides.0.visit(see);
                sides.1.visit(see);
            }
            Self::Relation(relation) => {
                relation.first.visit(see);
                for (_, value) in &relation.links {
                    value.visit(see);
                }
            }
        }
    }
}
