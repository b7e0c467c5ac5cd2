//! What a stage needs of memory, foretold from its settings: numbers only, no tensors.
//!
//! A stage goes through phases that do not overlap, so its peak is that of its largest phase. What
//! is counted follows the code that runs: which weights have a copy of their own, how a micro-batch
//! is cut, what the autodiff graph of a block keeps, and which temporaries stand beside it.
//!
//! Shape letters: `N` tokens of a slice, `E` hidden width, `I` inner width, `V` vocabulary.

mod activations;
mod asked;
mod in_flight;
mod phases;
mod sizes;
mod workload;
mod worst_case;

pub use workload::{Rollouts, Workload};
pub use worst_case::WorstCase;

pub(super) use asked::PromptTokens;
pub(super) use in_flight::InFlight;
pub(super) use sizes::Sizes;

use burn::tensor::Device;
use serde::Serialize;

use crate::{device, ops};

/// Where a stage would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Whether it is the CPU backend, which cuts micro-batches for its workers.
    pub is_cpu: bool,
    /// Threads that share the work.
    pub workers: usize,
    /// The GPU's memory, if that is known.
    pub gpu_bytes: Option<usize>,
}

impl Machine {
    /// That of a device that is open.
    pub fn of(device: &Device, workers: usize) -> Self {
        Self {
            is_cpu: device::is_cpu(device),
            workers,
            gpu_bytes: ops::gpu_bytes(device),
        }
    }
}

/// What a stage needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StagePlan {
    /// The stage's name.
    pub name: String,
    /// The largest phase's bytes.
    pub peak_bytes: usize,
    /// The phases, in the order they come.
    pub phases: Vec<PhasePlan>,
    /// What could not be looked at and what was taken in its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a phase of a stage needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhasePlan {
    /// What the stage does then.
    pub name: &'static str,
    /// The sum of its parts.
    pub bytes: usize,
    /// What is in memory then.
    pub parts: Vec<PartPlan>,
}

/// Something that is in memory during a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PartPlan {
    /// What it is.
    pub name: &'static str,
    /// Its size.
    pub bytes: usize,
}

impl StagePlan {
    fn new(name: &str, phases: Vec<PhasePlan>) -> Self {
        Self {
            name: name.to_owned(),
            peak_bytes: phases.iter().map(|phase| phase.bytes).max().unwrap_or(0),
            phases,
            notes: Vec::new(),
        }
    }

    /// The first phase that needs most.
    pub fn peak_phase(&self) -> Option<&PhasePlan> {
        let mut phases = self.phases.iter();
        phases.find(|phase| phase.bytes == self.peak_bytes)
    }
}

impl PhasePlan {
    /// A phase with these parts; those of no bytes are left out.
    fn new(name: &'static str, parts: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let parts: Vec<PartPlan> = (parts.into_iter())
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| PartPlan { name, bytes })
            .collect();
        Self {
            name,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
        }
    }
}
