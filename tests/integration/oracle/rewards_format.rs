//! TRL's and open-r1's rewards by shape and length: the soft overlong punishment.

use emberl::data::{Problem, Prompt};
use emberl::rewards::{Attempt, RewardConfig, Rubric};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fixture::{Tolerance, read_json};

#[derive(Deserialize)]
struct Recording {
    soft_overlong: Vec<SoftOverlongCase>,
}

#[derive(Deserialize)]
struct SoftOverlongCase {
    max_completion_len: usize,
    soft_punish_cache: usize,
    lengths: Vec<usize>,
    trl: Vec<f64>,
    open_r1: Vec<f64>,
}

impl SoftOverlongCase {
    /// The reward as a recipe names it.
    fn rubric(&self) -> Rubric {
        let config = json!({
            "kind": "soft_overlong",
            "max_tokens": self.max_completion_len,
            "buffer_tokens": self.soft_punish_cache,
        });
        let config: RewardConfig = serde_json::from_value(config).expect("a reward");
        Rubric::build(&[config], None).expect("a rubric")
    }
}

#[test]
fn soft_overlong_is_the_recorded_one() {
    let path = super::folder().join("rewards/format.json");
    let recording: Recording = read_json(&path);
    let cases = recording.soft_overlong;
    assert!(!cases.is_empty(), "{} holds no cases", path.display());
    let close = Tolerance {
        relative: 0.0,
        absolute: 1e-9,
    };
    let problem = Problem {
        prompt: Prompt::Text("?".into()),
        answer: Value::Null,
        level: None,
        language: None,
    };
    for case in cases {
        let rubric = case.rubric();
        let count = case.lengths.len();
        assert!(count > 0 && case.trl.len() == count && case.open_r1.len() == count);
        for (index, &token_count) in case.lengths.iter().enumerate() {
            let graded = rubric.grade(&Attempt {
                problem: &problem,
                completion: "",
                token_count,
                finished: true,
            });
            let found = graded.total.expect("the reward applies");
            let place = format!("soft_overlong of {token_count}/{}", case.max_completion_len);
            close.check_one(&place, found, case.trl[index]);
            close.check_one(&place, found, case.open_r1[index]);
        }
    }
}
