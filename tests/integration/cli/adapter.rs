//! `--adapter`: a model with a low-rank adapter.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Room, code, complaint, emberl, floats, ids, jsonl};
use crate::oracle;

fn room() -> (Room, PathBuf) {
    let mut room = Room::new();
    room.model = oracle::folder().join("steps/base");
    (room, oracle::folder().join("lora/lora_r4"))
}

fn lines() -> [Value; 2] {
    let row = |start: u32| json!({"input_ids": (start..start + 9).collect::<Vec<_>>()});
    [row(20), row(70)]
}

#[test]
fn score_and_generate_take_the_adapter() {
    let (room, adapter) = room();
    let options = ["--adapter", adapter.to_str().expect("UTF-8")];
    let plain = room.records("score", &[], &lines());
    let adapted = room.records("score", &options, &lines());
    assert_ne!(
        floats(&plain[0]["logprobs"]),
        floats(&adapted[0]["logprobs"])
    );

    let short = ["--max-tokens", "6", "--ignore-eos"];
    let records = room.records("generate", &[&options[..], &short].concat(), &lines());
    for (record, line) in records.iter().zip(&lines()) {
        let whole = [floats(&line["input_ids"]), ids(record)].concat();
        let whole: Vec<u32> = whole.into_iter().map(|id| id as u32).collect();
        let scores = room.records("score", &options, &[json!({"input_ids": whole})]);
        let scores = floats(&scores[0]["logprobs"]);
        let sampled = floats(&record["completions"][0]["logprobs"]);
        for (sampled, score) in sampled.iter().zip(&scores[scores.len() - 6..]) {
            assert!((sampled - score).abs() < 1e-4, "{sampled} {score}");
        }
    }
}

#[test]
fn eval_takes_and_reports_the_adapter() {
    let (room, adapter) = room();
    let problems = [json!({"prompt": "1+1=", "answer": "2"})];
    let task = room.write("problems.jsonl", jsonl(&problems));
    let results = room.path("results.json");
    let mut emberl = emberl("eval");
    emberl.arg("--model").arg(&room.model);
    emberl.arg("--adapter").arg(&adapter);
    emberl.arg("--task").arg(task).arg("--json").arg(&results);
    emberl.args(["--k", "1", "--max-tokens", "2", "--device", "cpu"]);
    let output = emberl.output().expect("the program starts");
    assert_eq!(code(&output), 0, "{}", complaint(&output));
    let text = fs::read_to_string(results).expect("the results");
    let results: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(results["adapter"], json!(adapter));
}

#[test]
fn an_adapter_that_cannot_be_used_is_named() {
    let (mut room, adapter) = room();
    room.write("in.jsonl", jsonl(&lines()));
    let copy = room.path("adapter");
    fs::create_dir(&copy).expect("a writable folder");
    let config = fs::read_to_string(adapter.join("adapter_config.json")).expect("a file");
    let dora = config.replace("\"use_dora\": false", "\"use_dora\": true");
    fs::write(copy.join("adapter_config.json"), dora).expect("a writable folder");
    let refused = |room: &Room, folder: &PathBuf| {
        let folder = folder.to_str().expect("UTF-8");
        let output = room.run("score", &["--adapter", folder]);
        assert_eq!(code(&output), 1);
        assert!(!room.path("out.jsonl").exists());
        complaint(&output)
    };
    let message = refused(&room, &copy);
    assert!(
        message.contains("adapter_config.json: `use_dora`: is true"),
        "{message}"
    );
    let message = refused(&room, &room.path("nowhere"));
    assert!(
        message.contains("adapter_config.json: cannot read"),
        "{message}"
    );
    room.model = oracle::folder().join("models/llama");
    let message = refused(&room, &adapter);
    assert!(
        message.contains("adapter_model.safetensors: tensor `base_model."),
        "{message}"
    );
}
