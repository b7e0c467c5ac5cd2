//! `emberl devices`, and devices that are not there.

use serde_json::Value;

use super::{Room, code, complaint, emberl};

#[test]
fn device_that_is_not_there_ends_with_code_2() {
    let room = Room::new();
    room.write("in.jsonl", "{\"input_ids\": [1]}\n");
    let mut emberl = emberl("score");
    emberl.arg("--model").arg(&room.model);
    emberl.arg("--input").arg(room.path("in.jsonl"));
    emberl.arg("--output").arg(room.path("out.jsonl"));
    let output = emberl
        .args(["--device", "cuda:99"])
        .output()
        .expect("the program starts");
    assert_eq!(code(&output), 2);
    let complaint = complaint(&output);
    assert!(
        complaint.contains("`--device`: device `cuda:99`: not "),
        "{complaint}"
    );
}

#[test]
fn devices_tells_what_auto_takes() {
    let output = emberl("devices")
        .arg("--json")
        .output()
        .expect("the program starts");
    assert_eq!(code(&output), 0);
    let devices: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let auto = devices["auto"].as_str().expect("a name");
    let adapters = devices["adapters"].as_array().expect("a list");
    let taken = adapters
        .iter()
        .find(|adapter| auto == format!("wgpu:{}", adapter["index"]));
    match taken {
        Some(adapter) => assert_ne!(adapter["kind"], "software"),
        None => assert_eq!(auto, "cpu"),
    }
    let table = emberl("devices").output().expect("the program starts");
    let table = String::from_utf8(table.stdout).expect("UTF-8");
    assert!(table.contains(&format!("auto takes: {auto}\n")), "{table}");
    assert_eq!(
        table.lines().take_while(|line| !line.is_empty()).count(),
        adapters.len() + 2
    );
}

#[test]
fn reader_that_closes_early_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = emberl("devices")
        .stdout(writer)
        .status()
        .expect("the program starts");
    assert!(status.success());
}
