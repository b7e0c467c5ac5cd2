//! Text to tokens: LaTeX commands, plain text and Unicode symbols become the same marks.

use num_rational::BigRational;

use super::latex::{self, Meaning};
use super::limits::{MAX_DEPTH, MAX_TEXT_BYTES};
use super::number;
use super::token::{Kind, Style, Token};

/// The tokens of `text`; `None` when it is too long or has something that is not mathematics.
pub(super) fn tokenize(text: &str, style: Style) -> Option<Vec<Token>> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let mut lexer = Lexer {
        rest: text,
        style,
        commas_group: number::commas_group(text),
        spaced: false,
        tokens: Vec::new(),
        depth: 0,
    };
    lexer.run()?;
    Some(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    style: Style,
    /// Whether a comma before three digits belongs to the number.
    commas_group: bool,
    spaced: bool,
    tokens: Vec<Token>,
    /// Texts within texts.
    depth: usize,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Option<()> {
        while let Some(letter) = self.rest.chars().next() {
            if let Some((number, length)) = number::scan(self.rest, self.style, self.commas_group) {
                self.rest = &self.rest[length..];
                self.push(number);
            } else if letter == '\\' {
                self.command()?;
            } else if letter.is_whitespace() || letter == '~' {
                self.skip(letter);
                self.spaced = true;
            } else if let Some(spelled) = latex::unicode(letter) {
                self.skip(letter);
                self.within(spelled)?;
            } else if letter.is_alphabetic() {
                self.letters();
            } else {
                self.mark(letter)?;
            }
        }
        Some(())
    }

    fn push(&mut self, kind: Kind) {
        let spaced = std::mem::take(&mut self.spaced);
        self.tokens.push(Token { kind, spaced });
    }

    fn skip(&mut self, letter: char) {
        self.rest = &self.rest[letter.len_utf8()..];
    }

    /// Reads `text` as if it stood here.
    fn within(&mut self, text: &str) -> Option<()> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        let mut inner = Lexer {
            rest: text,
            style: self.style,
            commas_group: self.commas_group,
            spaced: self.spaced,
            tokens: std::mem::take(&mut self.tokens),
            depth: self.depth + 1,
        };
        inner.run()?;
        self.spaced = inner.spaced;
        self.tokens = inner.tokens;
        Some(())
    }

    fn letters(&mut self) {
        let is_letter = |c: char| c.is_alphabetic() && latex::unicode(c).is_none();
        let end = self.rest.find(|c| !is_letter(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.word(word);
    }

    /// A run of letters: a function or operator by its name, else letters.
    fn word(&mut self, word: &str) {
        match word.to_lowercase().as_str() {
            "and" | "or" => self.push(Kind::Mark(',')),
            "percent" | "percentage" | "pct" => self.push(Kind::Mark('%')),
            "degrees" | "degree" | "deg" => self.push(Kind::Mark('°')),
            _ => match latex::command(word) {
                Meaning::Command(command) => self.push(Kind::Command(command.into())),
                _ => self.push(Kind::Letters(word.into())),
            },
        }
    }

    fn mark(&mut self, letter: char) -> Option<()> {
        const MARKS: &str = "+-*/^_()[]{}|,;!%=<>≤≥≠≈∈±∓∪∩∖°…:&'";
        const IGNORED: &str = "$€£¥₹₽₪₩₫฿\"`?";
        const DIGRAPHS: [(&str, char); 7] = [
            ("**", '^'),
            ("<=", '≤'),
            (">=", '≥'),
            ("!=", '≠'),
            ("==", '='),
            ("~=", '≈'),
            ("...", '…'),
        ];
        for (spelling, mark) in DIGRAPHS {
            if let Some(rest) = self.rest.strip_prefix(spelling) {
                self.rest = rest;
                self.push(Kind::Mark(mark));
                return Some(());
            }
        }
        self.skip(letter);
        if MARKS.contains(letter) {
            self.push(Kind::Mark(letter));
        } else if letter == '.' && self.rest.trim_matches(['.', '}', ' ', '$', '*']).is_empty() {
            // The full stop of a sentence.
        } else if !IGNORED.contains(letter) {
            return None;
        }
        Some(())
    }

    fn command(&mut self) -> Option<()> {
        let after = &self.rest[1..];
        let first = after.chars().next()?;
        let end = if first.is_ascii_alphabetic() {
            after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len())
        } else {
            first.len_utf8()
        };
        let (name, rest) = after.split_at(end);
        self.rest = rest;
        match name {
            "{" | "lbrace" => self.push(Kind::OpenSet),
            "}" | "rbrace" => self.push(Kind::CloseSet),
            "\\" => self.backslashes(),
            "|" | "lVert" | "rVert" | "Vert" => return None,
            "begin" | "end" => self.environment(name)?,
            "mathbb" | "mathds" => self.number_set(),
            _ => self.by_meaning(name)?,
        }
        Some(())
    }

    fn by_meaning(&mut self, name: &str) -> Option<()> {
        match latex::meaning(name) {
            Meaning::Nothing if matches!(name, "left" | "right") => {
                // An invisible bracket.
                self.rest = self.rest.strip_prefix('.').unwrap_or(self.rest);
            }
            Meaning::Nothing => {}
            Meaning::Space => self.spaced = true,
            Meaning::Mark(mark) => self.push(Kind::Mark(mark)),
            Meaning::Text => self.text(name)?,
            Meaning::Accent => {
                let inner: String = self
                    .group()?
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .collect();
                self.push(Kind::Name(format!("{name}({inner})")));
            }
            Meaning::Name => self.push(Kind::Name(name.into())),
            Meaning::Command(command) => {
                self.push(Kind::Command(command.into()));
                self.numerator(command);
            }
            Meaning::Unknown => return None,
        }
        Some(())
    }

    /// After `\frac` without braces, the first digit alone is the numerator: `\frac12`.
    fn numerator(&mut self, command: &str) {
        let rest = self.rest.trim_start();
        let digit = rest.chars().next().and_then(|letter| letter.to_digit(10));
        if let (Some(digit), "frac" | "binom") = (digit, command) {
            let value = BigRational::from_integer(digit.into());
            self.rest = &rest[1..];
            self.push(Kind::Number {
                value,
                decimal: false,
            });
        }
    }

    /// `\\`: a new row, or a backslash doubled by escaping, as in `\\frac`.
    fn backslashes(&mut self) {
        let in_matrix = self
            .tokens
            .iter()
            .any(|token| matches!(token.kind, Kind::Begin(_)));
        if !in_matrix && self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let end = self.rest.find(|c: char| !c.is_ascii_alphabetic());
            let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            if !matches!(latex::meaning(name), Meaning::Unknown) {
                self.rest = rest;
                // An unreadable group leaves the words, which is not worse.
                let _read = self.by_meaning(name);
                return;
            }
        }
        self.push(Kind::NewRow);
    }

    fn environment(&mut self, name: &str) -> Option<()> {
        let kind = self.group()?.trim().to_string();
        if kind == "array" && name == "begin" && self.rest.trim_start().starts_with('{') {
            // The columns.
            self.group()?;
        }
        self.push(if name == "begin" {
            Kind::Begin(kind)
        } else {
            Kind::End(kind)
        });
        Some(())
    }

    /// After `\mathbb`: the set that the letter names.
    fn number_set(&mut self) {
        let before = self.rest;
        let letter = match self.rest.trim_start().strip_prefix('{') {
            Some(_) => self.group(),
            None => None,
        };
        let set = match letter.map(str::trim) {
            Some("R") => "Reals",
            Some("N") => "Naturals",
            Some("Z") => "Integers",
            Some("Q") => "Rationals",
            Some("C") => "Complexes",
            _ => {
                self.rest = before;
                return;
            }
        };
        self.push(Kind::Command(set.into()));
    }

    /// The content of the braces that open here; they may hold braces.
    fn group(&mut self) -> Option<&'a str> {
        let inner = self.rest.trim_start().strip_prefix('{')?;
        let mut open = 1;
        for (index, letter) in inner.char_indices() {
            match letter {
                '{' => open += 1,
                '}' => open -= 1,
                _ => {}
            }
            if open == 0 {
                self.rest = &inner[index + 1..];
                return Some(&inner[..index]);
            }
        }
        None
    }

    /// After `\text` and its like: mathematics is read, words are kept.
    fn text(&mut self, name: &str) -> Option<()> {
        let Some(content) = self.group() else {
            // `\text A`, or `{\text A}`: what follows is read as it stands.
            return Some(());
        };
        let words = content.replace('~', " ");
        let words = words.trim().trim_end_matches(['.', ':']).trim_end();
        if words.contains(|c: char| c.is_ascii_digit() || "\\$%<>".contains(c)) {
            return self.within(content);
        }
        if let (Meaning::Command(command), true) = (latex::command(words), name != "text") {
            self.push(Kind::Command(command.into()));
        } else if matches!(words, "e" | "i" | "d") && name == "mathrm" {
            self.push(Kind::Letters(words.into()));
        } else {
            self.words(words);
        }
        Some(())
    }

    fn words(&mut self, words: &str) {
        let lower = words.to_lowercase();
        if matches!(lower.as_str(), "percent" | "percentage" | "pct") {
            self.push(Kind::Mark('%'));
        } else if matches!(lower.as_str(), "degrees" | "degree") {
            self.push(Kind::Mark('°'));
        } else {
            let mut current = String::new();
            for word in words.split_inclusive([' ', ',', ';']) {
                let bare = word.trim_end_matches([' ', ',', ';']);
                let separates = matches!(bare, "and" | "or");
                if !separates {
                    current.push_str(bare);
                }
                if separates || word.contains([',', ';']) {
                    self.finish_words(&mut current);
                    self.push(Kind::Mark(','));
                }
            }
            self.finish_words(&mut current);
        }
    }

    fn finish_words(&mut self, words: &mut String) {
        let letters: String = words.drain(..).filter(|c| !"()".contains(*c)).collect();
        if !letters.is_empty() {
            self.push(Kind::Text(letters));
        }
    }
}
