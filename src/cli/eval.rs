//! `emberl eval`: how often a model solves a task's held-out problems.

use std::iter::once;
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
    /// Worked examples before each question, from the task's training side; the paper asks without.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shots: usize,
    /// Asks all once more with each of these numbers of worked examples, as in `2,4`.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    also_shots: Vec<usize>,
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
    let meter = CompletionMeter::begin(&globals.screen(), "eval", config.completions());
    let evaluated = evaluate(&input, &config, &|completion| meter.count(completion));
    let evaluated = evaluated.map_err(|error| match &error {
        Error::Setting { key, .. } if key.starts_with("eval.") => of_option(error),
        _ => error,
    })?;
    let evaluation = evaluated.evaluation;
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
            shots: self.shots,
            also_shots: self.also_shots.clone(),
            format: self.format,
            each_stage: false,
            win_rates: Vec::new(),
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

/// A table with a column for each number of worked examples.
fn describe(task: &str, evaluation: &Evaluation) -> String {
    let k = evaluation.samples;
    let all: Vec<&Evaluation> = once(evaluation).chain(&evaluation.other_shots).collect();
    let mut head = vec![task.to_string()];
    for one in &all {
        head.push(match (one.shots, all.len()) {
            (0, 1) => "value".to_string(),
            (shots, _) => format!("{shots} shots"),
        });
        head.push("95% interval".to_string());
    }
    let mut table = Table::new(head);
    let mut row = |name: &str, cells: &dyn Fn(&Evaluation) -> [String; 2]| {
        let cells = all.iter().flat_map(|one| cells(one));
        table.row(once(name.to_string()).chain(cells));
    };
    let share = |value: f64| format!("{value:.3}");
    let alone = |value: f64| [share(value), String::new()];
    let within = |value, ends: Option<[f64; 2]>| {
        let interval = ends.map(|[low, high]| format!("{low:.3} to {high:.3}"));
        [share(value), interval.unwrap_or_default()]
    };
    row("pass@1", &|e| {
        within(e.pass_at_1, Some(e.pass_at_1_interval))
    });
    for part in evaluation.pass_at_1_of_parts.keys() {
        let of_part = |e: &Evaluation| e.pass_at_1_of_parts.get(part).copied();
        row(&format!("pass@1 {part}"), &|e| {
            alone(of_part(e).unwrap_or(0.0))
        });
    }
    row(&format!("pass@{k}"), &|e| {
        within(e.pass_at_k, e.pass_at_k_interval)
    });
    row(&format!("cons@{k}"), &|e| {
        within(e.cons_at_k, e.cons_at_k_interval)
    });
    row("format", &|e| alone(e.format));
    row("truncated", &|e| alone(e.truncated));
    row("mean tokens", &|e| {
        [format!("{:.1}", e.mean_tokens), String::new()]
    });
    row("self-checks", &|e| alone(e.self_checks.unwrap_or(0.0)));
    row("with self-checks", &|e| {
        alone(e.self_check_share.unwrap_or(0.0))
    });
    format!(
        "{table}\n{} problems, {k} samples each\n",
        evaluation.problems
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    fn other_numbers_of_examples_stand_side_by_side() {
        let with = |shots, pass_at_1, other_shots| Evaluation {
            problems: 2,
            samples: 4,
            shots,
            pass_at_1,
            pass_at_1_interval: [0.1, 0.9],
            pass_at_k: 1.0,
            pass_at_k_interval: None,
            cons_at_k: 0.5,
            cons_at_k_interval: Some([0.25, 0.75]),
            format: 1.0,
            mean_tokens: 12.0,
            truncated: 0.0,
            self_checks: Some(1.5),
            self_check_share: Some(0.5),
            pass_at_1_of_parts: BTreeMap::new(),
            other_shots,
        };
        let alone = describe("sums", &with(0, 0.5, Vec::new()));
        assert!(
            alone.contains("sums              value    95% interval\n"),
            "{alone}"
        );
        let both = describe("sums", &with(0, 0.5, vec![with(2, 0.25, Vec::new())]));
        for line in [
            "sums              0 shots    95% interval  2 shots    95% interval\n",
            "pass@1              0.500  0.100 to 0.900    0.250  0.100 to 0.900\n",
            "pass@4              1.000                    1.000\n",
            "self-checks         1.500                    1.500\n",
        ] {
            assert!(both.contains(line), "{both}");
        }
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
