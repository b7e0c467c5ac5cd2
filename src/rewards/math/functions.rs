//! Commands with arguments: fractions, roots, functions by name, matrices.

use super::expression::{Constant, Expression, Function, Value};
use super::limits::MAX_PARTS;
use super::parser::Parser;
use super::token::Kind;

/// Largest determinant that is expanded.
const MAX_DETERMINANT: usize = 4;

impl Parser<'_> {
    /// Whether the next token is a function by name.
    pub(super) fn is_function(&self) -> bool {
        match self.peek() {
            Some(Kind::Command(name)) => {
                one_argument(name).is_some() || matches!(name.as_str(), "log" | "ln" | "exp")
            }
            _ => false,
        }
    }

    /// `name` with its arguments, which stand here.
    pub(super) fn applied(&mut self, name: &str) -> Option<Expression> {
        match name {
            "frac" => {
                let top = self.argument()?;
                let bottom = self.argument()?;
                if is_differential(&top) && is_differential(&bottom) {
                    return None;
                }
                Some(Expression::Product(vec![top, bottom.inverse()]))
            }
            "sqrt" => self.root(),
            "binom" => {
                let arguments = vec![self.argument()?, self.argument()?];
                Some(Expression::Apply(Function::Binomial, arguments))
            }
            "lfloor" => self.enclosed(Function::Floor, "rfloor"),
            "lceil" => self.enclosed(Function::Ceil, "rceil"),
            "gcd" => self.several(Function::Gcd),
            "lcm" => self.several(Function::Lcm),
            "max" => self.several(Function::Max),
            "min" => self.several(Function::Min),
            "log" | "ln" | "exp" => self.logarithm(name),
            _ => self.function(one_argument(name)?),
        }
    }

    fn root(&mut self) -> Option<Expression> {
        let degree = if self.eat('[') {
            let degree = self.bracketed(Self::signed_sum)?;
            self.eat(']').then_some(())?;
            Some(degree)
        } else {
            None
        };
        let radicand = self.argument()?;
        let degree = degree.unwrap_or(Expression::integer(2));
        Some(Expression::Apply(Function::Root, vec![radicand, degree]))
    }

    /// An expression that `close` ends.
    fn enclosed(&mut self, function: Function, close: &str) -> Option<Expression> {
        let inner = self.bracketed(Self::signed_sum)?;
        match self.next()? {
            Kind::Command(name) if name == close => Some(Expression::Apply(function, vec![inner])),
            _ => None,
        }
    }

    /// A function of a list in brackets or braces.
    fn several(&mut self, function: Function) -> Option<Expression> {
        let close = match self.next()? {
            Kind::Mark('(') => Kind::Mark(')'),
            Kind::Mark('{') => Kind::Mark('}'),
            Kind::OpenSet => Kind::CloseSet,
            _ => return None,
        };
        let values = self.bracketed(Self::list)?;
        if *self.next()? != close || values.is_empty() {
            return None;
        }
        let arguments = values.into_iter().map(Value::into_expression);
        Some(Expression::Apply(
            function,
            arguments.collect::<Option<_>>()?,
        ))
    }

    /// `\log` is to base 10 without another base, `\ln` and `\exp` to base e.
    fn logarithm(&mut self, name: &str) -> Option<Expression> {
        let base = if self.eat('_') {
            Some(self.argument()?)
        } else {
            None
        };
        let power = self.function_power()?;
        let argument = self.function_argument(false)?;
        let e = Expression::Constant(Constant::E);
        let applied = match name {
            "exp" => e.raised(argument),
            "ln" => ln(argument),
            _ => {
                let base = base.unwrap_or(Expression::integer(10));
                Expression::Product(vec![ln(argument), ln(base).inverse()])
            }
        };
        Some(match power {
            Some(power) => applied.raised(power),
            None => applied,
        })
    }

    fn function(&mut self, function: Function) -> Option<Expression> {
        let power = self.function_power()?;
        let minus_one = Expression::integer(1).negated();
        let angle = is_trigonometric(function);
        let argument = self.function_argument(angle)?;
        match (power, inverse(function)) {
            (Some(power), Some(inverse)) if power == minus_one => {
                Some(Expression::Apply(inverse, vec![argument]))
            }
            (Some(power), _) => Some(Expression::Apply(function, vec![argument]).raised(power)),
            (None, _) => Some(Expression::Apply(function, vec![argument])),
        }
    }

    /// The exponent between a function and its argument: `\sin^2 x`.
    fn function_power(&mut self) -> Option<Option<Expression>> {
        if !self.eat('^') {
            return Some(None);
        }
        let negative = self.eat('-');
        let power = self.argument()?;
        Some(Some(if negative { power.negated() } else { power }))
    }

    /// What stands in brackets, or the product up to the next function: `\sin 2x \cos x`.
    fn function_argument(&mut self, angle: bool) -> Option<Expression> {
        let in_angle = self.in_angle;
        self.in_angle |= angle;
        let argument = match self.peek() {
            Some(Kind::Mark('(' | '{' | '[' | '|')) => self.argument(),
            Some(Kind::Mark('-')) => {
                self.next();
                self.juxtaposed(true)
                    .and_then(Value::into_expression)
                    .map(Expression::negated)
            }
            _ => self.juxtaposed(true).and_then(Value::into_expression),
        };
        self.in_angle = in_angle;
        argument
    }

    /// A sum, which must be an expression.
    pub(super) fn signed_sum(&mut self) -> Option<Expression> {
        self.sum()?.into_expression()
    }

    /// After `\begin{name}`: rows up to the end.
    pub(super) fn matrix(&mut self, name: &str) -> Option<Value> {
        const MATRICES: [&str; 7] = [
            "matrix",
            "pmatrix",
            "bmatrix",
            "Bmatrix",
            "smallmatrix",
            "vmatrix",
            "array",
        ];
        if !MATRICES.contains(&name) {
            return None;
        }
        let mut rows = vec![Vec::new()];
        loop {
            if matches!(self.peek(), Some(Kind::End(_))) {
                break;
            }
            rows.last_mut()?.push(self.signed_sum()?);
            match self.next()? {
                Kind::Mark('&') => {}
                Kind::NewRow => rows.push(Vec::new()),
                Kind::End(_) => {
                    self.back();
                    break;
                }
                _ => return None,
            }
        }
        self.next();
        if rows.last().is_some_and(Vec::is_empty) {
            rows.pop();
        }
        let width = rows.first()?.len();
        if rows.iter().any(|row| row.len() != width) {
            return None;
        }
        match name {
            "vmatrix" => determinant_of(&rows).map(Value::Expression),
            _ => Some(Value::Matrix(rows)),
        }
    }
}

/// Whether it begins with the `d` or `∂` of a derivative.
fn is_differential(expression: &Expression) -> bool {
    match expression {
        Expression::Symbol(name) => matches!(name.as_str(), "d" | "partial"),
        Expression::Product(factors) => factors.first().is_some_and(is_differential),
        Expression::Power(base, _) => is_differential(base),
        _ => false,
    }
}

/// The determinant of `rows` if it is small, and its entries are.
fn determinant_of(rows: &[Vec<Expression>]) -> Option<Expression> {
    let parts: usize = rows.iter().flatten().map(Expression::parts).sum();
    let copies = MAX_PARTS / 64;
    let is_square = rows.first().is_some_and(|row| row.len() == rows.len());
    (is_square && rows.len() <= MAX_DETERMINANT && parts <= copies).then(|| determinant(rows))
}

/// Expansion along the first row.
fn determinant(rows: &[Vec<Expression>]) -> Expression {
    if let [row] = rows {
        return row[0].clone();
    }
    let terms = rows[0].iter().enumerate().map(|(column, entry)| {
        let minor: Vec<Vec<Expression>> =
            rows[1..].iter().map(|row| without(row, column)).collect();
        let term = Expression::Product(vec![entry.clone(), determinant(&minor)]);
        if column % 2 == 0 {
            term
        } else {
            term.negated()
        }
    });
    Expression::Sum(terms.collect())
}

fn without(row: &[Expression], column: usize) -> Vec<Expression> {
    let kept = row.iter().enumerate().filter(|(index, _)| *index != column);
    kept.map(|(_, entry)| entry.clone()).collect()
}

fn ln(argument: Expression) -> Expression {
    Expression::Apply(Function::Ln, vec![argument])
}

/// The function of one argument that `name` means.
fn one_argument(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" => Function::Tan,
        "cot" => Function::Cot,
        "sec" => Function::Sec,
        "csc" => Function::Csc,
        "arcsin" => Function::Arcsin,
        "arccos" => Function::Arccos,
        "arctan" => Function::Arctan,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "arsinh" => Function::Arsinh,
        "arcosh" => Function::Arcosh,
        "artanh" => Function::Artanh,
        "abs" => Function::Abs,
        "floor" => Function::Floor,
        "ceil" => Function::Ceil,
        _ => return None,
    })
}

fn is_trigonometric(function: Function) -> bool {
    use Function::{Cos, Cot, Csc, Sec, Sin, Tan};
    matches!(function, Sin | Cos | Tan | Cot | Sec | Csc)
}

/// The function that the exponent -1 makes of `function`.
fn inverse(function: Function) -> Option<Function> {
    Some(match function {
        Function::Sin => Function::Arcsin,
        Function::Cos => Function::Arccos,
        Function::Tan => Function::Arctan,
        Function::Sinh => Function::Arsinh,
        Function::Cosh => Function::Arcosh,
        Function::Tanh => Function::Artanh,
        _ => return None,
    })
}
