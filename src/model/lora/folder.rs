//! An adapter to and from PEFT's folder: `adapter_config.json` and `adapter_model.safetensors`.

use std::path::Path;

use super::Adapter;
use super::layout::AdapterLayout;
use super::peft_config::{self, CONFIG_FILE, in_peft_file};
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::folder::matrix;
use crate::model::{Checkpoint, WeightDtype, WeightsWriter};
use crate::ops;

/// The weights' file in an adapter folder.
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

impl Adapter {
    /// Loads an adapter for `decoder`, as f32.
    ///
    /// # Errors
    /// Names the file and the key or tensor that is missing, broken, of another shape or not
    /// supported.
    pub fn load(dir: &Path, decoder: &Decoder) -> Result<Self> {
        let config = peft_config::read(dir)?;
        let layout = AdapterLayout::new(&config, &decoder.layout)
            .map_err(|error| in_peft_file(error, &dir.join(CONFIG_FILE)))?;
        let path = dir.join(WEIGHTS_FILE);
        let weights = Checkpoint::open_file(&path)?;
        if let Some(name) = weights.names().find(|name| !layout.has(name)) {
            let problem = format!("belongs to no layer that `{CONFIG_FILE}` names");
            return Err(Error::tensor(&path, name, problem));
        }
        let device = decoder.device();
        let mut tensors = Vec::new();
        for (name, shape) in layout.names.iter().zip(&layout.shapes) {
            let values = weights.tensor(name, shape)?.to_f32();
            tensors.push(matrix(values, shape, &device));
        }
        Ok(Self::new(config, layout, tensors))
    }

    /// Writes the adapter to `dir`, as PEFT reads it; `base_model` is the name or path under which
    /// PEFT finds the model it belongs to.
    ///
    /// # Errors
    /// When a file cannot be written or a tensor cannot be read from the device.
    pub fn save(&self, dir: &Path, base_model: Option<&str>) -> Result<()> {
        let names = self.names().iter().cloned();
        let tensors: Vec<_> = names.zip(self.shapes().iter().cloned()).collect();
        let path = dir.join(WEIGHTS_FILE);
        let mut writer = WeightsWriter::create_file(&path, &tensors, WeightDtype::F32)?;
        for tensor in self.tensors() {
            writer.write(&ops::read_floats(tensor.clone())?)?;
        }
        writer.finish()?;
        peft_config::write(dir, self.config(), base_model)
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use std::fs;

    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::model::{Family, LoraConfig, ModelConfig};
    use crate::seed::Seed;

    fn decoder(hidden_size: usize) -> Decoder {
        let config = ModelConfig {
            vocab_size: 11,
            hidden_size,
            intermediate_size: 12,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            ..ModelConfig::of_family(Family::Qwen2)
        };
        Decoder::random(config, 0.02, Seed::new(1), &Device::flex())
    }

    fn config(settings: &str) -> LoraConfig {
        toml::from_str(settings).unwrap()
    }

    fn values(adapter: &Adapter) -> Vec<Vec<f32>> {
        let tensors = adapter.tensors().iter();
        let read = |tensor: &Tensor<2>| ops::read_floats(tensor.clone()).unwrap();
        tensors.map(read).collect()
    }

    #[test]
    fn a_fresh_adapter_is_uniform_in_a_and_zero_in_b() {
        let decoder = decoder(16);
        let wide = config("rank = 64");
        let adapter = Adapter::fresh(&wide, &decoder, Seed::new(7)).unwrap();
        for (values, shape) in values(&adapter).chunks(2).zip(adapter.shapes().chunks(2)) {
            // 1 / √in: 0.25 for 16 inputs.
            let bound = 1.0 / (shape[0][1] as f32).sqrt();
            let largest = values[0].iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(
                largest <= bound && largest > 0.97 * bound,
                "{largest} {bound}"
            );
            let mean = values[0].iter().sum::<f32>() / values[0].len() as f32;
            assert!(mean.abs() < 0.1 * bound, "{mean}");
            assert!(values[1].iter().all(|value| *value == 0.0));
        }
        // A layer's numbers do not depend on which others are adapted.
        let one = config("rank = 64\ntargets = ['model.layers.1.mlp.up_proj']");
        let one = Adapter::fresh(&one, &decoder, Seed::new(7)).unwrap();
        assert_eq!(values(&one)[0], values(&adapter)[24]);
        let other = Adapter::fresh(&wide, &decoder, Seed::new(8)).unwrap();
        assert_ne!(values(&other)[0], values(&adapter)[0]);
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_the_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let (small, large) = (decoder(16), decoder(20));
        let settings = config("rank = 2\ntargets = ['q_proj', 'k_proj']");
        let adapter = Adapter::fresh(&settings, &small, Seed::new(7)).unwrap();
        adapter.save(dir.path(), None).unwrap();
        let error = Adapter::load(dir.path(), &large).unwrap_err().to_string();
        let place = "adapter_model.safetensors: tensor `base_model.model.model.layers.0.self_attn.";
        assert!(error.contains(place), "{error}");
        assert!(error.ends_with("q_proj.lora_A.weight`: has shape [2, 16], expected [2, 20]"));
        assert!(large.with_adapter(adapter).is_err());

        let file = dir.path().join(CONFIG_FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("k_proj", "v_proj")).unwrap();
        let error = Adapter::load(dir.path(), &small).unwrap_err().to_string();
        assert!(
            error.contains("k_proj.lora_A.weight`: belongs to no layer"),
            "{error}"
        );
        fs::write(&file, text.replace("\"k_proj\"", "\"k_proj\", \"o_proj\"")).unwrap();
        let error = Adapter::load(dir.path(), &small).unwrap_err().to_string();
        assert!(
            error.ends_with("o_proj.lora_A.weight`: is missing"),
            "{error}"
        );
        fs::write(&file, text.replace("q_proj", "lm_head")).unwrap();
        let error = Adapter::load(dir.path(), &small).unwrap_err().to_string();
        assert!(
            error.contains("adapter_config.json: `target_modules`: means `lm_head`"),
            "{error}"
        );
    }

    #[test]
    fn a_setting_that_does_not_fit_the_model_is_named() {
        let settings = config("targets = ['q_porj']");
        let error = Adapter::fresh(&settings, &decoder(16), Seed::new(7)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`lora.targets`: `q_porj` is no"),
            "{error}"
        );
    }

    #[test]
    fn a_model_with_an_adapter_is_saved_as_if_it_were_merged() {
        let dir = tempfile::tempdir().unwrap();
        let decoder = decoder(16);
        let adapter = Adapter::fresh(&LoraConfig::default(), &decoder, Seed::new(7)).unwrap();
        let adapted = decoder.with_adapter(adapter).unwrap();
        let other = tempfile::tempdir().unwrap();
        adapted.save(dir.path(), WeightDtype::F32).unwrap();
        adapted
            .merged()
            .save(other.path(), WeightDtype::F32)
            .unwrap();
        let read = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
        assert!(read(dir.path()) == read(other.path()));
        Decoder::load(dir.path(), &Device::flex()).unwrap();
    }
}
