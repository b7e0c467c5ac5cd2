//! `emberl eval` counts right answers.

use std::fs::File;

use serde_json::{Value, json};

use super::{Room, code, complaint, emberl, jsonl};

#[test]
fn eval_counts_right_answers_of_a_file() {
    let room = Room::new();
    let prompt = "Hello world";
    let options = ["--temperature", "0", "--max-tokens", "8"];
    let records = room.records("generate", &options, &[json!({"text": prompt})]);
    let text = &records[0]["completions"][0]["text"];
    let problems = [
        json!({"prompt": prompt, "answer": text}),
        json!({"prompt": prompt, "answer": "something else"}),
        json!({"prompt": prompt, "answer": text}),
        json!({"prompt": prompt, "answer": text}),
    ];
    let task = room.write("problems.jsonl", jsonl(&problems));
    let results = room.path("results.json");
    let mut emberl = emberl("eval");
    emberl
        .arg("--model")
        .arg(&room.model)
        .arg("--task")
        .arg(task)
        .arg("--json")
        .arg(&results);
    emberl.args([
        "--k",
        "2",
        "--temperature",
        "0",
        "--max-tokens",
        "8",
        "--answer",
        "text",
    ]);
    let output = emberl
        .args(["--device", "cpu"])
        .output()
        .expect("the program starts");
    assert_eq!(code(&output), 0, "{}", complaint(&output));
    let file = File::open(results).expect("the results");
    let results: Value = serde_json::from_reader(file).expect("one JSON object");
    for (name, expected) in [("pass@1", 0.75), ("pass@k", 0.75), ("cons@k", 0.75)] {
        assert_eq!(results[name], expected, "{name}");
    }
    assert_eq!(
        (&results["problems"], &results["samples"]),
        (&json!(4), &json!(2))
    );
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        table.contains("pass@1") && table.contains("cons@2"),
        "{table}"
    );
}

#[test]
fn eval_without_problems_to_train_on_has_no_worked_examples() {
    let room = Room::new();
    let problems = [json!({"prompt": "1+1=", "answer": "2"})];
    let task = room.write("problems.jsonl", jsonl(&problems));
    let mut emberl = emberl("eval");
    emberl.arg("--model").arg(&room.model);
    emberl.arg("--task").arg(task);
    emberl.args(["--device", "cpu", "--also-shots", "2"]);
    let output = emberl.output().expect("the program starts");
    let complaint = complaint(&output);
    assert_eq!(code(&output), 2, "{complaint}");
    let expected = "`--shots`: asks for 2 worked examples, but only 0 problems";
    assert!(complaint.contains(expected), "{complaint}");
}

#[test]
fn eval_refuses_what_it_cannot_read() {
    let room = Room::new();
    for (task, expected) in [
        ("chess", "unknown variant `chess`"),
        ("countdown:level=[2]", "unknown field `level`"),
        ("countdown:levels=[]", "`levels`: is empty"),
    ] {
        let mut emberl = emberl("eval");
        emberl
            .arg("--model")
            .arg(&room.model)
            .args(["--device", "cpu", "--task", task]);
        let output = emberl.output().expect("the program starts");
        let complaint = complaint(&output);
        assert_eq!(code(&output), 2, "{complaint}");
        assert!(complaint.contains(expected), "{complaint}");
    }
}
