//! The oracle: values recorded from transformers, trl and peft, which emberl must reproduce.
//!
//! Every test finds what is recorded by listing the oracle folder, whose `README.md` says what each
//! value means and how close it must be met, and fails when it finds nothing.

pub mod advantages;
mod dpo_steps;
pub mod fixture;
mod folders;
mod generation;
pub mod gpu;
mod grpo_steps;
mod lora;
mod losses;
pub mod model_case;
mod models;
mod policy_settings;
mod reward_model;
mod rewards_format;
mod rewards_math;
mod sampler_ratio;
mod sft_steps;
mod step_case;
mod tokenizer;

use std::path::PathBuf;

/// The oracle folder: that in the environment variable `EMBERL_ORACLE`, else the one beside the
/// tests.
pub fn folder() -> PathBuf {
    match std::env::var_os("EMBERL_ORACLE") {
        Some(folder) => folder.into(),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/oracle").into(),
    }
}
