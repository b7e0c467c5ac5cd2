//! Mathematics: whether an answer has the reference's value, in whatever form it is written.
//!
//! An answer is found in the completion ([`MathAnswer::extract`]), read into an expression, a set, a
//! tuple, an interval, a matrix or a relation ([`MathAnswer::parse`]), and compared with the reference
//! ([`MathAnswer::is_matched_by`]): numbers and rational functions exactly, in arithmetic of bounded
//! size; other expressions in complex `f64` at fixed pseudo-random points, with their rounding errors
//! carried along; what cannot be read, letter by letter. There is no clock in it: length, depth, size of
//! numbers and steps are bounded, so a verdict does not depend on the machine.
//!
//! # Math-Verify
//! Where a form has several meanings the reading is that of Math-Verify, Hugging Face's verifier:
//! - a number written with a point is compared to six decimals: `0.333333` is 1/3, `0.333` is not (but
//!   here two different numbers that both round to zero differ);
//! - `50\%` is 0.5 and, between whole numbers, also 50; `12.5\%` is not 12.5;
//! - units, currencies and degrees do not count, nor does the base in `101_2`;
//! - `\log` is to base 10, `1/2x` is 1/(2x), `1:2` is 1/2, `1\frac12` is 3/2, and in LaTeX `1e2` is 2e;
//! - `\fbox` is no box, and a word outside of tags, boxes and LaTeX is no answer unless asked for;
//! - several values without brackets are a set, unless the reference is a tuple of as many;
//! - `(1,2)` is a point, and the open interval beside an inequality or a union.
//!
//! The reference and the answer are not treated alike in one thing: an answer's equation stands for its
//! right side beside a reference that is none (`2+3=5` for `5`), while a reference's does so only when
//! its left side is made of names alone (`x=5`, `a+b=5`, not `2x+y=5`).
//!
//! Departures: an inequality and its interval match either way round (there only when the reference
//! is the inequality); the last box counts (there all near ones together); `°` counts in the argument
//! of a trigonometric function; `i` is the imaginary unit; an odd root of a negative number is real;
//! capital and small letters differ where an answer uses both of one letter; a letter is taken for a
//! unit only after a space and beside a plain number; a word may be the reference; a number that the
//! words beside it deny is no answer (`not 72`).
//!
//! Not read, and compared letter by letter: sums, products, integrals and limits with their signs,
//! derivatives, congruences, sets by a condition, logic.

mod arithmetic;
mod atoms;
mod compare;
mod equality;
mod exact;
mod expression;
mod extract;
mod functions;
mod latex;
mod lexer;
mod limits;
mod negation;
mod number;
mod numeric;
mod parser;
mod polynomial;
mod prose;
mod reading;
mod region;
mod relations;
mod reward;
mod token;
mod units;

pub use reading::MathAnswer;
pub use reward::Math;

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % end as u64) as usize
        }
    }

    const PIECES: [&str; 72] = [
        "\\frac",
        "\\sqrt",
        "\\boxed",
        "\\text",
        "\\left(",
        "\\right)",
        "\\{",
        "\\}",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "|",
        "^",
        "_",
        "+",
        "-",
        "*",
        "/",
        "!",
        "%",
        "\\%",
        "=",
        "<",
        ">",
        "\\le",
        "\\cup",
        "\\cap",
        "\\setminus",
        "\\pm",
        "\\mp",
        "\\infty",
        "\\pi",
        "\\sin",
        "\\log",
        "\\ln",
        "\\binom",
        "\\gcd",
        "\\lfloor",
        "\\rfloor",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        ",",
        ";",
        ":",
        ".",
        "$",
        "$$",
        "\\[",
        "\\]",
        "\\(",
        "<answer>",
        "</answer>",
        "answer",
        " is ",
        "final ",
        " ",
        "0",
        "1",
        "23",
        "99999",
        "x",
        "e",
        "i",
        "½",
        "√",
        "1,234",
        "^\\circ",
    ];

    /// Reads and compares `text` in every role.
    fn judge(text: &str) {
        let reference = MathAnswer::parse("x^2+1").unwrap();
        let found = [MathAnswer::parse(text), MathAnswer::extract(text)];
        for answer in found.into_iter().flatten() {
            assert!(answer.is_matched_by(&answer), "{text}");
            assert!(
                !answer.is_matched_by(&reference) || reference.is_matched_by(&answer),
                "{text}"
            );
        }
    }

    #[test]
    fn random_text_neither_panics_nor_hangs() {
        let mut random = Random(1);
        for _ in 0..4000 {
            let length = 1 + random.below(24);
            let text: String = (0..length)
                .map(|_| PIECES[random.below(PIECES.len())])
                .collect();
            judge(&text);
        }
    }

    #[test]
    fn mutated_answers_neither_panic_nor_hang() {
        const ANSWERS: [&str; 8] = [
            r"The final answer is $\boxed{\frac{-b\pm\sqrt{b^2-4ac}}{2a}}$.",
            r"$\left(-\infty,-\frac{1}{2}\right]\cup\left\{3\right\}$",
            r"\begin{bmatrix}1&\sin^2 x\\|x-1|&e^{i\pi}\end{bmatrix}",
            r"so 1,234.5e-7 \text{ cm}^2 = 50\% of $3!\binom{5}{2}$",
            r"<answer>x=1\frac12, y \in [0,1) \text{ or } z\ne 101_2</answer>",
            r"\log_{2}\left(\lfloor 3.7\rfloor^{10}\right)<\sqrt[3]{-8}\le x^{y^z}",
            "½ × √3 ÷ π ≤ ∞ − 2²",
            r"\gcd(12,\max\{4,6\}) \bmod 5 : 7",
        ];
        let mut random = Random(2);
        for round in 0..4000 {
            let mut letters: Vec<char> = ANSWERS[round % ANSWERS.len()].chars().collect();
            for _ in 0..1 + random.below(6) {
                let at = random.below(letters.len());
                match random.below(4) {
                    0 => drop(letters.remove(at)),
                    1 => letters.insert(at, letters[random.below(letters.len())]),
                    2 => letters.truncate(at + 1),
                    _ => letters
                        .splice(at..at, PIECES[random.below(PIECES.len())].chars())
                        .for_each(drop),
                }
                if letters.is_empty() {
                    letters.push('1');
                }
            }
            judge(&letters.into_iter().collect::<String>());
        }
    }

    #[test]
    fn hostile_answers_are_bounded() {
        let nested =
            |open: &str, close: &str| format!("{}1{}", open.repeat(700), close.repeat(700));
        for text in [
            "10^{10^{10}}".to_string(),
            "9^{9^{9^{9^9}}}".into(),
            "(1+1/7)^{99999999}".into(),
            "(x+y+z+w)^{500}".into(),
            "(a+b+c+d)^{40}-(a+b+c+d)^{40}".into(),
            "1e999999999".into(),
            "99999999!".into(),
            "1000!!!!!!".into(),
            r"\binom{4000000000}{2000000000}".into(),
            r"\sqrt[4000000000]{2}".into(),
            r"\gcd(9999999999999999999999, 10^{4000})".into(),
            "9".repeat(4000),
            format!("{}/{}", "9".repeat(2000), "7".repeat(2000)),
            vec!["1/3"; 900].join("+"),
            vec!["1/9999999999999999999"; 150].join("+"),
            "x=".repeat(1000) + "1",
            "1,".repeat(2000),
            vec!["x^{1/2}"; 500].join(","),
            "-".repeat(4000) + "1",
            "1".to_string() + &"!".repeat(4000),
            "1^".repeat(1300) + "1",
            "1/".repeat(2000) + "1",
            vec!["(0,1)"; 600].join("\\cup "),
            nested("(", ")"),
            nested("{", "}"),
            nested("|", "|"),
            nested("\\frac{1}{", "}"),
            nested("\\sqrt{", "}"),
            nested("\\text{1", "}"),
            nested("\\sin(", ")"),
            nested("\\{", "\\}"),
        ] {
            judge(&text);
        }
    }

    #[test]
    fn endless_completions_are_searched_in_a_bounded_part() {
        for piece in [
            "\\boxed{", "$", "\\[ ", "\\( x", "answer ", "<answer>", "1 ", "1+", "{", "\\", "é$",
        ] {
            judge(&piece.repeat(400_000 / piece.len()));
        }
    }
}
