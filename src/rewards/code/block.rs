//! The program in an answer.

const FENCE: &str = "```";

/// The content of the last closed block of `text` that names Python; a block begins and ends with a line
/// of its own.
pub(super) fn last_python_block(text: &str) -> Option<&str> {
    let mut last = None;
    let mut open: Option<Opened> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        match (&open, line.trim().strip_prefix(FENCE)) {
            (Some(block), Some("")) => {
                if block.is_python {
                    last = Some(&text[block.start..start]);
                }
                open = None;
            }
            (None, Some(language)) => {
                open = Some(Opened {
                    start: end,
                    is_python: is_python(language),
                });
            }
            _ => {}
        }
        start = end;
    }
    last
}

/// A block that is not closed yet.
struct Opened {
    /// Where its content begins, in bytes.
    start: usize,
    is_python: bool,
}

fn is_python(language: &str) -> bool {
    let name = language.split_whitespace().next().unwrap_or_default();
    ["python", "python3", "py"]
        .iter()
        .any(|python| name.eq_ignore_ascii_case(python))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_closed_block_of_python_is_the_program() {
        for (text, expected) in [
            ("So:\n```python\nx = 1\n```\nDone.", Some("x = 1\n")),
            ("```python\n1\n```\n```Py\n2\n```", Some("2\n")),
            ("```python\n1\n```\n```json\n{}\n```", Some("1\n")),
            ("```python\n1\n```\n```python\n2", Some("1\n")),
            ("  ```python3 title\n  x\n  ```  ", Some("  x\n")),
            ("```python\nx = '```'\n```", Some("x = '```'\n")),
            ("```python\n```", Some("")),
            ("```\nx = 1\n```", None),
            ("```python x = 1```", None),
            ("```text\n```python\n1\n```", None),
            ("x = 1", None),
            ("", None),
        ] {
            assert_eq!(last_python_block(text), expected, "{text}");
        }
    }

    #[test]
    fn hostile_text_has_no_block() {
        assert_eq!(last_python_block(&"`".repeat(1_000_000)), None);
        assert_eq!(last_python_block(&"```python\n".repeat(100_000)), None);
        assert_eq!(last_python_block("```python\u{0}\n```\n\u{2028}"), None);
    }
}
