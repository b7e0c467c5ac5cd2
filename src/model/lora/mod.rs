//! Low-rank adapters (LoRA, arXiv:2106.09685), in PEFT's files and by PEFT's rules.
//!
//! A linear layer `y = x Wᵀ` of a block becomes `y = x Wᵀ + s (x Aᵀ) Bᵀ` with `A` `[r, in]`, `B`
//! `[out, r]` and the scale `s = α / r`. `W` is frozen: training changes `A` and `B` only, and the
//! model without its adapter is the model it started from.

mod adapted;
mod adapter;
mod config;
mod folder;
mod layout;
mod module_filter;
mod patterns;
mod peft_config;

pub use adapter::Adapter;
pub use config::LoraConfig;
pub use module_filter::ModuleFilter;
pub use patterns::Patterns;
