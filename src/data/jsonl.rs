//! JSON Lines: one object a line, every complaint with the file and the line it is about.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// One object of a JSON Lines file and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonLine {
    path: PathBuf,
    number: usize,
    fields: Map<String, Value>,
}

impl JsonLine {
    /// Line number in its file, from 1; blank lines count.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The line's object, fields in the order written.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Whether the object has `field`, be it null.
    pub fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Takes `field` out of the object and reads it as a `T`, which `expected` describes in words.
    ///
    /// # Errors
    /// When the field is missing or is not a `T`; the message names file, line and field.
    pub fn take<T: DeserializeOwned>(&mut self, field: &str, expected: &str) -> Result<T> {
        let value = self
            .fields
            .shift_remove(field)
            .ok_or_else(|| self.error(format!("no `{field}`, expected {expected}")))?;
        serde_json::from_value(value)
            .map_err(|error| self.error(format!("`{field}`: expected {expected}: {error}")))
    }

    /// An error about this line.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::line(&self.path, self.number, problem)
    }
}

/// Reads a JSON Lines file line by line; blank lines and a byte order mark are passed over.
///
/// # Errors
/// When the file cannot be opened; an item is an error when its line cannot be read, is not UTF-8 or
/// is not a JSON object.
pub fn read_json_lines(path: &Path) -> Result<impl Iterator<Item = Result<JsonLine>>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    Ok(json_lines(BufReader::new(file), path))
}

/// Reads JSON Lines as [`read_json_lines`] does, from `reader`, which complaints call `path`.
pub fn json_lines(reader: impl BufRead, path: &Path) -> impl Iterator<Item = Result<JsonLine>> {
    reader
        .split(b'\n')
        .zip(1..)
        .filter_map(move |(bytes, number)| {
            let bytes = bytes.map_err(Error::io(path, "read"));
            bytes
                .and_then(|bytes| parse_line(path, number, &bytes))
                .transpose()
        })
}

fn parse_line(path: &Path, number: usize, bytes: &[u8]) -> Result<Option<JsonLine>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let column = error.valid_up_to() + 1;
        Error::line(path, number, format!("byte {column} is not UTF-8"))
    })?;
    let text = if number == 1 {
        text.trim_start_matches('\u{feff}')
    } else {
        text
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let fields = serde_json::from_str(text).map_err(|error| {
        let problem = format!("not a JSON object: {}", without_line(&error));
        Error::line(path, number, problem)
    })?;
    Ok(Some(JsonLine {
        path: path.to_path_buf(),
        number,
        fields,
    }))
}

/// The parser's message with its column but not its line, which counts inside one line of the file.
fn without_line(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&place) {
        Some(problem) => format!("{problem} at column {}", error.column()),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Vec<JsonLine>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        std::fs::write(&path, content).unwrap();
        read_json_lines(&path)?.collect()
    }

    fn complaint(content: &[u8]) -> String {
        let message = read(content).unwrap_err().to_string();
        message[message.find("lines.jsonl").unwrap()..].to_string()
    }

    #[test]
    fn blank_lines_are_passed_over_but_counted() {
        let lines = read(b"\n{\"a\": 1}\r\n  \t\n{\"a\": 2}").unwrap();
        let numbers: Vec<_> = lines.iter().map(JsonLine::number).collect();
        assert_eq!(numbers, [2, 4]);
        assert_eq!(lines[1].fields()["a"], 2);
    }

    #[test]
    fn byte_order_mark_is_passed_over() {
        assert_eq!(read(b"\xef\xbb\xbf{\"a\": 1}\n").unwrap().len(), 1);
    }

    #[test]
    fn broken_line_is_named_by_number() {
        assert_eq!(
            complaint(b"{\"a\": 1}\n\n{\"a\": }\n"),
            "lines.jsonl:3: not a JSON object: expected value at column 7"
        );
        assert_eq!(
            complaint(b"[1, 2]\n"),
            "lines.jsonl:1: not a JSON object: invalid type: sequence, expected a map at column 0"
        );
    }

    #[test]
    fn line_that_is_not_utf8_is_an_error() {
        assert_eq!(
            complaint(b"{\"a\": 1}\n{\"a\": \"\xff\"}\n"),
            "lines.jsonl:2: byte 8 is not UTF-8"
        );
    }

    #[test]
    fn deeply_nested_line_is_an_error() {
        let line = format!("{{\"a\": {}", "[".repeat(100_000));
        assert!(complaint(line.as_bytes()).contains("recursion limit"));
    }

    #[test]
    fn field_of_another_type_is_named() {
        let mut line = read(b"{\"k\": \"x\"}").unwrap().remove(0);
        let error = line.take::<u32>("k", "a count").unwrap_err().to_string();
        assert!(
            error.ends_with(":1: `k`: expected a count: invalid type: string \"x\", expected u32")
        );
        let error = line.take::<u32>("k", "a count").unwrap_err().to_string();
        assert!(error.ends_with(":1: no `k`, expected a count"));
    }
}
