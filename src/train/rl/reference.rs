//! The reference model that the policy is kept near.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Decoder;

/// How the reference follows the policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceConfig {
    /// Steps between two moves of the reference; 0 freezes it. R1 takes 400, TRL's
    /// `ref_model_sync_steps` 512.
    pub update_every: usize,
    /// Share of the policy in the moved reference, `ref ← mix · policy + (1 − mix) · ref`, above 0
    /// to 1. R1 takes 1, TRL's `ref_model_mixup_alpha` 0.6 (TR-DPO, arXiv:2404.09656).
    pub mix: f64,
}

impl Default for ReferenceConfig {
    fn default() -> Self {
        Self {
            update_every: 0,
            mix: 1.0,
        }
    }
}

impl ReferenceConfig {
    /// Checks the range; `key` names the table in the message.
    ///
    /// # Errors
    /// When the share is out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        if self.mix > 0.0 && self.mix <= 1.0 {
            return Ok(());
        }
        let problem = format!("is {}, expected above 0 to 1", self.mix);
        Err(Error::setting(format!("{key}.mix"), problem))
    }

    /// Whether the reference takes only a share of the policy when it moves.
    fn mixes(&self) -> bool {
        self.update_every > 0 && self.mix < 1.0
    }
}

/// A reference: the model as it came, moved now and then. Only one that moves by a share is kept in
/// `f32`.
#[derive(Debug)]
pub(super) struct Reference {
    config: ReferenceConfig,
    decoder: Decoder,
    has_moved: bool,
}

impl Reference {
    /// The model as it came; that of an adapter is the model without it, which shares its weights.
    pub(super) fn new(policy: &Decoder, config: ReferenceConfig) -> Self {
        let decoder = policy.without_adapter();
        Self {
            config,
            decoder: match config.mixes() {
                true => decoder,
                false => decoder.frozen(),
            },
            has_moved: false,
        }
    }

    /// The model.
    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Moves towards `policy` after `steps` steps, if it is time.
    pub(super) fn follow(&mut self, policy: &Decoder, steps: usize) {
        let ReferenceConfig { update_every, mix } = self.config;
        if update_every == 0 || !steps.is_multiple_of(update_every) {
            return;
        }
        self.has_moved = true;
        if mix == 1.0 {
            self.decoder = policy.frozen();
            return;
        }
        let pairs = policy.trainable().iter().zip(self.decoder.trainable());
        let mixed = pairs.map(|(new, old)| new.clone() * mix + old.clone() * (1.0 - mix));
        self.decoder = self.decoder.with_trainable(mixed.collect());
    }

    /// Writes what [`Reference::load`] needs, if the reference has moved.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        match self.has_moved {
            true => self.decoder.save_trainable(folder),
            false => Ok(()),
        }
    }

    /// Takes over a saved reference, if it had moved.
    ///
    /// # Errors
    /// When a file is broken.
    pub(super) fn load(&mut self, folder: &Path) -> Result<()> {
        if folder.exists() {
            self.decoder = self.decoder.load_trainable(folder)?;
            if !self.config.mixes() {
                self.decoder = self.decoder.frozen();
            }
            self.has_moved = true;
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::model::{Family, ModelConfig};
    use crate::ops;
    use crate::seed::Seed;

    fn decoder() -> Decoder {
        let config = ModelConfig {
            vocab_size: 5,
            hidden_size: 4,
            intermediate_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 4,
            ..ModelConfig::of_family(Family::Llama)
        };
        Decoder::random(config, 0.1, Seed::new(1), &Device::flex())
    }

    /// `decoder` with every weight set to `value`.
    fn filled(decoder: &Decoder, value: f32) -> Decoder {
        let weights = decoder.trainable().iter();
        decoder.with_trainable(weights.map(|w| Tensor::full_like(w, value)).collect())
    }

    fn first_weight(reference: &Reference) -> f32 {
        let weights = ops::read_floats(reference.decoder().trainable()[0].clone());
        weights.unwrap()[0]
    }

    #[test]
    fn it_moves_by_its_share_when_it_is_time_and_comes_back_from_a_state() {
        let config = ReferenceConfig {
            update_every: 2,
            mix: 0.75,
        };
        let base = filled(&decoder(), 1.0);
        let mut reference = Reference::new(&base, config);
        let policy = filled(&base, 3.0);
        reference.follow(&policy, 1);
        assert_eq!(first_weight(&reference), 1.0);
        reference.follow(&policy, 2);
        assert_eq!(first_weight(&reference), 2.5);
        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join("reference");
        reference.save(&saved).unwrap();
        let mut again = Reference::new(&base, config);
        again.load(&saved).unwrap();
        assert_eq!(first_weight(&again), 2.5);
    }

    #[test]
    fn a_frozen_one_neither_moves_nor_is_saved() {
        let base = filled(&decoder(), 1.0);
        let mut reference = Reference::new(&base, ReferenceConfig::default());
        reference.follow(&filled(&base, 3.0), 400);
        assert_eq!(first_weight(&reference), 1.0);
        let folder = tempfile::tempdir().unwrap();
        reference.save(&folder.path().join("reference")).unwrap();
        assert!(!folder.path().join("reference").exists());
    }
}
