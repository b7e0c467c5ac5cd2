//! Math-Verify's verdicts on pairs of a reference and a completion.
//!
//! The `math` reward agrees with at least 95% of them; where it does not, [`DISAGREEMENTS`] says who is
//! right. The table is of the oracle beside the tests and is held to in full there; another oracle's
//! verdicts are held to the share alone.

use emberl::data::{Problem, Prompt};
use emberl::rewards::{Attempt, RewardConfig, RewardContext, Rubric};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fixture::{read_json, say};

/// Least share of verdicts that must agree.
const AGREEMENT: f64 = 0.95;

#[derive(Deserialize)]
struct Recording {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    gold: String,
    answer: String,
    /// `verify(parse(gold), parse(answer))`.
    verify: bool,
}

/// A verdict that differs from the recorded one.
struct Disagreement {
    gold: &'static str,
    answer: &'static str,
    /// The reward's verdict; Math-Verify's is the other one.
    ours: bool,
    /// `emberl` or `math-verify`.
    right: &'static str,
    reason: &'static str,
}

const DISAGREEMENTS: [Disagreement; 7] = [
    Disagreement {
        gold: "1234",
        answer: r"The answer is $\boxed{1\,234}$.",
        ours: true,
        right: "emberl",
        reason: "a thin space groups thousands (ISO 80000-1); they add 1 and 234",
    },
    Disagreement {
        gold: r"$\sin(30^\circ)$",
        answer: r"The answer is $\boxed{\frac{1}{2}}$.",
        ours: true,
        right: "emberl",
        reason: "the sine of 30 degrees is 1/2; they take the sine of 30 radians",
    },
    Disagreement {
        gold: r"$\emptyset$",
        answer: r"The answer is $\boxed{\varnothing}$.",
        ours: true,
        right: "emberl",
        reason: "both are the empty set; they read the second as a variable",
    },
    Disagreement {
        gold: "A",
        answer: r"The answer is $\boxed{\text{A}}$.",
        ours: true,
        right: "emberl",
        reason: "the reference is the letter; they find nothing in a letter outside of LaTeX",
    },
    Disagreement {
        gold: "42",
        answer: r"First I get \boxed{41}, but wait, \boxed{42}",
        ours: true,
        right: "emberl",
        reason: "the last box corrects the first; they take both as a set",
    },
    Disagreement {
        gold: "42",
        answer: r"<think>\boxed{41}</think> \boxed{42}",
        ours: true,
        right: "emberl",
        reason: "a box in the thinking is no answer; they take both as a set",
    },
    Disagreement {
        gold: "$42$",
        answer: r"The answer is $\boxed{42.}$.",
        ours: true,
        right: "emberl",
        reason: "a full stop after the number changes nothing; they cannot read it",
    },
];

/// The reward's verdict with its default settings; a reference that it cannot read is matched by nothing.
fn verdict(rubric: &Rubric, case: &Case) -> bool {
    let problem = Problem {
        prompt: Prompt::Text("?".into()),
        answer: Value::String(case.gold.clone()),
        level: None,
        language: None,
        part: None,
    };
    let graded = rubric.grade(&Attempt {
        problem: &problem,
        completion: &case.answer,
        token_ids: &[0],
        finished: true,
    });
    assert!(graded.errors.is_empty(), "{:?}", graded.errors);
    graded.total == Some(1.0)
}

#[test]
fn math_agrees_with_the_recorded_verdicts() {
    let path = super::folder().join("rewards/math.json");
    let recording: Recording = read_json(&path);
    let config: RewardConfig = serde_json::from_value(json!({"kind": "math"})).expect("a reward");
    let rubric = Rubric::build(&[config], &RewardContext::default()).expect("a rubric");
    let cases = recording.cases;
    assert!(!cases.is_empty(), "{} holds no cases", path.display());
    let differs = |case: &&Case| verdict(&rubric, case) != case.verify;
    let found: Vec<&Case> = cases.iter().filter(differs).collect();
    let share = 1.0 - found.len() as f64 / cases.len() as f64;
    say(&format!(
        "rewards/math: {:.1}% of {} verdicts agree",
        100.0 * share,
        cases.len()
    ));
    assert!(share >= AGREEMENT, "only {share:.4} of the verdicts agree");
    if std::env::var_os("EMBERL_ORACLE").is_none() {
        check_table(&found);
    }
}

/// Panics at a disagreement that is not in the table, or one of the table that was not found.
fn check_table(found: &[&Case]) {
    for case in found {
        let (gold, answer) = (&case.gold, &case.answer);
        let listed = DISAGREEMENTS
            .iter()
            .find(|entry| entry.gold == gold && entry.answer == answer);
        let entry = listed.unwrap_or_else(|| panic!("new disagreement: `{gold}` and `{answer}`"));
        assert_eq!(
            entry.ours, !case.verify,
            "`{gold}` and `{answer}`: {}",
            entry.reason
        );
    }
    for entry in &DISAGREEMENTS {
        let (gold, answer) = (entry.gold, entry.answer);
        let is_found = found
            .iter()
            .any(|case| case.gold == gold && case.answer == answer);
        assert!(
            is_found,
            "no disagreement any more: `{gold}` and `{answer}`"
        );
        assert!(
            ["emberl", "math-verify"].contains(&entry.right),
            "{gold}: {}",
            entry.right
        );
    }
}
