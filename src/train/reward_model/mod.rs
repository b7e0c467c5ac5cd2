//! Reward models: a decoder with a score, trained on preferences or labels (DeepSeek-R1,
//! arXiv:2501.12948, section 3.2).
//!
//! The score is that of the state at a text's last token. The helpfulness model of the paper learns
//! pairs and scores only the answer; its safety model learns labels and scores the whole response. A
//! stage ends with a judgement of the model on prompts that it did not see (`reward_model.json`).

mod config;
mod items;
mod reading;
mod report;
mod scorer;
mod sources;

pub use config::RewardModelConfig;
pub use report::HeldOutReport;
pub use scorer::{RewardModel, RewardModels, score_texts};

use self::items::{RewardItem, Split, pad_token};
use self::scorer::{Card, score_samples};
use super::supervised::{SupervisedPlan, Trained, train_supervised};
use super::{StageContext, TrainingSample};
use crate::data::EpochOrder;
use crate::error::Result;
use crate::files;
use crate::model::Decoder;
use crate::seed::Seed;
use crate::tokenizer::Tokenizer;

/// The data of `config` as samples of texts of at most `longest` tokens: the chosen and the rejected text
/// of each pair, or each answer; with the one token after it, before which its score is read, and what
/// it should be worth. What a task's annotators say depends on `seed`, the stage's.
///
/// # Errors
/// When the data is broken or all of it is too long.
pub fn reward_samples(
    config: &RewardModelConfig,
    tokenizer: &Tokenizer,
    longest: usize,
    seed: Seed,
) -> Result<Vec<TrainingSample>> {
    let items = RewardItem::read_all(config, tokenizer, longest, seed)?;
    Ok(RewardItem::samples(&items))
}

/// Trains `decoder`, which has a score, on the data of `config` and judges it on what was held out.
///
/// Writes `reward_model.json` to the stage's folder, and to its model's, where it says how texts are
/// put.
///
/// # Errors
/// When the data is broken, a file cannot be written, the device fails or the user stops.
pub fn train_reward_model(
    context: StageContext<'_>,
    config: &RewardModelConfig,
    tokenizer: &Tokenizer,
    decoder: Decoder,
) -> Result<Trained> {
    let decoder = decoder.with_pad_token(pad_token(tokenizer));
    let longest = config.longest(decoder.config().max_position_embeddings);
    let items = RewardItem::read_all(config, tokenizer, longest, context.seed)?;
    let Split { train, held_out } =
        Split::new(items, config.held_out, context.seed.named("held_out"));
    let order = EpochOrder::new(train.len(), context.seed.named("order"));
    let order = order.ok_or_else(|| config.data_error("no data to learn from"))?;
    let batch = config.batch.min(train.len());
    let plan = SupervisedPlan {
        steps: (train.len() * config.epochs).div_ceil(batch),
        objective: &config.objective(),
        optim: &config.optim,
        batching: config.batching,
        worst: config.worst_case(&RewardItem::samples(&train)),
    };
    let mut trained = train_supervised(context, decoder, plan, &mut |step| {
        let indices = order.indices((step * batch) as u64, batch);
        let items: Vec<RewardItem> = indices.iter().map(|i| train[*i].clone()).collect();
        Ok(RewardItem::samples(&items))
    })?;
    let samples = RewardItem::samples(&held_out);
    let scores = score_samples(&trained.decoder, &samples, context.workers)?;
    let report = HeldOutReport::new(&held_out, &scores);
    for (name, value) in report.iter().flat_map(HeldOutReport::figures) {
        trained.metrics.insert(format!("held_out/{name}"), value);
    }
    let card = Card {
        loss: config.loss,
        reading: config.reading(),
        max_tokens: config.max_tokens,
        held_out: report,
    };
    files::write_json(&Card::place(context.folder), &card)?;
    files::write_json(&Card::place(&context.folder.join("model")), &card)?;
    Ok(trained)
}
