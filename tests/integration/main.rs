//! Tests of emberl as a library, from outside.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod audit;
mod checkpointing;
mod cli;
mod decoding;
mod device_check;
mod examples;
mod head;
mod hostile_settings;
mod joints;
mod kernel_cache;
mod kernels;
mod oracle;
mod plan;
mod precision;
mod presets;
mod resting;
mod resume;
mod reward_model;
mod rooms;
mod sandbox;
mod shaders;
mod shared_prompts;
mod tiny;
mod win_rates;
