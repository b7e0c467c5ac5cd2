//! Adapters against PEFT: logits with an adapter and with it merged, merged weights, files.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use emberl::generation::{Engine, GenerationRequest, SamplingParams};
use emberl::model::{Adapter, Decoder, TokenGrid, WeightDtype};
use emberl::ops;
use emberl::seed::Seed;
use emberl::train::{Batching, Learner, OptimConfig};
use emberl::workers::Workers;
use serde_json::Value;

use super::fixture::{self, Tensors, Tolerance, Worst, cpu};

const CLOSE: Tolerance = Tolerance {
    relative: 0.0,
    absolute: 1e-4,
};

/// An adapter folder with what PEFT recorded of it.
struct AdapterCase {
    name: String,
    folder: PathBuf,
    tensors: Tensors,
    adapted: Decoder,
}

impl AdapterCase {
    /// Every recorded adapter.
    fn all() -> Vec<Self> {
        let base = super::folder().join("steps/base");
        let base = Decoder::load(&base, &cpu()).expect("the base model loads");
        let folders = fixture::entries(&super::folder().join("lora")).into_iter();
        let folders = folders.filter(|path| path.is_dir());
        let cases: Vec<_> = folders.map(|folder| Self::new(folder, &base)).collect();
        assert!(!cases.is_empty(), "no adapters");
        cases
    }

    fn new(folder: PathBuf, base: &Decoder) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let adapter = Adapter::load(&folder, base).unwrap_or_else(|error| panic!("{error}"));
        Self {
            tensors: Tensors::read(&folder.with_extension("safetensors")),
            adapted: base.with_adapter(adapter).expect("the adapter fits"),
            name,
            folder,
        }
    }

    fn rows(&self) -> Vec<Vec<u32>> {
        self.tensors.unpadded("input_ids", "attention_mask")
    }

    /// Holds the decoder's logits against those recorded as `name`.
    fn check_logits(&self, decoder: &Decoder, name: &str) -> f64 {
        let [_, columns, vocabulary] = self.tensors.shape(name);
        let recorded = self.tensors.floats(name);
        let rows = self.rows();
        let grid = TokenGrid::left_padded(&rows, 0);
        assert_eq!(grid.dims()[1], columns, "{}", self.name);
        let states = decoder.hidden_states(&decoder.input(&grid), None);
        let found = read(&decoder.logits(states.flatten(0, 1)));
        let mut worst = 0.0_f64;
        for (index, start) in grid.starts().iter().enumerate() {
            let cells = (index * columns + start) * vocabulary..(index + 1) * columns * vocabulary;
            let place = format!("{}: {name} of row {index}", self.name);
            worst = worst.max(CLOSE.check(&place, &found[cells.clone()], &recorded[cells]));
        }
        worst
    }
}

#[test]
fn logits_with_without_and_with_merged_adapters_are_pefts() {
    for case in AdapterCase::all() {
        let mut worst = Worst::default();
        for (name, decoder) in [
            ("logits_adapter", case.adapted.clone()),
            ("logits_base", case.adapted.without_adapter()),
            ("logits_merged", case.adapted.merged()),
        ] {
            worst.note(name, case.check_logits(&decoder, name));
        }
        worst.print(&case.name);
    }
}

#[test]
fn merged_weights_are_pefts_and_the_others_stay() {
    for case in AdapterCase::all() {
        let merged = case.adapted.merged();
        assert!(merged.adapter().is_none());
        let names = merged.parameter_names();
        let mut checked = 0;
        for recorded in case.tensors.names() {
            let Some(name) = recorded.strip_prefix("merged.") else {
                continue;
            };
            let place = names.iter().position(|own| own == name);
            let place = place.unwrap_or_else(|| panic!("{}: no weight {name}", case.name));
            let found = read(&merged.parameters()[place]);
            CLOSE.check(&recorded, &found, &case.tensors.floats(&recorded));
            checked += 1;
        }
        assert!(checked > 0, "{}: no merged weights", case.name);
        let adapter = case.adapted.adapter().expect("there is one");
        let weights = case.adapted.parameters().iter().zip(merged.parameters());
        for (name, (before, after)) in names.iter().zip(weights) {
            let path = name.trim_end_matches("weight");
            let is_adapted = adapter.names().iter().any(|own| own.contains(path));
            assert_eq!(read(before) != read(after), is_adapted, "{name}");
        }
    }
}

#[test]
fn completions_with_an_adapter_are_those_of_the_merged_model() {
    let workers = Workers::new(2);
    for case in AdapterCase::all() {
        let requests: Vec<GenerationRequest> = (case.rows().into_iter().enumerate())
            .map(|(index, prompt)| GenerationRequest {
                prompt,
                seed: Seed::new(index as u64),
            })
            .collect();
        let complete = |decoder: &Decoder| {
            let engine = Engine::new(decoder, Vec::new(), &workers);
            let found = engine.generate(&requests, &SamplingParams::greedy(12), &|_, _| ());
            let found = found.expect("device works").into_iter();
            found.map(|c| (c.ids, c.logprobs)).collect::<Vec<_>>()
        };
        let adapted = complete(&case.adapted);
        let merged = complete(&case.adapted.merged());
        for ((ids, logprobs), (merged_ids, merged_logprobs)) in adapted.iter().zip(&merged) {
            assert_eq!(ids, merged_ids, "{}", case.name);
            CLOSE.check(&case.name, logprobs, merged_logprobs);
        }
        assert_ne!(adapted, complete(&case.adapted.without_adapter()));
    }
}

#[test]
fn an_adapter_written_by_us_has_pefts_names_and_every_bit() {
    for case in AdapterCase::all() {
        let adapter = case.adapted.adapter().expect("there is one");
        let copy = tempfile::tempdir().unwrap();
        adapter.save(copy.path(), Some("base")).unwrap();
        let base = case.adapted.without_adapter();
        let back = Adapter::load(copy.path(), &base).expect("our own adapter loads");
        assert_eq!(back.config(), adapter.config());
        assert_eq!(back.names(), adapter.names());
        let weights = |folder: &Path| Tensors::read(&folder.join("adapter_model.safetensors"));
        let (theirs, ours) = (weights(&case.folder), weights(copy.path()));
        assert_eq!(ours.names(), theirs.names());
        for name in theirs.names() {
            assert_eq!(ours.shape::<2>(&name), theirs.shape::<2>(&name));
            let bits = |file: &Tensors| -> Vec<u32> {
                file.floats(&name)
                    .iter()
                    .map(|value| value.to_bits())
                    .collect()
            };
            assert_eq!(bits(&ours), bits(&theirs), "{}: {name}", case.name);
        }
    }
}

#[test]
fn a_merged_model_is_saved_as_any_other() {
    for case in AdapterCase::all() {
        let folder = tempfile::tempdir().unwrap();
        let merged = case.adapted.merged();
        merged.save(folder.path(), WeightDtype::F32).unwrap();
        let back = Decoder::load(folder.path(), &cpu()).unwrap();
        case.check_logits(&back, "logits_adapter");
    }
}

#[test]
fn a_saved_state_holds_the_adapter_and_not_the_weights() {
    for case in AdapterCase::all() {
        let folder = tempfile::tempdir().unwrap();
        let (optim, batching) = (OptimConfig::default(), Batching::default());
        let learner = Learner::new(case.adapted.clone(), optim.clone(), batching);
        learner.save(folder.path()).unwrap();
        let zeros = case.adapted.trainable().iter().map(Tensor::zeros_like);
        let blank = case.adapted.with_trainable(zeros.collect());
        let restored = Learner::load(folder.path(), blank, optim, batching).unwrap();
        let found = restored.decoder().trainable().iter();
        for (found, saved) in found.zip(case.adapted.trainable()) {
            assert!(read(found) == read(saved));
        }
        let file = Tensors::read(&folder.path().join("model.safetensors"));
        assert_eq!(file.names().len(), 3 * case.adapted.trainable().len());
    }
}

#[test]
fn every_recorded_run_of_an_adapter_is_replayed() {
    let replayed = ["trl.GRPOTrainer", "trl.SFTTrainer", "trl.DPOTrainer"];
    let mut runs = 0;
    for path in fixture::entries(&super::folder().join("steps")) {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let recording: Value = fixture::read_json(&path);
            if !recording["lora"].is_null() {
                let trainer = recording["trainer"].as_str().expect("a trainer");
                assert!(replayed.contains(&trainer), "{}", path.display());
                runs += 1;
            }
        }
    }
    assert!(runs > 0, "no run of an adapter");
}

fn read(tensor: &Tensor<2>) -> Vec<f32> {
    ops::read_floats(tensor.clone()).expect("device works")
}
