//! What is logged of a batch and said of the whole stage.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::records::{Sampled, Tally};
use crate::rollout::RewardStats;
use crate::train::StepRecord;

/// Sets the metrics of a batch; returns tokens a second.
pub(super) fn describe(record: &mut StepRecord, names: &[&str], sampled: &[Sampled]) -> f64 {
    let count = sampled.len().max(1) as f64;
    let rewards: Vec<Option<f64>> = sampled.iter().map(|s| s.reward).collect();
    record.set("reward", RewardStats::of(&rewards).mean);
    let means: Map<String, Value> = (names.iter())
        .map(|&name| {
            let scores = sampled
                .iter()
                .map(|s| s.rewards.get(name).copied().flatten());
            let mean = RewardStats::of(&scores.collect::<Vec<_>>()).mean;
            (name.to_owned(), json!(mean))
        })
        .collect();
    record.set("rewards", means);
    let mut rejected: BTreeMap<&str, usize> = BTreeMap::new();
    for sampled in sampled.iter().filter(|s| !s.is_kept()) {
        *rejected.entry(&sampled.verdict).or_insert(0) += 1;
    }
    let kept = sampled.len() - rejected.values().sum::<usize>();
    record.set("kept", kept);
    record.set("kept_share", kept as f64 / count);
    record.set("rejected", json!(rejected));
    let tokens: usize = sampled.iter().map(|s| s.tokens).sum();
    record.set("completion_tokens", tokens as f64 / count);
    record.finish(tokens)
}

/// The reasons and how often each was given, the most frequent first.
pub(super) fn reasons(tally: &Tally) -> String {
    let mut reasons: Vec<_> = tally.rejected.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let reasons: Vec<_> = (reasons.iter())
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    reasons.join(", ")
}

/// The stage's figures in numbers.
pub(super) fn figures(tally: &Tally) -> BTreeMap<String, f64> {
    let (kept, made) = (tally.kept as f64, tally.completions as f64);
    let figures = [
        ("prompts", tally.prompts.asked as f64),
        ("prompts_repeated", tally.prompts.repeated as f64),
        ("prompts_contaminated", tally.prompts.contaminated as f64),
        ("prompts_kept", tally.prompts_kept as f64),
        ("completions", made),
        ("kept", kept),
        ("kept_share", kept / made.max(1.0)),
        ("mean_tokens", tally.mean_tokens),
    ];
    let rejected = tally.rejected.iter();
    let rejected = rejected.map(|(reason, count)| (format!("rejected.{reason}"), *count as f64));
    let figures = figures.map(|(name, value)| (name.to_owned(), value));
    figures.into_iter().chain(rejected).collect()
}
