//! What cannot be done is named, has its exit code and leaves no output.

use std::fs;

use serde_json::{Value, json};

use super::{Room, code, complaint, jsonl};

#[test]
fn bad_line_is_named_by_number_and_leaves_no_output() {
    let room = Room::new();
    let too_long = json!({"input_ids": vec![1; 513]}).to_string();
    let cases: [(&[u8], &str); 12] = [
        (b"{\"input_ids\": []}", "no tokens"),
        (
            b"{\"input_ids\": [1, 600]}",
            "id 600 is not in the model's vocabulary of 600",
        ),
        (
            b"{\"input_ids\": [-1]}",
            "`input_ids`: expected a list of token ids",
        ),
        (too_long.as_bytes(), "513 tokens, expected at most 51"),
        (b"{\"text\": \"\"}", "no tokens"),
        (b"{\"text\": \"\xff\"}", "byte 11 is not UTF-8"),
        (b"{\"text\": ", "not a JSON object"),
        (b"[1, 2]", "not a JSON object"),
        (
            b"{\"prompt\": \"x\"}",
            "expected one of `input_ids`, `text` and `messages`",
        ),
        (
            b"{\"text\": \"x\", \"input_ids\": [1]}",
            "more than one text",
        ),
        (b"{\"messages\": []}", "at least one message"),
        (
            b"{\"messages\": [{\"content\": \"x\"}]}",
            "missing field `role`",
        ),
    ];
    for command in ["score", "generate"] {
        for (bad, expected) in cases {
            room.write(
                "in.jsonl",
                [b"{\"input_ids\": [1]}\n\n", bad, b"\n"].concat(),
            );
            let output = room.run(command, &[]);
            let complaint = complaint(&output);
            assert_eq!(code(&output), 1, "{complaint}");
            assert!(complaint.contains("in.jsonl:3: "), "{complaint}");
            assert!(complaint.contains(expected), "{complaint}");
            assert!(!room.path("out.jsonl").exists(), "{complaint}");
        }
    }
}

#[test]
fn wrong_options_end_with_code_2() {
    let room = Room::new();
    room.write("in.jsonl", "{\"input_ids\": [1]}\n");
    let folder = room.folder.path().to_str().expect("UTF-8");
    let score: [(&[&str], &str); 5] = [
        (
            &["--temperature", "0"],
            "`--temperature`: is 0, must be above 0",
        ),
        (&["--batch", "0"], "--batch"),
        (&["--output", folder], "--output"),
        (&["--frobnicate"], "--frobnicate"),
        (
            &["--precision", "f8"],
            "unknown variant `f8`, expected one of `auto`",
        ),
    ];
    let generate: [(&[&str], &str); 5] = [
        (&["--top-p", "0"], "`--top-p`: must be above 0"),
        (&["--max-tokens", "0"], "--max-tokens"),
        (&["--greedy", "--top-k", "3"], "cannot be used with"),
        (&["--stop-ids", "1,600"], "`--stop-ids`: id 600"),
        (&["--n", "0"], "--n"),
    ];
    for (command, cases) in [("score", &score[..]), ("generate", &generate[..])] {
        for (options, expected) in cases {
            let output = room.run(command, options);
            let complaint = complaint(&output);
            assert_eq!(code(&output), 2, "{complaint}");
            assert!(complaint.contains(expected), "{complaint}");
            assert!(!room.path("out.jsonl").exists(), "{complaint}");
        }
    }
}

#[test]
fn missing_model_folder_is_named() {
    let mut room = Room::new();
    room.model = room.path("nowhere");
    room.write("in.jsonl", "{\"input_ids\": [1]}\n");
    for command in ["score", "generate"] {
        let output = room.run(command, &[]);
        assert_eq!(code(&output), 1);
        let complaint = complaint(&output);
        assert!(complaint.contains("nowhere"), "{complaint}");
        assert!(
            complaint.contains("config.json: cannot read: "),
            "{complaint}"
        );
    }
}

#[test]
fn truncated_weights_are_named() {
    let mut room = Room::new();
    room.break_model("model.safetensors", |bytes| {
        bytes[..bytes.len() / 2].to_vec()
    });
    room.write("in.jsonl", "{\"input_ids\": [1]}\n");
    for command in ["score", "generate"] {
        let output = room.run(command, &[]);
        let complaint = complaint(&output);
        assert_eq!(code(&output), 1, "{complaint}");
        assert!(complaint.contains("model.safetensors: "), "{complaint}");
        assert!(!room.path("out.jsonl").exists());
    }
}

#[test]
fn broken_tokenizer_is_named_when_it_is_needed() {
    let mut room = Room::new();
    room.break_model("tokenizer.json", |_| b"{\"model\": 1}".to_vec());
    let ids = json!({"input_ids": [1, 2]});
    assert_eq!(
        room.records("score", &[], std::slice::from_ref(&ids)).len(),
        1
    );
    fs::remove_file(room.path("out.jsonl")).expect("the output file");
    room.write("in.jsonl", jsonl(&[ids, json!({"text": "x"})]));
    for command in ["score", "generate"] {
        let output = room.run(command, &[]);
        let complaint = complaint(&output);
        assert_eq!(code(&output), 1, "{complaint}");
        assert!(
            complaint.contains("tokenizer.json: not a tokenizer"),
            "{complaint}"
        );
        assert!(!room.path("out.jsonl").exists());
    }
}

#[test]
fn failed_command_leaves_the_old_output_as_it_was() {
    let room = Room::new();
    room.write("out.jsonl", "old");
    room.write("in.jsonl", "{\"input_ids\": [600]}\n");
    assert_eq!(code(&room.run("score", &[])), 1);
    assert_eq!(
        fs::read(room.path("out.jsonl")).expect("the output file"),
        b"old"
    );
}

#[test]
fn empty_input_gives_empty_output() {
    let room = Room::new();
    for command in ["score", "generate"] {
        assert_eq!(room.records(command, &[], &[]), Vec::<Value>::new());
    }
}
