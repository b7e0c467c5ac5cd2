//! What was generated for the step at hand, on disk, so that an interrupted rollout is not begun
//! again.
//!
//! One line a batch of completions with what they earned. The journal of a step stays until a later
//! state is saved; those of steps that a run has gone back behind are dropped, and a batch that
//! answers other requests is refused.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{self, JsonlAppender};
use crate::generation::GenerationRequest;
use crate::rollout::Rollout;
use crate::seed::Seed;

/// The journal of one step.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    step: usize,
    known: VecDeque<Batch>,
    log: JsonlAppender,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    step: usize,
    /// Fingerprint of the prompts and seeds.
    asked: u64,
    rollouts: Vec<Rollout>,
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
            step,
            log,
        })
    }

    /// The next batch if it was made before; it has to answer these requests.
    ///
    /// # Errors
    /// When the journal holds the answers to other requests.
    pub(super) fn recall(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Option<Vec<Rollout>>> {
        let Some(batch) = self.known.pop_front() else {
            return Ok(None);
        };
        if batch.asked == fingerprint(requests) && batch.rollouts.len() == requests.len() {
            return Ok(Some(batch.rollouts));
        }
        let problem = "answers other prompts than this run asks; resume with the task and settings \
                       that the run was started with, or remove the file";
        Err(Error::file(&self.path, problem))
    }

    /// Notes a batch that was made now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note(
        &mut self,
        requests: &[GenerationRequest],
        rollouts: Vec<Rollout>,
    ) -> Result<Vec<Rollout>> {
        let batch = Batch {
            step: self.step,
            asked: fingerprint(requests),
            rollouts,
        };
        self.log.append(&batch)?;
        self.log.sync()?;
        Ok(batch.rollouts)
    }

    /// The error when samples were saved of a step whose rollouts are gone.
    pub(super) fn missing(&self) -> Error {
        let problem = "has lost completions of a step that the saved state was inside of; remove \
                       the newest folder in `states`, or start the run anew";
        Error::file(&self.path, problem)
    }

    /// Removes the journals of steps other than `step`.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn keep_only(folder: &Path, step: usize) -> Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
            let path = entry.map_err(Error::io(folder, "read"))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|n| n.strip_prefix("step-")?.strip_suffix(".jsonl"));
            let number: Option<usize> = number.and_then(|number| number.parse().ok());
            if number.is_some_and(|number| number != step) {
                fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
            }
        }
        Ok(())
    }
}

/// A number that tells requests apart.
fn fingerprint(requests: &[GenerationRequest]) -> u64 {
    let mix = |seed: Seed, number: u64| seed.child(number);
    let all = requests.iter().fold(Seed::new(0), |seed, request| {
        let seed = mix(seed, request.seed.value());
        request
            .prompt
            .iter()
            .fold(seed, |seed, id| mix(seed, u64::from(*id)))
    });
    all.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Completion, FinishReason};
    use crate::rewards::{Graded, GradedPart};

    fn request(id: u32) -> Vec<GenerationRequest> {
        vec![GenerationRequest {
            prompt: vec![id],
            seed: Seed::new(u64::from(id)),
        }]
    }

    fn rollout(id: u32) -> Vec<Rollout> {
        vec![Rollout {
            completion: Completion {
                ids: vec![id, 2],
                logprobs: vec![-0.1, -1.0 / 3.0],
                finish: FinishReason::Stop,
            },
            text: "x".into(),
            graded: Graded {
                total: Some(0.1 + 0.2),
                parts: vec![GradedPart {
                    name: "accuracy".into(),
                    score: None,
                }],
                errors: Vec::new(),
            },
        }]
    }

    #[test]
    fn batches_come_back_bit_by_bit_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 3).unwrap();
        for id in [7, 8] {
            assert!(journal.recall(&request(id)).unwrap().is_none());
            journal.note(&request(id), rollout(id)).unwrap();
        }
        let mut again = Journal::open(folder.path(), 3).unwrap();
        for id in [7, 8] {
            assert_eq!(again.recall(&request(id)).unwrap(), Some(rollout(id)));
        }
        assert!(again.recall(&request(9)).unwrap().is_none());
    }

    #[test]
    fn answers_to_other_requests_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 1).unwrap();
        journal.note(&request(5), rollout(5)).unwrap();
        let mut again = Journal::open(folder.path(), 1).unwrap();
        assert!(again.recall(&request(6)).is_err());
    }

    #[test]
    fn only_the_journal_of_the_step_at_hand_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for step in 1..=4 {
            Journal::open(folder.path(), step).unwrap();
        }
        Journal::keep_only(folder.path(), 3).unwrap();
        let left = fs::read_dir(folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["step-000003.jsonl"]);
    }
}
