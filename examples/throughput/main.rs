//! Measures prefill, decoding, rollouts, scoring, training, updates of a group's completions, whole GRPO steps, and
//! matrix products.
//!
//! `cargo run --release --example throughput -- [--device cpu] [--cases prefill,decode]
//! [--shapes 64x128+128] [--model FOLDER] [--precision auto] [--json]`. Seconds and CPU seconds are
//! medians of the repeats after one that is not counted; the clock stops when the device has done
//! all. A folder without weights gets random ones. `grpo` without shapes takes the steps of
//! `tests/fixtures/oracle/curve`, with its model; with a shape it trains the model asked for, on
//! completions of full length. `products`, only where it is asked for, sets this crate's matrix products
//! beside Burn's, with the model's sizes.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

mod grpo;
mod measured;
mod products;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use emberl::device::{self, DeviceSpec};
use emberl::generation::{Engine, GenerationRequest, SamplingParams};
use emberl::memory::peak_resident_bytes;
use emberl::model::{Decoder, ModelConfig};
use emberl::precision::Precision;
use emberl::seed::Seed;
use emberl::train::loss::SupervisedLoss;
use emberl::train::{Batching, Learner, OptimConfig, TrainingSample};
use emberl::workers::Workers;
use rand::RngExt;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};

use self::grpo::Steps;
use self::measured::{Case, Measured, Shape, Timing, cpu_seconds, median};

/// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Completions that share a prompt in a rollout.
const GROUP: usize = 8;

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
    /// Worker threads on a CPU; as many as suit the machine if left out.
    #[arg(long)]
    workers: Option<usize>,
    /// Folder of the model; a small one of random weights if left out.
    #[arg(long)]
    model: Option<PathBuf>,
    /// What to measure; all but products if left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Rows, prompt tokens and completion tokens, such as 64x128+128.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// What the model computes in: auto, f32, bf16 or f16.
    #[arg(long, default_value = "auto", value_parser = precision)]
    precision: Precision,
    /// Repeats that count.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Prints one JSON object a line in place of a table.
    #[arg(long)]
    json: bool,
}

/// A model and where it runs.
struct Bench {
    /// Folder of its weights; random ones without.
    weights: Option<PathBuf>,
    config: ModelConfig,
    precision: Precision,
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
    let has_weights = |folder: &PathBuf| folder.join("model.safetensors").exists();
    let bench = Bench {
        weights: options.model.clone().filter(has_weights),
        config: match &options.model {
            Some(folder) => ModelConfig::load(folder)?,
            None => ModelConfig::from_json(SMALL, Path::new("config.json"))?,
        },
        precision: options.precision.on(&device)?,
        device,
        workers,
        repeats: options.repeats,
    };
    for case in cases(&options) {
        for shape in shapes(case, &options.shapes) {
            match (case, shape) {
                (Case::Products, Some(shape)) => {
                    let products = bench.products(shape.tokens() as usize)?;
                    print(&products, options.json)?;
                }
                _ => {
                    let measured = bench.measure(case, shape, options.device.to_string())?;
                    print(&[measured], options.json)?;
                }
            }
        }
    }
    Ok(())
}

fn cases(options: &Options) -> Vec<Case> {
    match options.cases.is_empty() {
        true => {
            let all = Case::value_variants().iter().copied();
            all.filter(|case| *case != Case::Products).collect()
        }
        false => options.cases.clone(),
    }
}

fn print<T: Display + Serialize>(rows: &[T], as_json: bool) -> Result<()> {
    for row in rows {
        match as_json {
            true => println!("{}", serde_json::to_string(row)?),
            false => println!("{row}"),
        }
    }
    Ok(())
}

fn precision(name: &str) -> Result<Precision, ValueError> {
    Precision::deserialize(StrDeserializer::new(name))
}

/// The shapes asked for, else the case's own; that of `grpo` is the curve's.
fn shapes(case: Case, asked: &[Shape]) -> Vec<Option<Shape>> {
    let rows = match case {
        Case::Grpo if asked.is_empty() => return vec![None],
        Case::Prefill | Case::Decode | Case::Rollout | Case::Update | Case::Grpo => 64,
        Case::Products => 32,
        Case::Score | Case::Train => 16,
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
    /// The model, for one case alone: whoever trains it keeps no other weights.
    fn decoder(&self) -> Result<Decoder> {
        let decoder = match &self.weights {
            Some(folder) => Decoder::load(folder, &self.device)?,
            None => Decoder::random(self.config.clone(), 0.02, Seed::new(0), &self.device),
        };
        Ok(decoder.with_precision(self.precision)?)
    }

    fn measure(&self, case: Case, shape: Option<Shape>, device: String) -> Result<Measured> {
        let mut rollout_seconds = None;
        let mut of_steps = |steps: Steps| {
            rollout_seconds = Some(steps.rollout_seconds);
            (steps.timing, steps.tokens)
        };
        let (timing, tokens) = match (case, shape) {
            (Case::Prefill, Some(shape)) => {
                let first = self.generation(&self.decoder()?, shape, 1, 1)?;
                (first, (shape.rows * shape.prompt) as f64)
            }
            (Case::Decode, Some(shape)) => {
                let decoder = self.decoder()?;
                let first = self.generation(&decoder, shape, 1, 1)?;
                let whole = self.generation(&decoder, shape, 1, shape.completion)?;
                let tokens = shape.rows * (shape.completion - 1);
                (whole.without(first), tokens as f64)
            }
            (Case::Rollout, Some(shape)) => {
                let whole = self.generation(&self.decoder()?, shape, GROUP, shape.completion)?;
                (whole, (shape.rows * shape.completion) as f64)
            }
            (Case::Score, Some(shape)) => (self.scoring(shape)?, shape.tokens()),
            (Case::Train, Some(shape)) => {
                let samples = self.samples(shape, 1);
                (self.training(&samples)?, shape.tokens())
            }
            (Case::Update, Some(shape)) => {
                let samples = self.groups(shape);
                (self.training(&samples)?, shape.tokens())
            }
            (Case::Grpo, Some(shape)) => of_steps(self.grpo(shape)?),
            (Case::Products, _) => unreachable!("products are no tokens"),
            (_, None) => of_steps(self.curve()?),
        };
        Ok(Measured {
            case,
            device,
            workers: self.workers.count(),
            shape,
            seconds: timing.seconds,
            cpu_seconds: timing.cpu_seconds,
            tokens_per_second: tokens / timing.seconds,
            rollout_seconds,
            precision: self.precision,
            peak_bytes: peak_resident_bytes(),
        })
    }

    fn generation(
        &self,
        decoder: &Decoder,
        shape: Shape,
        group: usize,
        completion: usize,
    ) -> Result<Timing> {
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
        let decoder = decoder.frozen();
        let engine = Engine::new(&decoder, Vec::new(), &self.workers);
        self.time(|| Ok(engine.generate(&requests, &params, &|_, _| ()).map(drop)?))
    }

    fn scoring(&self, shape: Shape) -> Result<Timing> {
        let samples = self.samples(shape, shape.prompt);
        let (batching, decoder) = (Batching::default(), self.decoder()?);
        self.time(|| {
            let scores = batching.score(&decoder, &samples, 1.0, &self.workers);
            Ok(scores.map(drop)?)
        })
    }

    fn training(&self, samples: &[TrainingSample]) -> Result<Timing> {
        let (optim, batching) = (OptimConfig::default(), Batching::default());
        let mut learner = Learner::new(self.decoder()?, optim, batching);
        let loss = SupervisedLoss::default();
        self.time(|| {
            let stats = learner.train_on(samples, &loss, 1e-6, &self.workers, &mut |_| Ok(()));
            Ok(stats.map(drop)?)
        })
    }

    fn samples(&self, shape: Shape, prompt: usize) -> Vec<TrainingSample> {
        let rows = self.rows(shape.rows, shape.prompt + shape.completion);
        let sample = |row: &Vec<u32>| TrainingSample::new(&row[..prompt], &row[prompt..]);
        rows.iter().map(sample).collect()
    }

    /// Groups of completions of one prompt.
    fn groups(&self, shape: Shape) -> Vec<TrainingSample> {
        let prompts = self.rows(shape.rows.div_ceil(GROUP), shape.prompt);
        let completions = self.rows(shape.rows, shape.completion);
        let rows = completions.iter().enumerate();
        let sample =
            |(row, ids): (usize, &Vec<u32>)| TrainingSample::new(&prompts[row / GROUP], ids);
        rows.map(sample).collect()
    }

    /// Random ids.
    fn rows(&self, rows: usize, tokens: usize) -> Vec<Vec<u32>> {
        let vocabulary = self.config.vocab_size as u32;
        let mut rng = Seed::new(0).rng();
        let mut row = |_| {
            (0..tokens)
                .map(|_| rng.random_range(0..vocabulary))
                .collect()
        };
        (0..rows).map(&mut row).collect()
    }

    /// Medians of doing the work until the device is done with it.
    fn time(&self, mut work: impl FnMut() -> Result<()>) -> Result<Timing> {
        let mut work = || {
            work()?;
            let synced = self.device.sync();
            synced.map_err(|error| anyhow!("the device failed: {error:?}"))
        };
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
