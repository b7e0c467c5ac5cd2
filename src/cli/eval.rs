//! `emberl eval`: how often a model solves a task's held-out problems.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::generate::CompletionMeter;
use super::loaded_model::LoadedModel;
use super::{Globals, check_output, named, of_option};
use crate::data::PromptTemplate;
use crate::error::Error;
use crate::files;
use crate::generation::{Engine, SamplingParams, eos_token_ids};
use crate::report::Table;
use crate::rewards::{Accuracy, AnswerSource, FormatStyle};
use crate::rollout::{EvalConfig, Evaluation, EvaluationInput, evaluate};
use crate::seed::Seed;
use crate::tasks::{JsonlConfig, Split, Task, TaskConfig};
use crate::tokenizer::Tokenizer;

/// What `emberl eval` is told.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// The model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A folder with a low-rank adapter of the model, in PEFT's format.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A task, with settings as a recipe has them: `countdown`, `countdown:levels=[2]`; or a
    /// .jsonl file of problems {"prompt": .., "answer": ..}.
    #[arg(long, value_name = "TASK")]
    task: String,
    /// Samples of each problem, the k of pass@k and cons@k.
    #[arg(long, value_name = "K", default_value = "16")]
    k: NonZeroUsize,
    /// Held-out problems; a file may have fewer.
    #[arg(long, value_name = "N", default_value = "100")]
    problems: NonZeroUsize,
    /// Divides the logits; 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    /// Keeps the likeliest tokens whose probabilities reach this sum.
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    top_p: f64,
    /// Most new tokens of a completion.
    #[arg(long, value_name = "N", default_value = "512")]
    max_tokens: NonZeroUsize,
    /// How problems are put: `plain`, `chat` or `r1_zero`.
    #[arg(long, default_value = "plain", value_parser = named::<PromptTemplate>)]
    template: PromptTemplate,
    /// What counts as well formed: `think_answer`, `think_answer_inline`, `think_answer_loose` or
    /// `think`.
    #[arg(long, value_name = "STYLE", default_value = "think_answer", value_parser = named::<FormatStyle>)]
    format: FormatStyle,
    /// Where the answer stands: `after_think`, `anywhere` or `text`.
    #[arg(long, value_name = "PLACE", default_value = "after_think", value_parser = named::<AnswerSource>)]
    answer: AnswerSource,
    /// Where the samples' randomness comes from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Writes the results to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Record<'a> {
    model: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a Path>,
    task: &'a str,
    seed: u64,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

pub(super) fn run(args: &EvalArgs, globals: &Globals) -> Result<()> {
    if let Some(path) = &args.json {
        check_output("--json", path)?;
    }
    let task: Arc<dyn Task> = Arc::from(task_config(&args.task)?.build()?);
    let config = args.config(task.as_ref())?;
    let tokenizer = Tokenizer::load(&args.model)?;
    let LoadedModel { decoder, workers } =
        LoadedModel::load(&args.model, args.adapter.as_deref(), globals)?;
    let eos_ids = eos_token_ids(&args.model, decoder.config(), &tokenizer)?;
    let input = EvaluationInput {
        engine: &Engine::new(&decoder, eos_ids, &workers),
        tokenizer: &tokenizer,
        task: task.as_ref(),
        template: args.template,
        accuracy: &Accuracy::new(args.answer, Some(task.clone())),
        seed: Seed::new(args.seed).named("eval"),
    };
    let meter = CompletionMeter::begin(&globals.screen(), "eval", config.problems * config.samples);
    let evaluation = evaluate(&input, &config, &|completion| meter.count(completion))?;
    drop(meter);
    if let Some(path) = &args.json {
        files::write_json(path, &args.record(&evaluation))?;
    }
    super::print(&describe(&args.task, &evaluation))
}

impl EvalArgs {
    fn config(&self, task: &dyn Task) -> Result<EvalConfig> {
        let size = task.size(Split::Test);
        let config = EvalConfig {
            problems: self.problems.get().min(size.unwrap_or(usize::MAX)),
            samples: self.k.get(),
            sampling: SamplingParams {
                temperature: self.temperature,
                top_p: self.top_p,
                max_completion_tokens: self.max_tokens.get(),
                ..SamplingParams::default()
            },
            format: self.format,
            each_stage: false,
        };
        if config.problems == 0 {
            let problem = "has no held-out problems, name a file of them as `test`";
            return Err(Error::setting("--task", problem).into());
        }
        config.validate("eval").map_err(of_option)?;
        Ok(config)
    }

    fn record<'a>(&'a self, evaluation: &'a Evaluation) -> Record<'a> {
        Record {
            model: &self.model,
            adapter: self.adapter.as_deref(),
            task: &self.task,
            seed: self.seed,
            evaluation,
        }
    }
}

/// Reads `NAME`, `NAME:SETTINGS` with settings as in a TOML inline table, or a .jsonl path.
fn task_config(spec: &str) -> Result<TaskConfig, Error> {
    #[derive(Deserialize)]
    struct Holder {
        task: TaskConfig,
    }
    if spec.ends_with(".jsonl") {
        return Ok(TaskConfig::Jsonl(JsonlConfig {
            test: Some(spec.into()),
            ..JsonlConfig::default()
        }));
    }
    let (kind, settings) = spec.split_once(':').unwrap_or((spec, ""));
    let comma = if settings.is_empty() { "" } else { ", " };
    let kind = toml::Value::from(kind);
    let text = format!("task = {{ kind = {kind}{comma}{settings} }}");
    let holder: Result<Holder, _> = toml::from_str(&text);
    holder.map(|holder| holder.task).map_err(|error| {
        let problem = format!("`{spec}`: {}", error.message().replace('\n', ", "));
        Error::setting("--task", problem)
    })
}

fn describe(task: &str, evaluation: &Evaluation) -> String {
    let k = evaluation.samples;
    let share = |value: f64| format!("{value:.3}");
    let [low, high] = evaluation.pass_at_1_interval;
    let interval = format!("{low:.3} to {high:.3}");
    let mut table = Table::new([task, "value", "95% interval"]);
    table.row(["pass@1".to_string(), share(evaluation.pass_at_1), interval]);
    for (part, pass_at_1) in &evaluation.pass_at_1_of_parts {
        table.row([format!("pass@1 {part}"), share(*pass_at_1)]);
    }
    table.row([format!("pass@{k}"), share(evaluation.pass_at_k)]);
    table.row([format!("cons@{k}"), share(evaluation.cons_at_k)]);
    table.row(["format".to_string(), share(evaluation.format)]);
    table.row(["truncated".to_string(), share(evaluation.truncated)]);
    let tokens = format!("{:.1}", evaluation.mean_tokens);
    table.row(["mean tokens".to_string(), tokens]);
    format!(
        "{table}\n{} problems, {k} samples each\n",
        evaluation.problems
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{CountdownConfig, Level};

    #[test]
    fn task_is_a_name_with_settings_or_a_file() {
        let plain = task_config("countdown").unwrap();
        assert_eq!(plain, TaskConfig::Countdown(CountdownConfig::default()));
        let settings = task_config("countdown:levels=[2, 3], seed=5").unwrap();
        let expected = CountdownConfig {
            levels: vec![Level::Two, Level::Three],
            seed: 5,
            ..CountdownConfig::default()
        };
        assert_eq!(settings, TaskConfig::Countdown(expected));
        let file = task_config("data/test.jsonl").unwrap();
        assert!(matches!(file, TaskConfig::Jsonl(config) if config.train.is_none()));
    }

    #[test]
    fn wrong_task_is_told_in_one_line() {
        for (spec, complaint) in [
            ("chess", "unknown variant `chess`"),
            ("countdown:level=[2]", "unknown field `level`"),
            ("countdown:levels=", "`countdown:levels=`"),
            ("\"", "unknown variant"),
        ] {
            let message = task_config(spec).unwrap_err().to_string();
            assert!(message.starts_with("`--task`: "), "{message}");
            assert!(message.contains(complaint), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
