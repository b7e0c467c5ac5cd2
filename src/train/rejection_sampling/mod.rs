//! Rejection sampling: asks the current model, keeps what is worth learning, and writes it as examples
//! for `sft`. Makes no model.
//!
//! Phases 1 and 3 of DeepSeek-R1 (arXiv:2501.12948). `samples.jsonl` has every completion with its verdict
//! and grows batch by batch, a line of `metrics.jsonl` ends a batch; all else is read from them: a stage
//! goes on after its last whole batch, asks again what was asked of the one at hand, and ends with the
//! same data. No other state is saved.

mod config;
mod figures;
mod prompts;
mod records;

pub use config::SampleConfig;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use self::figures::{describe, figures, reasons};
use self::prompts::{Asked, Prompts};
use self::records::{Sampled, Source, read_samples, tally, write_examples};
use super::plan::PromptTokens;
use super::{RolloutRehearsal, Rollouts, StageContext, StepRecord};
use crate::data::Problem;
use crate::error::{Error, Result};
use crate::files::{self, JsonlAppender};
use crate::generation::{Engine, GenerationRequest};
use crate::model::Decoder;
use crate::rewards::{RewardContext, Rubric};
use crate::rollout::{RolloutGroup, Rollouter, Sieve};
use crate::tasks::Task;
use crate::tokenizer::Tokenizer;

/// Whom a `sample` stage asks.
pub struct SampledModel<'a> {
    /// The model.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Ids that end its completions.
    pub eos_ids: Vec<u32>,
    /// The stage that made it, or `model` for the recipe's, as the examples' provenance has it.
    pub name: &'a str,
}

/// Asks the model and writes `data.jsonl` and `rejected.json` in the stage's folder; returns the stage's
/// figures.
///
/// # Errors
/// When a setting is wrong, no completion is kept, a file cannot be written, the device fails or the
/// user stops.
pub fn sample_examples(
    context: StageContext<'_>,
    config: &SampleConfig,
    model: &SampledModel<'_>,
) -> Result<BTreeMap<String, f64>> {
    let task: Arc<dyn Task> = Arc::from(config.task.build()?);
    let scorers = context.reward_models();
    let needed = RewardContext {
        verifier: Some(task.clone()),
        scorers: Some(&scorers),
        folder: Some(context.folder),
    };
    let mut rubric = Rubric::build(&config.rewards, &needed)?;
    for added in context.rewards {
        rubric = rubric.with(added.weight, added.reward.clone())?;
    }
    let sampler = Sampler {
        context,
        config,
        model,
        task,
        rubric,
    };
    sampler.run()
}

/// A stage at work.
struct Sampler<'a> {
    context: StageContext<'a>,
    config: &'a SampleConfig,
    model: &'a SampledModel<'a>,
    task: Arc<dyn Task>,
    rubric: Rubric,
}

impl Sampler<'_> {
    fn run(&self) -> Result<BTreeMap<String, f64>> {
        let context = self.context;
        let key = format!("stage.{}", context.name);
        let prompts = Prompts::draw(self.config, self.task.as_ref(), &key)?;
        let batches = prompts.problems.chunks(self.config.prompts_per_batch);
        let (done, steps) = (self.whole_batches()?, batches.len());
        let mut metrics = context.log("metrics.jsonl", done)?;
        let mut samples = context.log("samples.jsonl", done)?;
        let mut sieve = self.sieve()?;
        if done < steps {
            self.rehearse()?;
        }
        let mut bar = context
            .screen
            .begin(context.name, done as u64, steps as u64);
        for (index, asked) in batches.enumerate().skip(done) {
            let mut record = StepRecord::begin(context.name, index + 1);
            let first = index * self.config.prompts_per_batch;
            let (requests, groups) = self.ask(asked, first, &mut record)?;
            let sampled = self.judge(index + 1, asked, &requests, &groups, &mut sieve);
            append(&mut samples, &sampled)?;
            let speed = describe(&mut record, &self.rubric.names(), &sampled);
            metrics.append(record.fields())?;
            metrics.sync()?;
            let kept = sampled.iter().filter(|s| s.is_kept()).count();
            bar.set(
                index as u64 + 1,
                format!("kept {kept} of {} · {speed:.0} tokens/s", sampled.len()),
            );
            context.rest(|| Ok(()))?;
        }
        self.finish(&prompts)
    }

    /// Batches that are in the logs from end to end.
    fn whole_batches(&self) -> Result<usize> {
        // Opening drops a half-written line.
        drop(self.context.log("metrics.jsonl", usize::MAX)?);
        let lines: Vec<Map<String, Value>> =
            files::read_log(&self.context.folder.join("metrics.jsonl"))?;
        Ok(lines.len())
    }

    /// The sieve after the batches that are done.
    fn sieve(&self) -> Result<Sieve> {
        let mut sieve = Sieve::new(self.config.keep.clone(), self.config.readability.clone())?;
        for sampled in read_samples(&self.samples())? {
            let sampled = sampled?;
            if sampled.is_kept() {
                sieve.remember(&sampled.completion);
            }
        }
        Ok(sieve)
    }

    /// Generates and grades the completions of a batch, which comes after `first` other problems, and
    /// records what time that took.
    fn ask(
        &self,
        asked: &[Asked],
        first: usize,
        record: &mut StepRecord,
    ) -> Result<(Vec<GenerationRequest>, Vec<RolloutGroup>)> {
        let rollouter = Rollouter {
            tokenizer: self.model.tokenizer,
            template: self.config.template,
            rubric: &self.rubric,
            group_size: self.config.samples,
        };
        let problems: Vec<Problem> = asked.iter().map(|asked| asked.problem.clone()).collect();
        let seed = self.context.seed.named("rollout");
        let requests = rollouter.requests(&problems, first, seed)?;
        let decoder = self.model.decoder.frozen();
        let eos_ids = self.model.eos_ids.clone();
        let engine = Engine::new(&decoder, eos_ids, self.context.workers);
        let sampling = &self.config.sampling;
        let answered = rollouter.ask(&engine, sampling, &problems, &requests, &|_| ())?;
        let groups = rollouter.groups(&problems, &requests, answered.rollouts);
        record.lap("rollout_seconds");
        let waited = answered.grading_wait.as_secs_f64();
        record.set("grading_wait_seconds", waited);
        Ok((requests, groups))
    }

    /// The batch's completions with their verdicts.
    fn judge(
        &self,
        step: usize,
        asked: &[Asked],
        requests: &[GenerationRequest],
        groups: &[RolloutGroup],
        sieve: &mut Sieve,
    ) -> Vec<Sampled> {
        let mut requests = requests.iter();
        let mut sampled = Vec::with_capacity(requests.len());
        for (asked, group) in asked.iter().zip(groups) {
            let seed = self.context.seed.named("choose").child(asked.index);
            let verdicts = sieve.sift(group, seed);
            let rollouts = group.rollouts.iter().zip(&mut requests).zip(verdicts);
            for (sample_index, ((rollout, request), verdict)) in rollouts.enumerate() {
                let graded = &rollout.graded;
                let parts = graded.parts.iter();
                sampled.push(Sampled {
                    step,
                    prompt_index: asked.index,
                    sample_index,
                    prompt: asked.problem.prompt.clone(),
                    answer: asked.problem.answer.clone(),
                    completion: rollout.text.clone(),
                    tokens: rollout.tokens(),
                    finish: rollout.completion.finish,
                    seed: request.seed.value(),
                    reward: graded.total,
                    rewards: parts.map(|part| (part.name.clone(), part.score)).collect(),
                    errors: graded.errors.clone(),
                    verdict: Sampled::verdict(verdict.map(|reason| reason.name())),
                });
            }
        }
        sampled
    }

    /// Writes the examples and the counts of the whole stage.
    fn finish(&self, prompts: &Prompts) -> Result<BTreeMap<String, f64>> {
        let (context, folder) = (self.context, self.context.folder);
        let tally = tally(&self.samples(), prompts.counts)?;
        files::write_json(&folder.join("rejected.json"), &tally)?;
        if tally.kept == 0 {
            let problem = format!(
                "none of {} completions is kept: {}",
                tally.completions,
                reasons(&tally)
            );
            return Err(Error::setting(
                format!("stage.{}.keep", context.name),
                problem,
            ));
        }
        let source = Source {
            stage: context.name,
            model: self.model.name,
        };
        let template = self.config.written_template();
        let data = folder.join("data.jsonl");
        write_examples(
            &self.samples(),
            &data,
            source,
            template,
            self.model.tokenizer,
        )?;
        Ok(figures(&tally))
    }

    /// On a GPU that never made such completions, makes some and drops them.
    fn rehearse(&self) -> Result<()> {
        let (config, model) = (self.config, self.model);
        let prompts = PromptTokens::measure(self.task.as_ref(), config.template, model.tokenizer)?;
        let positions = model.decoder.config().max_position_embeddings;
        let rehearsal = RolloutRehearsal {
            largest: Rollouts {
                rows: config.completions_per_batch(),
                group: config.samples,
                prompt_tokens: prompts.longest,
                completion_tokens: config.sampling.max_completion_tokens.min(positions),
            },
            shortest_prompt: prompts.shortest,
            sampling: &config.sampling,
        };
        rehearsal.run(model.decoder, self.context.workers)
    }

    fn samples(&self) -> PathBuf {
        self.context.folder.join("samples.jsonl")
    }
}

/// Adds the completions of a batch to the log, which has them all before the batch counts as done.
fn append(log: &mut JsonlAppender, sampled: &[Sampled]) -> Result<()> {
    sampled.iter().try_for_each(|sampled| log.append(sampled))?;
    log.sync()
}
