//! TRL's and open-r1's rewards by shape and length, each recorded value held against the reward that a
//! recipe names.
//!
//! Every field is read: one that is new in the recording fails the test until it is compared here or
//! listed as left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use emberl::data::{Problem, Prompt};
use emberl::error::Result;
use emberl::rewards::{Attempt, RewardConfig, RewardContext, Rubric};
use emberl::tasks::{Split, Task};
use rand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fixture::{Tolerance, read_json};

const CLOSE: Tolerance = Tolerance {
    relative: 0.0,
    absolute: 1e-9,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recording {
    per_text: Vec<TextCase>,
    groups: Vec<GroupCase>,
    soft_overlong: Vec<SoftOverlongCase>,
    trl_token_repetition: Vec<TokenRepetitionCase>,
}

#[derive(Deserialize)]
struct TextCase {
    text: String,
    #[serde(flatten)]
    rewards: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupCase {
    solution: String,
    completions: Vec<String>,
    /// The verdicts on which length and cosine build; whether they are right is a matter of
    /// mathematics, not of shape and length.
    accuracy: Vec<Option<f64>>,
    /// Left out: mathematics after the thinking. No completion here has any, so that all are 0.
    trl_reasoning_accuracy: Vec<f64>,
    trl_cosine: TrlCosine,
    len: Vec<f64>,
    cosine: Vec<OpenR1Cosine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrlCosine {
    max_len: usize,
    completion_token_counts: Vec<usize>,
    rewards: Vec<Option<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenR1Cosine {
    settings: CosineSettings,
    rewards: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CosineSettings {
    max_len: Option<usize>,
    min_value_wrong: Option<f64>,
    max_value_wrong: Option<f64>,
    min_value_correct: Option<f64>,
    max_value_correct: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SoftOverlongCase {
    max_completion_len: usize,
    soft_punish_cache: usize,
    lengths: Vec<usize>,
    trl: Vec<f64>,
    open_r1: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRepetitionCase {
    ngram_size: usize,
    max_penalty: f64,
    token_ids: Vec<Vec<u32>>,
    rewards: Vec<f64>,
}

/// A judge that says what was recorded of each completion.
struct Recorded(BTreeMap<String, bool>);

impl Task for Recorded {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn problem(&self, _: Split, _: u64) -> Problem {
        problem(Value::Null)
    }

    fn verify(&self, _: &Problem, answer: &str) -> Result<bool> {
        Ok(self.0[answer])
    }

    fn trace(&self, _: &Problem, _: &mut dyn Rng) -> Result<String> {
        Ok(String::new())
    }
}

impl GroupCase {
    /// The judge, and the problem with a reference if the recorded verdicts say that it has one.
    fn judge(&self) -> (Arc<dyn Task>, Problem) {
        assert_eq!(self.accuracy.len(), self.completions.len());
        let judged = self.completions.iter().zip(&self.accuracy);
        let verdicts: BTreeMap<_, _> = judged
            .filter_map(|(text, verdict)| Some((text.clone(), (*verdict)? > 0.0)))
            .collect();
        let answer = match verdicts.len() {
            0 => Value::Null,
            _ => json!(self.solution),
        };
        (Arc::new(Recorded(verdicts)), problem(answer))
    }

    /// The scores of the group, each completion as many tokens long as `tokens` says.
    fn scores(&self, config: Value, tokens: &[usize]) -> Vec<Option<f64>> {
        let (judge, problem) = self.judge();
        let ids = vec![0; tokens.iter().copied().max().unwrap_or(0)];
        let attempts: Vec<Attempt<'_>> = self
            .completions
            .iter()
            .zip(tokens)
            .map(|(text, &length)| attempt(&problem, text, &ids[..length]))
            .collect();
        let group = rubric(config, Some(judge)).grade_group(&attempts);
        group.iter().map(|graded| graded.total).collect()
    }
}

impl CosineSettings {
    /// The reward as a recipe names it.
    fn config(&self) -> Value {
        json!({
            "kind": "cosine",
            "unit": "characters",
            "hold": false,
            "unjudged": 1.0,
            "answer": "text",
            "max_length": self.max_len.unwrap_or(1000),
            "min_wrong": self.min_value_wrong.unwrap_or(-1.0),
            "max_wrong": self.max_value_wrong.unwrap_or(-0.5),
            "min_right": self.min_value_correct.unwrap_or(0.5),
            "max_right": self.max_value_correct.unwrap_or(1.0),
        })
    }
}

fn recording() -> Recording {
    let path = super::folder().join("rewards/format.json");
    let recording: Recording = read_json(&path);
    let counts = [
        recording.per_text.len(),
        recording.groups.len(),
        recording.soft_overlong.len(),
        recording.trl_token_repetition.len(),
    ];
    assert!(!counts.contains(&0), "{}: {counts:?} cases", path.display());
    recording
}

fn rubric(config: Value, verifier: Option<Arc<dyn Task>>) -> Rubric {
    let config: RewardConfig = serde_json::from_value(config).expect("a reward");
    Rubric::build(&[config], &RewardContext::of(verifier)).expect("a rubric")
}

fn problem(answer: Value) -> Problem {
    Problem {
        prompt: Prompt::Text("?".into()),
        answer,
        level: None,
        language: None,
        part: None,
    }
}

fn attempt<'a>(problem: &'a Problem, completion: &'a str, token_ids: &'a [u32]) -> Attempt<'a> {
    Attempt {
        problem,
        completion,
        token_ids,
        finished: true,
    }
}

/// The score of a text, or of its tokens, that does not depend on the problem.
fn score(config: Value, text: &str, token_ids: &[u32]) -> f64 {
    let graded = rubric(config, None).grade(&attempt(&problem(Value::Null), text, token_ids));
    graded.total.expect("the reward applies")
}

/// The reward that is recorded under `name` for a text, as a recipe names it.
fn text_reward(name: &str) -> Value {
    match name {
        "format" => json!({"kind": "format", "style": "think_answer"}),
        "trl_think_format" => json!({"kind": "format", "style": "think"}),
        "tag_count" | "reasoning_steps" => json!({"kind": name}),
        "code_format_python" => json!({"kind": "code_format", "language": "python"}),
        _ => {
            let (ngram, penalty) = name
                .strip_prefix("repetition_n")
                .and_then(|settings| settings.split_once("_p"))
                .unwrap_or_else(|| panic!("`{name}` is recorded and not compared"));
            json!({
                "kind": "repetition",
                "unit": "words",
                "ngram": ngram.parse::<usize>().expect("a length"),
                "max_penalty": penalty.parse::<f64>().expect("a penalty"),
            })
        }
    }
}

/// Holds one score against the recorded one; both may be none.
fn check(place: &str, found: Option<f64>, expected: Option<f64>) {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            CLOSE.check_one(place, found, expected);
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn rewards_of_a_text_are_the_recorded_ones() {
    for case in recording().per_text {
        assert!(!case.rewards.is_empty(), "no reward of {:?}", case.text);
        for (name, expected) in &case.rewards {
            let found = score(text_reward(name), &case.text, &[]);
            CLOSE.check_one(&format!("{name} of {:?}", case.text), found, *expected);
        }
    }
}

#[test]
fn length_is_open_r1s_len() {
    let config = json!({
        "kind": "length",
        "unit": "characters",
        "answer": "text",
        "unjudged": "as_right",
    });
    for case in recording().groups {
        let found = case.scores(config.clone(), &vec![0; case.completions.len()]);
        assert_eq!(found.len(), case.len.len());
        for (index, (found, expected)) in found.iter().zip(&case.len).enumerate() {
            let place = format!("len of completion {index} for {}", case.solution);
            check(&place, *found, Some(*expected));
        }
    }
}

#[test]
fn cosine_is_open_r1s_in_characters() {
    for case in recording().groups {
        assert!(!case.cosine.is_empty(), "no cosine for {}", case.solution);
        for cosine in &case.cosine {
            let config = cosine.settings.config();
            let found = case.scores(config.clone(), &vec![0; case.completions.len()]);
            assert_eq!(found.len(), cosine.rewards.len());
            for (index, (found, expected)) in found.iter().zip(&cosine.rewards).enumerate() {
                let place = format!("{config} of completion {index} for {}", case.solution);
                check(&place, *found, Some(*expected));
            }
        }
    }
}

#[test]
fn cosine_is_trls_in_tokens() {
    for case in recording().groups {
        let recorded = &case.trl_cosine;
        let config = json!({"kind": "cosine", "max_length": recorded.max_len, "answer": "text"});
        let found = case.scores(config, &recorded.completion_token_counts);
        assert_eq!(found.len(), recorded.rewards.len());
        for (index, (found, expected)) in found.iter().zip(&recorded.rewards).enumerate() {
            let place = format!("cosine of completion {index} for {}", case.solution);
            check(&place, *found, *expected);
        }
    }
}

#[test]
fn accuracy_after_the_thinking_is_left_out_because_no_completion_thinks() {
    for case in recording().groups {
        let thinks = |text: &String| text.contains("</think>");
        assert!(!case.completions.iter().any(thinks), "{}", case.solution);
        assert!(
            case.trl_reasoning_accuracy
                .iter()
                .all(|score| *score == 0.0)
        );
    }
}

#[test]
fn soft_overlong_is_the_recorded_one() {
    for case in recording().soft_overlong {
        let config = json!({
            "kind": "soft_overlong",
            "max_tokens": case.max_completion_len,
            "buffer_tokens": case.soft_punish_cache,
        });
        let count = case.lengths.len();
        assert!(count > 0 && case.trl.len() == count && case.open_r1.len() == count);
        for (index, &token_count) in case.lengths.iter().enumerate() {
            let found = score(config.clone(), "", &vec![0; token_count]);
            let place = format!("soft_overlong of {token_count}/{}", case.max_completion_len);
            CLOSE.check_one(&place, found, case.trl[index]);
            CLOSE.check_one(&place, found, case.open_r1[index]);
        }
    }
}

#[test]
fn repetition_is_trls_in_tokens() {
    for case in recording().trl_token_repetition {
        let config = json!({
            "kind": "repetition",
            "ngram": case.ngram_size,
            "max_penalty": case.max_penalty,
        });
        assert!(!case.token_ids.is_empty() && case.token_ids.len() == case.rewards.len());
        for (ids, expected) in case.token_ids.iter().zip(&case.rewards) {
            let found = score(config.clone(), "", ids);
            CLOSE.check_one(&format!("{config} of {ids:?}"), found, *expected);
        }
    }
}
