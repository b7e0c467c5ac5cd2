//! A model folder of the oracle with what transformers recorded of it.

use std::fs;

use burn::tensor::Device;
use emberl::generation::SamplingParams;
use emberl::model::{Decoder, ModelConfig};
use serde::Deserialize;

use super::fixture::{self, Tensors};

/// One model as one of its two config files describes it.
pub struct ModelCase {
    pub name: String,
    pub decoder: Decoder,
    pub tensors: Tensors,
    pub expected: Expected,
    generation: GenerationConfig,
}

#[derive(Deserialize)]
struct GenerationConfig {
    #[serde(default = "no_penalty")]
    repetition_penalty: f64,
}

fn no_penalty() -> f64 {
    1.0
}

#[derive(Deserialize)]
pub struct Expected {
    /// The last tokens of every row that log-probabilities were recorded for.
    pub completion_len: usize,
    pub greedy_max_new_tokens: usize,
    pub greedy_stop_token_for_stop_case: u32,
    pub pad_token_id: u32,
    pub sampling_filters_on_last_logits: Vec<FilterCase>,
}

/// The last distribution of every row after some filters.
#[derive(Deserialize)]
pub struct FilterCase {
    pub settings: SamplingParams,
    pub rows: Vec<FilteredRow>,
}

#[derive(Deserialize)]
pub struct FilteredRow {
    /// Number of tokens with a probability.
    pub support: usize,
    /// The likeliest of them.
    pub ids: Vec<usize>,
    pub probs: Vec<f32>,
}

impl ModelCase {
    /// Every recorded model, twice: by `config.json` and by `config_legacy.json`.
    pub fn all(device: &Device) -> Vec<Self> {
        let folders = fixture::entries(&super::folder().join("models"));
        let names = folders.iter().map(|path| path.file_name().unwrap());
        names
            .flat_map(|name| Self::of(&name.to_string_lossy(), device))
            .collect()
    }

    /// The model called `name`, by both of its config files.
    pub fn of(name: &str, device: &Device) -> [Self; 2] {
        let folder = super::folder().join("models").join(name);
        ["config.json", "config_legacy.json"].map(|file| {
            let path = folder.join(file);
            let text = fs::read_to_string(&path).expect("a model has both config files");
            let config = ModelConfig::from_json(&text, &path).expect("config is supported");
            let loaded = Decoder::load(&folder, device).expect("model loads");
            Self {
                name: format!("{name}, {file}"),
                decoder: Decoder::from_parameters(config, loaded.parameters().to_vec()),
                tensors: Tensors::read(&folder.join("expected.safetensors")),
                expected: fixture::read_json(&folder.join("expected.json")),
                generation: fixture::read_json(&folder.join("generation_config.json")),
            }
        })
    }

    /// How the recorded greedy ids were chosen: the penalty of `generation_config.json` holds.
    pub fn greedy(&self, max_completion_tokens: usize) -> SamplingParams {
        SamplingParams {
            repetition_penalty: self.generation.repetition_penalty,
            ..SamplingParams::greedy(max_completion_tokens)
        }
    }

    /// The recorded rows without padding.
    pub fn rows(&self) -> Vec<Vec<u32>> {
        self.tensors.unpadded("input_ids", "attention_mask")
    }

    /// Every row cut in prompt and completion.
    pub fn split_rows(&self) -> Vec<(Vec<u32>, Vec<u32>)> {
        let cut = |mut row: Vec<u32>| {
            let completion = row.split_off(row.len() - self.expected.completion_len);
            (row, completion)
        };
        self.rows().into_iter().map(cut).collect()
    }

    /// The recorded logits of each row's tokens, without padding, row by row.
    pub fn logits(&self) -> Vec<Vec<f32>> {
        let [_, columns, vocabulary] = self.tensors.shape("logits");
        let logits = self.tensors.floats("logits");
        let rows = logits.chunks(columns * vocabulary).zip(self.rows());
        rows.map(|(logits, row)| logits[(columns - row.len()) * vocabulary..].to_vec())
            .collect()
    }
}
