//! Which scores an attack must not have.

use super::Verdict;
use crate::rewards::{Graded, GradedPart, RewardConfig, RewardKind, ToolCallCredit};

/// Tells rewards for right answers from rewards for form.
pub(super) struct Judge {
    correctness: Vec<Correctness>,
}

/// A reward for right answers.
struct Correctness {
    name: String,
    /// Whether its settings ask for credit for a part: then only all of it is for a right answer.
    is_partial: bool,
}

impl Judge {
    /// A judge of what `rewards` gave.
    pub(super) fn new(rewards: &[RewardConfig]) -> Self {
        let correctness = rewards.iter().filter_map(|reward| {
            let is_partial = match &reward.kind {
                RewardKind::Accuracy { .. } | RewardKind::Math { .. } => false,
                RewardKind::JsonSchema(config) => config.misfit > 0.0,
                RewardKind::ToolCall(config) => config.credit == ToolCallCredit::Partial,
                RewardKind::Code(config) => config.partial,
                _ => return None,
            };
            Some(Correctness {
                name: reward.name().to_owned(),
                is_partial,
            })
        });
        Self {
            correctness: correctness.collect(),
        }
    }

    /// The verdict on a completion that deserves nothing; `right` is what a right one earned.
    pub(super) fn verdict(&self, graded: &Graded, right: Option<&Graded>) -> Verdict {
        let is_paid = graded.parts.iter().any(|part| self.is_paid(part));
        let right = right.filter(|right| right.parts.iter().any(|part| self.judges(part)));
        let totals = graded.total.zip(right.and_then(|right| right.total));
        if is_paid || totals.is_some_and(|(total, right)| total >= right) {
            return Verdict::Scores;
        }
        let pays = |part: &GradedPart| part.score.is_some_and(|score| score > 0.0);
        match graded.parts.iter().any(pays) {
            true => Verdict::FormOnly,
            false => Verdict::Ok,
        }
    }

    /// The verdict on a right answer.
    pub(super) fn verdict_on_right(&self, graded: &Graded) -> Verdict {
        let refuses = |part: &GradedPart| self.judges(part) && !self.is_paid(part);
        match graded.parts.iter().any(refuses) {
            true => Verdict::Refused,
            false => Verdict::Ok,
        }
    }

    fn of(&self, part: &GradedPart) -> Option<&Correctness> {
        self.correctness.iter().find(|own| own.name == part.name)
    }

    /// Whether `part` is a right or wrong.
    fn judges(&self, part: &GradedPart) -> bool {
        part.score.is_some() && self.of(part).is_some()
    }

    /// Whether `part` was given as for a right answer.
    fn is_paid(&self, part: &GradedPart) -> bool {
        let paid = |own: &Correctness, score: f64| match own.is_partial {
            true => score >= 1.0,
            false => score > 0.0,
        };
        let own = self.of(part).zip(part.score);
        own.is_some_and(|(own, score)| paid(own, score))
    }
}
