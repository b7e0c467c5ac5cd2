//! A decoder to and from a Hugging Face model folder, and at random.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use rand_distr::{Distribution, Normal};

use super::weights_file::Checkpoint;
use super::weights_writer::WeightsWriter;
use super::{Decoder, Head, ModelConfig, WeightDtype};
use crate::error::{Error, Result};
use crate::files;
use crate::ops;
use crate::seed::Seed;

impl Decoder {
    /// Loads `config.json` and the weights of a language model's folder, as f32, one tensor at a
    /// time.
    ///
    /// # Errors
    /// Names the file and tensor that are missing, broken or not supported.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config = ModelConfig::load(dir)?;
        match config.head {
            Head::Vocabulary => Self::read(config, dir, device),
            Head::Score => {
                let name = config.family.architecture(Head::Score);
                let problem = format!("`architectures`: is `{name}`, expected a language model");
                Err(Error::file(dir.join("config.json"), problem))
            }
        }
    }

    /// Loads a model folder as [`Decoder::load`] does, with the score that it has, or with a score of
    /// zeros in place of a language model's head.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn load_with_score(dir: &Path, device: &Device) -> Result<Self> {
        let config = ModelConfig::load(dir)?;
        let head = config.head;
        let decoder = Self::read(config, dir, device)?;
        Ok(match head {
            Head::Score => decoder,
            Head::Vocabulary => decoder.with_zero_score(),
        })
    }

    fn read(config: ModelConfig, dir: &Path, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        checkpoint.check(&config)?;
        let mut parameters = Vec::new();
        for (name, shape) in config.parameter_shapes() {
            let values = checkpoint.tensor(&name, &shape)?.to_f32();
            checkpoint.release(&name);
            parameters.push(matrix(values, &shape, device));
        }
        Ok(Self::from_parameters(config, parameters))
    }

    /// Writes `config.json` and the weights to `dir`, as transformers reads them; those that an
    /// adapter changes are written as if it were merged.
    ///
    /// # Errors
    /// When a file cannot be written or a weight cannot be read from the device.
    pub fn save(&self, dir: &Path, dtype: WeightDtype) -> Result<()> {
        files::create_folder(dir)?;
        let names = self.parameter_names().iter().cloned();
        let tensors: Vec<_> = names.zip(self.parameter_shapes().iter().cloned()).collect();
        let mut writer = WeightsWriter::create(dir, &tensors, dtype)?;
        for index in 0..tensors.len() {
            writer.write(&ops::read_floats(self.merged_weight(index))?)?;
        }
        writer.finish()?;
        let mut config = self.config().clone();
        config.dtype = dtype;
        files::write_text(&dir.join("config.json"), &config.to_json())
    }

    /// A model with fresh weights: normal matrices of the given standard deviation (transformers'
    /// `initializer_range`, there 0.02), norms of one, biases of zero.
    ///
    /// # Panics
    /// When the deviation is negative or not finite.
    pub fn random(config: ModelConfig, deviation: f64, seed: Seed, device: &Device) -> Self {
        let normal = Normal::new(0.0, deviation as f32).expect("a deviation of at least zero");
        let fresh = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
            let count = shape.iter().product();
            let values = if name.ends_with("norm.weight") {
                vec![1.0; count]
            } else if name.ends_with(".bias") {
                vec![0.0; count]
            } else {
                let rng = seed.child(index as u64).rng();
                normal.sample_iter(rng).take(count).collect()
            };
            matrix(values, &shape, device)
        };
        let shapes = config.parameter_shapes().into_iter().enumerate();
        let parameters = shapes.map(fresh).collect();
        Self::from_parameters(config, parameters)
    }
}

/// A weight as the decoder holds it: a vector becomes one row.
pub(crate) fn matrix(values: Vec<f32>, shape: &[usize], device: &Device) -> Tensor<2> {
    let columns = shape.last().copied().unwrap_or(1);
    let rows = values.len() / columns.max(1);
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}
