//! The completions in which a run's self-checks first appear: `first_seen.jsonl`.
//!
//! One line for each mark of [`self_checks`], written at the step whose completions first have it.
//! Lines of steps that a run has gone back behind are dropped, and what they named may appear anew.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files::{self, JsonlAppender};
use crate::rollout::{RolloutGroup, self_checks};

const FILE: &str = "first_seen.jsonl";

/// Longest excerpt, in characters.
const EXCERPT: usize = 300;

/// Characters of the excerpt before the mark.
const BEFORE: usize = 150;

/// The log and the marks that it has.
#[derive(Debug)]
pub(super) struct FirstSeen {
    log: JsonlAppender,
    seen: HashSet<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sighting {
    step: usize,
    mark: String,
    /// Place among the step's lines of `samples.jsonl`, from 0.
    completion: usize,
    /// What stands around the mark.
    excerpt: String,
}

impl FirstSeen {
    /// Goes on with the log in `folder` after `step`.
    ///
    /// # Errors
    /// When the file is broken or cannot be written.
    pub(super) fn open(folder: &Path, step: usize) -> Result<Self> {
        let path = folder.join(FILE);
        // Opening first drops what was written later.
        let log = JsonlAppender::resume(&path, step as u64)?;
        let sightings: Vec<Sighting> = files::read_log(&path)?;
        let seen = sightings.into_iter().map(|sighting| sighting.mark);
        Ok(Self {
            log,
            seen: seen.collect(),
        })
    }

    /// Notes the marks that the completions of `step` are the first to have.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note(&mut self, step: usize, groups: &[RolloutGroup]) -> Result<()> {
        let rollouts = groups.iter().flat_map(|group| &group.rollouts);
        let texts = rollouts.map(|rollout| rollout.text.as_str());
        for sighting in sightings(step, texts, &mut self.seen) {
            self.log.append(&sighting)?;
        }
        self.log.flush()
    }
}

/// The marks in `texts` that are not `seen`; they are from then on.
fn sightings<'a>(
    step: usize,
    texts: impl Iterator<Item = &'a str>,
    seen: &mut HashSet<String>,
) -> Vec<Sighting> {
    let mut new = Vec::new();
    for (completion, text) in texts.enumerate() {
        for check in self_checks(text) {
            if seen.insert(check.mark.to_string()) {
                new.push(Sighting {
                    step,
                    mark: check.mark.to_string(),
                    completion,
                    excerpt: excerpt(text, check.place),
                });
            }
        }
    }
    new
}

/// At most [`EXCERPT`] characters of `text` around byte `place`.
fn excerpt(text: &str, place: usize) -> String {
    let before = text[..place].char_indices().rev().take(BEFORE).last();
    let start = before.map_or(place, |(start, _)| start);
    text[start..].chars().take(EXCERPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_noted_where_it_first_appears_only() {
        let mut seen = HashSet::new();
        let texts = ["1+1=2", "1+1=3 wait, 1+1=2", "wait hmm"];
        let first = sightings(4, texts.into_iter(), &mut seen);
        let sighting = |mark: &str, completion, excerpt: &str| Sighting {
            step: 4,
            mark: mark.into(),
            completion,
            excerpt: excerpt.into(),
        };
        let expected = [
            sighting("wait", 1, "1+1=3 wait, 1+1=2"),
            sighting("hmm", 2, "wait hmm"),
        ];
        assert_eq!(first, expected);
        assert!(sightings(5, texts.into_iter(), &mut seen).is_empty());
    }

    #[test]
    fn an_excerpt_has_the_mark_and_no_more_than_its_length() {
        let text = format!("{}wait{}", "好".repeat(1000), "é".repeat(1000));
        let found = excerpt(&text, 3000);
        let expected = format!("{}wait{}", "好".repeat(150), "é".repeat(146));
        assert_eq!((found.chars().count(), found), (300, expected));
        assert_eq!(excerpt("wait", 0), "wait");
    }

    #[test]
    fn lines_of_later_steps_are_dropped_and_their_marks_may_come_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let line = |step: usize, mark: &str| Sighting {
            step,
            mark: mark.into(),
            completion: 0,
            excerpt: mark.into(),
        };
        let mut log = JsonlAppender::create(&path).unwrap();
        log.append(&line(1, "wait")).unwrap();
        log.append(&line(3, "hmm")).unwrap();
        log.flush().unwrap();
        let mut again = FirstSeen::open(folder.path(), 2).unwrap();
        let new = sightings(3, ["wait hmm"].into_iter(), &mut again.seen);
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].mark, "hmm");
        let left: Vec<Sighting> = files::read_log(&path).unwrap();
        assert_eq!(left, [line(1, "wait")]);
    }
}
