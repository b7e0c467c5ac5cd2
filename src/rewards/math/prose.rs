//! Mathematics within sentences: LaTeX environments, numbers and expressions without one.

use super::latex::{self, Meaning};
use super::limits::{MAX_ENVIRONMENT_BYTES, MAX_TEXT_BYTES};
use super::negation::is_denied;
use super::reading::MathAnswer;
use super::token::Style;
use super::units::is_unit;

/// A stretch of text: first byte and the byte after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

/// Short words that are no product of letters.
const SHORT_WORDS: [&str; 16] = [
    "is", "it", "we", "so", "of", "to", "be", "as", "at", "by", "if", "on", "he", "an", "my", "us",
];

/// Whether `text` has words beside mathematics: a run of three letters or more that is no function,
/// unit or `\text{…}`, unless it is the whole text; or mathematics marked as such and more.
pub(super) fn is_prose(text: &str) -> bool {
    let bare = without_texts(text);
    let is_unknown = |word: &&str| {
        let small = word.to_lowercase();
        let is_long = word.chars().count() >= 3;
        (is_long || SHORT_WORDS.contains(&small.as_str()))
            && !is_unit(word)
            && !matches!(small.as_str(), "and" | "percent" | "pct" | "percentage")
            && !matches!(latex::command(word), Meaning::Command(_))
    };
    let mut words = words(&bare).filter(is_unknown);
    let marked = || {
        environments(text)
            .first()
            .is_some_and(|first| first.inner != text)
    };
    match words.next() {
        Some(word) => word != text.trim(),
        None => marked(),
    }
}

/// The content of the one environment that `text` is.
pub(super) fn only_environment(text: &str) -> Option<&str> {
    let found = environments(text);
    let only = found.first().filter(|_| found.len() == 1)?;
    (only.span
        == Span {
            start: 0,
            end: text.len(),
        })
    .then_some(only.inner)
}

/// The mathematics that ends last in `text`: an environment with those joined to it by "and", "or" or
/// a comma, a LaTeX command without one, or a number. None if the words beside it deny it.
pub(super) fn last_mathematics(text: &str) -> Option<MathAnswer> {
    let found = environments(text);
    let marked = found.last().map(|last| last.span);
    let command = last_command(text);
    let ends = [runs(text).last(), command, marked].into_iter().flatten();
    let last = ends.max_by_key(|span| span.end)?;
    if is_denied(text, last) {
        return None;
    }
    let inside = &text[last.start..last.end];
    if marked == Some(last) {
        return MathAnswer::read(&joined(text, &found), Style::Latex);
    }
    match command == Some(last) {
        true => MathAnswer::read(inside, Style::Latex),
        false => number(inside),
    }
}

/// The mathematics that begins first in `text`, within its first `window` bytes. None if the words beside
/// it deny it.
pub(super) fn first_mathematics(text: &str, window: usize) -> Option<MathAnswer> {
    let text = &text[..text.floor_char_boundary(window + MAX_ENVIRONMENT_BYTES)];
    let marked = environments(text).into_iter().next();
    let run = runs(text).next();
    let counts = |span: Span| span.start <= window && !is_denied(text, span);
    match (marked, run) {
        (Some(marked), run) if run.is_none_or(|run| marked.span.start <= run.start) => {
            counts(marked.span).then(|| MathAnswer::read(marked.inner, Style::Latex))?
        }
        (_, Some(run)) if counts(run) => number(&text[run.start..run.end]),
        _ => None,
    }
}

/// A stretch between the marks of mathematics.
pub(super) struct Environment<'a> {
    pub span: Span,
    pub inner: &'a str,
}

/// The stretches `$$…$$`, `$…$` on one line, `\[…\]` and `\(…\)`, in order.
pub(super) fn environments(text: &str) -> Vec<Environment<'_>> {
    let mut marks = [
        Marks::new("$$", "$$"),
        Marks::new("$", "$"),
        Marks::new("\\[", "\\]"),
        Marks::new("\\(", "\\)"),
    ];
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(step) = text[at..].find(['$', '\\']) {
        let start = at + step;
        let rest = &text[start..];
        let Some(mark) = marks.iter_mut().find(|mark| rest.starts_with(mark.opening)) else {
            // A command or an escaped character.
            let skipped = rest[1..].chars().next().map_or(0, char::len_utf8);
            at = start + 1 + skipped;
            continue;
        };
        let begin = start + mark.opening.len();
        at = begin;
        if let Some(inner) = mark.inner(text, begin) {
            let end = begin + inner.len() + mark.closing.len();
            let span = Span { start, end };
            found.push(Environment { span, inner });
            at = end;
        }
    }
    found
}

/// Marks around mathematics, and where the next closing one stands.
struct Marks {
    opening: &'static str,
    closing: &'static str,
    /// `None` when it was not looked for yet, `usize::MAX` when there is none.
    next: Option<usize>,
}

impl Marks {
    fn new(opening: &'static str, closing: &'static str) -> Self {
        let next = None;
        Self {
            opening,
            closing,
            next,
        }
    }

    /// What stands from `begin` to the closing mark, if that is in reach.
    fn inner<'a>(&mut self, text: &'a str, begin: usize) -> Option<&'a str> {
        // Every place is searched once, as `begin` only grows.
        let close = match self.next.filter(|&close| close >= begin) {
            Some(close) => close,
            None => self.close(text, begin),
        };
        self.next = Some(close);
        let is_near = close > begin && close - begin <= MAX_ENVIRONMENT_BYTES;
        let inner = is_near.then(|| &text[begin..close])?;
        (self.opening != "$" || !inner.contains('\n')).then_some(inner)
    }

    /// The first closing mark from `begin` on that no backslash escapes.
    fn close(&self, text: &str, begin: usize) -> usize {
        let mut places = text[begin..]
            .match_indices(self.closing)
            .map(|(at, _)| begin + at);
        let is_bare = |place: &usize| !text[..*place].ends_with('\\');
        places.find(is_bare).unwrap_or(usize::MAX)
    }
}

/// The last environment's content, behind those that are joined to it.
fn joined(text: &str, found: &[Environment<'_>]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut start = text.len();
    for environment in found.iter().rev().take(MAX_JOINED) {
        let between = text.get(environment.span.end..start).unwrap_or_default();
        if !parts.is_empty() && !joins(between) {
            break;
        }
        parts.push(environment.inner);
        start = environment.span.start;
    }
    parts.reverse();
    let mut joined = parts.join(",\\ ");
    let after = found.last().map_or("", |last| &text[last.span.end..]);
    if starts_with_percent(after) {
        joined.push('%');
    }
    joined
}

/// Most answers that stand side by side as one.
pub(super) const MAX_JOINED: usize = 16;

/// Whether `between` makes one answer of those around it.
pub(super) fn joins(between: &str) -> bool {
    let word = between.trim_matches([' ', '$', '\n', ',', ';']);
    let separates = between.contains([',', ';']) || !word.is_empty();
    separates
        && between.len() <= 24
        && matches!(word, "" | "and" | "or" | "\\text{and}" | "\\text{or}")
}

/// Whether a percent sign follows.
pub(super) fn starts_with_percent(after: &str) -> bool {
    let after = after.trim_start_matches([' ', '$', '\\', '*']);
    after.starts_with('%') || after.starts_with("percent")
}

/// The last word with a LaTeX command, outside of environments: `\frac{1}{2}`.
fn last_command(text: &str) -> Option<Span> {
    let backslash = text.rfind('\\')?;
    let start = text[..backslash]
        .rfind(char::is_whitespace)
        .map_or(0, |space| space + 1);
    let start = start + (text[start..].len() - text[start..].trim_start().len());
    let end = text[backslash..]
        .find(char::is_whitespace)
        .map_or(text.len(), |space| backslash + space);
    let word = text[start..end].trim_end_matches(['.', ',', ';', ':', '*']);
    let is_read = word.starts_with(['\\', '-', '+', '(', '['])
        || word.starts_with(|c: char| c.is_ascii_digit());
    is_read.then_some(Span {
        start,
        end: start + word.len(),
    })
}

/// The runs of characters of a calculation that begin with a number, in order.
fn runs(text: &str) -> impl Iterator<Item = Span> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let start = at + text[at..].find(|c: char| c.is_ascii_digit())?;
            let first = begin(text, start);
            let before = text[..first].chars().next_back();
            let is_bound =
                before.is_none_or(|c| c.is_whitespace() || "=([{*:$€£¥\"'|,;~≈<>".contains(c));
            let end = start + run_length(&text[start..]);
            at = end;
            if is_bound {
                return Some(Span { start: first, end });
            }
        }
        None
    })
}

/// Where the run of the digit at `start` begins: with a sign, a point or a bracket before it.
fn begin(text: &str, start: usize) -> usize {
    let mut first = start;
    for mark in ['.', '-', '('] {
        if text[..first].ends_with(mark) {
            first -= 1;
        }
    }
    first
}

/// Length of the run of calculation that begins `text`.
fn run_length(text: &str) -> usize {
    let mut end = 0;
    for (index, letter) in text.char_indices() {
        let rest = &text[index + letter.len_utf8()..];
        let belongs = match letter {
            ',' => rest.starts_with(|c: char| c.is_ascii_digit()),
            '.' => rest.starts_with(|c: char| c.is_ascii_digit()),
            'e' | 'E' => rest
                .trim_start_matches(['-', '+'])
                .starts_with(|c: char| c.is_ascii_digit()),
            _ => letter.is_ascii_digit() || " +-*/^()×÷%!=".contains(letter),
        };
        if !belongs || index > MAX_TEXT_BYTES {
            break;
        }
        if letter.is_ascii_digit() || ")%!".contains(letter) {
            end = index + 1;
        }
    }
    end
}

/// The value of a run; where it is no calculation, its last number.
fn number(run: &str) -> Option<MathAnswer> {
    let balanced = balanced(run);
    let whole = MathAnswer::read(balanced, Style::Plain).filter(MathAnswer::is_mathematics);
    whole.or_else(|| {
        let last = run
            .rsplit([' ', '=', '(', ')', '*'])
            .find(|part| part.contains(|c: char| c.is_ascii_digit()))?;
        MathAnswer::read(last, Style::Plain)
    })
}

/// `run` up to the first bracket that is not open, and from behind one that is not closed.
fn balanced(run: &str) -> &str {
    let mut open = Vec::new();
    for (index, letter) in run.char_indices() {
        if letter == '(' {
            open.push(index);
        } else if letter == ')' && open.pop().is_none() {
            return &run[..index];
        }
    }
    match open.last() {
        Some(&last) => &run[last + 1..],
        None => run,
    }
}

/// Runs of letters that are no LaTeX commands.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c.is_alphabetic())?;
            let is_command = rest[..start].ends_with('\\');
            let word = &rest[start..];
            let end = word
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(word.len());
            rest = &word[end..];
            if !is_command {
                return Some(&word[..end]);
            }
        }
    })
}

/// `text` without the content of `\text{…}`, `\begin{…}` and their like.
fn without_texts(text: &str) -> String {
    const COMMANDS: [&str; 8] = [
        "\\text",
        "\\mbox",
        "\\mathrm",
        "\\begin",
        "\\end",
        "\\operatorname",
        "\\mathbf",
        "\\math",
    ];
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(backslash) = rest.find('\\') {
        kept.push_str(&rest[..backslash]);
        rest = &rest[backslash..];
        let is_text = COMMANDS.iter().any(|command| rest.starts_with(command));
        let close = if is_text { rest.find('}') } else { None };
        let end = close.map_or(1, |close| close + 1);
        if close.is_none() {
            kept.push('\\');
        }
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}
