//! Direct preference optimisation (DPO, arXiv:2305.18290): of two answers to a prompt, the chosen one
//! is made likelier than the rejected one, each measured against the policy as it came.

use super::example_tokens::{chat, chat_prompt, continued_text, shared_tokens, tokenizer_problem};
use super::loss::PreferenceLoss;
use super::supervised::{SupervisedPlan, Trained, train_supervised};
use super::{DpoConfig, Objective, StageContext, TrainingSample, WorstCase};
use crate::data::{EpochOrder, Preference, read_preferences, reads_stage};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::tokenizer::Tokenizer;

/// Trains `policy` on the preferences of `config.data`; the reference is the policy as it came, that
/// of an adapter the model without it.
///
/// # Errors
/// When the data is broken, a file cannot be written, the device fails or the user stops.
pub fn train_dpo(
    context: StageContext<'_>,
    config: &DpoConfig,
    tokenizer: &Tokenizer,
    policy: Decoder,
) -> Result<Trained> {
    let positions = policy.config().max_position_embeddings;
    let pairs = read_pairs(config, tokenizer, config.max_tokens.min(positions))?;
    let too_long = || Error::file(&config.data, "every prompt is longer than `max_tokens`");
    let order = EpochOrder::new(pairs.len(), context.seed.named("order")).ok_or_else(too_long)?;
    let batch = config.batch.min(pairs.len());
    let reference = policy.without_adapter().frozen();
    let objective = PreferenceLoss {
        config: config.loss,
    };
    let plan = SupervisedPlan {
        steps: (pairs.len() * config.epochs).div_ceil(batch),
        objective: &objective,
        optim: &config.optim,
        batching: config.batching,
        worst: config.worst_case(&pairs.concat()),
    };
    train_supervised(context, policy, plan, &mut |step| {
        let indices = order.indices((step * batch) as u64, batch);
        let step_pairs = indices.into_iter().flat_map(|index| &pairs[index]);
        let mut samples: Vec<TrainingSample> = step_pairs.cloned().collect();
        let (temperature, workers) = (objective.temperature(), context.workers);
        let scores = config
            .batching
            .score(&reference, &samples, temperature, workers)?;
        for (sample, scores) in samples.iter_mut().zip(scores) {
            sample.ref_logprobs = scores;
        }
        Ok(samples)
    })
}

impl DpoConfig {
    /// The largest step on these samples.
    pub(super) fn worst_case(&self, samples: &[TrainingSample]) -> WorstCase {
        let sequences = self.batch.saturating_mul(2).min(samples.len());
        WorstCase::of(samples, sequences, 2)
    }

    /// The largest step on preferences that a stage has yet to make, none longer than `longest`;
    /// none when they are there.
    pub(super) fn foretold(&self, longest: usize) -> Option<WorstCase> {
        let sequences = self.batch.saturating_mul(2);
        reads_stage(&self.data).then(|| WorstCase::unseen(sequences, 2, longest))
    }
}

/// The preferences, each answer cut so that it has `longest` tokens with its prompt; those whose
/// prompt leaves no room are left out.
pub(super) fn read_pairs(
    config: &DpoConfig,
    tokenizer: &Tokenizer,
    longest: usize,
) -> Result<Vec<[TrainingSample; 2]>> {
    let mut pairs = Vec::new();
    for (index, preference) in read_preferences(&config.data)?.iter().enumerate() {
        let pair = preference_samples(tokenizer, preference);
        let mut pair = pair.map_err(|error| {
            Error::file(&config.data, format!("preference {}: {error}", index + 1))
        })?;
        if pair[0].prompt_tokens >= longest {
            continue;
        }
        for sample in &mut pair {
            sample.ids.truncate(longest);
            sample.loss_mask.truncate(longest - sample.prompt_tokens);
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

/// A preference as token ids, the chosen answer first, with the loss on the answers.
///
/// Texts that do not end with the end-of-text token get one, as in TRL. The answers start where the
/// ids of one of them with the prompt first part from those of the prompt alone.
///
/// # Errors
/// When the chat template refuses a conversation or an answer has no token to learn.
pub fn preference_samples(
    tokenizer: &Tokenizer,
    preference: &Preference,
) -> Result<[TrainingSample; 2]> {
    let (given, answers) = match preference {
        Preference::Text {
            prompt,
            chosen,
            rejected,
        } => (
            tokenizer.encode(prompt, true)?,
            [
                continued_text(tokenizer, prompt, chosen)?,
                continued_text(tokenizer, prompt, rejected)?,
            ],
        ),
        Preference::Chat {
            prompt,
            chosen,
            rejected,
        } => (
            chat_prompt(tokenizer, prompt)?,
            [
                chat(tokenizer, &[prompt.as_slice(), chosen].concat())?,
                chat(tokenizer, &[prompt.as_slice(), rejected].concat())?,
            ],
        ),
    };
    let [chosen, rejected] = &answers;
    let shared = shared_tokens(&given, chosen).min(shared_tokens(&given, rejected));
    // The first token has no prediction.
    let prompt_tokens = shared.max(1);
    if answers.iter().any(|ids| ids.len() <= prompt_tokens) {
        let problem = "an answer has no token to learn, expected two answers to compare";
        return Err(tokenizer_problem(problem));
    }
    Ok(answers.map(|ids| TrainingSample::new(&ids[..prompt_tokens], &ids[prompt_tokens..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{BpeConfig, train_byte_level_bpe};

    const DATA: &str = r#"{"prompt": "ab", "chosen": "cdef", "rejected": "c"}
{"prompt": "a prompt that takes all the room", "chosen": "c", "rejected": "d"}
"#;

    #[test]
    fn answers_are_cut_and_pairs_without_room_for_one_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("pairs.jsonl");
        std::fs::write(&data, DATA).unwrap();
        // Every byte is a token.
        let vocabulary = BpeConfig {
            vocabulary_size: 256 + 7,
            ..BpeConfig::default()
        };
        let tokenizer = train_byte_level_bpe(["a"].iter(), &vocabulary).unwrap();
        let text = format!("data = '{}'", data.display());
        let config: DpoConfig = toml::from_str(&text).unwrap();
        let pairs = read_pairs(&config, &tokenizer, 5).unwrap();
        assert_eq!(pairs.len(), 1);
        let decoded = pairs[0].each_ref().map(|sample| {
            assert_eq!(
                (sample.prompt_tokens, sample.ids.len()),
                (2, sample.loss_mask.len() + 2)
            );
            tokenizer.decode(&sample.ids, false).unwrap()
        });
        // The rejected answer has its end-of-text token, the chosen one no room for it.
        assert_eq!(decoded, ["abcde", "abc<|im_end|>"]);
    }
}
