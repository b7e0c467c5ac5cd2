//! Code format: 1 for an answer of the think+answer shape that holds a code block, else 0.
//!
//! open-r1's `code_format`, as Python's expression at the start of the text, `.` taking line ends and
//! `$` standing before each of them:
//! `^<think>\n.*?\n</think>\n<answer>\n.*?```LANGUAGE.*?```.*?\n</answer>$`. Departure: the language is
//! taken letter by letter, not as an expression, so that `c++` can be named.

use serde::{Deserialize, Serialize};

use super::format::{answer_lines, ends_answer};
use super::{Attempt, Reward};
use crate::error::{Error, Result};

/// Settings of [`CodeFormat`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeFormatConfig {
    /// Factor in the sum of rewards.
    #[serde(default = "one")]
    pub weight: f64,
    /// What must follow the three opening backticks. open-r1's is `python`.
    #[serde(default = "python")]
    pub language: String,
}

/// The code format reward, 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeFormat {
    opening: String,
}

impl CodeFormat {
    /// The reward for code blocks of `language`.
    ///
    /// # Errors
    /// When the language is empty or more than a word.
    pub fn new(language: &str) -> Result<Self> {
        if language.is_empty() || language.contains(|c: char| c.is_whitespace() || c == '`') {
            let problem = format!("is `{language}`, must be one word such as `python`");
            return Err(Error::setting("rewards.code_format.language", problem));
        }
        let opening = format!("```{language}");
        Ok(Self { opening })
    }

    /// Whether `completion` has the shape.
    pub fn matches(&self, completion: &str) -> bool {
        let after_block = || {
            let (_, code) = answer_lines(completion)?.split_once(&self.opening)?;
            Some(code.split_once("```")?.1)
        };
        after_block().is_some_and(ends_answer)
    }
}

impl Reward for CodeFormat {
    fn name(&self) -> &str {
        "code_format"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let matches = self.matches(attempt.completion);
        Ok(Some(f64::from(u8::from(matches))))
    }
}

fn one() -> f64 {
    1.0
}

fn python() -> String {
    "python".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> String {
        format!("<think>\nx\n</think>\n<answer>\n{body}\n</answer>")
    }

    #[test]
    fn answer_with_a_closed_block_of_the_language_matches() {
        let format = CodeFormat::new("python").unwrap();
        let bodies = [
            "```python\nprint(1)\n```",
            "Here:\n```python\nprint(1)\n```\nDone.",
            "```python3\n```",
            "```js\nprint(1)\n```",
            "```python\nprint(1)",
            "print(1)",
        ];
        let matching = bodies.map(|body| format.matches(&answer(body)));
        assert_eq!(matching, [true, true, true, false, false, false]);
    }

    #[test]
    fn block_outside_the_answer_does_not_match() {
        let format = CodeFormat::new("python").unwrap();
        for text in [
            "```python\nprint(1)\n```",
            "<think>\n```python\n```\n</think>\n<answer>\n1\n</answer>",
            "<think>\nx\n</think>\n<answer>\n1\n</answer>\n```python\n```",
            "<think>x</think>\n<answer>\n```python\n```\n</answer>",
        ] {
            assert!(!format.matches(text), "{text}");
        }
    }

    #[test]
    fn language_is_taken_letter_by_letter() {
        let format = CodeFormat::new("c++").unwrap();
        assert!(format.matches(&answer("```c++\nint x;\n```")));
        assert!(!format.matches(&answer("```ccc\nint x;\n```")));
        let error = CodeFormat::new("").unwrap_err().to_string();
        assert!(error.contains("`rewards.code_format.language`"), "{error}");
    }
}
