//! The one error type of the library: every message says what is wrong, where, and what would be right.

use std::io;
use std::path::{Path, PathBuf};

/// Result of the library's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{path}: cannot {action}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file's content is not what it should be.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// One line of a file is not what it should be.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A tensor in a weights file is missing or is not what the model needs.
    #[error("{path}: tensor `{tensor}`: {problem}")]
    Tensor {
        /// The weights file or model folder.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A recipe or a setting given on the command line is not usable.
    #[error("recipe `{recipe}`: {problem}")]
    Recipe {
        /// The recipe file.
        recipe: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A configuration value is out of range.
    #[error("`{key}`: {problem}")]
    Setting {
        /// The key, dotted.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Text could not be tokenized or decoded.
    #[error("tokenizer: {problem}")]
    Tokenizer {
        /// What is wrong.
        problem: String,
    },
    /// A chat template is broken or refused the conversation.
    #[error("chat template: {problem}")]
    ChatTemplate {
        /// What the template engine or the template itself said.
        problem: String,
    },
    /// A verifier or reward failed by itself; the completion is not to blame.
    #[error("reward `{reward}`: {problem}")]
    Reward {
        /// The reward's name.
        reward: String,
        /// What failed.
        problem: String,
    },
    /// A compute device is not there or failed.
    #[error("device `{device}`: {problem}")]
    Device {
        /// The device as it was asked for.
        device: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A model's output cannot be used.
    #[error("model: {problem}")]
    Model {
        /// What is wrong.
        problem: String,
    },
    /// The user asked to stop; what was done so far is saved.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with the path and the action that failed.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    /// An error about a file's content.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_path_buf(),
            problem: problem.into(),
        }
    }

    /// An error about one line of a file, counted from 1.
    pub fn line(path: impl AsRef<Path>, line: usize, problem: impl Into<String>) -> Self {
        Self::Line {
            path: path.as_ref().to_path_buf(),
            line,
            problem: problem.into(),
        }
    }

    /// An error about a tensor of a weights file.
    pub fn tensor(
        path: impl AsRef<Path>,
        tensor: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self::Tensor {
            path: path.as_ref().to_path_buf(),
            tensor: tensor.into(),
            problem: problem.into(),
        }
    }

    /// The same error with `prefix` before the key of a configuration value.
    pub fn inside(self, prefix: &str) -> Self {
        match self {
            Self::Setting { key, problem } => Self::setting(format!("{prefix}{key}"), problem),
            other => other,
        }
    }

    /// An error about a configuration value.
    pub fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting {
            key: key.into(),
            problem: problem.into(),
        }
    }
}
