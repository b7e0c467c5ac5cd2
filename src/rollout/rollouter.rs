//! From problems to graded groups of completions.

use crate::data::{Problem, PromptTemplate};
use crate::error::Result;
use crate::generation::{Completion, Engine, FinishReason, GenerationRequest, SamplingParams};
use crate::rewards::{Attempt, Rubric};
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;

use super::{Rollout, RolloutGroup};

/// Asks a model and grades what it writes.
pub struct Rollouter<'a> {
    /// Turns prompts to ids and completions to text.
    pub tokenizer: &'a Tokenizer,
    /// How prompts are put.
    pub template: PromptTemplate,
    /// How completions are sampled.
    pub sampling: &'a SamplingParams,
    /// How completions are graded.
    pub rubric: &'a Rubric,
}

impl Rollouter<'_> {
    /// Makes `group_size` completions of each problem; sample `j` of problem `i` draws from
    /// `seed.child(i).child(j)`.
    ///
    /// # Errors
    /// When a prompt cannot be encoded or the model fails; a reward's failure is counted in its
    /// [`Graded`](crate::rewards::Graded), not returned.
    pub fn roll_out(
        &self,
        engine: &Engine<'_>,
        problems: Vec<Problem>,
        group_size: usize,
        seed: Seed,
        on_finished: &(dyn Fn(&Completion) + Sync),
    ) -> Result<Vec<RolloutGroup>> {
        let mut requests = Vec::with_capacity(problems.len() * group_size);
        for (index, problem) in problems.iter().enumerate() {
            let prompt = self.template.encode(self.tokenizer, &problem.prompt)?;
            let seed = seed.child(index as u64);
            requests.extend((0..group_size).map(|sample| GenerationRequest {
                prompt: prompt.clone(),
                seed: seed.child(sample as u64),
            }));
        }
        let completions = engine.generate(&requests, self.sampling, on_finished)?;
        let mut completions = completions.into_iter();
        let mut requests = requests.into_iter();
        let mut groups = Vec::with_capacity(problems.len());
        for problem in problems {
            let prompts: Vec<_> = requests.by_ref().take(group_size).collect();
            let samples = completions.by_ref().take(group_size);
            let rollouts: Result<Vec<Rollout>> =
                samples.map(|sample| self.grade(&problem, sample)).collect();
            groups.push(RolloutGroup {
                prompt: prompts.into_iter().next().map_or(Vec::new(), |r| r.prompt),
                rollouts: rollouts?,
                problem,
            });
        }
        Ok(groups)
    }

    fn grade(&self, problem: &Problem, completion: Completion) -> Result<Rollout> {
        let text = self.tokenizer.decode(&completion.ids, true)?;
        let graded = self.rubric.grade(&Attempt {
            problem,
            completion: &text,
            token_count: completion.ids.len(),
            finished: completion.finish == FinishReason::Stop,
        });
        Ok(Rollout {
            completion,
            text,
            graded,
        })
    }
}
