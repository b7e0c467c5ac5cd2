//! `emberl score`: recorded values, order, forms and streams.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Expected, Room, emberl, floats, parse};

#[test]
fn score_gives_the_recorded_logprobs() {
    let room = Room::new();
    let expected = Expected::of(&room.model);
    let lines: Vec<Value> = expected
        .rows()
        .iter()
        .map(|row| json!({"input_ids": row}))
        .collect();
    for (temperature, name) in [("1", "logps_T1"), ("0.7", "logps_T0.7")] {
        let options = ["--temperature", temperature, "--batch", "3"];
        let records = room.records("score", &options, &lines);
        for ((record, line), last) in records.iter().zip(&lines).zip(expected.matrix(name)) {
            let (found, tokens) = (
                floats(&record["logprobs"]),
                floats(&line["input_ids"]).len(),
            );
            assert_eq!(
                (found.len(), &record["tokens"]),
                (tokens - 1, &json!(tokens))
            );
            for (found, expected) in found[tokens - 1 - last.len()..].iter().zip(&last) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{name}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn score_in_bf16_is_close_to_that_in_f32_and_not_the_same() {
    let room = Room::new();
    let line = json!({"input_ids": (1..40).collect::<Vec<u32>>()});
    let score = |precision: &str| {
        let options = ["--precision", precision];
        let records = room.records("score", &options, std::slice::from_ref(&line));
        floats(&records[0]["logprobs"])
    };
    let (whole, halves) = (score("f32"), score("bf16"));
    assert_eq!(whole, score("auto"), "the CPU computes in f32 unless told");
    assert_ne!(whole, halves);
    for (whole, halves) in whole.iter().zip(&halves) {
        assert!((whole - halves).abs() < 0.1, "{halves}, not {whole}");
    }
}

#[test]
fn score_keeps_lines_and_their_other_fields_in_order() {
    let room = Room::new();
    let long: Vec<u32> = (1..40).collect();
    let lines = [
        json!({"text": "Hello world", "id": 7, "note": null}),
        json!({"input_ids": [5]}),
        json!({"input_ids": long, "tokens": "old", "logprobs": "old"}),
        json!({"messages": [{"role": "user", "content": "hi"}], "id": "ü"}),
    ];
    let records = room.records("score", &["--batch", "2"], &lines);
    assert_eq!(records.len(), lines.len());
    assert_eq!(records[0]["text"], "Hello world");
    assert_eq!(
        (&records[0]["id"], &records[0]["note"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(
        (&records[1]["logprobs"], &records[1]["tokens"]),
        (&json!([]), &json!(1))
    );
    assert_eq!(records[2]["tokens"], 39);
    assert_eq!(records[3]["id"], "ü");
}

#[test]
fn texts_and_messages_score_as_the_ids_they_stand_for() {
    let room = Room::new();
    let tokenizer = emberl::tokenizer::Tokenizer::load(&room.model).expect("a tokenizer");
    let messages = json!([{"role": "user", "content": "1+1=?"}]);
    let chat = |add_generation_prompt| {
        let options = emberl::tokenizer::ChatOptions {
            add_generation_prompt,
            ..Default::default()
        };
        let messages = serde_json::from_value::<Vec<_>>(messages.clone()).expect("messages");
        tokenizer.encode_chat(&messages, &options).expect("ids")
    };
    let lines = [
        json!({"text": "1+1=?"}),
        json!({"input_ids": tokenizer.encode("1+1=?", true).expect("ids")}),
        json!({"messages": messages}),
        json!({"input_ids": chat(false)}),
        json!({"messages": messages, "add_generation_prompt": true}),
        json!({"input_ids": chat(true)}),
    ];
    let records = room.records("score", &["--batch", "1"], &lines);
    for pair in records.chunks(2) {
        assert_eq!(pair[0]["logprobs"], pair[1]["logprobs"]);
    }
    assert_ne!(records[2]["tokens"], records[4]["tokens"]);
}

#[test]
fn dash_stands_for_the_standard_streams() {
    let room = Room::new();
    let mut child = emberl("score")
        .args([
            "--input", "-", "--output", "-", "--device", "cpu", "--model",
        ])
        .arg(&room.model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    input
        .write_all(b"{\"input_ids\": [1, 2, 3]}\n")
        .expect("an open pipe");
    drop(input);
    let output = child.wait_with_output().expect("the program ends");
    let records = parse(&output.stdout);
    assert_eq!(floats(&records[0]["logprobs"]).len(), 2);
}
