//! Arithmetic expressions over whole numbers: a bounded parser and an exact value.
//!
//! Text comes from a model and is not trusted: it is never handed to an interpreter, its length
//! and nesting are limited, and the value is a rational with checked size, so that no text can
//! overflow, recurse without end or round its way to a wrong answer.

use std::fmt;

use num_rational::Ratio;

/// Longest text accepted, in bytes.
const MAX_BYTES: usize = 256;
/// Deepest nesting of parentheses accepted.
const MAX_NESTING: usize = 16;
/// Largest numerator or denominator of any value on the way; products of two fit `i128` easily.
const MAX_PART: i128 = 1 << 48;

/// One of the four operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

impl Operator {
    fn binds_tightly(self) -> bool {
        matches!(self, Self::Multiply | Self::Divide)
    }

    /// `left` and `right` combined; `None` for a division by zero or a value out of bounds.
    fn apply(self, left: Ratio<i128>, right: Ratio<i128>) -> Option<Ratio<i128>> {
        let value = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide if *right.numer() == 0 => return None,
            Self::Divide => left / right,
        };
        let bounded = value.numer().abs() <= MAX_PART && *value.denom() <= MAX_PART;
        bounded.then_some(value)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        })
    }
}

/// A whole number, or two expressions joined by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A whole number, not negative.
    Number(i64),
    /// `left operator right`.
    Binary(Box<Expression>, Operator, Box<Expression>),
}

impl Expression {
    /// Joins two expressions.
    pub fn binary(left: Self, operator: Operator, right: Self) -> Self {
        Self::Binary(Box::new(left), operator, Box::new(right))
    }

    /// Reads `text`: digits, `+ - * /` (or `− × ÷`), parentheses and blanks, and nothing else.
    ///
    /// There is no sign in front of a number: `-3` is not an expression. `None` when the text is
    /// no expression, is longer than 256 bytes or nests deeper than 16 parentheses.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES || splits_a_number(text) {
            return None;
        }
        let mut parser = Parser {
            symbols: text.chars().filter(|symbol| *symbol != ' ').collect(),
            position: 0,
        };
        let expression = parser.sum(0)?;
        (parser.position == parser.symbols.len()).then_some(expression)
    }

    /// The exact value; `None` for a division by zero or when a part of it is out of bounds.
    pub fn value(&self) -> Option<Ratio<i128>> {
        match self {
            Self::Number(number) => Some(Ratio::from_integer(i128::from(*number))),
            Self::Binary(left, operator, right) => operator.apply(left.value()?, right.value()?),
        }
    }

    /// The value if it is a whole number.
    pub fn integer(&self) -> Option<i64> {
        let value = self.value()?;
        value
            .is_integer()
            .then(|| i64::try_from(value.to_integer()).ok())?
    }

    /// Every number in the expression, from left to right.
    pub fn numbers(&self) -> Vec<i64> {
        match self {
            Self::Number(number) => vec![*number],
            Self::Binary(left, _, right) => {
                let mut numbers = left.numbers();
                numbers.extend(right.numbers());
                numbers
            }
        }
    }

    /// The operation to work out first: the leftmost one whose two sides are numbers.
    pub fn first_operation(&mut self) -> Option<&mut Self> {
        match self {
            Self::Number(_) => None,
            Self::Binary(left, _, right) if left.is_number() && right.is_number() => Some(self),
            Self::Binary(left, _, _) if !left.is_number() => left.first_operation(),
            Self::Binary(_, _, right) => right.first_operation(),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// Whether this, as an operand of `parent`, must stand in parentheses.
    fn needs_parentheses(&self, parent: Operator, is_right: bool) -> bool {
        let Self::Binary(_, operator, _) = self else {
            return false;
        };
        let looser = parent.binds_tightly() && !operator.binds_tightly();
        let same = parent.binds_tightly() == operator.binds_tightly();
        let order_matters = matches!(parent, Operator::Subtract | Operator::Divide);
        looser || (is_right && same && (order_matters || *operator == Operator::Divide))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, operator, right) = match self {
            Self::Number(number) => return write!(f, "{number}"),
            Self::Binary(left, operator, right) => (left, *operator, right),
        };
        write_operand(f, left, left.needs_parentheses(operator, false))?;
        write!(f, "{operator}")?;
        write_operand(f, right, right.needs_parentheses(operator, true))
    }
}

fn write_operand(
    f: &mut fmt::Formatter<'_>,
    operand: &Expression,
    parentheses: bool,
) -> fmt::Result {
    if parentheses {
        write!(f, "({operand})")
    } else {
        write!(f, "{operand}")
    }
}

/// Recursive descent over `sum = product (('+'|'-') product)*`,
/// `product = factor (('*'|'/') factor)*`, `factor = digits | '(' sum ')'`.
struct Parser {
    symbols: Vec<char>,
    position: usize,
}

impl Parser {
    fn sum(&mut self, nesting: usize) -> Option<Expression> {
        let mut left = self.product(nesting)?;
        while let Some(operator) = self.operator(false) {
            left = Expression::binary(left, operator, self.product(nesting)?);
        }
        Some(left)
    }

    fn product(&mut self, nesting: usize) -> Option<Expression> {
        let mut left = self.factor(nesting)?;
        while let Some(operator) = self.operator(true) {
            left = Expression::binary(left, operator, self.factor(nesting)?);
        }
        Some(left)
    }

    fn factor(&mut self, nesting: usize) -> Option<Expression> {
        if self.peek() != Some('(') {
            return self.number();
        }
        if nesting == MAX_NESTING {
            return None;
        }
        self.position += 1;
        let inner = self.sum(nesting + 1)?;
        (self.peek()? == ')').then(|| self.position += 1)?;
        Some(inner)
    }

    fn number(&mut self) -> Option<Expression> {
        let start = self.position;
        while self.peek().is_some_and(|symbol| symbol.is_ascii_digit()) {
            self.position += 1;
        }
        let digits: String = self.symbols[start..self.position].iter().collect();
        let number: i64 = digits.parse().ok()?;
        (i128::from(number) <= MAX_PART).then_some(Expression::Number(number))
    }

    /// Takes the next symbol if it is an operator that binds as `tightly` as asked.
    fn operator(&mut self, tightly: bool) -> Option<Operator> {
        let operator = match self.peek()? {
            '+' => Operator::Add,
            '-' | '−' => Operator::Subtract,
            '*' | '×' => Operator::Multiply,
            '/' | '÷' => Operator::Divide,
            _ => return None,
        };
        (operator.binds_tightly() == tightly).then(|| self.position += 1)?;
        Some(operator)
    }

    fn peek(&self) -> Option<char> {
        self.symbols.get(self.position).copied()
    }
}

/// Whether blanks stand between two digits: dropping them would make `1 2` twelve.
fn splits_a_number(text: &str) -> bool {
    let ends_in_digit = |word: &str| word.ends_with(|symbol: char| symbol.is_ascii_digit());
    let starts_with_digit = |word: &str| word.starts_with(|symbol: char| symbol.is_ascii_digit());
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words
        .windows(2)
        .any(|pair| ends_in_digit(pair[0]) && starts_with_digit(pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Ratio<i128>> {
        Expression::parse(text)?.value()
    }

    #[test]
    fn precedence_and_associativity_are_those_of_arithmetic() {
        assert_eq!(value("2+3*4"), Some(Ratio::from_integer(14)));
        assert_eq!(value("20-5-3"), Some(Ratio::from_integer(12)));
        assert_eq!(value("24/4/2"), Some(Ratio::from_integer(3)));
        assert_eq!(value("(2+3)*(9-5)"), Some(Ratio::from_integer(20)));
        assert_eq!(value("6 ÷ 2 × 5 − 1"), Some(Ratio::from_integer(14)));
    }

    #[test]
    fn fractions_on_the_way_are_exact() {
        // 8 / (3 - 8/3) = 8 / (1/3) = 24, which floating point misses.
        assert_eq!(value("8/(3-8/3)"), Some(Ratio::from_integer(24)));
        assert_eq!(value("1/3+1/3"), Some(Ratio::new(2, 3)));
        assert_eq!(Expression::parse("1/3").and_then(|e| e.integer()), None);
    }

    #[test]
    fn hostile_text_is_no_expression() {
        let open = "(".repeat(200);
        let nested = format!("{}1{}", "(".repeat(17), ")".repeat(17));
        let long = "1+".repeat(200) + "1";
        let texts = [
            "",
            " ",
            "+",
            "1+",
            "-3",
            "1 2",
            "1++2",
            "(1",
            "1)",
            "()",
            "2**3",
            "1.5",
            "1e9",
            "x",
            "__import__('os')",
            "1;2",
            "1\n+2",
            "１+2",
            "0x10",
            "99999999999999999999",
            "1_000",
        ];
        for text in texts.into_iter().chain([&*open, &*nested, &*long]) {
            assert_eq!(Expression::parse(text), None, "{text:?} was read");
        }
    }

    #[test]
    fn division_by_zero_and_huge_values_have_no_value() {
        assert_eq!(value("1/(2-2)"), None);
        assert_eq!(value(&["99999999"; 20].join("*")), None);
        assert_eq!(value(&["1/99999999"; 20].join("/")), None);
    }

    #[test]
    fn text_of_an_expression_reads_back_with_the_same_value() {
        let texts = [
            "1-(2-3)", "8/(4/2)", "2*(3/4)", "(1+2)*3", "1+2*3", "1-2+3", "2*3*4",
        ];
        for text in texts {
            let expression = Expression::parse(text).expect("an expression");
            assert_eq!(expression.to_string(), text);
        }
    }

    #[test]
    fn first_operation_is_the_leftmost_one_on_two_numbers() {
        let mut expression = Expression::parse("10-(2+3)*4").expect("an expression");
        let first = expression.first_operation().expect("an operation");
        assert_eq!(first.to_string(), "2+3");
        *first = Expression::Number(5);
        let second = expression.first_operation().expect("an operation");
        assert_eq!(second.to_string(), "5*4");
    }
}
