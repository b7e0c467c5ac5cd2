//! From problems to graded groups of completions.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{Problem, PromptTemplate};
use crate::error::Result;
use crate::generation::{Completion, Engine, GenerationRequest, SamplingParams};
use crate::rewards::Rubric;
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;

use super::grading::{Ended, Grader};
use super::{Rollout, RolloutGroup};

/// Asks a model and grades what it writes.
pub struct Rollouter<'a> {
    /// Turns prompts to ids and completions to text.
    pub tokenizer: &'a Tokenizer,
    /// How prompts are put.
    pub template: PromptTemplate,
    /// How completions are graded.
    pub rubric: &'a Rubric,
    /// Completions of each problem.
    pub group_size: usize,
}

/// Graded completions, and what their grading cost.
#[derive(Debug)]
pub struct GradedRollouts {
    /// One for each request, in order.
    pub rollouts: Vec<Rollout>,
    /// Time that grading took after the last completion had ended.
    pub grading_wait: Duration,
}

impl Rollouter<'_> {
    /// Makes and grades `group_size` completions of each problem, drawn as in
    /// [`Rollouter::requests`].
    ///
    /// # Errors
    /// When a prompt cannot be encoded, or as [`Rollouter::ask`].
    pub fn roll_out(
        &self,
        engine: &Engine<'_>,
        sampling: &SamplingParams,
        problems: &[Problem],
        seed: Seed,
        on_finished: &(dyn Fn(&Completion) + Sync),
    ) -> Result<Vec<RolloutGroup>> {
        let requests = self.requests(problems, 0, seed)?;
        let asked = self.ask(engine, sampling, problems, &requests, on_finished)?;
        Ok(self.groups(problems, &requests, asked.rollouts))
    }

    /// What to ask for each problem, `group_size` neighbours a problem; sample `j` of problem `i`
    /// draws from `seed.child(first + i).child(j)`.
    ///
    /// # Errors
    /// When a prompt cannot be encoded.
    pub fn requests(
        &self,
        problems: &[Problem],
        first: usize,
        seed: Seed,
    ) -> Result<Vec<GenerationRequest>> {
        let mut requests = Vec::with_capacity(problems.len() * self.group_size);
        for (index, problem) in problems.iter().enumerate() {
            let prompt = self.template.encode(self.tokenizer, &problem.prompt)?;
            let seed = seed.child((first + index) as u64);
            requests.extend((0..self.group_size).map(|sample| GenerationRequest {
                prompt: prompt.clone(),
                seed: seed.child(sample as u64),
            }));
        }
        Ok(requests)
    }

    /// Makes and grades the completions of [`Rollouter::requests`], in order; `on_finished` hears of each
    /// as it ends.
    ///
    /// Rewards that need no device grade a group as soon as its last completion has ended, on a thread of
    /// their own while the engine goes on; the others grade all groups after that. What a completion earns
    /// does not depend on it.
    ///
    /// # Errors
    /// When the model fails or a completion cannot be decoded; a reward's failure is counted in its
    /// [`Graded`](crate::rewards::Graded), not returned.
    ///
    /// # Panics
    /// When a reward does.
    pub fn ask(
        &self,
        engine: &Engine<'_>,
        sampling: &SamplingParams,
        problems: &[Problem],
        requests: &[GenerationRequest],
        on_finished: &(dyn Fn(&Completion) + Sync),
    ) -> Result<GradedRollouts> {
        let (completions, graded, generated) = thread::scope(|scope| {
            let (sender, ended) = mpsc::channel();
            let grader = Grader::new(self, problems);
            let grader = scope.spawn(move || grader.follow(&ended));
            let hear = |place: usize, completion: &Completion| {
                // A grader that is gone says why when it is joined.
                sender.send(Ended::new(place, completion)).ok();
                on_finished(completion);
            };
            let completions = engine.generate(requests, sampling, &hear);
            drop(sender);
            let generated = Instant::now();
            let graded = grader.join();
            let graded = graded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (completions, graded, generated)
        });
        let rollouts = completions?.into_iter().zip(graded?.finish());
        let rollouts = rollouts.map(|(completion, (text, graded))| Rollout {
            completion,
            text,
            graded,
        });
        Ok(GradedRollouts {
            rollouts: rollouts.collect(),
            grading_wait: generated.elapsed(),
        })
    }

    /// Puts the rollouts of [`Rollouter::requests`] into the groups of their problems.
    pub fn groups(
        &self,
        problems: &[Problem],
        requests: &[GenerationRequest],
        rollouts: Vec<Rollout>,
    ) -> Vec<RolloutGroup> {
        let mut rollouts = rollouts.into_iter();
        let asked = problems.iter().zip(requests.chunks(self.group_size));
        asked
            .map(|(problem, requests)| RolloutGroup {
                problem: problem.clone(),
                prompt: requests[0].prompt.clone(),
                rollouts: rollouts.by_ref().take(self.group_size).collect(),
            })
            .collect()
    }
}
