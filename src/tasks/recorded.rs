//! What a verifier needs to know of a problem, kept as the problem's `answer`.

use serde::de::DeserializeOwned;

use crate::data::Problem;
use crate::error::{Error, Result};

/// The record of `problem`, which is `task`'s and looks like `example`.
///
/// # Errors
/// When the problem is another task's: a failure of the verifier, not of an answer.
pub(super) fn recorded<T: DeserializeOwned>(
    task: &str,
    problem: &Problem,
    example: &str,
) -> Result<T> {
    T::deserialize(&problem.answer)
        .map_err(|error| foreign(task, problem, &format!("expected like {example}: {error}")))
}

/// The failure to use the record of `problem`, with what would be right.
pub(super) fn foreign(task: &str, problem: &Problem, reason: &str) -> Error {
    Error::Reward {
        reward: task.into(),
        problem: format!("`answer` is {}, {reason}", problem.answer),
    }
}
