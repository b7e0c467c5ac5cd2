//! Answers to a problem of which it is known whether they are right.

use serde_json::Value;

use crate::data::Problem;
use crate::rewards::{AnswerSource, MathAnswer, RewardConfig, RewardKind};
use crate::seed::Seed;
use crate::tasks::Task;

/// Traces that are read in search of a right answer.
const MOST_TRACES: u64 = 2000;

/// A program that does nothing of what is asked.
const WRONG_PROGRAM: &str = "```python\nprint('no idea')\n```";

/// What an honest author answers to a problem.
pub(super) struct Known {
    /// A right answer, where one is known.
    pub right: Option<String>,
    /// A wrong answer.
    pub wrong: String,
    /// Whether a program is asked for.
    pub asks_for_code: bool,
}

impl Known {
    /// Answers to `problem`: its reference where that is an answer, else what authors of traces came to.
    pub(super) fn of(
        problem: &Problem,
        task: &dyn Task,
        rewards: &[RewardConfig],
        seed: Seed,
    ) -> Self {
        let asks = |is_kind: fn(&RewardKind) -> bool| {
            let mut rewards = rewards.iter().filter(|reward| is_for(reward, problem));
            rewards.any(|reward| is_kind(&reward.kind))
        };
        if asks(|kind| matches!(kind, RewardKind::Code(_))) {
            return Self {
                right: None,
                wrong: WRONG_PROGRAM.into(),
                asks_for_code: true,
            };
        }
        let found = traced(problem, task, seed);
        // The reference is a schema there, which no schema asks for.
        let right = match asks(|kind| matches!(kind, RewardKind::JsonSchema(_))) {
            true => None,
            false => reference(problem, task).or(found.right),
        };
        let near = right.as_deref().and_then(next);
        let zero = right.as_ref().map(|_| "0".to_owned());
        let is_wrong = |answer: &String| !is_right(problem, task, right.as_deref(), answer);
        let near = near.filter(is_wrong);
        let wrong = near.or(found.wrong).or(zero.filter(is_wrong));
        Self {
            wrong: wrong.unwrap_or_else(|| "no idea".into()),
            right,
            asks_for_code: false,
        }
    }
}

/// Whether `answer` is right, also in another form than `right`.
pub(super) fn is_right(
    problem: &Problem,
    task: &dyn Task,
    right: Option<&str>,
    answer: &str,
) -> bool {
    right.is_some_and(|right| is_same(right, answer)) || is_verified(problem, task, answer)
}

/// Whether both answers are the same text or have the same mathematical value.
pub(super) fn is_same(right: &str, answer: &str) -> bool {
    let has_value = || {
        let values = MathAnswer::parse(right).zip(MathAnswer::parse(answer));
        values.is_some_and(|(right, answer)| right.is_matched_by(&answer))
    };
    right.trim() == answer.trim() || has_value()
}

/// Whether the task takes `answer`; a verifier that fails is told of where rewards are asked.
pub(super) fn is_verified(problem: &Problem, task: &dyn Task, answer: &str) -> bool {
    !problem.answer.is_null() && task.verify(problem, answer).unwrap_or(false)
}

/// Whether `reward` is for problems of this part.
pub(super) fn is_for(reward: &RewardConfig, problem: &Problem) -> bool {
    let part = problem.part.as_ref();
    reward.parts.is_empty() || part.is_some_and(|part| reward.parts.contains(part))
}

/// The problem's reference, where the task takes it for an answer.
pub(super) fn reference(problem: &Problem, task: &dyn Task) -> Option<String> {
    let text = match &problem.answer {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    is_verified(problem, task, &text).then_some(text)
}

/// A right and a wrong answer as far as traces have them.
#[derive(Default)]
struct Found {
    right: Option<String>,
    wrong: Option<String>,
}

fn traced(problem: &Problem, task: &dyn Task, seed: Seed) -> Found {
    let mut found = Found::default();
    for draw in 0..MOST_TRACES {
        // A file of problems has no traces.
        let Ok(trace) = task.trace(problem, &mut seed.child(draw).rng()) else {
            break;
        };
        let Some(answer) = AnswerSource::Anywhere.extract(&trace) else {
            continue;
        };
        let place = match is_verified(problem, task, answer) {
            true => &mut found.right,
            false => &mut found.wrong,
        };
        place.get_or_insert_with(|| answer.to_owned());
        if found.right.is_some() && (found.wrong.is_some() || draw > MOST_TRACES / 10) {
            break;
        }
    }
    found
}

/// `answer` with its last whole number raised by 1; none when it has no digit.
///
/// The last, because of an interval the first would give one that lies inside of it.
pub(super) fn next(answer: &str) -> Option<String> {
    let end = answer.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (until, after) = answer.split_at(end);
    let before = until.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &until[before.len()..];
    let mut raised: Vec<u8> = digits.bytes().collect();
    let mut carries = true;
    for digit in raised.iter_mut().rev() {
        if !carries {
            break;
        }
        carries = *digit == b'9';
        *digit = if carries { b'0' } else { *digit + 1 };
    }
    let carry = if carries { "1" } else { "" };
    let raised: String = raised.into_iter().map(char::from).collect();
    Some(format!("{before}{carry}{raised}{after}"))
}
