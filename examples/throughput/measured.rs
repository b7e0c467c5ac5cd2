//! What is measured, and how it is told.

use std::fmt;
use std::fs;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::ValueEnum;
use emberl::precision::Precision;
use serde::Serialize;

/// A work that is measured.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// The prompts of different rows, up to the first token.
    Prefill,
    /// The tokens after the first: a whole generation without the prefill.
    Decode,
    /// A whole generation of groups of eight that share a prompt.
    Rollout,
    /// Log-probabilities of the completions.
    Score,
    /// An optimiser step on all tokens of different rows.
    Train,
    /// An optimiser step on the completions of groups of eight that share a prompt, as a step of GRPO learns.
    Update,
    /// A step of GRPO: rollout, rewards, training.
    Grpo,
    /// Matrix products of a layer.
    Products,
}

/// How many sequences of which length.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shape {
    pub rows: usize,
    pub prompt: usize,
    pub completion: usize,
}

/// What was measured of one case.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub case: Case,
    pub device: String,
    pub precision: Precision,
    pub workers: usize,
    pub shape: Option<Shape>,
    pub seconds: f64,
    pub cpu_seconds: Option<f64>,
    pub tokens_per_second: f64,
    /// Of these seconds, those of the rollouts of a GRPO step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_seconds: Option<f64>,
    pub peak_bytes: Option<u64>,
}

/// Medians of wall and CPU time.
#[derive(Clone, Copy)]
pub struct Timing {
    pub seconds: f64,
    pub cpu_seconds: Option<f64>,
}

impl Timing {
    /// The time that is left when a part of the work is taken out.
    pub fn without(self, part: Self) -> Self {
        let cpu = self.cpu_seconds.zip(part.cpu_seconds);
        Self {
            seconds: self.seconds - part.seconds,
            cpu_seconds: cpu.map(|(whole, part)| whole - part),
        }
    }
}

impl Shape {
    /// Tokens of all rows.
    pub fn tokens(self) -> f64 {
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
        if let Some(seconds) = self.rollout_seconds {
            write!(f, " {seconds:9.4} s of it rollouts")?;
        }
        if let Some(bytes) = self.peak_bytes {
            write!(f, " {:7.0} MB peak", bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

/// CPU seconds of this process so far, where the system says (Linux).
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: Vec<f64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    Some(ticks.iter().sum::<f64>() / 100.0)
}

pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers[middle],
        _ => (numbers[middle - 1] + numbers[middle]) / 2.0,
    }
}
