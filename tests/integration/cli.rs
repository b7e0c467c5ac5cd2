//! The program as a user's script meets it: its files, streams and exit codes.

mod adapter;
mod devices;
mod eval;
mod failures;
mod generate;
mod score;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oracle;

/// A folder with an input file, and the model that reads it.
struct Room {
    folder: TempDir,
    model: PathBuf,
}

impl Room {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            model: oracle::folder().join("models/qwen2"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a writable folder");
        path
    }

    /// Runs `emberl COMMAND --model .. --input in.jsonl --output out.jsonl OPTIONS` on the CPU.
    fn run(&self, command: &str, options: &[&str]) -> Output {
        let mut emberl = emberl(command);
        emberl.arg("--model").arg(&self.model);
        emberl.arg("--input").arg(self.path("in.jsonl"));
        emberl.arg("--output").arg(self.path("out.jsonl"));
        emberl.args(["--device", "cpu"]).args(options);
        emberl.output().expect("the program starts")
    }

    /// What `run` writes for `lines`.
    fn records(&self, command: &str, options: &[&str], lines: &[Value]) -> Vec<Value> {
        self.write("in.jsonl", jsonl(lines));
        let output = self.run(command, options);
        assert_eq!(code(&output), 0, "{}", complaint(&output));
        assert_eq!(
            output.stdout, b"",
            "nothing was asked for on standard output"
        );
        parse(&fs::read(self.path("out.jsonl")).expect("the output file"))
    }

    /// A copy of the model folder in which `file` holds `content`.
    fn break_model(&mut self, file: &str, content: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let copy = self.path("model");
        fs::create_dir(&copy).expect("a writable folder");
        for entry in fs::read_dir(&self.model).expect("a model folder") {
            let path = entry.expect("an entry").path();
            let bytes = fs::read(&path).expect("a readable file");
            let name = path.file_name().expect("a name");
            fs::write(copy.join(name), bytes).expect("a writable folder");
        }
        let path = copy.join(file);
        let broken = content(fs::read(&path).expect("a file of the model"));
        fs::write(&path, broken).expect("a writable folder");
        self.model = copy;
    }
}

/// What the packages computed for the model.
struct Expected {
    numbers: Value,
    tensors: Vec<u8>,
}

impl Expected {
    fn of(model: &Path) -> Self {
        let read = |name| fs::read(model.join(name)).expect("an expected file");
        Self {
            numbers: serde_json::from_slice(&read("expected.json")).expect("json"),
            tensors: read("expected.safetensors"),
        }
    }

    fn rows(&self) -> Vec<Vec<u64>> {
        serde_json::from_value(self.numbers["rows"].clone()).expect("rows of ids")
    }

    /// A matrix, row by row.
    fn matrix(&self, name: &str) -> Vec<Vec<f64>> {
        let tensors = SafeTensors::deserialize(&self.tensors).expect("safetensors");
        let tensor = tensors.tensor(name).expect("a recorded tensor");
        let values: Vec<f64> = match tensor.dtype() {
            Dtype::F32 => {
                let values = tensor.data().chunks_exact(4);
                let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
                values.map(|bytes| f64::from(value(bytes))).collect()
            }
            Dtype::I64 => {
                let values = tensor.data().chunks_exact(8);
                let value = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("8 bytes"));
                values.map(|bytes| value(bytes) as f64).collect()
            }
            other => panic!("{name} is {other:?}"),
        };
        values
            .chunks(tensor.shape()[1])
            .map(<[f64]>::to_vec)
            .collect()
    }

    /// The prompts whose greedy continuations were recorded.
    fn greedy_prompts(&self) -> Vec<Value> {
        let length = self.numbers["completion_len"].as_u64().expect("a length") as usize;
        let prompt = |row: &Vec<u64>| json!({"input_ids": row[..row.len() - length]});
        self.rows().iter().map(prompt).collect()
    }
}

fn emberl(command: &str) -> Command {
    let mut emberl = Command::new(env!("CARGO_BIN_EXE_emberl"));
    emberl
        .arg(command)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    emberl
}

fn jsonl(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn parse(bytes: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(bytes).expect("UTF-8");
    let parse = |line| serde_json::from_str(line).expect("one JSON value a line");
    text.lines().map(parse).collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program ended by itself")
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn floats(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("a list of numbers")
}

fn ids(value: &Value) -> Vec<f64> {
    floats(&value["completions"][0]["ids"])
}
