//! The rehearsal of a stage: its largest step before its first.

use super::Rl;
use super::state::Actors;
use crate::error::Result;

impl Rl<'_> {
    /// Runs the largest slices that the policy and the critic may meet, and drops what comes of
    /// them; lengths of prompts are those of the first problems.
    pub(super) fn rehearse(&self, actors: &Actors) -> Result<()> {
        let prompts = (self.config).prompt_tokens(self.tokenizer, self.task.as_ref())?;
        let policy = &actors.policy;
        let positions = policy.decoder().config().max_position_embeddings;
        let worst = self.config.worst_case(prompts, positions);
        let workers = self.context.workers;
        policy.rehearse(worst, &self.objective, workers)?;
        match &actors.critic {
            Some(critic) => critic.learner.rehearse(worst, &critic.objective(), workers),
            None => Ok(()),
        }
    }
}
