//! The JSON Lines that `score` and `generate` read and write: one text a line in any of three forms.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::data::{JsonLine, json_lines, read_json_lines};
use crate::error::Error;
use crate::files;
use crate::model::ModelConfig;
use crate::tokenizer::{ChatOptions, Message, Tokenizer};

/// The model, what it reads and what becomes of it.
#[derive(Args, Debug)]
pub(super) struct LineArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// A folder with a low-rank adapter of the model, in PEFT's format.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// JSON Lines, each {"input_ids": [..]}, {"text": ".."} or {"messages": [..]}; `-` is standard
    /// input.
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// The same lines with what was found; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// What becomes of a line's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They are read.
    Score,
    /// They are continued, so a chat template begins the assistant's turn and one position is free.
    Continue,
}

/// One line and the ids it stands for.
#[derive(Clone, Debug)]
pub(super) struct Line {
    line: JsonLine,
    /// At least one id of the model's vocabulary, no more than the model has room for.
    pub ids: Vec<u32>,
}

/// What one line holds.
enum Source {
    Ids(Vec<u32>),
    Text(String),
    Messages(Vec<Message>, ChatOptions),
}

const FORMS: &str = "expected one of `input_ids`, `text` and `messages`";

impl LineArgs {
    /// Reads the lines and turns them to ids; the tokenizer is loaded if a line needs it.
    ///
    /// # Errors
    /// When the output cannot be a file, or a line is not usable: it is named by number.
    pub fn read(&self, config: &ModelConfig, purpose: Purpose) -> Result<Vec<Line>> {
        if !is_dash(&self.output) {
            super::check_output("--output", &self.output)?;
        }
        let mut lines = Vec::new();
        for line in self.json_lines()? {
            let source = Source::of(&line, purpose)?;
            lines.push((line, source));
        }
        let is_ids = |(_, source): &(JsonLine, Source)| matches!(source, Source::Ids(_));
        let tokenizer = match lines.iter().all(is_ids) {
            true => None,
            false => Some(Tokenizer::load(&self.model)?),
        };
        let finish = |(line, source): (JsonLine, Source)| {
            let ids = source.ids(tokenizer.as_ref());
            let ids = ids.map_err(|error| line.error(error.to_string()))?;
            check(&ids, config, purpose).map_err(|problem| line.error(problem))?;
            Ok(Line { line, ids })
        };
        lines.into_iter().map(finish).collect()
    }

    /// Writes one record a line, all or nothing.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write(&self, records: &[impl Serialize]) -> Result<()> {
        match is_dash(&self.output) {
            true => {
                let mut text = Vec::new();
                write_records(&mut text, records).context("cannot be written as JSON")?;
                super::print(str::from_utf8(&text).context("JSON is UTF-8")?)
            }
            false => Ok(files::write_atomically(&self.output, |writer| {
                write_records(writer, records)
            })?),
        }
    }

    fn json_lines(&self) -> Result<Vec<JsonLine>, Error> {
        match is_dash(&self.input) {
            true => json_lines(io::stdin().lock(), Path::new("standard input")).collect(),
            false => read_json_lines(&self.input)?.collect(),
        }
    }
}

impl Line {
    /// The line's fields but those that will be written anew.
    pub fn fields_without(&self, written: &[&str]) -> Map<String, Value> {
        let mut fields = self.line.fields().clone();
        fields.retain(|field, _| !written.contains(&field.as_str()));
        fields
    }

    /// An error about this line.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        self.line.error(problem)
    }
}

impl Source {
    fn of(line: &JsonLine, purpose: Purpose) -> Result<Self, Error> {
        let mut rest = line.clone();
        let forms = ["input_ids", "text", "messages"].map(|field| line.has(field));
        match forms {
            [true, false, false] => rest.take("input_ids", "a list of token ids").map(Self::Ids),
            [false, true, false] => rest.take("text", "a text").map(Self::Text),
            [false, false, true] => {
                let expected = "a list of messages {\"role\": .., \"content\": ..}";
                let messages = rest.take("messages", expected)?;
                Ok(Self::Messages(messages, chat_options(&mut rest, purpose)?))
            }
            [false, false, false] => Err(line.error(format!("no text, {FORMS}"))),
            _ => Err(line.error(format!("more than one text, {FORMS}"))),
        }
    }

    fn ids(self, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>, Error> {
        let tokenizer = || tokenizer.expect("loaded, for not all lines are ids");
        match self {
            Self::Ids(ids) => Ok(ids),
            Self::Text(text) => tokenizer().encode(&text, true),
            Self::Messages(messages, options) => tokenizer().encode_chat(&messages, &options),
        }
    }
}

/// How the line's chat template is asked; what the line leaves out goes by the purpose.
fn chat_options(line: &mut JsonLine, purpose: Purpose) -> Result<ChatOptions, Error> {
    let add_generation_prompt = match line.has("add_generation_prompt") {
        true => line.take("add_generation_prompt", "true or false")?,
        false => purpose == Purpose::Continue,
    };
    let tools = match line.has("tools") {
        true => line.take("tools", "a list of tools or null")?,
        false => None,
    };
    Ok(ChatOptions {
        add_generation_prompt,
        tools,
        ..ChatOptions::default()
    })
}

/// Checks that the model can read `ids`.
fn check(ids: &[u32], config: &ModelConfig, purpose: Purpose) -> Result<(), String> {
    let (vocabulary, positions) = (config.vocab_size, config.max_position_embeddings);
    let room = match purpose {
        Purpose::Score => positions,
        Purpose::Continue => positions - 1,
    };
    if ids.is_empty() {
        return Err("no tokens, expected at least one".into());
    }
    if ids.len() > room {
        return Err(format!(
            "{} tokens, expected at most {room}: the model has {positions} positions",
            ids.len()
        ));
    }
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => Err(format!(
            "id {id} is not in the model's vocabulary of {vocabulary}"
        )),
        None => Ok(()),
    }
}

/// Whether `path` stands for a standard stream.
fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

fn write_records(writer: &mut impl Write, records: &[impl Serialize]) -> io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut *writer, record)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}
