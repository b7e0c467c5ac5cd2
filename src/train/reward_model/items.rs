//! The data of a reward model: texts with what they should be worth, and the split held out.

use std::collections::HashMap;

use rand::seq::SliceRandom;

use super::RewardModelConfig;
use super::reading::{ScoredText, scored_sample};
use super::sources::Source;
use crate::data::Prompt;
use crate::error::Result;
use crate::rewards::Reading;
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;
use crate::train::TrainingSample;

/// A pair or a single answer: what the loss cannot take apart.
#[derive(Clone, Debug)]
pub(super) struct RewardItem {
    /// The prompt, to keep its answers on one side of the split.
    prompt: Prompt,
    /// The chosen and the rejected text, or one.
    pub texts: Vec<ScoredText>,
    /// What each should be worth, see [`crate::train::loss::RewardLoss`].
    pub targets: Vec<f32>,
    /// The texts as samples.
    samples: Vec<TrainingSample>,
}

/// Items to learn from and items to judge by.
#[derive(Debug)]
pub(super) struct Split {
    pub train: Vec<RewardItem>,
    pub held_out: Vec<RewardItem>,
}

impl RewardItem {
    /// Every item of the data without a text longer than `longest`; `seed` is the stage's.
    ///
    /// # Errors
    /// When the file or a line of it is broken, the task has too few annotated problems, or all items
    /// are too long.
    pub(super) fn read_all(
        config: &RewardModelConfig,
        tokenizer: &Tokenizer,
        longest: usize,
        seed: Seed,
    ) -> Result<Vec<Self>> {
        let mut items = Vec::new();
        for (index, source) in Source::read_all(config, seed)?.into_iter().enumerate() {
            let item = source.item(tokenizer, config.reading());
            let item =
                item.map_err(|error| config.data_error(format!("item {}: {error}", index + 1)))?;
            if item.texts.iter().all(|text| text.ids.len() <= longest) {
                items.push(item);
            }
        }
        match items.is_empty() {
            true => Err(config.data_error("every text is longer than `max_tokens`")),
            false => Ok(items),
        }
    }

    /// An item whose answers have so many tokens.
    #[cfg(test)]
    pub(super) fn of_lengths(lengths: &[usize], targets: &[f32]) -> Self {
        let text = |tokens: &usize| ScoredText {
            ids: vec![0; *tokens],
            answer_tokens: *tokens,
        };
        Self {
            prompt: Prompt::Text(String::new()),
            texts: lengths.iter().map(text).collect(),
            targets: targets.to_vec(),
            samples: Vec::new(),
        }
    }

    /// The samples of all items, in order.
    pub(super) fn samples(items: &[Self]) -> Vec<TrainingSample> {
        items.iter().flat_map(|item| item.samples.clone()).collect()
    }
}

impl Source {
    fn item(self, tokenizer: &Tokenizer, reading: Reading) -> Result<RewardItem> {
        let put = |completion| reading.put(tokenizer, &self.prompt, completion);
        let texts = self.completions.iter().map(put);
        let texts: Vec<ScoredText> = texts.collect::<Result<_>>()?;
        let pad = pad_token(tokenizer);
        let samples = texts.iter().zip(&self.targets);
        let samples = samples.map(|(text, target)| TrainingSample {
            returns: vec![*target],
            ..scored_sample(&text.ids, pad)
        });
        Ok(RewardItem {
            samples: samples.collect(),
            prompt: self.prompt,
            texts,
            targets: self.targets,
        })
    }
}

/// The token that fills up shorter rows; the end of a text where there is none, as in TRL.
pub(super) fn pad_token(tokenizer: &Tokenizer) -> Option<u32> {
    tokenizer.pad_token_id().or(tokenizer.eos_token_id())
}

impl Split {
    /// Holds out prompts, drawn by `seed`, until their items are `share` of all; at least one prompt
    /// is left to learn from.
    pub(super) fn new(items: Vec<RewardItem>, share: f64, seed: Seed) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let prompt = serde_json::to_string(&item.prompt).unwrap_or_default();
            let place = *places.entry(prompt).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push(index);
        }
        groups.shuffle(&mut seed.rng());
        let wanted = (share * items.len() as f64).round() as usize;
        let mut is_held_out = vec![false; items.len()];
        let mut count = 0;
        for group in groups.iter().skip(1) {
            if count >= wanted {
                break;
            }
            count += group.len();
            group.iter().for_each(|index| is_held_out[*index] = true);
        }
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (item, is_held_out) in items.into_iter().zip(is_held_out) {
            match is_held_out {
                true => held_out.push(item),
                false => train.push(item),
            }
        }
        Self { train, held_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    fn items(loss: &str, lines: &str) -> Result<Vec<RewardItem>> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.jsonl");
        std::fs::write(&data, lines).unwrap();
        // Every byte is a token.
        let vocabulary = BpeConfig {
            vocabulary_size: 256 + 7,
            ..BpeConfig::default()
        };
        let tokenizer = train_byte_level_bpe(["a"].iter(), &vocabulary).unwrap();
        let text = format!("data = '{}'\nloss = '{loss}'", data.display());
        let config: RewardModelConfig = toml::from_str(&text).unwrap();
        RewardItem::read_all(&config, &tokenizer, 8, Seed::new(1))
    }

    #[test]
    fn pairs_differ_by_their_margin_and_answers_have_their_label() {
        let pairs = items(
            "pairwise",
            r#"{"prompt": "q", "chosen": "<think>long</think>a", "rejected": "bc", "margin": 0.5}
               {"prompt": "q", "chosen": "one that is too long", "rejected": "b"}"#,
        )
        .unwrap();
        assert_eq!(pairs.len(), 1);
        let samples = RewardItem::samples(&pairs);
        // The answer without thinking, the end of the text and the token after it.
        let sizes: Vec<_> = samples
            .iter()
            .map(|s| (s.ids.len(), s.prompt_tokens))
            .collect();
        assert_eq!(sizes, [(4, 3), (5, 4)]);
        assert_eq!(samples[0].returns, [0.5]);
        assert_eq!(samples[1].returns, [0.0]);
        let labelled = items(
            "pointwise",
            r#"{"prompt": "q", "completion": "a", "label": true}
               {"prompt": "q", "completion": "b", "label": false}"#,
        )
        .unwrap();
        let targets: Vec<_> = labelled
            .iter()
            .flat_map(|item| item.targets.clone())
            .collect();
        assert_eq!(targets, [1.0, 0.0]);
    }

    #[test]
    fn data_without_an_item_that_fits_is_refused() {
        let line = r#"{"prompt": "a prompt that is long", "chosen": "a", "rejected": "b"}"#;
        let error = items("pairwise", line).unwrap_err().to_string();
        assert!(
            error.ends_with("every text is longer than `max_tokens`"),
            "{error}"
        );
    }

    #[test]
    fn a_prompt_is_held_out_with_all_its_answers() {
        let line = |prompt: usize, answer: usize| {
            format!("{{\"prompt\": \"{prompt}\", \"completion\": \"{answer}\", \"label\": true}}\n")
        };
        let lines: String = (0..40).map(|n| line(n / 4, n)).collect();
        let prompts = |items: &[RewardItem]| {
            let mut prompts: Vec<String> = items
                .iter()
                .map(|item| format!("{:?}", item.prompt))
                .collect();
            prompts.dedup();
            prompts
        };
        let split = |share, seed| {
            let items = items("pointwise", &lines).unwrap();
            Split::new(items, share, Seed::new(seed))
        };
        let found = split(0.25, 1);
        // Ten prompts of four answers: three make the tenth answer full.
        assert_eq!((found.train.len(), found.held_out.len()), (28, 12));
        let held_out = prompts(&found.held_out);
        assert!(
            prompts(&found.train)
                .iter()
                .all(|prompt| !held_out.contains(prompt))
        );
        assert_eq!(prompts(&split(0.25, 1).held_out), held_out);
        assert_ne!(prompts(&split(0.25, 2).held_out), held_out);
        assert!(split(0.0, 1).held_out.is_empty());
        assert_eq!(split(0.999, 1).train.len(), 4);
    }
}
