//! emberl
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]
pub mod data;
pub mod device;
pub mod error;
pub mod files;
pub mod generation;
pub mod model;
pub mod ops;
pub mod rewards;
pub mod seed;
pub mod tasks;
pub mod tokenizer;
pub mod workers;

pub mod progress;
pub mod rollout;
pub mod train;
