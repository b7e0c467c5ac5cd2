//! Decoder-only language models (Qwen2, Qwen3, Llama 3, Mistral shapes) in Hugging Face's layout.
//!
//! Shape letters: `B` rows, `T` tokens, `L` keys, `V` vocabulary, `E` hidden width, `H` query heads,
//! `K` key-value heads, `G = H / K`, `D` head width.

mod config;
mod decode_weights;
mod decoder;
mod folder;
mod kv_cache;
mod lora;
mod parameters;
mod rotary;
mod safetensors_header;
mod shared_prompts;
mod token_grid;
mod trainable;
mod weight_dtype;
mod weights_file;
mod weights_writer;

pub use config::{Family, GenerationDefaults, Head, ModelConfig, Rope, RopeScaling};
pub use decoder::Decoder;
pub(crate) use folder::matrix;
pub use kv_cache::KvCache;
pub use lora::{Adapter, LoraConfig, ModuleFilter, Patterns};
pub use token_grid::{ForwardInput, TokenGrid};
pub use trainable::Part;
pub use weight_dtype::WeightDtype;
pub use weights_file::Checkpoint;
pub use weights_writer::WeightsWriter;
