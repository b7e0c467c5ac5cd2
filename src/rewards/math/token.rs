//! Tokens of an answer, the same for LaTeX, plain text and Unicode symbols.

use num_rational::BigRational;

/// How `e` between digits is to be read, and whether a letter after a space can be a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// In LaTeX `1e2` is `2e`, with Euler's number; `1E2` is 100.
    Latex,
    /// In plain text both are 100.
    Plain,
}

/// One token and whether white space stands before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub spaced: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A number without sign; `decimal` when it is written with a point.
    Number { value: BigRational, decimal: bool },
    /// Letters that stand together, to be read as a name or one by one.
    Letters(String),
    /// The words of a `\text{…}`.
    Text(String),
    /// A symbol of its own: a Greek letter, an accented name.
    Name(String),
    /// A command with arguments, a function or a constant, without the backslash.
    Command(String),
    /// An operator or bracket as one character: LaTeX's commands and ASCII's digraphs are folded into
    /// `* / ≤ ≥ ≠ ≈ ∈ ± ∓ ∪ ∩ ∖ ° …`.
    Mark(char),
    /// `\{`; a plain `{` only groups.
    OpenSet,
    /// `\}`
    CloseSet,
    /// `\\` between the rows of a matrix.
    NewRow,
    /// `\begin{…}`
    Begin(String),
    /// `\end{…}`
    End(String),
}

impl Kind {
    /// Whether it is the operator or bracket `mark`.
    pub fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }
}
