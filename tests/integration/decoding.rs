//! Completions made on the first adapter that wgpu finds, a software one included, against the CPU's.

use std::path::Path;

use burn::tensor::Device;
use emberl::generation::{Completion, Engine, GenerationRequest, SamplingParams};
use emberl::model::{Decoder, ModelConfig};
use emberl::seed::Seed;
use emberl::workers::Workers;

use crate::oracle::gpu;

/// Some of the vocabulary ends a completion, so that rows may finish one after the other.
const EOS_IDS: [u32; 6] = [3, 13, 23, 33, 43, 53];

#[test]
fn wgpu_refills_rows_and_writes_what_the_cpu_writes() {
    let Some((_turn, device)) = gpu::wgpu() else {
        return;
    };
    for family in ["qwen2", "qwen3"] {
        let params = SamplingParams::greedy(11);
        let expected = completions(family, &Device::flex(), &params, 64);
        let found = completions(family, &device, &params, 2);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.ids, expected.ids, "{family}");
            assert_eq!(found.finish, expected.finish, "{family}");
            assert_close(&found.logprobs, &expected.logprobs);
        }
    }
}

#[test]
fn wgpu_draws_do_not_depend_on_neighbours_and_have_the_models_logprobs() {
    let Some((_turn, device)) = gpu::wgpu() else {
        return;
    };
    let params = SamplingParams {
        max_completion_tokens: 9,
        ..SamplingParams::default()
    };
    let two = completions("qwen2", &device, &params, 2);
    let all = completions("qwen2", &device, &params, 8);
    let host = decoder("qwen2", &Device::flex());
    for (request, (two, all)) in requests().iter().zip(two.iter().zip(&all)) {
        assert_eq!(two.ids, all.ids);
        let scores = scores(&host, &request.prompt, &all.ids);
        assert_close(&all.logprobs, &scores);
    }
}

/// Prompts of different lengths, two of them alike, more than a few rows hold.
fn requests() -> Vec<GenerationRequest> {
    let prompts: [&[u32]; 5] = [
        &[1, 2],
        &[5, 6, 7, 8, 9],
        &[5, 6, 7, 8, 9],
        &[4],
        &[30, 31, 2],
    ];
    let request = |(index, prompt): (usize, &&[u32])| GenerationRequest {
        prompt: prompt.to_vec(),
        seed: Seed::new(7).child(index as u64),
    };
    prompts.iter().enumerate().map(request).collect()
}

fn completions(
    family: &str,
    device: &Device,
    params: &SamplingParams,
    rows: usize,
) -> Vec<Completion> {
    let (decoder, workers) = (decoder(family, device), Workers::new(1));
    let engine = Engine::new(&decoder, EOS_IDS.to_vec(), &workers).with_most_rows(rows);
    let made = engine.generate(&requests(), params, &|_, _| ());
    made.expect("the device works")
}

/// The log-probabilities of `completion`, from one pass over all tokens.
fn scores(decoder: &Decoder, prompt: &[u32], completion: &[u32]) -> Vec<f32> {
    let ids = [prompt, completion].concat();
    let grid = emberl::model::TokenGrid::right_padded(&[&ids], 0);
    let states = decoder.hidden_states(&decoder.input(&grid), None);
    let [_, tokens, width] = states.dims();
    let logits = decoder.logits(states.reshape([tokens, width]));
    let logprobs = burn::tensor::activation::log_softmax(logits, 1);
    let [_, vocabulary] = logprobs.dims();
    let logprobs = emberl::ops::read_floats(logprobs).expect("the host works");
    let of =
        |(at, id): (usize, &u32)| logprobs[(prompt.len() - 1 + at) * vocabulary + *id as usize];
    completion.iter().enumerate().map(of).collect()
}

/// The inner width is one that decoding splits.
fn decoder(family: &str, device: &Device) -> Decoder {
    let config = serde_json::json!({
        "model_type": family, "hidden_size": 32, "intermediate_size": 384, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 61,
        "max_position_embeddings": 64, "tie_word_embeddings": family == "qwen2"
    });
    let config = ModelConfig::from_json(&config.to_string(), Path::new("config.json"));
    Decoder::random(config.expect("a model"), 0.3, Seed::new(1), device)
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-4,
            "{found} against {expected}"
        );
    }
}
