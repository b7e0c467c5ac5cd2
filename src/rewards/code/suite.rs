//! The tests of a problem.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::sandbox::AssertTests;

/// What a program must do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Suite {
    /// Runs of the whole program.
    pub tests: Vec<ScriptTest>,
    /// Statements about what it defines.
    pub asserts: AssertTests,
}

/// A run of the whole program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptTest {
    /// What it reads.
    #[serde(default)]
    pub stdin: String,
    /// What it must write.
    pub stdout: String,
}

/// The tests as a problem's `answer` holds them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    tests: Vec<ScriptTest>,
    asserts: Vec<String>,
    setup: String,
    entry: Option<Names>,
}

/// One name or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Suite {
    /// The tests that `answer` holds; `None` when it holds nothing.
    ///
    /// # Errors
    /// When it holds something else, or no test.
    pub(super) fn read(answer: &Value) -> Result<Option<Self>> {
        let written: Written = match answer {
            Value::Null => return Ok(None),
            Value::String(text) => serde_json::from_str(text),
            other => serde_json::from_value(other.clone()),
        }
        .map_err(|error| failure(error.to_string()))?;
        if written.tests.is_empty() && written.asserts.is_empty() {
            return Err(failure("none, expected `tests` or `asserts`".into()));
        }
        Ok(Some(Self {
            tests: written.tests,
            asserts: AssertTests {
                setup: written.setup,
                asserts: written.asserts,
                entry: match written.entry {
                    None => Vec::new(),
                    Some(Names::One(name)) => vec![name],
                    Some(Names::Several(names)) => names,
                },
                all: true,
            },
        }))
    }

    /// Leaves out all but the first `count` tests.
    pub(super) fn keep_first(&mut self, count: usize) {
        self.tests.truncate(count);
        self.asserts.asserts.truncate(count - self.tests.len());
    }
}

fn failure(problem: String) -> Error {
    Error::Reward {
        reward: "code".into(),
        problem: format!("the problem's tests: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tests_are_read_from_an_object_or_its_text() {
        let answer = json!({
            "tests": [{"stdin": "1\n", "stdout": "2\n"}, {"stdout": "3"}],
            "asserts": ["assert f(1) == 2"],
            "setup": "import math",
            "entry": "f",
        });
        let suite = Suite::read(&answer).unwrap().unwrap();
        assert_eq!(suite.tests[1].stdin, "");
        assert_eq!(suite.asserts.entry, ["f"]);
        let text = Value::String(answer.to_string());
        assert_eq!(Suite::read(&text).unwrap().unwrap(), suite);
    }

    #[test]
    fn first_tests_are_kept() {
        let answer = json!({"tests": [{"stdout": "1"}, {"stdout": "2"}], "asserts": ["a", "b"]});
        let kept = |count| {
            let mut suite = Suite::read(&answer).unwrap().unwrap();
            suite.keep_first(count);
            [suite.tests.len(), suite.asserts.asserts.len()]
        };
        assert_eq!([kept(1), kept(3), kept(9)], [[1, 0], [2, 1], [2, 2]]);
    }

    #[test]
    fn problem_without_tests_has_no_suite() {
        assert_eq!(Suite::read(&Value::Null).unwrap(), None);
    }

    #[test]
    fn what_is_no_test_is_an_error_of_the_reward() {
        for answer in [
            json!("def f(): pass"),
            json!(4),
            json!({}),
            json!({"tests": []}),
            json!({"tests": [{"stdin": "1"}]}),
            json!({"tests": [{"in": "1", "stdout": "1"}]}),
            json!({"asserts": "assert f(2) == 4"}),
            json!({"asserts": ["assert f(2) == 4"], "timeout": 3}),
        ] {
            let error = Suite::read(&answer).unwrap_err().to_string();
            let beginning = "reward `code`: the problem's tests: ";
            assert!(error.starts_with(beginning), "{answer}: {error}");
        }
    }
}
