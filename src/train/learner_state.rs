//! A learner on disk: weights, optimiser, and what was gathered since the last optimiser step.

use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::optimizer::StatePart;
use super::{Batching, Learner, OptimConfig, OptimKind, Optimizer, StepStats};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Checkpoint, Decoder, WeightDtype, WeightsWriter, matrix};
use crate::ops;

/// What `learner.json` says beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    optimizer: OptimKind,
    optimizer_steps: usize,
    /// Micro-batches gathered since the last optimiser step.
    micro_batches: usize,
    has_gradients: bool,
    stats: StepStats,
}

const RECORD: &str = "learner.json";
/// What a weight's own name follows; its gradient's and its optimiser's arrays have other words.
const WEIGHT: &str = "weight";
const GRADIENT: &str = "gradient";

impl Learner {
    /// Writes all that [`Learner::load`] needs to go on as if nothing had happened; every array is
    /// written as f32, 8-bit codes too.
    ///
    /// # Errors
    /// When a file cannot be written or a tensor cannot be read from the device.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::create_folder(folder)?;
        let pending = self.pending();
        let record = Record {
            optimizer: self.optimizer().config().kind,
            optimizer_steps: self.optimizer().steps(),
            micro_batches: pending.micro_batches,
            has_gradients: pending.gradients.is_some(),
            stats: pending.stats.clone(),
        };
        self.write_tensors(folder, pending.gradients.as_deref().unwrap_or_default())?;
        files::write_json(&folder.join(RECORD), &record)
    }

    fn write_tensors(&self, folder: &Path, gradients: &[Tensor<2>]) -> Result<()> {
        let (decoder, optimizer) = (self.decoder(), self.optimizer());
        let names = decoder.trainable_names();
        let parts: Vec<(usize, StatePart)> = (0..names.len())
            .flat_map(|index| optimizer.parts(index).into_iter().map(move |p| (index, p)))
            .collect();
        let mut tensors = named(decoder, WEIGHT);
        if !gradients.is_empty() {
            tensors.extend(named(decoder, GRADIENT));
        }
        tensors.extend(parts.iter().map(|(index, part)| {
            let name = format!("{}.{}", part.name, names[*index]);
            (name, part.shape.clone())
        }));
        let mut writer = WeightsWriter::create(folder, &tensors, WeightDtype::F32)?;
        for tensor in decoder.trainable().iter().chain(gradients) {
            writer.write(&ops::read_floats(tensor.clone())?)?;
        }
        for (index, part) in &parts {
            writer.write(&optimizer.values(*index, part)?)?;
        }
        writer.finish()
    }

    /// Goes on from what [`Learner::save`] wrote of a model shaped like `decoder`, whose weights
    /// are let go.
    ///
    /// # Errors
    /// When a file is missing or broken, or was saved with another kind of optimiser.
    pub fn load(
        folder: &Path,
        decoder: Decoder,
        config: OptimConfig,
        batching: Batching,
    ) -> Result<Self> {
        let record = Record::load(folder, config.kind)?;
        let device = decoder.device();
        let decoder = decoder.load_trainable(folder)?;
        let optimizer = Optimizer::load(config, record.optimizer_steps, folder, &decoder, &device)?;
        let gradients = match record.has_gradients {
            true => Some(read_tensors(folder, &decoder, GRADIENT)?),
            false => None,
        };
        let mut learner = Self::resume(decoder, optimizer, batching);
        let pending = learner.pending_mut();
        pending.micro_batches = record.micro_batches;
        pending.stats = record.stats;
        pending.gradients = gradients;
        Ok(learner)
    }
}

impl Record {
    fn load(folder: &Path, kind: OptimKind) -> Result<Self> {
        let file = folder.join(RECORD);
        let text = fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        let record: Self =
            serde_json::from_str(&text).map_err(|error| Error::file(&file, error.to_string()))?;
        if record.optimizer == kind {
            return Ok(record);
        }
        let (saved, asked) = (record.optimizer.name(), kind.name());
        let problem = format!(
            "was saved with optimiser `{saved}`, the recipe has `{asked}`: \
             resume with `{saved}` or start a new run"
        );
        Err(Error::file(&file, problem))
    }
}

impl Decoder {
    /// Writes the weights that training changes, as [`Decoder::load_trainable`] reads them.
    ///
    /// # Errors
    /// When a file cannot be written or a tensor cannot be read from the device.
    pub(super) fn save_trainable(&self, folder: &Path) -> Result<()> {
        files::create_folder(folder)?;
        let mut writer = WeightsWriter::create(folder, &named(self, WEIGHT), WeightDtype::F32)?;
        for weight in self.trainable() {
            writer.write(&ops::read_floats(weight.clone())?)?;
        }
        writer.finish()
    }

    /// The same model with the weights that [`Decoder::save_trainable`] or a learner wrote.
    ///
    /// # Errors
    /// When a file is missing or broken.
    pub(super) fn load_trainable(&self, folder: &Path) -> Result<Self> {
        Ok(self.with_trainable(read_tensors(folder, self, WEIGHT)?))
    }
}

/// Names and shapes of one tensor a trainable weight.
fn named(decoder: &Decoder, part: &str) -> Vec<(String, Vec<usize>)> {
    let names = decoder.trainable_names().iter();
    names
        .zip(decoder.trainable_shapes())
        .map(|(name, shape)| (format!("{part}.{name}"), shape.clone()))
        .collect()
}

fn read_tensors(folder: &Path, decoder: &Decoder, part: &str) -> Result<Vec<Tensor<2>>> {
    let checkpoint = Checkpoint::open(folder)?;
    let device = decoder.device();
    let read = |(name, shape): (String, Vec<usize>)| {
        let bytes = checkpoint.tensor(&name, &shape)?;
        Ok(matrix(bytes.to_f32(), &shape, &device))
    };
    named(decoder, part).into_iter().map(read).collect()
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::{Family, ModelConfig};
    use crate::seed::Seed;
    use crate::train::TrainingSample;
    use crate::train::loss::SupervisedLoss;
    use crate::workers::Workers;

    /// A model whose embedding has 320 x 16 = 5120 numbers: enough for 8-bit codes.
    fn decoder() -> Decoder {
        let config = ModelConfig {
            vocab_size: 320,
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 8,
            tie_word_embeddings: true,
            ..ModelConfig::of_family(Family::Qwen2)
        };
        Decoder::random(config, 0.1, Seed::new(3), &Device::flex())
    }

    fn optim(kind: OptimKind) -> OptimConfig {
        OptimConfig {
            kind,
            lr: 1e-2,
            weight_decay: 0.1,
            ..OptimConfig::default()
        }
    }

    fn samples() -> [TrainingSample; 2] {
        [
            TrainingSample::new(&[1, 2, 3], &[4, 5, 250, 7]),
            TrainingSample::new(&[9, 8], &[319, 6]),
        ]
    }

    fn train(learner: &mut Learner) {
        let samples = samples();
        let objective = SupervisedLoss::default();
        let workers = Workers::new(2);
        let stats = learner.train_on(&samples, &objective, 1e-2, &workers, &mut |_| Ok(()));
        assert!(stats.unwrap().grad_norm > 0.0);
    }

    /// All arrays of the optimiser's state, as bits.
    fn arrays(optimizer: &Optimizer, weights: usize) -> Vec<(StatePart, Vec<u32>)> {
        let mut arrays = Vec::new();
        for index in 0..weights {
            for part in optimizer.parts(index) {
                let values = optimizer.values(index, &part).unwrap();
                arrays.push((part, values.into_iter().map(f32::to_bits).collect()));
            }
        }
        arrays
    }

    fn weights(learner: &Learner) -> Vec<Vec<f32>> {
        let weights = learner.decoder().trainable().iter().cloned();
        weights.map(|w| ops::read_floats(w).unwrap()).collect()
    }

    fn fresh(kind: OptimKind) -> Learner {
        Learner::new(decoder(), optim(kind), Batching::default())
    }

    fn load(folder: &Path, kind: OptimKind) -> Result<Learner> {
        Learner::load(folder, decoder(), optim(kind), Batching::default())
    }

    #[test]
    fn every_kind_of_optimiser_goes_on_bit_for_bit() {
        for kind in [OptimKind::AdamW, OptimKind::AdamW8bit, OptimKind::Adafactor] {
            let folder = tempfile::tempdir().unwrap();
            let mut learner = fresh(kind);
            for _ in 0..3 {
                train(&mut learner);
            }
            learner.save(folder.path()).unwrap();
            let mut restored = load(folder.path(), kind).unwrap();
            let count = learner.decoder().trainable().len();
            let [expected, found] =
                [&learner, &restored].map(|learner| arrays(learner.optimizer(), count));
            assert!(expected == found, "{kind:?}");
            let coded = expected.iter().any(|(part, _)| part.name == "first_codes");
            assert_eq!(coded, kind == OptimKind::AdamW8bit);
            train(&mut learner);
            train(&mut restored);
            assert!(weights(&learner) == weights(&restored), "{kind:?}");
        }
    }

    #[test]
    fn a_learner_inside_an_accumulation_goes_on_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let batching = Batching {
            micro_batch: 1,
            ..Batching::default()
        };
        let optim = optim(OptimKind::AdamW);
        let mut whole = Learner::new(decoder(), optim.clone(), batching);
        let mut cut = Learner::new(decoder(), optim.clone(), batching);
        train(&mut whole);
        let samples = samples();
        let (objective, workers) = (SupervisedLoss::default(), Workers::new(2));
        let mut rest = |learner: &Learner| {
            learner.save(folder.path())?;
            Err(Error::Interrupted)
        };
        let ended = cut.train_on(&samples, &objective, 1e-2, &workers, &mut rest);
        assert!(matches!(ended, Err(Error::Interrupted)));
        let mut cut = Learner::load(folder.path(), decoder(), optim, batching).unwrap();
        assert_eq!(cut.pending().micro_batches, 1);
        train(&mut cut);
        assert!(weights(&whole) == weights(&cut));
    }

    #[test]
    fn a_state_of_another_kind_of_optimiser_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fresh(OptimKind::Adafactor).save(folder.path()).unwrap();
        let loaded = load(folder.path(), OptimKind::AdamW8bit);
        let message = loaded.unwrap_err().to_string();
        let expected = "learner.json: was saved with optimiser `adafactor`, the recipe has \
                        `adamw_8bit`: resume with `adafactor` or start a new run";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn a_state_of_adamw_has_the_same_names_for_every_weight() {
        let folder = tempfile::tempdir().unwrap();
        let learner = fresh(OptimKind::AdamW);
        learner.save(folder.path()).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let expected: std::collections::BTreeSet<String> = ["weight", "first", "second"]
            .iter()
            .flat_map(|part| {
                let names = learner.decoder().trainable_names().iter();
                names.map(move |name| format!("{part}.{name}"))
            })
            .collect();
        assert!(checkpoint.names().eq(expected.iter().map(String::as_str)));
    }
}
