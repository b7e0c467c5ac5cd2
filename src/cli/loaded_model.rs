//! A model folder on the device that the command line names.

use std::path::Path;

use anyhow::Result;

use super::Globals;
use crate::model::{Adapter, Decoder};
use crate::workers::Workers;

/// A model ready to work.
pub(super) struct LoadedModel {
    pub decoder: Decoder,
    pub workers: Workers,
}

impl LoadedModel {
    /// Opens the device and loads the weights of the reward model's folder `dir`.
    pub fn load_scorer(dir: &Path, globals: &Globals) -> Result<Self> {
        let device = globals.open_device()?;
        let decoder = Decoder::load_with_score(dir, &device)?;
        Ok(Self {
            decoder: globals.in_precision(&decoder)?.frozen(),
            workers: Workers::suited_to(&device),
        })
    }

    /// Opens the device and loads the weights of the model folder `dir`, with those of the adapter
    /// folder if one is named.
    pub fn load(dir: &Path, adapter: Option<&Path>, globals: &Globals) -> Result<Self> {
        let device = globals.open_device()?;
        let mut decoder = Decoder::load(dir, &device)?;
        if let Some(adapter) = adapter {
            decoder = decoder.with_adapter(Adapter::load(adapter, &decoder)?)?;
        }
        Ok(Self {
            decoder: globals.in_precision(&decoder)?.frozen(),
            workers: Workers::suited_to(&device),
        })
    }
}
