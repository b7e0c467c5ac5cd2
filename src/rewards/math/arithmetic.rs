//! Sums and products.
//!
//! Products without a sign bind tighter than `/`, as in Math-Verify: `1/2x` is `1/(2x)`.

use super::expression::{Expression, Function, Value};
use super::limits::MAX_PARTS;
use super::parser::Parser;
use super::token::Kind;

impl Parser<'_> {
    pub(super) fn sum(&mut self) -> Option<Value> {
        if self.eat('…') {
            return Some(Value::Expression(Expression::Symbol("…".into())));
        }
        let mut sum = self.product()?;
        let mut terms = Vec::new();
        loop {
            let term = if self.eat('+') {
                self.product()?
            } else if self.eat('-') {
                negated(self.product()?)?
            } else {
                break;
            };
            match (&mut sum, term) {
                (Value::Expression(_), Value::Expression(term)) => terms.push(term),
                (Value::Matrix(rows), Value::Matrix(others)) => add_matrix(rows, others)?,
                _ => return None,
            }
        }
        match sum {
            Value::Expression(first) if !terms.is_empty() => {
                terms.insert(0, first);
                Some(Value::Expression(Expression::Sum(terms)))
            }
            _ => Some(sum),
        }
    }

    fn product(&mut self) -> Option<Value> {
        let mut product = self.signed()?;
        let mut factors = Vec::new();
        loop {
            let factor = if self.eat('*') {
                self.signed()?
            } else if self.eat('/') || self.eat(':') {
                Value::Expression(self.signed()?.into_expression()?.inverse())
            } else if self.eats_mod() {
                let divisor = self.signed()?.into_expression()?;
                factors.insert(0, product.into_expression()?);
                let dividend = multiplied(std::mem::take(&mut factors));
                product =
                    Value::Expression(Expression::Apply(Function::Mod, vec![dividend, divisor]));
                return Some(product);
            } else {
                break;
            };
            match (&mut product, factor) {
                (Value::Expression(_), Value::Expression(factor)) => factors.push(factor),
                (_, factor) => product = scaled(product, factor)?,
            }
        }
        match product {
            Value::Expression(first) if !factors.is_empty() => {
                factors.insert(0, first);
                Some(Value::Expression(Expression::Product(factors)))
            }
            _ => Some(product),
        }
    }

    fn eats_mod(&mut self) -> bool {
        let found = matches!(self.peek(), Some(Kind::Command(name)) if name == "mod");
        self.skip(usize::from(found));
        found
    }

    /// Any number of signs, then a product without signs.
    pub(super) fn signed(&mut self) -> Option<Value> {
        let mut negative = false;
        loop {
            if self.eat('-') {
                negative = !negative;
            } else if !self.eat('+') {
                break;
            }
        }
        let value = self.juxtaposed(false)?;
        if negative {
            negated(value)
        } else {
            Some(value)
        }
    }

    /// Factors that stand side by side; without `functions`, up to the next function.
    pub(super) fn juxtaposed(&mut self, without_functions: bool) -> Option<Value> {
        let first = self
            .mixed_number()
            .map_or_else(|| self.power(), |n| Some(Value::Expression(n)))?;
        let mut product = first;
        let mut factors = Vec::new();
        while self.starts_atom() && !(without_functions && self.is_function()) {
            if self.skip_words() {
                continue;
            }
            if self.is_second_number() || self.is_union_letter() {
                break;
            }
            match (&mut product, self.power()?) {
                (Value::Expression(_), Value::Expression(factor)) => factors.push(factor),
                (_, factor) => product = scaled(product, factor)?,
            }
        }
        match product {
            Value::Expression(first) if !factors.is_empty() => {
                factors.insert(0, first);
                Some(Value::Expression(Expression::Product(factors)))
            }
            _ => Some(product),
        }
    }

    /// Two numbers side by side are no product.
    fn is_second_number(&self) -> bool {
        let is_number = |kind: Option<&Kind>| matches!(kind, Some(Kind::Number { .. }));
        is_number(self.peek()) && is_number(self.behind())
    }

    /// A `U` between brackets is a union: `(1,2) U (3,4)`.
    fn is_union_letter(&self) -> bool {
        let letter = matches!(self.peek(), Some(Kind::Letters(word)) if word == "U");
        let is_close = |kind: &Kind| matches!(kind, Kind::Mark(')' | ']') | Kind::CloseSet);
        let closed = self.behind().is_some_and(is_close);
        let opens = matches!(self.ahead(1), Some(Kind::Mark('(' | '[') | Kind::OpenSet));
        letter && closed && opens
    }

    /// Skips words after a factor, a unit perhaps with an exponent: `10\text{ cm}^2`.
    fn skip_words(&mut self) -> bool {
        if !matches!(self.peek(), Some(Kind::Text(_))) {
            return false;
        }
        self.skip(1);
        match (self.ahead(0), self.ahead(1), self.ahead(3)) {
            (Some(Kind::Mark('^')), Some(Kind::Mark('{')), Some(Kind::Mark('}'))) => self.skip(4),
            (Some(Kind::Mark('^')), Some(Kind::Number { .. }), _) => self.skip(2),
            _ => {}
        }
        true
    }
}

impl Value {
    /// The expression, if it is one.
    pub fn into_expression(self) -> Option<Expression> {
        match self {
            Self::Expression(expression) => Some(expression),
            _ => None,
        }
    }
}

fn multiplied(mut factors: Vec<Expression>) -> Expression {
    match factors.len() {
        1 => factors.remove(0),
        _ => Expression::Product(factors),
    }
}

fn negated(value: Value) -> Option<Value> {
    match value {
        Value::Expression(expression) => Some(Value::Expression(expression.negated())),
        Value::Matrix(rows) => scaled(
            Value::Expression(Expression::integer(-1)),
            Value::Matrix(rows),
        ),
        _ => None,
    }
}

/// A matrix times a number, in either order.
fn scaled(left: Value, right: Value) -> Option<Value> {
    let (factor, mut rows) = match (left, right) {
        (Value::Expression(factor), Value::Matrix(rows))
        | (Value::Matrix(rows), Value::Expression(factor)) => (factor, rows),
        _ => return None,
    };
    let entries = rows.iter().flatten().map(Expression::parts);
    if entries.map(|parts| parts + factor.parts()).sum::<usize>() > MAX_PARTS {
        return None;
    }
    for entry in rows.iter_mut().flatten() {
        match entry {
            Expression::Product(factors) => factors.push(factor.clone()),
            _ => *entry = Expression::Product(vec![factor.clone(), entry.clone()]),
        }
    }
    Some(Value::Matrix(rows))
}

fn add_matrix(rows: &mut [Vec<Expression>], others: Vec<Vec<Expression>>) -> Option<()> {
    let shape = |rows: &[Vec<Expression>]| (rows.len(), rows.first().map(Vec::len));
    if shape(rows) != shape(&others) {
        return None;
    }
    for (entry, other) in rows.iter_mut().flatten().zip(others.into_iter().flatten()) {
        match entry {
            Expression::Sum(terms) => terms.push(other),
            _ => *entry = Expression::Sum(vec![entry.clone(), other]),
        }
    }
    Some(())
}
