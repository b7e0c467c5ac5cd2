//! Generation: token ids in, token ids and log-probabilities out; no text.

mod batch;
mod engine;
mod eos;
mod sampler;
mod sampling_params;
mod slots;

pub(crate) use engine::MAX_ROWS;
pub use engine::{Completion, Engine, FinishReason, GenerationRequest};
pub use eos::eos_token_ids;
pub use sampler::{Draw, Sampler};
pub use sampling_params::SamplingParams;
