//! What LaTeX's commands and Unicode's symbols mean.

/// What a command does to the tokens.
pub(super) enum Meaning {
    /// Nothing: spacing, sizes, fonts of a group that follows.
    Nothing,
    /// White space.
    Space,
    /// An operator or bracket.
    Mark(char),
    /// Words follow in braces.
    Text,
    /// A name with an accent follows in braces.
    Accent,
    /// A symbol of its own.
    Name,
    /// A function, constant or command with arguments.
    Command(&'static str),
    /// Not known: the text is not read.
    Unknown,
}

/// The meaning of `\name`.
pub(super) fn meaning(name: &str) -> Meaning {
    if let Some(mark) = mark(name) {
        return Meaning::Mark(mark);
    }
    match name {
        "left" | "right" | "mleft" | "mright" | "big" | "Big" | "bigg" | "Bigg" | "bigl"
        | "bigr" | "Bigl" | "Bigr" | "biggl" | "biggr" | "middle" | "displaystyle"
        | "textstyle" | "scriptstyle" | "limits" | "nolimits" | "mathbf" | "mathit"
        | "boldsymbol" | "bm" | "boxed" | "underline" | "ensuremath" | "vec" | "overrightarrow"
        | "mathop" | "phantom" | "rm" | "bf" | "it" | "cal" | "mathcal" | "mathbb" | "mathds"
        | "!" | "$" => Meaning::Nothing,
        "," | ";" | ":" | ">" | " " | "quad" | "qquad" | "enspace" | "thinspace" | "hspace" => {
            Meaning::Space
        }
        "text" | "textbf" | "textrm" | "textit" | "textnormal" | "textsf" | "texttt" | "mbox"
        | "hbox" | "mathrm" | "mathsf" | "mathtt" | "operatorname" => Meaning::Text,
        "overline" | "bar" | "hat" | "widehat" | "tilde" | "widetilde" | "dot" | "ddot" => {
            Meaning::Accent
        }
        _ if GREEK.contains(&name) => Meaning::Name,
        _ => command(name),
    }
}

/// The known command that the word `name` stands for, if it does.
pub(super) fn command(name: &str) -> Meaning {
    let known = COMMANDS.iter().find(|(spelling, _)| *spelling == name);
    known.map_or(Meaning::Unknown, |(_, command)| Meaning::Command(command))
}

/// The operator or bracket that `\name` stands for, if it does.
fn mark(name: &str) -> Option<char> {
    Some(match name {
        "cdot" | "times" | "ast" | "bullet" => '*',
        "div" => '/',
        "le" | "leq" | "leqslant" | "leqq" => '≤',
        "ge" | "geq" | "geqslant" | "geqq" => '≥',
        "lt" => '<',
        "gt" => '>',
        "ne" | "neq" => '≠',
        "approx" | "simeq" | "sim" | "thickapprox" => '≈',
        "in" => '∈',
        "pm" => '±',
        "mp" => '∓',
        "cup" | "bigcup" => '∪',
        "cap" | "bigcap" => '∩',
        "setminus" | "backslash" | "smallsetminus" => '∖',
        "circ" | "degree" => '°',
        "%" => '%',
        "colon" => ':',
        "ldots" | "dots" | "cdots" | "dotsc" => '…',
        "vert" | "lvert" | "rvert" | "mid" => '|',
        "langle" | "lparen" | "lgroup" => '(',
        "rangle" | "rparen" | "rgroup" => ')',
        "lbrack" => '[',
        "rbrack" => ']',
        "prime" => '\'',
        _ => return None,
    })
}

/// The marks that the Unicode character `letter` stands for; a command when it begins with `\`.
pub(super) fn unicode(letter: char) -> Option<&'static str> {
    Some(match letter {
        '×' | '·' | '∙' | '⋅' | '∗' => "*",
        '÷' | '∕' | '⁄' => "/",
        '−' | '–' => "-",
        '＝' => "=",
        '⩽' => "≤",
        '⩾' => "≥",
        'π' => "\\pi",
        '√' => "\\sqrt",
        '∞' => "\\infty",
        '∅' => "\\emptyset",
        'ℝ' => "\\Reals",
        '²' => "^2",
        '³' => "^3",
        '½' => "\\frac12",
        '⟨' => "(",
        '⟩' => ")",
        '’' | '′' => "'",
        _ => return None,
    })
}

/// Letters that are symbols; `\pi` is a constant.
const GREEK: [&str; 43] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "rho",
    "varrho",
    "sigma",
    "varsigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Upsilon",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
    "partial",
    "nabla",
];

/// Spellings and the one command they stand for.
const COMMANDS: [(&str, &str); 60] = [
    ("frac", "frac"),
    ("dfrac", "frac"),
    ("tfrac", "frac"),
    ("cfrac", "frac"),
    ("sqrt", "sqrt"),
    ("binom", "binom"),
    ("dbinom", "binom"),
    ("tbinom", "binom"),
    ("pi", "pi"),
    ("infty", "infty"),
    ("infinity", "infty"),
    ("inf", "infty"),
    ("oo", "infty"),
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("tg", "tan"),
    ("cot", "cot"),
    ("sec", "sec"),
    ("csc", "csc"),
    ("arcsin", "arcsin"),
    ("arccos", "arccos"),
    ("arctan", "arctan"),
    ("asin", "arcsin"),
    ("acos", "arccos"),
    ("atan", "arctan"),
    ("sinh", "sinh"),
    ("cosh", "cosh"),
    ("tanh", "tanh"),
    ("arsinh", "arsinh"),
    ("arcosh", "arcosh"),
    ("artanh", "artanh"),
    ("arcsinh", "arsinh"),
    ("arccosh", "arcosh"),
    ("arctanh", "artanh"),
    ("log", "log"),
    ("ln", "ln"),
    ("lg", "log"),
    ("exp", "exp"),
    ("abs", "abs"),
    ("floor", "floor"),
    ("ceil", "ceil"),
    ("gcd", "gcd"),
    ("lcm", "lcm"),
    ("max", "max"),
    ("min", "min"),
    ("mod", "mod"),
    ("bmod", "mod"),
    ("lfloor", "lfloor"),
    ("rfloor", "rfloor"),
    ("lceil", "lceil"),
    ("rceil", "rceil"),
    ("emptyset", "emptyset"),
    ("varnothing", "emptyset"),
    ("Reals", "Reals"),
    ("Naturals", "Naturals"),
    ("Integers", "Integers"),
    ("Rationals", "Rationals"),
    ("Complexes", "Complexes"),
    ("pmod", "pmod"),
];
