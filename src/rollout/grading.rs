//! Grades groups of completions while the engine makes others.
//!
//! A group is graded when its last completion has ended, by the rewards that need no device; what has piled
//! up meanwhile is graded together. Scores are kept by place, so that it does not matter what ends first.

use std::iter;
use std::sync::mpsc::Receiver;

use crate::data::Problem;
use crate::error::Result;
use crate::generation::{Completion, FinishReason};
use crate::rewards::{Attempt, Graded, HostScores};

use super::Rollouter;

/// A completion that ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The number of its request.
    place: usize,
    ids: Vec<u32>,
    finished: bool,
}

impl Ended {
    pub(super) fn new(place: usize, completion: &Completion) -> Self {
        Self {
            place,
            ids: completion.ids.clone(),
            finished: completion.finish == FinishReason::Stop,
        }
    }
}

/// Grades the completions of some problems.
pub(super) struct Grader<'a> {
    rollouter: &'a Rollouter<'a>,
    problems: &'a [Problem],
    /// By place; empty before they end.
    answers: Vec<Answer>,
    /// How many answers of each group have not ended.
    open: Vec<usize>,
    /// Of each group that is graded so far.
    scores: Vec<HostScores>,
}

#[derive(Clone, Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    finished: bool,
}

impl<'a> Grader<'a> {
    pub(super) fn new(rollouter: &'a Rollouter<'a>, problems: &'a [Problem]) -> Self {
        let groups = problems.len();
        Self {
            rollouter,
            problems,
            answers: vec![Answer::default(); groups * rollouter.group_size],
            open: vec![rollouter.group_size; groups],
            scores: iter::repeat_with(HostScores::default)
                .take(groups)
                .collect(),
        }
    }

    /// Grades what comes by the rewards that need no device, until nothing more can come.
    ///
    /// # Errors
    /// When a completion cannot be decoded.
    pub(super) fn follow(mut self, ended: &Receiver<Ended>) -> Result<Self> {
        while let Ok(first) = ended.recv() {
            let mut whole = Vec::new();
            for ended in iter::once(first).chain(ended.try_iter()) {
                whole.extend(self.take(ended)?);
            }
            if !whole.is_empty() {
                self.grade(&whole);
            }
        }
        Ok(self)
    }

    /// Asks the rewards that need a device, for all groups at once; returns every completion's text and
    /// what it earned, in order.
    pub(super) fn finish(mut self) -> impl Iterator<Item = (String, Graded)> {
        let scores = std::mem::take(&mut self.scores);
        let attempts: Vec<_> = (0..scores.len())
            .map(|group| self.attempts(group))
            .collect();
        let groups: Vec<&[Attempt<'_>]> = attempts.iter().map(Vec::as_slice).collect();
        let graded = self.rollouter.rubric.grade_with(&groups, scores);
        let texts = self.answers.into_iter().map(|answer| answer.text);
        texts.zip(graded.into_iter().flatten())
    }

    /// Takes a completion in; returns the number of its group if that is whole now.
    fn take(&mut self, ended: Ended) -> Result<Option<usize>> {
        let group = ended.place / self.rollouter.group_size;
        self.answers[ended.place] = Answer {
            text: self.rollouter.tokenizer.decode(&ended.ids, true)?,
            ids: ended.ids,
            finished: ended.finished,
        };
        self.open[group] -= 1;
        Ok((self.open[group] == 0).then_some(group))
    }

    fn grade(&mut self, whole: &[usize]) {
        let attempts: Vec<_> = whole.iter().map(|group| self.attempts(*group)).collect();
        let groups: Vec<&[Attempt<'_>]> = attempts.iter().map(Vec::as_slice).collect();
        let scores = self.rollouter.rubric.host_scores(&groups);
        for (group, scores) in whole.iter().zip(scores) {
            self.scores[*group] = scores;
        }
    }

    fn attempts(&self, group: usize) -> Vec<Attempt<'_>> {
        let size = self.rollouter.group_size;
        let answers = &self.answers[group * size..][..size];
        let attempt = |answer| attempt(&self.problems[group], answer);
        answers.iter().map(attempt).collect()
    }
}

fn attempt<'a>(problem: &'a Problem, answer: &'a Answer) -> Attempt<'a> {
    Attempt {
        problem,
        completion: &answer.text,
        token_ids: &answer.ids,
        finished: answer.finished,
    }
}
