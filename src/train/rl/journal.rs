//! What was generated for the step at hand, on disk, so that an interrupted rollout is not begun
//! again.
//!
//! One line a batch of completions. The completions of a step follow from the policy before it, so
//! the journal of a step stays right whichever state the stage goes on from; it goes when a later
//! state is saved.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{self, JsonlAppender};
use crate::generation::Completion;

/// The journal of one step.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    known: VecDeque<Batch>,
    log: JsonlAppender,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    step: usize,
    completions: Vec<Completion>,
}

impl Journal {
    /// Opens the journal of `step` in `folder` and reads what it holds.
    ///
    /// # Errors
    /// When the file is broken or cannot be written.
    pub(super) fn open(folder: &Path, step: usize) -> Result<Self> {
        files::create_folder(folder)?;
        let path = folder.join(format!("step-{step:06}.jsonl"));
        // Opening first drops a half-written line.
        let log = JsonlAppender::resume(&path, step as u64)?;
        Ok(Self {
            known: files::read_log(&path)?.into(),
            path,
            log,
        })
    }

    /// The next batch of `count` completions: from the journal, or made by `generate` and noted.
    ///
    /// # Errors
    /// When the journal holds other completions, cannot be written, or `generate` fails.
    pub(super) fn batch(
        &mut self,
        step: usize,
        count: usize,
        generate: impl FnOnce() -> Result<Vec<Completion>>,
    ) -> Result<Vec<Completion>> {
        if let Some(batch) = self.known.pop_front() {
            if batch.completions.len() == count {
                return Ok(batch.completions);
            }
            let found = batch.completions.len();
            let problem = format!("holds a batch of {found} completions, expected {count}");
            return Err(Error::file(&self.path, problem));
        }
        let completions = generate()?;
        let batch = Batch { step, completions };
        self.log.append(&batch)?;
        self.log.flush()?;
        Ok(batch.completions)
    }

    /// Removes the journals of the steps up to `step`.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn forget(folder: &Path, step: usize) -> Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
            let path = entry.map_err(Error::io(folder, "read"))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|n| n.strip_prefix("step-")?.strip_suffix(".jsonl"));
            let number: Option<usize> = number.and_then(|number| number.parse().ok());
            if number.is_some_and(|number| number <= step) {
                fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::FinishReason;

    fn completion(id: u32) -> Completion {
        Completion {
            ids: vec![id, 2],
            logprobs: vec![-0.1, -1.0 / 3.0],
            finish: FinishReason::Stop,
        }
    }

    #[test]
    fn batches_come_back_bit_by_bit_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 3).unwrap();
        for id in [7, 8] {
            let made = journal.batch(3, 1, || Ok(vec![completion(id)]));
            assert_eq!(made.unwrap(), [completion(id)]);
        }
        let mut again = Journal::open(folder.path(), 3).unwrap();
        for id in [7, 8] {
            let known = again.batch(3, 1, || Err(Error::Interrupted));
            assert_eq!(known.unwrap(), [completion(id)]);
        }
        assert!(again.batch(3, 1, || Err(Error::Interrupted)).is_err());
    }

    #[test]
    fn a_batch_of_another_size_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 1).unwrap();
        journal.batch(1, 1, || Ok(vec![completion(5)])).unwrap();
        let mut again = Journal::open(folder.path(), 1).unwrap();
        assert!(again.batch(1, 2, || Ok(Vec::new())).is_err());
    }

    #[test]
    fn journals_of_saved_steps_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        for step in 1..=3 {
            Journal::open(folder.path(), step).unwrap();
        }
        Journal::forget(folder.path(), 2).unwrap();
        let left = fs::read_dir(folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["step-000003.jsonl"]);
    }
}
