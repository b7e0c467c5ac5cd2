//! Problems and examples: what a model is asked, what it learns from, and in which order.

mod data_files;
mod example;
mod jsonl;
mod labelled;
mod order;
mod packing;
mod preference;
mod problem;
mod problem_format;
mod prompt_template;
mod reference;
mod stage_path;

pub use data_files::DataFiles;
pub use example::{Example, read_examples};
pub use jsonl::{JsonLine, json_lines, read_json_lines};
pub use labelled::{LabelledCompletion, read_labelled};
pub use order::{EpochCache, EpochOrder};
pub use packing::pack;
pub use preference::{Preference, RatedPreference, read_preferences, read_rated_preferences};
pub use problem::{Problem, Prompt, read_problems};
pub use problem_format::ProblemFormat;
pub use prompt_template::PromptTemplate;
pub use stage_path::{StagePath, reads_stage};
