#![doc = include_str!("../README.md")]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod error;
pub mod seed;

pub mod exact;
pub mod files;
pub mod memory;
pub mod progress;
pub mod stop;

pub mod device;

pub mod precision;
pub mod sandbox;
pub mod workers;

pub mod ops;

pub mod tokenizer;

pub mod data;

pub mod tasks;

pub mod rewards;

pub mod model;

pub mod generation;

pub mod rollout;

pub mod train;

pub mod recipe;

pub mod pipeline;

pub mod report;

pub mod cli;
