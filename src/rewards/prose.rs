//! Which parts of a text are prose and which are code or formulas.
//!
//! Code stands between three or single backticks, formulas between `$$`, `$`, `\(` `\)`, `\[` `\]` or
//! `\begin` `\end`; a single `$` or backtick is closed on its line, and a `$` is one of a pair only where
//! Pandoc says so: something before the closing one and after the opening one, no digit behind. What is
//! never closed is prose, except three backticks, which reach to the end. Linear in the text.

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span<'a> {
    /// The part, without the marks around it.
    pub text: &'a str,
    /// Whether it is prose, not code or a formula.
    pub is_prose: bool,
}

struct Mark {
    open: &'static str,
    close: &'static str,
    on_one_line: bool,
}

/// Longer marks before those that begin like them.
const MARKS: [Mark; 7] = [
    Mark::new(FENCE, FENCE, false),
    Mark::new("`", "`", true),
    Mark::new("$$", "$$", false),
    Mark::new("$", "$", true),
    Mark::new("\\(", "\\)", false),
    Mark::new("\\[", "\\]", false),
    Mark::new("\\begin{", "\\end{", false),
];

const FENCE: &str = "```";

impl Mark {
    const fn new(open: &'static str, close: &'static str, on_one_line: bool) -> Self {
        Self {
            open,
            close,
            on_one_line,
        }
    }
}

/// The parts of `text`, in order.
pub(super) fn spans(text: &str) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    let mut closers = Closers {
        text,
        line_end: 0,
        none_before: [0; MARKS.len()],
    };
    let (mut prose_start, mut position) = (0, 0);
    while let Some(found) = text[position..].find(['`', '$', '\\']) {
        let start = position + found;
        let Some(content) = closers.content(start) else {
            position = start + 1;
            continue;
        };
        spans.push(Span {
            text: &text[prose_start..start],
            is_prose: true,
        });
        spans.push(Span {
            text: &text[content.start..content.end],
            is_prose: false,
        });
        (prose_start, position) = (content.next, content.next);
    }
    spans.push(Span {
        text: &text[prose_start..],
        is_prose: true,
    });
    spans.retain(|span| !span.text.is_empty());
    spans
}

/// Where something that is not prose stands.
struct Content {
    start: usize,
    end: usize,
    /// Where the text goes on after the closing mark.
    next: usize,
}

/// Finds closing marks, and remembers where there are none so as not to look again.
struct Closers<'a> {
    text: &'a str,
    /// Where the line ends that was last looked at.
    line_end: usize,
    /// For each mark: no closing one that an opening one before this place could have.
    none_before: [usize; MARKS.len()],
}

impl Closers<'_> {
    /// What is opened at `start`, if something is and it is closed.
    fn content(&mut self, start: usize) -> Option<Content> {
        let rest = &self.text[start..];
        let number = MARKS.iter().position(|mark| rest.starts_with(mark.open))?;
        let mark = &MARKS[number];
        let begin = start + mark.open.len();
        if start < self.none_before[number] || !self.may_open(mark, begin) {
            return None;
        }
        let limit = match mark.on_one_line {
            true => self.line_end(begin),
            false => self.text.len(),
        };
        let closing = self.text[begin..limit]
            .match_indices(mark.close)
            .map(|(n, _)| begin + n);
        match closing
            .into_iter()
            .find(|&end| self.may_close(mark, begin, end))
        {
            Some(end) => Some(Content {
                start: begin,
                end,
                next: end + mark.close.len(),
            }),
            None if mark.open == FENCE => Some(Content {
                start: begin,
                end: limit,
                next: limit,
            }),
            None => {
                self.none_before[number] = limit;
                None
            }
        }
    }

    /// Where the line of `place` ends; places come in order.
    fn line_end(&mut self, place: usize) -> usize {
        if place > self.line_end {
            let rest = &self.text[place..];
            self.line_end = rest.find('\n').map_or(self.text.len(), |n| place + n);
        }
        self.line_end
    }

    fn may_open(&self, mark: &Mark, begin: usize) -> bool {
        let next = self.text[begin..].chars().next();
        mark.open != "$" || next.is_some_and(|c| !c.is_whitespace())
    }

    fn may_close(&self, mark: &Mark, begin: usize, end: usize) -> bool {
        if mark.open != "$" {
            return true;
        }
        let before = self.text[begin..end].chars().next_back();
        let after = self.text[end + 1..].chars().next();
        before.is_some_and(|c| !c.is_whitespace()) && !after.is_some_and(|c| c.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The text with `<` `>` around what is not prose.
    fn marked(text: &str) -> String {
        spans(text)
            .into_iter()
            .map(|span| match span.is_prose {
                true => span.text.to_string(),
                false => format!("<{}>", span.text),
            })
            .collect()
    }

    #[test]
    fn code_and_formulas_are_told_from_prose() {
        assert_eq!(marked("so `let x` is"), "so <let x> is");
        assert_eq!(marked("a\n```py\nx = 1\n```\nb"), "a\n<py\nx = 1\n>\nb");
        assert_eq!(
            marked("if $x+1$ or $$y\n=2$$ then"),
            "if <x+1> or <y\n=2> then"
        );
        assert_eq!(marked(r"\(a\) and \[b\]."), "<a> and <b>.");
        assert_eq!(marked(r"\begin{a}x\end{a}"), "<a}x>a}");
        assert_eq!(marked("plain"), "plain");
        assert_eq!(marked(""), "");
    }

    #[test]
    fn money_is_no_formula() {
        assert_eq!(marked("costs $5 and $6 more"), "costs $5 and $6 more");
        assert_eq!(marked("from $5-$6"), "from $5-$6");
        assert_eq!(marked("a $ b $ c"), "a $ b $ c");
    }

    #[test]
    fn what_is_never_closed_is_prose_except_a_block_of_code() {
        assert_eq!(marked("a `b\nc` d"), "a `b\nc` d");
        assert_eq!(marked("a $b\nc$ d"), "a $b\nc$ d");
        assert_eq!(marked(r"a \[ b"), r"a \[ b");
        assert_eq!(marked("a ```b\nc"), "a <b\nc>");
    }

    #[test]
    fn hostile_text_is_read_quickly() {
        for piece in [
            "`", "$a $a ", "$", "\\[", "\\begin{", "$$ $", "\\(\\[", "``` `` ", "`\n",
        ] {
            let text = piece.repeat(300_000);
            let start = Instant::now();
            let length: usize = spans(&text).iter().map(|span| span.text.len()).sum();
            assert!(length <= text.len());
            assert!(start.elapsed() < Duration::from_secs(5), "{piece}");
        }
    }
}
