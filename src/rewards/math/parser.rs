//! Tokens to a value: lists, relations and set operations.

use super::expression::{Comparison, Expression, NamedSet, Relation, SetOperation, Value};
use super::limits::MAX_DEPTH;
use super::token::{Kind, Token};

/// The value that `tokens` write; `None` when they are not of the grammar.
///
/// `±` gives a list of both readings; with several `±` all are the same sign, and `∓` the other.
pub(super) fn parse(tokens: &[Token]) -> Option<Value> {
    let tokens = one_by_one(tokens);
    let signs = |token: &Token| token.kind.is('±') || token.kind.is('∓');
    if !tokens.iter().any(signs) {
        return Parser::new(&tokens).answer();
    }
    let mut values = Vec::new();
    for (plus_minus, minus_plus) in [('+', '-'), ('-', '+')] {
        let mut tokens = tokens.clone();
        for token in &mut tokens {
            match token.kind {
                Kind::Mark('±') => token.kind = Kind::Mark(plus_minus),
                Kind::Mark('∓') => token.kind = Kind::Mark(minus_plus),
                _ => {}
            }
        }
        match Parser::new(&tokens).answer()? {
            Value::List(several) => values.extend(several),
            one => values.push(one),
        }
    }
    Some(Value::List(values))
}

/// The same tokens, letters that stand together taken apart: `ab` is a product.
fn one_by_one(tokens: &[Token]) -> Vec<Token> {
    let mut split = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Kind::Letters(word) = &token.kind else {
            split.push(token.clone());
            continue;
        };
        for (index, letter) in word.chars().enumerate() {
            let kind = Kind::Letters(letter.into());
            let spaced = token.spaced && index == 0;
            split.push(Token { kind, spaced });
        }
    }
    split
}

/// The place in the tokens and what surrounds it.
pub(super) struct Parser<'a> {
    tokens: Vec<&'a Kind>,
    at: usize,
    depth: usize,
    /// Whether a `|` here closes an absolute value.
    pub(super) in_bars: bool,
    /// Whether `°` means π/180, as in the argument of a trigonometric function.
    pub(super) in_angle: bool,
}

impl<'a> Parser<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        Self {
            tokens: tokens.iter().map(|token| &token.kind).collect(),
            at: 0,
            depth: 0,
            in_bars: false,
            in_angle: false,
        }
    }

    fn answer(mut self) -> Option<Value> {
        let mut values = self.list()?;
        if self.at < self.tokens.len() {
            return None;
        }
        match values.len() {
            0 => None,
            1 => values.pop(),
            _ => Some(Value::List(values)),
        }
    }

    pub(super) fn peek(&self) -> Option<&'a Kind> {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, count: usize) -> Option<&'a Kind> {
        self.tokens.get(self.at + count).copied()
    }

    pub(super) fn next(&mut self) -> Option<&'a Kind> {
        let kind = self.peek()?;
        self.at += 1;
        Some(kind)
    }

    /// Gives the last token back.
    pub(super) fn back(&mut self) {
        self.at -= 1;
    }

    /// The token before the next one.
    pub(super) fn behind(&self) -> Option<&'a Kind> {
        self.tokens.get(self.at.checked_sub(1)?).copied()
    }

    /// Skips `count` tokens, which must be there.
    pub(super) fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// Takes the next token if it is `mark`.
    pub(super) fn eat(&mut self, mark: char) -> bool {
        let found = self.peek().is_some_and(|kind| kind.is(mark));
        self.at += usize::from(found);
        found
    }

    /// Runs `read` one level deeper; `None` below the deepest level.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    /// As [`Parser::nested`], within brackets of its own.
    pub(super) fn bracketed<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let in_bars = std::mem::replace(&mut self.in_bars, false);
        let found = self.nested(read);
        self.in_bars = in_bars;
        found
    }

    /// Elements between commas or semicolons, as many as there are.
    pub(super) fn list(&mut self) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        loop {
            while self.eat(',') || self.eat(';') {}
            if !self.starts_value() {
                return Some(values);
            }
            values.push(self.relation()?);
            if !matches!(self.peek(), Some(Kind::Mark(',' | ';'))) {
                return Some(values);
            }
        }
    }

    fn starts_value(&self) -> bool {
        matches!(self.peek(), Some(Kind::Mark('+' | '-' | '…'))) || self.starts_atom()
    }

    fn relation(&mut self) -> Option<Value> {
        let first = self.combination()?;
        let mut links = Vec::new();
        while let Some(&Kind::Mark(mark)) = self.peek() {
            let comparison = match mark {
                '=' | '∈' => Comparison::Equal,
                '≠' => Comparison::Unequal,
                '<' => Comparison::Less,
                '≤' => Comparison::LessEqual,
                '>' => Comparison::Greater,
                '≥' => Comparison::GreaterEqual,
                '≈' => return self.approximation(first, links),
                _ => break,
            };
            self.at += 1;
            links.push((comparison, self.combination()?));
        }
        Some(related(first, links))
    }

    /// What an approximation leaves: the exact side, or the number that a name is said to be about.
    fn approximation(&mut self, first: Value, links: Vec<(Comparison, Value)>) -> Option<Value> {
        self.at += 1;
        let about = self.combination()?;
        let is_name = matches!(first, Value::Expression(Expression::Symbol(_)));
        Some(if is_name && links.is_empty() {
            about
        } else {
            related(first, links)
        })
    }

    fn combination(&mut self) -> Option<Value> {
        let mut value = self.sum()?;
        while let Some(kind) = self.peek() {
            let operation = match kind {
                Kind::Mark('∪') => SetOperation::Union,
                Kind::Mark('∩') => SetOperation::Intersection,
                Kind::Mark('∖') => SetOperation::Difference,
                Kind::Letters(word) if word == "U" => SetOperation::Union,
                _ => break,
            };
            self.at += 1;
            let other = self.nested(Self::sum)?;
            value = Value::Combined(operation, Box::new((value, other)));
            // Every operation is a level of the value.
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return None;
            }
        }
        Some(value)
    }
}

fn related(first: Value, links: Vec<(Comparison, Value)>) -> Value {
    if links.is_empty() {
        return first;
    }
    let first = Box::new(first);
    Value::Relation(Relation { first, links })
}

/// The set that `command` names, if it names one.
pub(super) fn named_set(command: &str) -> Option<NamedSet> {
    Some(match command {
        "emptyset" => NamedSet::Empty,
        "Naturals" => NamedSet::Naturals,
        "Integers" => NamedSet::Integers,
        "Rationals" => NamedSet::Rationals,
        "Reals" => NamedSet::Reals,
        "Complexes" => NamedSet::Complexes,
        _ => return None,
    })
}
