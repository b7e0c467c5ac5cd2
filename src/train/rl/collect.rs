//! The rollouts of a step: problems chosen, completions generated and graded.

use std::time::Duration;

use super::Rl;
use super::journal::Journal;
use super::state::{Actors, RlProgress};
use crate::data::Problem;
use crate::error::Result;
use crate::generation::Engine;
use crate::rewards::Rubric;
use crate::rollout::{Curriculum, Picked, RolloutGroup, Rollouter, teaches};
use crate::seed::Seed;
use crate::tasks::Split;

/// What a step has to learn from.
pub(super) struct Collected {
    /// Every group that was asked for.
    pub groups: Vec<RolloutGroup>,
    /// Which of them are trained on, in order.
    pub kept: Vec<usize>,
    /// First problem of the stream that was not looked at.
    pub next_problem: u64,
    /// Time that grading took after generation.
    pub grading_wait: Duration,
}

impl Collected {
    /// The groups that are trained on.
    pub(super) fn kept(&self) -> impl Iterator<Item = &RolloutGroup> + Clone {
        self.kept.iter().map(|&index| &self.groups[index])
    }
}

impl Rl<'_> {
    /// Asks the policy as it is before the step.
    ///
    /// With dynamic sampling, groups that teach nothing are left out and others asked for, round by
    /// round; what the last round leaves open stays open.
    /// Inside a step, which `is_inside` says, all was asked before: the policy has moved on.
    pub(super) fn collect(
        &self,
        actors: &Actors,
        progress: &RlProgress,
        is_inside: bool,
    ) -> Result<Collected> {
        let config = self.config;
        let mut journal = Journal::open(&self.journals(), progress.step + 1)?;
        let mut collected = Collected {
            groups: Vec::new(),
            kept: Vec::new(),
            next_problem: progress.next_problem,
            grading_wait: Duration::ZERO,
        };
        let rounds = config
            .dynamic_sampling
            .map_or(1, |sampling| sampling.max_rounds);
        for _ in 0..rounds {
            let wanted = config.prompts_per_step - collected.kept.len();
            if wanted == 0 {
                break;
            }
            let picked = self.pick(progress, collected.next_problem, wanted);
            collected.next_problem = picked.next;
            for problems in picked.problems.chunks(config.groups_per_batch()) {
                let first = collected.groups.len();
                let known = self.recall(progress.step, problems, first, &mut journal)?;
                let is_known = known.is_some();
                let groups = match known {
                    Some(groups) => groups,
                    None if is_inside => return Err(journal.missing()),
                    None => self.ask(
                        actors,
                        progress.step,
                        problems,
                        &mut collected,
                        &mut journal,
                    )?,
                };
                for (index, group) in groups.into_iter().enumerate() {
                    if self.keeps(&group) {
                        collected.kept.push(first + index);
                    }
                    collected.groups.push(group);
                }
                if !is_known {
                    self.context
                        .rest(|| self.save(actors.parts(), progress, None))?;
                }
            }
        }
        Ok(collected)
    }

    /// Chooses the next problems of the stream.
    fn pick(&self, progress: &RlProgress, first: u64, count: usize) -> Picked {
        let problem = |index| self.task.problem(Split::Train, index);
        match &self.config.curriculum {
            Some(config) => {
                let curriculum = Curriculum::new(config.clone(), progress.pass_rates.clone());
                curriculum.pick(first, count, self.context.seed.named("curriculum"), problem)
            }
            None => {
                let indices: Vec<u64> = (first..first + count as u64).collect();
                Picked {
                    problems: indices.iter().map(|&index| problem(index)).collect(),
                    next: first + count as u64,
                    indices,
                }
            }
        }
    }

    /// The groups of `problems`, which come after `first` others, if they are in the journal.
    fn recall(
        &self,
        step: usize,
        problems: &[Problem],
        first: usize,
        journal: &mut Journal,
    ) -> Result<Option<Vec<RolloutGroup>>> {
        let rollouter = self.rollouter(&self.rubric);
        let requests = rollouter.requests(problems, first, self.rollout_seed(step))?;
        let rollouts = journal.recall(&requests)?;
        Ok(rollouts.map(|rollouts| rollouter.groups(problems, &requests, rollouts)))
    }

    /// Generates and grades the completions of `problems`, which come after those collected.
    fn ask(
        &self,
        actors: &Actors,
        step: usize,
        problems: &[Problem],
        collected: &mut Collected,
        journal: &mut Journal,
    ) -> Result<Vec<RolloutGroup>> {
        // `step` counts those done.
        let rubric = self.rubric.at_step(step + 1);
        let rollouter = self.rollouter(&rubric);
        let first = collected.groups.len();
        let requests = rollouter.requests(problems, first, self.rollout_seed(step))?;
        let decoder = actors.policy.decoder().frozen();
        let engine = Engine::new(&decoder, self.eos_ids.clone(), self.context.workers);
        let sampling = &self.config.sampling;
        let asked = rollouter.ask(&engine, sampling, problems, &requests, &|_| ())?;
        collected.grading_wait += asked.grading_wait;
        let rollouts = journal.note(&requests, asked.rollouts)?;
        Ok(rollouter.groups(problems, &requests, rollouts))
    }

    fn rollouter<'a>(&'a self, rubric: &'a Rubric) -> Rollouter<'a> {
        Rollouter {
            tokenizer: self.tokenizer,
            template: self.config.template,
            rubric,
            group_size: self.config.group_size,
        }
    }

    fn rollout_seed(&self, step: usize) -> Seed {
        self.step_seed(step).named("rollout")
    }

    fn keeps(&self, group: &RolloutGroup) -> bool {
        if self.config.dynamic_sampling.is_none() {
            return true;
        }
        let rewards: Vec<_> = group.rollouts.iter().map(|r| r.graded.scores()).collect();
        let aggregation = self.config.advantage.aggregation();
        teaches(&rewards, &self.rubric.weights(), aggregation)
    }
}
