//! Shapes of problem files: this crate's own and those of published benchmarks.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::problem::level;
use crate::data::{JsonLine, Problem, Prompt, read_json_lines, read_problems};
use crate::error::{Error, Result};

/// The fields that a JSON Lines file of problems has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemFormat {
    /// `{"prompt": .., "answer": .., "level": .., "language": ..}`: see [`read_problems`].
    #[default]
    Emberl,
    /// GSM8K (arXiv:2110.14168): `{"question": .., "answer": "… #### 42"}`; the reference is what
    /// follows the last `####`, without thousands separators.
    Gsm8k,
    /// MATH (arXiv:2103.03874): `{"problem": .., "solution": "… \\boxed{42} …", "level": "Level 5"}`;
    /// the reference is the content of the last box.
    Math,
    /// AIME: `{"problem": .., "answer": "042"}`, a whole number from 0 to 999; the reference has no
    /// zeros in front.
    Aime,
}

impl ProblemFormat {
    /// Reads the problems of a file of this shape; the reference is a text but in `emberl`.
    ///
    /// # Errors
    /// When the file cannot be read, a line is not of this shape, or there are none.
    pub fn read(self, path: &Path) -> Result<Vec<Problem>> {
        let convert = match self {
            Self::Emberl => return read_problems(path),
            Self::Gsm8k => gsm8k,
            Self::Math => math,
            Self::Aime => aime,
        };
        let problems = read_json_lines(path)?
            .map(|line| convert(line?))
            .collect::<Result<Vec<_>>>()?;
        if problems.is_empty() {
            return Err(Error::file(path, "no problems, expected one a line"));
        }
        Ok(problems)
    }
}

fn gsm8k(mut line: JsonLine) -> Result<Problem> {
    let question: String = line.take("question", "a text")?;
    let solution: String = line.take("answer", "a text that ends in `#### 42`")?;
    let answer = solution
        .rsplit_once("####")
        .map(|(_, answer)| answer.trim());
    let answer =
        answer.filter(|answer| !answer.is_empty() && !answer.contains(char::is_whitespace));
    let Some(answer) = answer else {
        return Err(line.error("`answer`: no number after `####`, expected it to end in `#### 42`"));
    };
    Ok(problem(question, answer.replace(',', ""), None))
}

fn math(mut line: JsonLine) -> Result<Problem> {
    let question: String = line.take("problem", "a text")?;
    let solution: String = line.take("solution", "a text with \\boxed{..}")?;
    let Some(answer) = last_boxed(&solution) else {
        return Err(line.error("`solution`: no closed \\boxed{..}, expected the answer in one"));
    };
    let level = level(&mut line)?;
    Ok(problem(question, answer.into(), level))
}

fn aime(mut line: JsonLine) -> Result<Problem> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Number(u64),
        Text(String),
    }
    const EXPECTED: &str = "a whole number from 0 to 999";
    let question: String = line.take("problem", "a text")?;
    let number = match line.take("answer", EXPECTED)? {
        Answer::Number(number) => Some(number),
        Answer::Text(text) => text.trim().parse().ok(),
    };
    match number.filter(|number| *number <= 999) {
        Some(number) => Ok(problem(question, number.to_string(), None)),
        None => Err(line.error(format!("`answer`: expected {EXPECTED}"))),
    }
}

fn problem(question: String, answer: String, level: Option<String>) -> Problem {
    Problem {
        prompt: Prompt::Text(question),
        answer: answer.into(),
        level,
        language: None,
        part: None,
    }
}

/// The content of the last `\boxed{..}` or `\fbox{..}` of `text`, or the one symbol of a last
/// `\boxed 5`; `None` when the last box is not closed or is empty.
fn last_boxed(text: &str) -> Option<&str> {
    let places = ["\\boxed", "\\fbox"].map(|command| {
        let place = text.rfind(command)?;
        Some(place + command.len())
    });
    let rest = text[places.into_iter().flatten().max()?..].trim_start();
    let answer = match rest.strip_prefix('{') {
        Some(inside) => &inside[..closing_brace(inside)?],
        None => rest
            .split(|c: char| c.is_whitespace() || "$.,".contains(c))
            .next()?,
    };
    Some(answer.trim()).filter(|answer| !answer.is_empty())
}

/// Where the brace closes that was opened before `text`; `\{` and `\}` are set braces, not groups.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut escaped = false;
    for (place, symbol) in text.char_indices() {
        match symbol {
            _ if escaped => {}
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
        escaped = symbol == '\\' && !escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: ProblemFormat, content: &str) -> Result<Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("problems.jsonl");
        std::fs::write(&path, content).unwrap();
        format.read(&path)
    }

    fn answers(format: ProblemFormat, content: &str) -> Vec<String> {
        let problems = read(format, content).unwrap();
        let text = |p: &Problem| p.answer.as_str().expect("a text").to_string();
        problems.iter().map(text).collect()
    }

    #[test]
    fn gsm8k_answer_follows_the_last_mark() {
        let content = r#####"{"question": "How many?", "answer": "6*7=<<6*7=42>>42\n#### 42"}
            {"question": "How much?", "answer": "#### is a mark\n#### 1,234,567 "}
            {"question": "How cold?", "answer": "Cold.\n#### -5"}"#####;
        assert_eq!(
            answers(ProblemFormat::Gsm8k, content),
            ["42", "1234567", "-5"]
        );
        let problems = read(ProblemFormat::Gsm8k, content).unwrap();
        assert_eq!(problems[0].prompt, Prompt::Text("How many?".into()));
    }

    #[test]
    fn math_answer_is_the_content_of_the_last_box() {
        let content = r#"{"problem": "p", "solution": "So $\\boxed{\\frac{1}{2}}$, thus \\boxed{ \\frac{3}{4} }.", "level": "Level 5", "type": "Algebra"}
            {"problem": "p", "solution": "$\\boxed{\\{1, 2\\}}$"}
            {"problem": "p", "solution": "$\\boxed 7$."}
            {"problem": "p", "solution": "$\\boxed{1}$ or $\\fbox{x\\\\y}$"}"#;
        let expected = ["\\frac{3}{4}", "\\{1, 2\\}", "7", "x\\\\y"];
        assert_eq!(answers(ProblemFormat::Math, content), expected);
        let problems = read(ProblemFormat::Math, content).unwrap();
        assert_eq!(problems[0].level.as_deref(), Some("Level 5"));
        assert_eq!(problems[1].level, None);
    }

    #[test]
    fn aime_answers_are_whole_numbers_below_a_thousand() {
        let content = r#"{"problem": "p", "answer": "042"}
            {"problem": "p", "answer": 7, "year": 2024}
            {"id": 3, "problem": "p", "answer": " 000 "}"#;
        assert_eq!(answers(ProblemFormat::Aime, content), ["42", "7", "0"]);
    }

    #[test]
    fn line_of_another_shape_is_named_with_what_would_be_right() {
        use ProblemFormat::{Aime, Gsm8k, Math};
        for (format, line, complaint) in [
            (
                Gsm8k,
                r#"{"question": "q", "answer": "42"}"#,
                "no number after `####`",
            ),
            (
                Gsm8k,
                r#"{"question": "q", "answer": "x ####"}"#,
                "no number after `####`",
            ),
            (
                Gsm8k,
                r#"{"prompt": "q", "answer": "42"}"#,
                "no `question`, expected a text",
            ),
            (Math, r#"{"problem": "q", "answer": "42"}"#, "no `solution`"),
            (
                Math,
                r#"{"problem": "q", "solution": "42"}"#,
                "no closed \\boxed{..}",
            ),
            (
                Math,
                r#"{"problem": "q", "solution": "\\boxed{4{2}"}"#,
                "no closed \\boxed{..}",
            ),
            (
                Math,
                r#"{"problem": "q", "solution": "\\boxed{}"}"#,
                "no closed \\boxed{..}",
            ),
            (
                Aime,
                r#"{"problem": "q", "answer": 1000}"#,
                "a whole number from 0 to 999",
            ),
            (
                Aime,
                r#"{"problem": "q", "answer": "4.2"}"#,
                "a whole number from 0 to 999",
            ),
            (
                Aime,
                r#"{"problem": "q", "answer": -4}"#,
                "a whole number from 0 to 999",
            ),
        ] {
            let message = read(format, line).unwrap_err().to_string();
            assert!(message.contains("problems.jsonl:1: "), "{message}");
            assert!(message.contains(complaint), "{message}");
        }
        let message = read(Aime, "\n").unwrap_err().to_string();
        assert!(message.contains("no problems"), "{message}");
    }
}
