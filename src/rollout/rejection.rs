//! Rejection sampling: which completions of a problem are worth learning from.
//!
//! DeepSeek-R1 (arXiv:2501.12948, "Rejection Sampling and Supervised Fine-Tuning") samples several
//! completions of each prompt, keeps the right ones and filters those that are hard to read. A completion is
//! asked in this order: did it earn enough, is it readable, is it new, is it among those chosen of its
//! prompt; the first no is the reason that is counted.

mod decontamination;
mod readability;

use std::collections::{BTreeMap, HashSet};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

pub use decontamination::{DecontaminationConfig, TestPrompts};
pub use readability::{Readability, ReadabilityConfig};

use super::{Rollout, RolloutGroup};
use crate::error::{Error, Result};
use crate::seed::Seed;

/// Which completions are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepConfig {
    /// Least weighted sum of rewards; unset asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_reward: Option<f64>,
    /// Least unweighted score of rewards by name: `{ accuracy = 1, format = 1 }`. A reward that does
    /// not apply to a problem asks nothing of its completions.
    pub at_least: BTreeMap<String, f64>,
    /// Most completions kept of a prompt; unset keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_prompt: Option<usize>,
    /// Which of more than `per_prompt` are kept.
    pub choose: Choice,
    /// Which repetitions of a completion are dropped.
    pub duplicates: Duplicates,
}

/// Which of a prompt's good completions are kept when there are too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Those that were sampled first.
    #[default]
    First,
    /// Those of the fewest tokens.
    Shortest,
    /// Any, drawn from the stage's seed.
    Random,
    /// Those of the highest reward.
    BestReward,
}

/// Which repetitions of a completion are dropped: texts are the same that differ in case and white
/// space only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Those of the same prompt.
    #[default]
    PerPrompt,
    /// Those of any prompt.
    Everywhere,
    /// None.
    Keep,
}

/// Why a completion is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A reward failed by itself.
    RewardFailed,
    /// The sum of rewards is too low.
    LowReward,
    /// The named reward is too low.
    LowPart(String),
    /// It ran out of tokens.
    Unfinished,
    /// Too few words are in the target language.
    MixedLanguage,
    /// Too many of its n-grams were there before.
    Repetition,
    /// A paragraph is too long.
    LongParagraph,
    /// It has a code block that the prompt did not ask for.
    UnaskedCode,
    /// Its text is kept already.
    Duplicate,
    /// Others of its prompt were chosen.
    NotChosen,
}

impl Rejection {
    /// The reason as counts and samples name it.
    pub fn name(&self) -> String {
        let name = match self {
            Self::RewardFailed => "reward_failed",
            Self::LowReward => "low_reward",
            Self::LowPart(part) => return format!("low_{part}"),
            Self::Unfinished => "unfinished",
            Self::MixedLanguage => "mixed_language",
            Self::Repetition => "repetition",
            Self::LongParagraph => "long_paragraph",
            Self::UnaskedCode => "unasked_code",
            Self::Duplicate => "duplicate",
            Self::NotChosen => "not_chosen",
        };
        name.to_owned()
    }
}

impl KeepConfig {
    /// Checks the settings against the names of the rewards; `key` names them in the message.
    ///
    /// # Errors
    /// Names the first that is wrong.
    pub fn validate(&self, key: &str, rewards: &[&str]) -> Result<()> {
        let known = rewards.join("`, `");
        for (name, least) in &self.at_least {
            let key = || format!("{key}.at_least.{name}");
            if !rewards.contains(&name.as_str()) {
                let problem = format!("no reward is called so, expected one of `{known}`");
                return Err(Error::setting(key(), problem));
            }
            if !least.is_finite() {
                return Err(Error::setting(key(), "must be finite"));
            }
        }
        if self.per_prompt == Some(0) {
            let problem = "must be at least 1";
            return Err(Error::setting(format!("{key}.per_prompt"), problem));
        }
        match self.min_reward {
            Some(least) if !least.is_finite() => Err(Error::setting(
                format!("{key}.min_reward"),
                "must be finite",
            )),
            _ => Ok(()),
        }
    }

    /// Whether `rollout` earned too little.
    fn judge(&self, rollout: &Rollout) -> Option<Rejection> {
        let graded = &rollout.graded;
        if !graded.errors.is_empty() {
            return Some(Rejection::RewardFailed);
        }
        let falls_short = |score: Option<f64>, least| score.is_some_and(|score| score < least);
        for part in &graded.parts {
            if let Some(least) = self.at_least.get(&part.name)
                && falls_short(part.score, *least)
            {
                return Some(Rejection::LowPart(part.name.clone()));
            }
        }
        let least = self.min_reward?;
        let earns = graded.total.is_some_and(|total| total >= least);
        (!earns).then_some(Rejection::LowReward)
    }

    /// The places among `good` of `group` that are kept, at most `per_prompt`.
    fn chosen(&self, group: &RolloutGroup, mut good: Vec<usize>, seed: Seed) -> Vec<usize> {
        let rollouts = &group.rollouts;
        let reward = |place: usize| rollouts[place].graded.total.unwrap_or(f64::NEG_INFINITY);
        match self.choose {
            Choice::First => {}
            Choice::Shortest => good.sort_by_key(|place| rollouts[*place].tokens()),
            Choice::Random => good.shuffle(&mut seed.rng()),
            Choice::BestReward => good.sort_by(|a, b| reward(*b).total_cmp(&reward(*a))),
        }
        good.truncate(self.per_prompt.unwrap_or(usize::MAX));
        good
    }
}

/// Sifts completions, prompt by prompt, and remembers what it kept.
#[derive(Clone, Debug)]
pub struct Sieve {
    keep: KeepConfig,
    readability: Readability,
    /// Fingerprints of the kept texts, if repetitions are dropped everywhere.
    kept: HashSet<u64>,
}

impl Sieve {
    /// An empty sieve.
    ///
    /// # Errors
    /// When a setting of the readability is out of range.
    pub fn new(keep: KeepConfig, readability: ReadabilityConfig) -> Result<Self> {
        Ok(Self {
            keep,
            readability: Readability::new(readability)?,
            kept: HashSet::new(),
        })
    }

    /// Takes note of a completion that was kept before.
    pub fn remember(&mut self, text: &str) {
        if self.keep.duplicates == Duplicates::Everywhere {
            self.kept.insert(fingerprint(text));
        }
    }

    /// Why each completion of `group` is not kept, in order; none for those that are.
    pub fn sift(&mut self, group: &RolloutGroup, seed: Seed) -> Vec<Option<Rejection>> {
        let mut of_prompt = HashSet::new();
        let mut judge = |rollout: &Rollout| {
            let found = self.keep.judge(rollout);
            let found = found.or_else(|| self.readability.judge(&group.problem, rollout));
            found.or_else(|| self.repeats(&rollout.text, &mut of_prompt))
        };
        let mut verdicts: Vec<_> = group.rollouts.iter().map(&mut judge).collect();
        let good = (0..verdicts.len()).filter(|place| verdicts[*place].is_none());
        let chosen = self.keep.chosen(group, good.collect(), seed);
        for (place, verdict) in verdicts.iter_mut().enumerate() {
            if verdict.is_none() && !chosen.contains(&place) {
                *verdict = Some(Rejection::NotChosen);
            }
        }
        for place in chosen {
            self.remember(&group.rollouts[place].text);
        }
        verdicts
    }

    fn repeats(&self, text: &str, of_prompt: &mut HashSet<u64>) -> Option<Rejection> {
        if self.keep.duplicates == Duplicates::Keep {
            return None;
        }
        let text = fingerprint(text);
        let is_new = of_prompt.insert(text) && !self.kept.contains(&text);
        (!is_new).then_some(Rejection::Duplicate)
    }
}

/// A number that tells texts apart, whatever their case and white space.
fn fingerprint(text: &str) -> u64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    Seed::new(0).named(&words.join(" ").to_lowercase()).value()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::{Problem, Prompt};
    use crate::generation::{Completion, FinishReason};
    use crate::rewards::{Graded, GradedPart};

    /// Completions with their accuracy, each of as many tokens as bytes.
    fn group(completions: &[(&str, Option<f64>)]) -> RolloutGroup {
        let rollout = |(text, accuracy): &(&str, Option<f64>)| Rollout {
            completion: Completion {
                ids: text.bytes().map(u32::from).collect(),
                logprobs: vec![0.0; text.len()],
                finish: FinishReason::Stop,
            },
            text: text.to_string(),
            graded: Graded {
                total: *accuracy,
                parts: vec![GradedPart {
                    name: "accuracy".into(),
                    score: *accuracy,
                }],
                errors: Vec::new(),
            },
        };
        RolloutGroup {
            problem: Problem {
                prompt: Prompt::Text("?".into()),
                answer: Value::Null,
                level: None,
                language: None,
                part: None,
            },
            prompt: vec![1],
            rollouts: completions.iter().map(rollout).collect(),
        }
    }

    fn sieve(settings: &str) -> Sieve {
        Sieve::new(
            toml::from_str(settings).unwrap(),
            ReadabilityConfig::default(),
        )
        .unwrap()
    }

    fn names(settings: &str, completions: &[(&str, Option<f64>)]) -> Vec<String> {
        let verdicts = sieve(settings).sift(&group(completions), Seed::new(1));
        let name = |verdict: Option<Rejection>| verdict.map_or("kept".into(), |r| r.name());
        verdicts.into_iter().map(name).collect()
    }

    const FOUR: [(&str, Option<f64>); 4] = [
        ("a long one", Some(1.0)),
        ("wrong", Some(0.0)),
        ("short", Some(1.5)),
        ("A  Long one", Some(1.0)),
    ];

    #[test]
    fn the_first_reason_is_given() {
        let found = names("at_least = { accuracy = 1 }", &FOUR);
        assert_eq!(found, ["kept", "low_accuracy", "kept", "duplicate"]);
        let found = names("min_reward = 1.25\nduplicates = \"keep\"", &FOUR);
        assert_eq!(found, ["low_reward", "low_reward", "kept", "low_reward"]);
    }

    #[test]
    fn a_reward_that_does_not_apply_asks_nothing_but_the_sum_does() {
        assert_eq!(
            names("at_least = { accuracy = 1 }", &[("a", None)]),
            ["kept"]
        );
        assert_eq!(names("min_reward = -9", &[("a", None)]), ["low_reward"]);
    }

    #[test]
    fn so_many_of_a_prompt_are_kept_as_asked_for() {
        let first = |choose: &str| {
            let settings = format!("per_prompt = 1\nchoose = \"{choose}\"\nduplicates = \"keep\"");
            let found = names(&settings, &FOUR);
            assert_eq!(found.iter().filter(|name| *name == "not_chosen").count(), 3);
            found.iter().position(|name| name == "kept").unwrap()
        };
        assert_eq!(first("first"), 0);
        assert_eq!(first("shortest"), 1);
        assert_eq!(first("best_reward"), 2);
        assert_eq!(first("random"), first("random"));
    }

    #[test]
    fn a_text_kept_for_one_prompt_is_new_to_another_unless_said_otherwise() {
        let twice = |settings: &str| {
            let mut sieve = sieve(settings);
            let group = group(&[("same", Some(1.0))]);
            [1, 2].map(|seed| sieve.sift(&group, Seed::new(seed)).remove(0))
        };
        assert_eq!(twice(""), [None, None]);
        let everywhere = twice("duplicates = \"everywhere\"");
        assert_eq!(everywhere, [None, Some(Rejection::Duplicate)]);
    }

    #[test]
    fn settings_without_meaning_are_named() {
        for (settings, key) in [
            ("at_least = { acuracy = 1 }", "at_least.acuracy"),
            ("at_least = { accuracy = nan }", "at_least.accuracy"),
            ("per_prompt = 0", "per_prompt"),
            ("min_reward = inf", "min_reward"),
        ] {
            let config: KeepConfig = toml::from_str(settings).unwrap();
            let message = config
                .validate("keep", &["accuracy"])
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(&format!("`keep.{key}`: ")), "{message}");
        }
    }
}
