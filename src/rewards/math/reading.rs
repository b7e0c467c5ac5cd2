//! An answer as it was read: its value with and without what may be a unit, its letters, its text.

use std::collections::BTreeSet;

use super::compare::matches;
use super::expression::Value;
use super::extract;
use super::lexer::tokenize;
use super::limits::{MAX_TEXT_BYTES, Steps};
use super::negation::denies;
use super::parser;
use super::prose;
use super::token::{Kind, Style, Token};
use super::units::without_units;

/// A mathematical answer, or one in words.
#[derive(Clone, Debug, PartialEq)]
pub struct MathAnswer {
    /// Its mathematics, if it has any that can be read.
    value: Option<Reading>,
    /// The same without a last letter that may be a unit, if there is one: `5 m` as 5.
    without_letter: Option<Reading>,
    /// Its letters, if it is nothing but letters.
    word: Option<String>,
    /// The text without what does not show.
    verbatim: String,
}

/// One value, as written and with small letters.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    written: Value,
    small: Value,
    /// Whether a letter stands there in both cases, so that they mean different things.
    mixes_case: bool,
}

impl MathAnswer {
    /// The answer that `completion` gives.
    ///
    /// It stands in the last `<answer>…</answer>`, or anywhere when there is none: there in the last
    /// `\boxed{…}`, else after "final answer", else after "answer", else in the mathematics that ends
    /// last. A last box that is not closed or is empty is no answer.
    pub fn extract(completion: &str) -> Option<Self> {
        extract::extract(completion, false)
    }

    /// Reads `text`, which is the answer and nothing else, as a data set gives it: `\frac12`, `$x=5$`,
    /// `(1, 2]`, `1,234 dollars`, `no solution`. In a sentence the mathematics is looked for.
    ///
    /// `None` when it is empty or longer than 4,096 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let style = if text.contains(['\\', '$', '{']) {
            Style::Latex
        } else {
            Style::Plain
        };
        Self::styled(text, style)
    }

    /// As [`MathAnswer::parse`], in the given style.
    pub(super) fn styled(text: &str, style: Style) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        if let Some(content) = prose::only_environment(text) {
            return Self::read(content, Style::Latex);
        }
        if !prose::is_prose(text) {
            return Self::read(text, style);
        }
        prose::last_mathematics(text).or_else(|| Self::read(text, style))
    }

    /// Reads `text` as mathematics, else as words.
    pub(super) fn read(text: &str, style: Style) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let verbatim = visible(text);
        if verbatim.is_empty() {
            return None;
        }
        let mut tokens = tokenize(text, style).unwrap_or_default();
        let word = word(&tokens);
        if word.is_none() && denies(text) {
            tokens.clear();
        }
        let bare = without_units(&tokens, false);
        let barer = without_units(&tokens, true);
        let without_letter = if barer == bare {
            None
        } else {
            Reading::of(&barer)
        };
        let value = Reading::of(&bare);
        Some(Self {
            value,
            without_letter,
            word,
            verbatim,
        })
    }

    /// Whether its mathematics could be read.
    pub fn is_mathematics(&self) -> bool {
        self.value.is_some()
    }

    /// Whether `answer` is this reference.
    ///
    /// It costs a bounded number of steps; a comparison that needs more finds nothing equal.
    pub fn is_matched_by(&self, answer: &Self) -> bool {
        if self.verbatim == answer.verbatim || (self.word.is_some() && self.word == answer.word) {
            return true;
        }
        let pairs = [
            (&self.value, &answer.value, false),
            (&self.without_letter, &answer.value, true),
            (&self.value, &answer.without_letter, true),
        ];
        let mut steps = Steps::default();
        pairs.into_iter().any(|pair| match pair {
            (Some(one), Some(other), without_letter) => {
                let are_numbers = || !one.has_symbols() && !other.has_symbols();
                (!without_letter || are_numbers()) && one.matches(other, &mut steps)
            }
            _ => false,
        })
    }
}

impl Reading {
    fn of(tokens: &[Token]) -> Option<Self> {
        let written = parser::parse(tokens)?;
        let mixes_case = mixes_case(tokens);
        let small = if mixes_case {
            written.clone()
        } else {
            parser::parse(&in_small(tokens))?
        };
        Some(Self {
            written,
            small,
            mixes_case,
        })
    }

    fn matches(&self, answer: &Self, steps: &mut Steps) -> bool {
        if self.mixes_case || answer.mixes_case {
            matches(&self.written, &answer.written, steps)
        } else {
            matches(&self.small, &answer.small, steps)
        }
    }

    fn has_symbols(&self) -> bool {
        let mut found = false;
        self.written
            .visit(&mut |expression| found |= !expression.symbols().is_empty());
        found
    }
}

fn mixes_case(tokens: &[Token]) -> bool {
    let mut letters = BTreeSet::new();
    for token in tokens {
        if let Kind::Letters(word) = &token.kind {
            letters.extend(word.chars());
        }
    }
    let is_twice = |letter: &char| {
        letter.is_uppercase() && letter.to_lowercase().any(|c| letters.contains(&c))
    };
    letters.iter().any(is_twice)
}

/// `tokens` in small letters; `E` and `I` stay, as the small ones are constants.
fn in_small(tokens: &[Token]) -> Vec<Token> {
    let small = |word: &str| -> String {
        let letters = word.chars().map(|letter| match letter {
            'E' | 'I' => letter.to_string(),
            _ => letter.to_lowercase().to_string(),
        });
        letters.collect()
    };
    let mut tokens = tokens.to_vec();
    for token in &mut tokens {
        match &mut token.kind {
            // A `U` may be a union.
            Kind::Letters(word) if word != "U" => *word = small(word),
            Kind::Text(word) => *word = small(word),
            _ => {}
        }
    }
    tokens
}

/// The letters of an answer that is nothing but letters, in small ones.
fn word(tokens: &[Token]) -> Option<String> {
    let mut word = String::new();
    for token in tokens {
        match &token.kind {
            Kind::Letters(letters) | Kind::Text(letters) => word.push_str(&letters.to_lowercase()),
            Kind::Mark('(' | ')' | '{' | '}') => {}
            _ => return None,
        }
    }
    (!word.is_empty()).then_some(word)
}

/// `text` without white space and the commands that only move things.
fn visible(text: &str) -> String {
    const UNSEEN: [&str; 9] = [
        "\\displaystyle",
        "\\left",
        "\\right",
        "\\,",
        "\\!",
        "\\;",
        "\\:",
        "\\ ",
        "$",
    ];
    let mut seen = text.to_string();
    for command in UNSEEN {
        seen = seen.replace(command, "");
    }
    seen.retain(|letter| !letter.is_whitespace());
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_matched(reference: &str, answer: &str) -> bool {
        let reference = MathAnswer::parse(reference).unwrap();
        reference.is_matched_by(&MathAnswer::parse(answer).unwrap())
    }

    #[track_caller]
    fn assert_all_equal(forms: &[&str]) {
        for one in forms {
            for other in forms {
                assert!(is_matched(one, other), "{one} and {other}");
            }
        }
    }

    #[track_caller]
    fn assert_none_is(reference: &str, others: &[&str]) {
        for other in others {
            assert!(!is_matched(reference, other), "{reference} and {other}");
        }
    }

    #[test]
    fn number_is_the_same_in_every_form() {
        assert_all_equal(&[
            r"\frac{3}{4}",
            "0.75",
            "3/4",
            r"\dfrac34",
            r"\frac68",
            r"75\%",
            "75%",
            "$.75$",
        ]);
        assert_all_equal(&[r"2\frac13", "2 1/3", "7/3", r"\frac{7}{3}"]);
        assert_all_equal(&[
            "1000",
            "1,000",
            "10^3",
            "1e3",
            r"1\,000",
            r"1\times10^{3}",
            "1000.0",
            "$1,000",
        ]);
        assert_all_equal(&[
            r"\sqrt{8}",
            r"2\sqrt2",
            "sqrt(8)",
            "2√2",
            "8^{1/2}",
            r"\frac{4}{\sqrt{2}}",
        ]);
        assert_all_equal(&[
            r"\sin(30^\circ)",
            r"\sin\frac{\pi}{6}",
            r"\frac12",
            r"\cos 60^\circ",
        ]);
        assert_all_equal(&[r"\sqrt[3]{-8}", "-2", r"-\frac{6}{3}", "−2"]);
        assert_all_equal(&[
            r"\binom{5}{2}",
            "10",
            r"\frac{5!}{3!2!}",
            r"|{-10}|",
            r"\log_2 1024",
        ]);
        assert_none_is(
            r"\frac34",
            &[r"\frac43", "0.7", "75", r"-\frac34", "0.7501"],
        );
    }

    #[test]
    fn decimal_is_compared_to_six_places() {
        assert!(is_matched(r"\frac13", "0.333333"));
        assert!(is_matched(r"2\pi", "6.283185"));
        assert_none_is(r"\frac13", &["0.333", "0.33333"]);
        // Both round to 0 at six places.
        assert_none_is("0.0000001", &["0.0000002", "0", "0.0"]);
        // 1/3 is compared exactly with a fraction that is nearly the same.
        assert_none_is(r"\frac13", &[r"\frac{333333333333}{1000000000000}"]);
    }

    #[test]
    fn percent_sign_is_a_hundredth_but_does_not_count_between_whole_numbers() {
        assert!(
            is_matched(r"50\%", "50") && is_matched("50", "50%") && is_matched("0.5", "50 percent")
        );
        assert_none_is(r"12.5\%", &["12.5", "1.25"]);
    }

    #[test]
    fn polynomial_is_compared_exactly() {
        assert_all_equal(&["x^2-1", "(x-1)(x+1)", r"x \cdot x - 1", "-(1-x)(1+x)"]);
        assert_all_equal(&[r"\frac{1}{x+1}", "(x+1)^{-1}", r"\frac{x}{x^2+x}"]);
        assert_none_is("x^2-1", &["x^2+1", "y^2-1", "(x-1)^2"]);
        // The difference is far below what f64 can see.
        assert_none_is("10^{20}x+1", &["10^{20}x"]);
    }

    #[test]
    fn functions_are_compared_at_points() {
        assert_all_equal(&[
            r"\sin^2 x",
            r"1-\cos^2x",
            r"(\sin x)^2",
            r"\frac{1-\cos 2x}{2}",
        ]);
        assert_all_equal(&["e^{2x}", r"\exp(2x)", "(e^x)^2"]);
        assert_all_equal(&[r"\sqrt{x^2}", "|x|"]);
        assert_all_equal(&["n!", r"n\cdot(n-1)!"]);
        assert_all_equal(&["(1+i)^2", "2i"]);
        assert_none_is(r"\sin x", &[r"\sin^2x", "x", r"\cos x"]);
        assert_none_is("x", &[r"\sqrt{x^2}"]);
    }

    #[test]
    fn case_of_letters_counts_only_where_both_cases_are_in_use() {
        assert!(is_matched("n+1", "N+1"));
        assert_none_is("R-r", &["r-R", "r-r"]);
    }

    #[test]
    fn units_do_not_count() {
        assert_all_equal(&[
            "10",
            r"10\text{ cm}",
            "10 cm",
            "$10$ meters",
            r"10\ \mathrm{m/s^2}",
            "10 m",
        ]);
        assert_none_is("5m", &["5n", "5", "m"]);
    }

    #[test]
    fn right_side_of_an_equation_counts_beside_a_value() {
        assert!(is_matched("x=5", "5") && is_matched("5", "x=5") && is_matched("5", "2+3=5"));
        assert!(is_matched("f(x)=x^2", "x^2") && is_matched("y=2x+1", "2x-y+1=0"));
        assert!(is_matched("x=1,x=2", "1,2") && is_matched("x=\\pm3", "3,-3"));
        assert_none_is("x=5", &["y=5", "x=6"]);
        assert_none_is("x=1,y=2", &["x=2,y=1"]);
        assert!(is_matched("a+b=5", "5"));
        assert_none_is("2x+y=5", &["5"]);
    }

    #[test]
    fn inequality_is_the_interval_of_its_solutions() {
        assert_all_equal(&["x>3", "3<x", r"(3,\infty)", "2x>6", r"x\in(3,\infty)"]);
        assert_all_equal(&[r"-1<x\le4", r"(-1,4]", r"4\ge x>-1"]);
        assert_all_equal(&[r"|x-1|<2", "-1<x<3"]);
        assert_all_equal(&[
            r"x<-1 \text{ or } x>1",
            r"(-\infty,-1)\cup(1,\infty)",
            "|x|>1",
        ]);
        assert_all_equal(&[
            r"x\ne0",
            r"\mathbb{R}\setminus\{0\}",
            r"(-\infty,0)\cup(0,\infty)",
        ]);
        assert_none_is("x>3", &[r"x\ge3", "x<3", "(3,4)", r"[3,\infty)", "y>3"]);
    }

    #[test]
    fn order_counts_in_tuples_only() {
        assert_all_equal(&[r"\{1,2,3\}", "3,2,1", r"1, 2 \text{ and } 3", "{1, 3, 2}"]);
        assert!(is_matched("(1,2)", "(1.0, 2)") && is_matched("(1,2)", "1,2"));
        assert_none_is("(1,2)", &["(2,1)", "2,1", "[1,2]", "(1,2,3)", "1"]);
        assert_none_is(r"\{1,2\}", &["1", r"\{1,2,3\}", r"\{1\}"]);
        assert!(is_matched(r"\emptyset", r"\{\}") && is_matched(r"\varnothing", "∅"));
    }

    #[test]
    fn interval_has_its_ends_open_or_closed() {
        assert_all_equal(&[
            "[0,1)",
            r"\left[0,\,1\right)",
            "0 <= x < 1",
            r"[0,\frac12)\cup[0.5,1)",
        ]);
        assert_none_is("[0,1)", &["[0,1]", "(0,1)", "[0,2)"]);
        assert_none_is(r"(-\infty,1)", &[r"(-\infty,1]", r"(1,\infty)", "1"]);
    }

    #[test]
    fn matrices_are_compared_by_entry() {
        let identity = r"\begin{pmatrix}1&0\\0&1\end{pmatrix}";
        let array = r"\left[\begin{array}{cc}1.0&0\\0&\frac22\end{array}\right]";
        assert_all_equal(&[
            identity,
            array,
            r"\begin{bmatrix} 1 & 0 \\ 0 & 1 \\ \end{bmatrix}",
        ]);
        assert!(is_matched(
            r"\begin{pmatrix}2\\4\end{pmatrix}",
            r"2\begin{pmatrix}1\\2\end{pmatrix}"
        ));
        assert!(is_matched("-2", r"\begin{vmatrix}1&2\\3&4\end{vmatrix}"));
        assert_none_is(
            identity,
            &[
                r"\begin{pmatrix}1&0\\1&0\end{pmatrix}",
                r"\begin{pmatrix}1&0\end{pmatrix}",
            ],
        );
    }

    #[test]
    fn words_are_compared_without_case() {
        assert_all_equal(&[r"\text{(C)}", "C", "c", r"\textbf{C}", "(C)"]);
        assert_all_equal(&[r"\text{no solution}", "No solution"]);
        assert_none_is(r"\text{even}", &[r"\text{odd}", "odd"]);
    }

    #[test]
    fn undefined_value_matches_nothing_but_itself() {
        assert_none_is("0", &[r"\frac00", r"\frac{1}{0}", r"\frac{x}{0}"]);
        assert_none_is(r"\frac{x}{0}", &["x", r"\frac{y}{0}", r"\infty"]);
    }

    #[test]
    fn derivative_is_no_fraction() {
        // As a fraction d over dx would be 1/x.
        assert_none_is(r"\frac{d}{dx}x^2", &["x", "2x"]);
    }

    #[test]
    fn what_cannot_be_read_is_compared_as_text() {
        assert!(is_matched(r"\int_0^1 x\,dx", r"\int_0^1 x dx"));
        assert!(
            !MathAnswer::parse(r"\int_0^1 x\,dx")
                .unwrap()
                .is_mathematics()
        );
        assert_eq!(MathAnswer::parse(" "), None);
        assert_eq!(MathAnswer::parse(&"1".repeat(MAX_TEXT_BYTES + 1)), None);
    }
}
