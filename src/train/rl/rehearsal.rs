//! The rehearsal of a stage: its largest step before its first.

use super::Rl;
use super::state::Actors;
use crate::error::Result;
use crate::train::plan::PromptTokens;
use crate::train::{RolloutRehearsal, Rollouts};

impl Rl<'_> {
    /// Runs the largest slices that the policy and the critic may meet, and drops what comes of
    /// them; lengths of prompts are those of the first problems. On a GPU it generates too.
    pub(super) fn rehearse(&self, actors: &Actors) -> Result<()> {
        let (config, workers) = (self.config, self.context.workers);
        let prompts = PromptTokens::measure(self.task.as_ref(), config.template, self.tokenizer)?;
        let policy = &actors.policy;
        let positions = policy.decoder().config().max_position_embeddings;
        let rollouts = RolloutRehearsal {
            largest: Rollouts {
                rows: config.completions_together(),
                group: config.group_size,
                prompt_tokens: prompts.longest,
                completion_tokens: config.sampling.max_completion_tokens.min(positions),
            },
            shortest_prompt: prompts.shortest,
            sampling: &config.sampling,
        };
        rollouts.run(policy.decoder(), workers)?;
        let worst = config.worst_case(prompts, positions);
        policy.rehearse_lengths(worst, &self.objective, workers)?;
        match &actors.critic {
            Some(critic) => (critic.learner).rehearse_lengths(worst, &critic.objective(), workers),
            None => Ok(()),
        }
    }
}
