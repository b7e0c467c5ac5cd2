//! The sandbox of the reward `code`: what programs can do in it, and what hostile ones cannot.

mod attacks;
mod forgeries;
mod programs;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use emberl::data::{Problem, Prompt};
use emberl::rewards::{AnswerSource, Attempt, Code, CodeConfig, Reward};
use emberl::sandbox::{AssertTests, ProcessLimits, Sandbox, SandboxLimits};
use serde_json::{Value, json};

/// CPU seconds of the tests' runs.
const CPU_SECONDS: u64 = 2;
/// Wall time of the tests' runs; machines that run tests are busy.
const WALL: Duration = Duration::from_secs(30);

/// A program with Python: this build's, or the one that `EMBERL_SANDBOX` names.
fn program() -> Option<PathBuf> {
    if cfg!(feature = "python") {
        return Some(env!("CARGO_BIN_EXE_emberl").into());
    }
    let named = std::env::var_os("EMBERL_SANDBOX").map(PathBuf::from);
    if named.is_none() {
        eprintln!("skipped: no Python, neither feature `python` nor `EMBERL_SANDBOX`");
    }
    named
}

fn sandbox() -> Option<Sandbox> {
    let limits = SandboxLimits {
        process: ProcessLimits {
            cpu_seconds: CPU_SECONDS,
            memory_mib: 256,
            output_bytes: 100_000,
        },
        wall: WALL,
        runs: 4,
    };
    Some(Sandbox::new(Some(&program()?), limits).expect("a program"))
}

/// Asserts about what a program defines.
fn asserts(asserts: &[&str]) -> AssertTests {
    AssertTests {
        asserts: asserts.iter().map(|text| text.to_string()).collect(),
        all: true,
        ..AssertTests::default()
    }
}

/// The code reward with partial credit or without, on whole texts.
fn code(partial: bool) -> Option<Code> {
    let config = CodeConfig {
        answer: AnswerSource::Text,
        partial,
        cpu_seconds: CPU_SECONDS,
        program: Some(program()?),
        processes: NonZeroUsize::new(4),
        ..CodeConfig::default()
    };
    Some(Code::new(&config).expect("good settings"))
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

fn attempt<'a>(problem: &'a Problem, completion: &'a str) -> Attempt<'a> {
    Attempt {
        problem,
        completion,
        token_ids: &[],
        finished: true,
    }
}

/// A completion that gives `source` as its answer.
fn completion(source: &str) -> String {
    format!("<think>Let me see.</think>So:\n```python\n{source}\n```\n")
}

#[test]
fn completions_of_a_group_are_scored_in_order() {
    let Some(code) = code(true) else { return };
    let problem = problem(json!({
        "tests": [{"stdin": "2\n", "stdout": "4"}, {"stdin": "3\n", "stdout": "9"}],
    }));
    let texts: Vec<String> = [
        "print(int(input()) ** 2)",
        "print(int(input()) * 2)",
        "while True: pass",
        "print(9)",
    ]
    .map(completion)
    .into();
    let mut attempts: Vec<_> = texts.iter().map(|text| attempt(&problem, text)).collect();
    attempts.push(attempt(&problem, "print(4)"));
    let scores = code.score_group(&attempts).into_iter();
    let scores: Vec<_> = scores.map(|score| score.expect("a verdict")).collect();
    let expected = [1.0, 0.5, 0.0, 0.5, 0.0].map(Some);
    assert_eq!(scores, expected);
}

#[test]
fn without_partial_credit_one_failure_is_all() {
    let Some(code) = code(false) else { return };
    let problem = problem(json!({
        "tests": [{"stdin": "2", "stdout": "4"}],
        "asserts": ["assert f(1) == 1", "assert f(3) == 9"],
    }));
    let score = |source: &str| {
        let text = completion(source);
        code.score(&attempt(&problem, &text)).expect("a verdict")
    };
    let main = "if __name__ == '__main__': print(f(int(input())))";
    let program = |body: &str| format!("def f(x): return {body}\n{main}");
    assert_eq!(score(&program("x * x")), Some(1.0));
    assert_eq!(score(&program("x * x if x < 3 else 8")), Some(0.0));
    assert_eq!(score(&program("x * x if x != 2 else 5")), Some(0.0));
}

#[test]
fn tests_that_are_no_python_are_an_error_not_a_score() {
    let Some(code) = code(false) else { return };
    let problem = problem(json!({"asserts": ["assert f(1) =="]}));
    let text = completion("def f(x): return x");
    let error = code.score(&attempt(&problem, &text)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("reward `code`: the problem's tests: "),
        "{message}"
    );
}

#[test]
fn program_that_is_no_sandbox_is_an_error_not_a_score() {
    if !cfg!(unix) {
        return eprintln!("skipped: no `/bin/false` here");
    }
    let config = CodeConfig {
        answer: AnswerSource::Text,
        program: ["/bin/false", "/usr/bin/false"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.is_file()),
        ..CodeConfig::default()
    };
    let code = Code::new(&config).expect("good settings");
    let problem = problem(json!({"tests": [{"stdout": "1"}]}));
    let text = completion("print(1)");
    let error = code.score(&attempt(&problem, &text)).unwrap_err();
    let message = "reward `code`: the sandbox does not start";
    assert_eq!(error.to_string(), message);
}

#[cfg(not(feature = "python"))]
#[test]
fn build_without_python_says_so() {
    let config = CodeConfig {
        answer: AnswerSource::Text,
        program: Some(env!("CARGO_BIN_EXE_emberl").into()),
        ..CodeConfig::default()
    };
    let code = Code::new(&config).expect("good settings");
    let problem = problem(json!({"tests": [{"stdout": "1"}]}));
    let text = completion("print(1)");
    let error = code.score(&attempt(&problem, &text)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("--features python"), "{message}");
}
