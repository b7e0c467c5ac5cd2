//! From problems to graded groups of completions.

use crate::data::{Problem, PromptTemplate};
use crate::error::Result;
use crate::generation::{Completion, Engine, FinishReason, GenerationRequest, SamplingParams};
use crate::rewards::{Attempt, Rubric};
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;
use crate::workers::Workers;

use super::{Rollout, RolloutGroup};

/// Groups that are graded at the same time.
const MOST_GRADERS: usize = 32;

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

impl Rollouter<'_> {
    /// Makes and grades `group_size` completions of each problem, drawn as in
    /// [`Rollouter::requests`].
    ///
    /// # Errors
    /// When a prompt cannot be encoded or the model fails.
    pub fn roll_out(
        &self,
        engine: &Engine<'_>,
        sampling: &SamplingParams,
        problems: &[Problem],
        seed: Seed,
        on_finished: &(dyn Fn(&Completion) + Sync),
    ) -> Result<Vec<RolloutGroup>> {
        let requests = self.requests(problems, 0, seed)?;
        let completions = engine.generate(&requests, sampling, on_finished)?;
        let rollouts = self.grade(problems, completions)?;
        Ok(self.groups(problems, &requests, rollouts))
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

    /// Grades the completions of [`Rollouter::requests`], in order; groups at the same time, since some
    /// rewards wait for other programs.
    ///
    /// # Errors
    /// When a completion cannot be decoded; a reward's failure is counted in its
    /// [`Graded`](crate::rewards::Graded), not returned.
    pub fn grade(
        &self,
        problems: &[Problem],
        completions: Vec<Completion>,
    ) -> Result<Vec<Rollout>> {
        let mut completions = completions.into_iter();
        let group = |problem| {
            (
                problem,
                completions.by_ref().take(self.group_size).collect(),
            )
        };
        let groups: Vec<(&Problem, Vec<Completion>)> = problems.iter().map(group).collect();
        let graders = Workers::new(problems.len().min(MOST_GRADERS));
        let graded = graders.map(groups, |(problem, group)| self.grade_group(problem, group));
        let mut rollouts = Vec::with_capacity(problems.len() * self.group_size);
        for group in graded {
            rollouts.extend(group?);
        }
        Ok(rollouts)
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

    fn grade_group(&self, problem: &Problem, completions: Vec<Completion>) -> Result<Vec<Rollout>> {
        let texts = completions
            .iter()
            .map(|completion| self.tokenizer.decode(&completion.ids, true))
            .collect::<Result<Vec<String>>>()?;
        let attempts: Vec<Attempt<'_>> = completions
            .iter()
            .zip(&texts)
            .map(|(completion, text)| Attempt {
                problem,
                completion: text,
                token_ids: &completion.ids,
                finished: completion.finish == FinishReason::Stop,
            })
            .collect();
        let graded = self.rubric.grade_group(&attempts);
        let rollouts = completions.into_iter().zip(texts).zip(graded);
        Ok(rollouts
            .map(|((completion, text), graded)| Rollout {
                completion,
                text,
                graded,
            })
            .collect())
    }
}
