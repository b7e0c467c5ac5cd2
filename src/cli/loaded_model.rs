//! A model folder on the device that the command line names.

use std::path::Path;

use anyhow::Result;

use super::Globals;
use crate::model::Decoder;
use crate::workers::Workers;

/// A model ready to work.
pub(super) struct LoadedModel {
    pub decoder: Decoder,
    pub workers: Workers,
}

impl LoadedModel {
    /// Opens the device and loads the weights of the model folder `dir`.
    pub fn load(dir: &Path, globals: &Globals) -> Result<Self> {
        let device = globals.open_device()?;
        Ok(Self {
            decoder: Decoder::load(dir, &device)?,
            workers: Workers::suited_to(&device),
        })
    }
}
