//! Atoms of an expression: numbers, letters and brackets, with their powers, signs and subscripts.

use num_rational::BigRational;
use num_traits::One;

use super::expression::{Constant, Expression, Function, Interval, NamedSet, Value};
use super::parser::{Parser, named_set};
use super::token::Kind;

impl Parser<'_> {
    /// Whether the next token begins an atom.
    pub(super) fn starts_atom(&self) -> bool {
        match self.peek() {
            Some(Kind::Command(name)) => {
                !matches!(name.as_str(), "mod" | "pmod" | "rfloor" | "rceil")
            }
            Some(Kind::Mark('|')) => !self.in_bars,
            Some(Kind::Mark(mark)) => "([{".contains(*mark),
            Some(Kind::CloseSet | Kind::NewRow | Kind::End(_)) | None => false,
            Some(_) => true,
        }
    }

    /// An atom with what stands behind it: `x^2`, `5!`, `50\%`, `90^\circ`, `x_1`.
    pub(super) fn power(&mut self) -> Option<Value> {
        let mut value = self.atom()?;
        let mut postfixes = 0;
        loop {
            value = match self.peek() {
                Some(Kind::Mark('!')) => self.postfix(value, factorial)?,
                Some(Kind::Mark('%')) => self.postfix(value, percent)?,
                Some(Kind::Mark('\'')) => self.postfix(value, primed)?,
                Some(Kind::Mark('°')) => {
                    let in_angle = self.in_angle;
                    self.postfix(value, |angle| Some(degrees(angle, in_angle)))?
                }
                Some(Kind::Mark('_')) => self.subscript(value)?,
                Some(Kind::Mark('^')) => self.exponent(value)?,
                _ => return Some(value),
            };
            postfixes += 1;
            if postfixes > MAX_POSTFIXES {
                return None;
            }
        }
    }

    fn postfix(
        &mut self,
        value: Value,
        apply: impl FnOnce(Expression) -> Option<Expression>,
    ) -> Option<Value> {
        self.next();
        apply(value.into_expression()?).map(Value::Expression)
    }

    /// A name with a subscript is another name; a number's subscript, its base, is left out.
    fn subscript(&mut self, value: Value) -> Option<Value> {
        self.next();
        let mut name = String::new();
        let mut open = 0_usize;
        loop {
            match self.next()? {
                Kind::Mark('{') => open += 1,
                Kind::Mark('}') => open = open.checked_sub(1)?,
                Kind::Mark(mark) => name.push(*mark),
                Kind::Number { value, .. } => name.push_str(&value.to_string()),
                Kind::Letters(letters) | Kind::Text(letters) | Kind::Name(letters) => {
                    name.push_str(letters);
                }
                _ => return None,
            }
            if open == 0 {
                break;
            }
        }
        match value {
            Value::Expression(Expression::Symbol(base)) => Some(Value::Expression(
                Expression::Symbol(format!("{base}_{name}")),
            )),
            Value::Expression(Expression::Number(_)) => Some(value),
            _ => None,
        }
    }

    fn exponent(&mut self, value: Value) -> Option<Value> {
        self.next();
        let base = value.into_expression()?;
        let is_degree = |kind: Option<&Kind>| kind.is_some_and(|kind| kind.is('°'));
        let braced = self.peek().is_some_and(|kind| kind.is('{'));
        if is_degree(self.ahead(usize::from(braced))) {
            self.next();
            if braced {
                self.next();
                self.eat('}').then_some(())?;
            }
            return Some(Value::Expression(degrees(base, self.in_angle)));
        }
        let exponent = self.nested(|parser| {
            let negative = parser.eat('-');
            let exponent = if braced {
                parser.atom()?
            } else {
                parser.power()?
            };
            let exponent = exponent.into_expression()?;
            Some(if negative {
                exponent.negated()
            } else {
                exponent
            })
        })?;
        Some(Value::Expression(base.raised(exponent)))
    }

    fn atom(&mut self) -> Option<Value> {
        let expression = match self.next()? {
            Kind::Number {
                value,
                decimal: false,
            } => Expression::Number(value.clone()),
            Kind::Number {
                value,
                decimal: true,
            } => Expression::Decimal(value.clone()),
            Kind::Letters(letter) => self.letter(letter),
            Kind::Text(name) | Kind::Name(name) => Expression::Symbol(name.clone()),
            Kind::Mark(open @ ('(' | '[')) => return self.bracketed(|p| p.brackets(*open)),
            Kind::Mark('{') => return self.bracketed(Self::braces),
            Kind::Mark('|') => self.bars()?,
            Kind::OpenSet => return self.bracketed(Self::set),
            Kind::Begin(name) => return self.bracketed(|parser| parser.matrix(name)),
            Kind::Command(name) => return self.command(name),
            _ => return None,
        };
        Some(Value::Expression(expression))
    }

    /// A letter: `e` and `i` are constants, unless they have a subscript.
    fn letter(&self, letter: &str) -> Expression {
        let is_name = self.peek().is_some_and(|kind| kind.is('_'));
        match letter {
            "e" if !is_name => Expression::Constant(Constant::E),
            "i" if !is_name => Expression::Constant(Constant::I),
            _ => Expression::Symbol(letter.into()),
        }
    }

    /// What stands in round or square brackets: a group, a point or an interval.
    fn brackets(&mut self, open: char) -> Option<Value> {
        let mut values = self.list()?;
        let close = if self.eat(')') {
            ')'
        } else {
            self.eat(']').then_some(']')?
        };
        let (low_closed, high_closed) = (open == '[', close == ']');
        if values.len() == 1 && low_closed == high_closed {
            return values.pop();
        }
        if values.len() == 2 && (low_closed || high_closed) {
            let high = values.pop()?.into_expression()?;
            let low = values.pop()?.into_expression()?;
            let interval = Interval {
                low,
                high,
                low_closed,
                high_closed,
            };
            return Some(Value::Interval(interval));
        }
        (values.len() > 1 && low_closed == high_closed).then_some(Value::Tuple(values))
    }

    /// What stands in plain braces: a group, or a set of several.
    fn braces(&mut self) -> Option<Value> {
        let mut values = self.list()?;
        self.eat('}').then_some(())?;
        match values.len() {
            0 => None,
            1 => values.pop(),
            _ => Some(Value::List(values)),
        }
    }

    fn set(&mut self) -> Option<Value> {
        let values = self.list()?;
        if self.next()? != &Kind::CloseSet {
            return None;
        }
        Some(if values.is_empty() {
            Value::Named(NamedSet::Empty)
        } else {
            Value::List(values)
        })
    }

    /// After the first `|` of an absolute value.
    fn bars(&mut self) -> Option<Expression> {
        let in_bars = std::mem::replace(&mut self.in_bars, true);
        let inner = self.nested(Self::signed_sum);
        self.in_bars = in_bars;
        self.eat('|').then_some(())?;
        Some(Expression::Apply(Function::Abs, vec![inner?]))
    }

    /// An expression in the braces that open here, or the one atom that stands here.
    pub(super) fn argument(&mut self) -> Option<Expression> {
        self.nested(Self::atom)?.into_expression()
    }

    fn command(&mut self, name: &str) -> Option<Value> {
        if let Some(set) = named_set(name) {
            return Some(Value::Named(set));
        }
        let expression = match name {
            "pi" => Expression::Constant(Constant::Pi),
            "infty" => Expression::Constant(Constant::Infinity),
            _ => self.nested(|parser| parser.applied(name))?,
        };
        Some(Value::Expression(expression))
    }

    /// A whole number with a fraction behind it, `1\frac12` or `1 1/2`, as their sum.
    pub(super) fn mixed_number(&mut self) -> Option<Expression> {
        let whole = self.integer_ahead(0)?.clone();
        let is_frac = matches!(self.ahead(1), Some(Kind::Command(name)) if name == "frac");
        let places = if is_frac {
            let braced = |at: usize| self.ahead(at).is_some_and(|kind| kind.is('{'));
            let top = if braced(2) { 3 } else { 2 };
            let after = if braced(2) { top + 2 } else { top + 1 };
            let bottom = if braced(after) { after + 1 } else { after };
            let end = if braced(after) {
                bottom + 2
            } else {
                bottom + 1
            };
            (top, bottom, end)
        } else {
            self.ahead(2)?.is('/').then_some((1, 3, 4))?
        };
        let (top, bottom) = (self.integer_ahead(places.0)?, self.integer_ahead(places.1)?);
        let fraction = (top < bottom).then(|| top / bottom)?;
        for _ in 0..places.2 {
            self.next();
        }
        Some(Expression::Number(whole + fraction))
    }

    /// The whole number that is the token `count` ahead.
    fn integer_ahead(&self, count: usize) -> Option<&BigRational> {
        match self.ahead(count)? {
            Kind::Number {
                value,
                decimal: false,
            } if value.is_integer() => Some(value),
            _ => None,
        }
    }
}

/// Signs behind one atom; more are noise.
const MAX_POSTFIXES: usize = 8;

fn factorial(expression: Expression) -> Option<Expression> {
    Some(Expression::Apply(Function::Factorial, vec![expression]))
}

fn percent(expression: Expression) -> Option<Expression> {
    match expression {
        Expression::Percent(_) => None,
        _ => Some(Expression::Percent(Box::new(expression))),
    }
}

fn primed(expression: Expression) -> Option<Expression> {
    match expression {
        Expression::Symbol(name) => Some(Expression::Symbol(name + "'")),
        _ => None,
    }
}

/// A number of degrees: in radians `in_angle`, else the number itself.
fn degrees(number: Expression, in_angle: bool) -> Expression {
    if !in_angle {
        return number;
    }
    let half_turn = BigRational::new(BigRational::one().numer().clone(), 180.into());
    let pi = Expression::Constant(Constant::Pi);
    Expression::Product(vec![number, pi, Expression::Number(half_turn)])
}
