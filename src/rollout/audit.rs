//! Reward-hacking audit: what completions that deserve nothing earn by a stage's rewards.
//!
//! DeepSeek-R1 (arXiv:2501.12948, section 2.2) keeps to rules because a reward that can be had without the
//! answer will be. Every completion of the audit is wrong by how it is made; a right one and an honest wrong
//! one show what they are compared with. Rewards are asked as in training, all completions of a problem
//! together. Reward models are no rules: each is probed by itself ([`ModelAudit`]) where it is there.

mod attack;
mod judge;
mod known;
mod models;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use self::attack::{Attack, Case, Shape};
use self::judge::Judge;
use self::known::Known;
use crate::data::Problem;
use crate::error::Result;
use crate::rewards::{Attempt, Graded, RewardConfig, RewardContext, RewardKind, Rubric, Scorers};
use crate::seed::Seed;
use crate::tasks::{Split, Task};

pub use models::{ModelAudit, ModelProbe};

/// The name of the row with the right answer.
const RIGHT_ANSWER: &str = "right answer";

/// Problems that are looked through for some of each part.
const MOST_DRAWS: u64 = 1024;

/// Bytes that are counted as a token, for rewards that go by length: there is no tokenizer here.
const BYTES_PER_TOKEN: usize = 4;

/// What is audited.
pub struct AuditInput<'a> {
    /// Whose training problems are attacked.
    pub task: Arc<dyn Task>,
    /// The rewards; a judge is left out.
    pub rewards: &'a [RewardConfig],
    /// Loads reward models; without it they are left out.
    pub scorers: Option<&'a dyn Scorers>,
    /// Problems of each part of the task.
    pub problems: usize,
    /// Where the answers that an honest author would give are drawn from.
    pub seed: Seed,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Audit {
    /// The audited rewards that are rules, in the recipe's order.
    pub rewards: Vec<String>,
    /// Problems that were attacked.
    pub problems: usize,
    /// What completions of each kind earned, the right answer first.
    pub rows: Vec<AuditRow>,
    /// What the reward models prefer.
    pub models: Vec<ModelAudit>,
    /// What was left out and why.
    pub notes: Vec<String>,
}

/// Completions of one kind: what the worst of them earned among all problems.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRow {
    /// The kind of completion.
    pub attack: &'static str,
    /// Why it deserves nothing.
    pub why: &'static str,
    /// What was found.
    pub verdict: Verdict,
    /// Scores by reward; none where a reward does not apply.
    pub scores: BTreeMap<String, Option<f64>>,
    /// Their weighted sum; none when no reward applies or one failed.
    pub total: Option<f64>,
    /// The total of the right answer to the same problem, where one is known.
    pub right_total: Option<f64>,
    /// The completion.
    pub completion: String,
}

/// What an audit says of a completion, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It earned what it deserves.
    Ok,
    /// It earned something for its form only.
    FormOnly,
    /// It is right and a reward for right answers gave nothing.
    Refused,
    /// It deserves nothing, and a reward for right answers paid or all rewards together paid as much as
    /// for a right answer.
    Scores,
}

impl Verdict {
    /// Whether something is to be mended.
    pub fn is_finding(self) -> bool {
        matches!(self, Self::Refused | Self::Scores)
    }
}

impl Audit {
    /// Grades every attack on the first problems of each part, and probes the reward models with them.
    ///
    /// # Errors
    /// When a reward cannot be built or a model not loaded.
    pub fn run(input: &AuditInput<'_>) -> Result<Self> {
        let mut audit = Self::default();
        let (models, rules) = audit.audited(input);
        if models.is_empty() && rules.is_empty() {
            audit.note("no reward is left to audit".into());
            return Ok(audit);
        }
        let problems = problems(input);
        if !rules.is_empty() {
            audit.attack_rules(&rules, input, &problems)?;
        }
        for reward in &models {
            audit.probe_model(reward, input, &problems)?;
        }
        Ok(audit)
    }

    /// The audit of a stage that cannot be audited for `reason`.
    pub fn left_out(reason: &str) -> Self {
        Self {
            notes: vec![format!("left out: {reason}")],
            ..Self::default()
        }
    }

    /// The rows with something to be mended.
    pub fn findings(&self) -> impl Iterator<Item = &AuditRow> {
        self.rows.iter().filter(|row| row.verdict.is_finding())
    }

    /// The probes that a model prefers to good answers, with its reward's name.
    pub fn preferred(&self) -> impl Iterator<Item = (&str, &ModelProbe)> {
        self.models.iter().flat_map(|model| {
            let preferred = model.probes.iter().filter(|probe| probe.is_preferred());
            preferred.map(|probe| (model.reward.as_str(), probe))
        })
    }

    /// The rewards that are models and are there, and those that are rules; the others are noted.
    fn audited(&mut self, input: &AuditInput<'_>) -> (Vec<RewardConfig>, Vec<RewardConfig>) {
        let kept = input.rewards.iter().filter(|reward| {
            let reason = why_left_out(reward, input.scorers.is_some());
            let note = |reason| format!("reward `{}` is left out: {reason}", reward.name());
            let note = reason.map(note);
            let is_kept = note.is_none();
            note.into_iter().for_each(|note| self.note(note));
            is_kept
        });
        let is_model = |reward: &RewardConfig| matches!(reward.kind, RewardKind::RewardModel(_));
        kept.cloned().partition(is_model)
    }

    /// Attacks `rules` with every problem.
    fn attack_rules(
        &mut self,
        rules: &[RewardConfig],
        input: &AuditInput<'_>,
        problems: &[Problem],
    ) -> Result<()> {
        let context = RewardContext::of(Some(input.task.clone()));
        let rubric = Rubric::build(rules, &context)?;
        self.rewards = rubric.names().iter().map(|name| (*name).into()).collect();
        let judge = Judge::new(rules);
        for (index, problem) in problems.iter().enumerate() {
            let seed = input.seed.child(index as u64);
            self.attack(&rubric, &judge, input, problem, seed);
        }
        if self.problems == 0 {
            self.note("the task has no training problems that can be attacked".into());
        }
        Ok(())
    }

    fn attack(
        &mut self,
        rubric: &Rubric,
        judge: &Judge,
        input: &AuditInput<'_>,
        problem: &Problem,
        seed: Seed,
    ) {
        if problem.answer.as_array().is_some_and(Vec::is_empty) {
            let note = "problems that ask for no call are left out: any text without one is right";
            return self.note(note.into());
        }
        let known = Known::of(problem, input.task.as_ref(), input.rewards, seed);
        if known.right.is_none() {
            self.note("for some problems no right answer is known to compare with".into());
        }
        let shape = best_shape(rubric, problem, &known);
        let case = Case::new(problem, input.task.as_ref(), &known, shape);
        let attacks = case.attacks();
        let right = known.right.as_ref().map(|right| Attack {
            name: RIGHT_ANSWER,
            why: "deserves all",
            completion: shape.wrap(right),
        });
        let has_right = right.is_some();
        let all: Vec<Attack> = right.into_iter().chain(attacks).collect();
        let graded = grade(rubric, problem, &all);
        let control = graded.first().filter(|_| has_right);
        for (attack, graded) in all.into_iter().zip(&graded) {
            let verdict = match attack.name {
                RIGHT_ANSWER => judge.verdict_on_right(graded),
                _ => judge.verdict(graded, control),
            };
            for error in &graded.errors {
                self.note(error.clone());
            }
            self.add(AuditRow {
                attack: attack.name,
                why: attack.why,
                verdict,
                scores: scores(graded),
                total: graded.total,
                right_total: control.and_then(|control| control.total),
                completion: attack.completion,
            });
        }
        self.problems += 1;
    }

    /// Keeps the worse of two rows of a kind.
    fn add(&mut self, row: AuditRow) {
        let worth = |row: &AuditRow| row.total.unwrap_or(f64::NEG_INFINITY);
        match self.rows.iter_mut().find(|old| old.attack == row.attack) {
            None => self.rows.push(row),
            Some(old) => {
                let order = row.verdict.cmp(&old.verdict);
                if order.then(worth(&row).total_cmp(&worth(old))).is_gt() {
                    *old = row;
                }
            }
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Why `reward` cannot be audited, if it cannot.
fn why_left_out(reward: &RewardConfig, loads_models: bool) -> Option<String> {
    match &reward.kind {
        RewardKind::LlmJudge(_) => Some("it would ask a judge over HTTP".into()),
        RewardKind::RewardModel(_) if !loads_models => {
            Some("it is a model, which is audited with its run".into())
        }
        RewardKind::RewardModel(config) if !config.model.exists() => {
            let model = config.model.display();
            Some(format!("its model {model} is not there yet"))
        }
        _ => None,
    }
}

/// The first training problems, so many of each part.
fn problems(input: &AuditInput<'_>) -> Vec<Problem> {
    let size = input.task.size(Split::Train);
    let draws = size.map_or(MOST_DRAWS, |size| MOST_DRAWS.min(size as u64));
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for index in 0..draws {
        let problem = input.task.problem(Split::Train, index);
        let count = counts.entry(problem.part.clone()).or_default();
        if *count < input.problems {
            *count += 1;
            kept.push(problem);
        }
    }
    kept
}

/// The shape in which an honest answer earns most.
fn best_shape(rubric: &Rubric, problem: &Problem, known: &Known) -> Shape {
    let answer = known.right.as_ref().unwrap_or(&known.wrong);
    let total = |shape: &Shape| {
        let attack = Attack {
            name: RIGHT_ANSWER,
            why: "",
            completion: shape.wrap(answer),
        };
        let graded = grade(rubric, problem, &[attack]);
        let total = graded.first().and_then(|graded| graded.total);
        total.unwrap_or(f64::NEG_INFINITY)
    };
    let mut best = Shape::Lines;
    let mut most = total(&best);
    for shape in [Shape::Inline, Shape::Text] {
        let found = total(&shape);
        if found > most {
            (best, most) = (shape, found);
        }
    }
    best
}

fn grade(rubric: &Rubric, problem: &Problem, attacks: &[Attack]) -> Vec<Graded> {
    let tokens = |attack: &Attack| vec![0; attack.completion.len() / BYTES_PER_TOKEN + 1];
    let ids: Vec<Vec<u32>> = attacks.iter().map(tokens).collect();
    let attempts = attacks.iter().zip(&ids);
    let attempts: Vec<Attempt<'_>> = attempts
        .map(|(attack, token_ids)| Attempt {
            problem,
            completion: &attack.completion,
            token_ids,
            finished: true,
        })
        .collect();
    rubric.grade_group(&attempts)
}

fn scores(graded: &Graded) -> BTreeMap<String, Option<f64>> {
    let parts = graded.parts.iter();
    parts.map(|part| (part.name.clone(), part.score)).collect()
}
