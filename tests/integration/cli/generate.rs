//! `emberl generate`: recorded completions, seeds and log-probabilities.

use serde_json::{Value, json};

use super::{Expected, Room, floats, ids};

#[test]
fn greedy_completions_are_the_recorded_ones() {
    let room = Room::new();
    let expected = Expected::of(&room.model);
    let prompts = expected.greedy_prompts();
    let count = expected.numbers["greedy_max_new_tokens"].to_string();
    let options = ["--greedy", "--ignore-eos", "--max-tokens", &count];
    let records = room.records("generate", &options, &prompts);
    let found: Vec<_> = records.iter().map(ids).collect();
    assert_eq!(found, expected.matrix("greedy_new_ids_unpadded"));
    assert!(
        records
            .iter()
            .all(|record| record["completions"][0]["finish"] == "length")
    );

    let stop = expected.numbers["greedy_stop_token_for_stop_case"].to_string();
    let records = room.records(
        "generate",
        &[&options[..], &["--stop-ids", &stop]].concat(),
        &prompts,
    );
    for (record, whole) in records.iter().zip(&found) {
        let end = whole.iter().position(|id| id.to_string() == stop);
        assert_eq!(ids(record), whole[..end.map_or(whole.len(), |end| end + 1)]);
        let finish = if end.is_some() { "stop" } else { "length" };
        assert_eq!(record["completions"][0]["finish"], finish);
    }
}

#[test]
fn completion_does_not_depend_on_its_neighbours() {
    let room = Room::new();
    let expected = Expected::of(&room.model);
    let prompts = expected.greedy_prompts();
    let options = [
        "--max-tokens",
        "12",
        "--n",
        "3",
        "--seed",
        "5",
        "--top-p",
        "0.95",
    ];
    let together = room.records("generate", &options, &prompts);
    let alone = room.records("generate", &options, &prompts[..1]);
    let texts = |record: &Value| -> Vec<Value> {
        let completions = record["completions"].as_array().expect("a list");
        completions
            .iter()
            .map(|completion| completion["ids"].clone())
            .collect()
    };
    assert_eq!(texts(&together[0]), texts(&alone[0]));
    let samples = texts(&alone[0]);
    assert_eq!(samples.len(), 3);
    assert!(samples[0] != samples[1] && samples[1] != samples[2]);
    for (record, prompt) in together.iter().zip(&prompts) {
        assert_eq!(
            record["input_ids"], prompt["input_ids"],
            "lines change places"
        );
    }
    let again = room.records("generate", &options, &prompts);
    assert_eq!(again, together, "the same seed gives the same completions");
    let other = [&options[..5], &["6"]].concat();
    assert_ne!(
        texts(&room.records("generate", &other, &prompts)[0]),
        samples
    );
}

#[test]
fn sampled_logprobs_are_those_that_score_gives() {
    let room = Room::new();
    let prompt: Vec<u32> = (40..52).collect();
    let options = ["--max-tokens", "9", "--temperature", "0.7", "--ignore-eos"];
    let records = room.records("generate", &options, &[json!({"input_ids": prompt})]);
    let completion = &records[0]["completions"][0];
    let completed: Vec<u32> = serde_json::from_value(completion["ids"].clone()).expect("ids");
    let whole = [prompt, completed].concat();
    let whole = json!({"input_ids": whole});
    let scores = room.records("score", &["--temperature", "0.7"], &[whole]);
    let scores = floats(&scores[0]["logprobs"]);
    let sampled = floats(&completion["logprobs"]);
    assert_eq!(sampled.len(), 9);
    for (sampled, score) in sampled.iter().zip(&scores[scores.len() - 9..]) {
        assert!((sampled - score).abs() < 1e-4, "{sampled} {score}");
    }
}
