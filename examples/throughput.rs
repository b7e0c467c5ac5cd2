//! Measures prefill, decoding, rollouts, scoring, training and whole GRPO steps.
//!
//! `cargo run --release --example throughput -- [--device cpu] [--precision auto]
//! [--cases prefill,decode] [--shapes 64x128+128] [--model FOLDER] [--json]`. Seconds and CPU
//! seconds are medians of the repeats after one that is not counted. A folder without weights gets random ones. `grpo` takes the
//! steps of `tests/fixtures/oracle/curve`, whatever the model and the shapes.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use emberl::device::{self, DeviceSpec};
use emberl::generation::{Engine, GenerationRequest, SamplingParams, eos_token_ids};
use emberl::memory::peak_resident_bytes;
use emberl::model::{Decoder, ModelConfig};
use emberl::precision::Precision;
use emberl::progress::Screen;
use emberl::seed::Seed;
use emberl::stop::Stop;
use emberl::tokenizer::Tokenizer;
use emberl::train::loss::SupervisedLoss;
use emberl::train::{
    Batching, Learner, OptimConfig, RlConfig, StageContext, TrainingSample, train_grpo,
};
use emberl::workers::Workers;
use rand::RngExt;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Completions that share a prompt in a rollout.
const GROUP: usize = 8;
/// Steps of a GRPO run, the first not counted.
const GRPO_STEPS: usize = 16;

/// The model that is measured when no folder is named.
const SMALL: &str = r#"{
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 256,
    "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 4096,
    "tie_word_embeddings": true, "torch_dtype": "float32"
}"#;

#[derive(Parser)]
struct Options {
    /// Device that computes.
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// What the model computes in: auto, f32, bf16 or f16.
    #[arg(long, default_value = "auto", value_parser = precision)]
    precision: Precision,
    /// Worker threads on a CPU; as many as suit the machine if left out.
    #[arg(long)]
    workers: Option<usize>,
    /// Folder of the model; a small one of random weights if left out.
    #[arg(long)]
    model: Option<PathBuf>,
    /// What to measure; all if left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Rows, prompt tokens and completion tokens, such as 64x128+128.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// Repeats that count.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Prints one JSON object a line in place of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    /// The prompts of different rows, up to the first token.
    Prefill,
    /// The tokens after the first: a whole generation without the prefill.
    Decode,
    /// A whole generation of groups of eight that share a prompt.
    Rollout,
    /// Log-probabilities of the completions.
    Score,
    /// An optimiser step on all tokens.
    Train,
    /// A step of GRPO: rollout, rewards, training.
    Grpo,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Shape {
    rows: usize,
    prompt: usize,
    completion: usize,
}

/// What was measured of one case.
#[derive(Debug, Serialize)]
struct Measured {
    case: Case,
    device: String,
    workers: usize,
    shape: Option<Shape>,
    seconds: f64,
    cpu_seconds: Option<f64>,
    tokens_per_second: f64,
    peak_bytes: Option<u64>,
}

/// Medians of wall and CPU time.
#[derive(Clone, Copy)]
struct Timing {
    seconds: f64,
    cpu_seconds: Option<f64>,
}

/// A model and where it runs.
struct Bench {
    decoder: Decoder,
    device: Device,
    workers: Workers,
    repeats: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.repeats > 0, "`--repeats` is 0, expected at least 1");
    let device = device::open(&options.device)?;
    let workers = match options.workers {
        Some(count) => Workers::new(count),
        None => Workers::suited_to(&device),
    };
    let bench = Bench {
        decoder: model(options.model.as_deref(), &device)?.with_precision(options.precision)?,
        device,
        workers,
        repeats: options.repeats,
    };
    let cases = match options.cases.is_empty() {
        true => Case::value_variants(),
        false => &options.cases,
    };
    for &case in cases {
        for shape in shapes(case, &options.shapes) {
            let measured = bench.measure(case, shape, options.device.to_string())?;
            match options.json {
                true => println!("{}", serde_json::to_string(&measured)?),
                false => println!("{measured}"),
            }
        }
    }
    Ok(())
}

fn precision(name: &str) -> Result<Precision, ValueError> {
    Precision::deserialize(StrDeserializer::new(name))
}

fn model(folder: Option<&Path>, device: &Device) -> Result<Decoder> {
    let config = match folder {
        Some(folder) if folder.join("model.safetensors").exists() => {
            return Ok(Decoder::load(folder, device)?);
        }
        Some(folder) => ModelConfig::load(folder)?,
        None => ModelConfig::from_json(SMALL, Path::new("config.json"))?,
    };
    Ok(Decoder::random(config, 0.02, Seed::new(0), device))
}

/// The shapes asked for, else the case's own; `grpo` has none.
fn shapes(case: Case, asked: &[Shape]) -> Vec<Option<Shape>> {
    let rows = match case {
        Case::Prefill | Case::Decode | Case::Rollout => 64,
        Case::Score | Case::Train => 16,
        Case::Grpo => return vec![None],
    };
    let own = Shape {
        rows,
        prompt: 128,
        completion: 128,
    };
    match asked.is_empty() {
        true => vec![Some(own)],
        false => asked.iter().copied().map(Some).collect(),
    }
}

impl Bench {
    fn measure(&self, case: Case, shape: Option<Shape>, device: String) -> Result<Measured> {
        let (timing, tokens) = match (case, shape) {
            (Case::Prefill, Some(shape)) => {
                let first = self.generation(shape, 1, 1)?;
                (first, (shape.rows * shape.prompt) as f64)
            }
            (Case::Decode, Some(shape)) => {
                let first = self.generation(shape, 1, 1)?;
                let whole = self.generation(shape, 1, shape.completion)?;
                let tokens = shape.rows * (shape.completion - 1);
                (whole.without(first), tokens as f64)
            }
            (Case::Rollout, Some(shape)) => {
                let whole = self.generation(shape, GROUP, shape.completion)?;
                (whole, (shape.rows * shape.completion) as f64)
            }
            (Case::Score, Some(shape)) => (self.scoring(shape)?, shape.tokens()),
            (Case::Train, Some(shape)) => (self.training(shape)?, shape.tokens()),
            _ => self.grpo()?,
        };
        Ok(Measured {
            case,
            device,
            workers: self.workers.count(),
            shape,
            seconds: timing.seconds,
            cpu_seconds: timing.cpu_seconds,
            tokens_per_second: tokens / timing.seconds,
            peak_bytes: peak_resident_bytes(),
        })
    }

    fn generation(&self, shape: Shape, group: usize, completion: usize) -> Result<Timing> {
        let prompts = self.rows(shape.rows.div_ceil(group), shape.prompt);
        let request = |row: usize| GenerationRequest {
            prompt: prompts[row / group].clone(),
            seed: Seed::new(row as u64),
        };
        let requests: Vec<_> = (0..shape.rows).map(request).collect();
        let params = SamplingParams {
            max_completion_tokens: completion,
            ignore_eos: true,
            ..SamplingParams::default()
        };
        let decoder = self.decoder.frozen();
        let engine = Engine::new(&decoder, Vec::new(), &self.workers);
        self.time(|| Ok(engine.generate(&requests, &params, &|_| ()).map(drop)?))
    }

    fn scoring(&self, shape: Shape) -> Result<Timing> {
        let samples = self.samples(shape, shape.prompt);
        let batching = Batching::default();
        self.time(|| {
            let scores = batching.score(&self.decoder, &samples, 1.0, &self.workers);
            Ok(scores.map(drop)?)
        })
    }

    fn training(&self, shape: Shape) -> Result<Timing> {
        let samples = self.samples(shape, 1);
        let (optim, batching) = (OptimConfig::default(), Batching::default());
        let mut learner = Learner::new(self.decoder.clone(), optim, batching);
        let loss = SupervisedLoss::default();
        self.time(|| {
            let stats = learner.train_on(&samples, &loss, 1e-6, &self.workers, &mut |_| Ok(()));
            Ok(stats.map(drop)?)
        })
    }

    /// Medians of a run's steps and the completion tokens of a step.
    fn grpo(&self) -> Result<(Timing, f64)> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/curve");
        let base = source.join("base");
        let config: RlConfig = toml::from_str(&format!(
            r#"
            steps = {GRPO_STEPS}
            prompts_per_step = 8
            group_size = 8
            task = {{ kind = "jsonl", train = {:?} }}
            rewards = [
                {{ kind = "accuracy" }},
                {{ kind = "format", style = "think_answer_inline", weight = 0.2 }},
            ]
            sampling = {{ temperature = 1.0, max_completion_tokens = 40 }}
            loss = {{ kind = "dapo" }}
            optim = {{ lr = 1e-4 }}
            "#,
            source.join("train.jsonl")
        ))?;
        let tokenizer = Tokenizer::load(&base)?;
        let precision = self.decoder.precision();
        let decoder = Decoder::load(&base, &self.device)?.with_precision(precision)?;
        let eos_ids = eos_token_ids(&base, decoder.config(), &tokenizer)?;
        let folder = tempfile::tempdir()?;
        let context = StageContext {
            name: "grpo",
            folder: folder.path(),
            seed: Seed::new(1),
            device: &self.device,
            precision,
            workers: &self.workers,
            screen: &Screen::new(true),
            stop: &Stop::default(),
            save_every: GRPO_STEPS,
            rewards: &[],
        };
        let before = cpu_seconds();
        train_grpo(context, &config, &tokenizer, eos_ids, decoder)?;
        let cpu = cpu_seconds()
            .zip(before)
            .map(|(after, before)| after - before);
        let metrics = fs::read_to_string(folder.path().join("metrics.jsonl"))?;
        let steps: serde_json::Result<Vec<Value>> =
            metrics.lines().map(serde_json::from_str).collect();
        let counted = &steps?[1..];
        let column = |name: &str| {
            let numbers = counted.iter().filter_map(|step| step[name].as_f64());
            median(numbers.collect())
        };
        let timing = Timing {
            seconds: column("seconds"),
            cpu_seconds: cpu.map(|cpu| cpu / GRPO_STEPS as f64),
        };
        Ok((timing, column("tokens_per_second") * timing.seconds))
    }

    fn samples(&self, shape: Shape, prompt: usize) -> Vec<TrainingSample> {
        let rows = self.rows(shape.rows, shape.prompt + shape.completion);
        let sample = |row: &Vec<u32>| TrainingSample::new(&row[..prompt], &row[prompt..]);
        rows.iter().map(sample).collect()
    }

    /// Random ids.
    fn rows(&self, rows: usize, tokens: usize) -> Vec<Vec<u32>> {
        let vocabulary = self.decoder.config().vocab_size as u32;
        let mut rng = Seed::new(0).rng();
        let mut row = |_| {
            (0..tokens)
                .map(|_| rng.random_range(0..vocabulary))
                .collect()
        };
        (0..rows).map(&mut row).collect()
    }

    fn time(&self, mut work: impl FnMut() -> Result<()>) -> Result<Timing> {
        work()?;
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..self.repeats {
            let (cpu, wall) = (cpu_seconds(), Instant::now());
            work()?;
            walls.push(wall.elapsed().as_secs_f64());
            cpus.extend(cpu_seconds().zip(cpu).map(|(after, before)| after - before));
        }
        Ok(Timing {
            seconds: median(walls),
            cpu_seconds: (!cpus.is_empty()).then(|| median(cpus)),
        })
    }
}

impl Timing {
    fn without(self, part: Self) -> Self {
        let cpu = self.cpu_seconds.zip(part.cpu_seconds);
        Self {
            seconds: self.seconds - part.seconds,
            cpu_seconds: cpu.map(|(whole, part)| whole - part),
        }
    }
}

impl Shape {
    /// Tokens of all rows.
    fn tokens(self) -> f64 {
        (self.rows * (self.prompt + self.completion)) as f64
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let (rows, tokens) = text.split_once('x')?;
            let (prompt, completion) = tokens.split_once('+')?;
            let number = |text: &str| text.parse().ok().filter(|&number| number > 0);
            Some((number(rows)?, number(prompt)?, number(completion)?))
        };
        let expected = || format!("`{text}`: expected rows, prompt and completion as 64x128+128");
        let (rows, prompt, completion) = parts().with_context(expected)?;
        Ok(Self {
            rows,
            prompt,
            completion,
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}+{}", self.rows, self.prompt, self.completion)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = format!("{:?}", self.case).to_lowercase();
        let shape = self.shape.map_or("curve".into(), |shape| shape.to_string());
        write!(f, "{case:8} {shape:12} {:9.4} s", self.seconds)?;
        if let Some(cpu) = self.cpu_seconds {
            write!(f, " {cpu:9.3} cpu s")?;
        }
        write!(f, " {:10.0} tokens/s", self.tokens_per_second)?;
        if let Some(bytes) = self.peak_bytes {
            write!(f, " {:7.0} MB peak", bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

/// CPU seconds of this process so far, where the system says (Linux).
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: Vec<f64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    Some(ticks.iter().sum::<f64>() / 100.0)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers[middle],
        _ => (numbers[middle - 1] + numbers[middle]) / 2.0,
    }
}
