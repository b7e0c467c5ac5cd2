//! The phases of a stage and what is in memory during each.

use super::sizes::{Sizes, numbers};
use super::workload::{Rollouts, Workload};
use super::{Machine, PhasePlan, StagePlan};
use crate::error::Result;
use crate::model::{Head, ModelConfig};
use crate::train::OptimConfig;
use crate::train::slicing::gradient_workers_for;

/// Bytes of a number: weights, gradients and activations are f32.
const FLOAT: usize = 4;

/// What a process has resident before it holds a tensor: program, libraries, thread stacks.
const PROCESS_BYTES: usize = 60 << 20;

/// What an allocator keeps of small blocks beside those in use, as a divisor of the activations.
const SLACK_DIVISOR: usize = 16;

/// The parts of every phase: what stays in memory all through the stage.
#[derive(Clone, Copy, Debug)]
struct Resident {
    process: usize,
    data: usize,
    weights: usize,
    reference: usize,
    critic: usize,
    optimizers: usize,
}

impl Resident {
    fn parts(self) -> [(&'static str, usize); 6] {
        [
            ("process", self.process),
            ("data", self.data),
            ("weights", self.weights),
            ("reference", self.reference),
            ("critic", self.critic),
            ("optimiser state", self.optimizers),
        ]
    }

    fn phase<const N: usize>(
        self,
        name: &'static str,
        parts: [(&'static str, usize); N],
    ) -> PhasePlan {
        PhasePlan::new(name, self.parts().into_iter().chain(parts))
    }
}

impl Workload<'_> {
    /// What the stage needs on `machine`.
    ///
    /// # Errors
    /// When the adapter does not suit the model.
    pub fn plan(&self, name: &str, machine: Machine) -> Result<StagePlan> {
        let sizes = Sizes::new(self.model, self.lora)?;
        let critic = self
            .critic
            .map(|_| Sizes::new(&with_score(self.model), None));
        let critic = critic.transpose()?;
        let resident = self.resident(&sizes, critic.as_ref(), machine);
        let mut phases = vec![self.loading(&sizes, resident)];
        if let Some(rollouts) = &self.evaluation {
            let before = Resident {
                reference: 0,
                critic: 0,
                optimizers: 0,
                ..resident
            };
            phases.push(self.generating("evaluate", &sizes, rollouts, before, machine));
        }
        if let Some(rollouts) = &self.rollouts {
            phases.push(self.generating("rollout", &sizes, rollouts, resident, machine));
        }
        if self.is_scored {
            let scored = self.worst.scoring(&sizes, self.batching, machine);
            let bytes = FLOAT * scored.count * sizes.scoring(scored.slice);
            phases.push(resident.phase("score", [("activations", bytes)]));
        }
        phases.push(self.learning("learn", &sizes, resident, machine));
        if let Some(critic) = &critic {
            phases.push(self.learning("learn critic", critic, resident, machine));
        }
        phases.push(self.stepping(&sizes, resident, machine));
        let largest = FLOAT * sizes.largest;
        phases.push(resident.phase("save", [("a weight's copies", 2 * largest)]));
        Ok(StagePlan::new(name, phases))
    }

    fn resident(&self, sizes: &Sizes, critic: Option<&Sizes>, machine: Machine) -> Resident {
        let of_adapter = if self.lora.is_some() {
            sizes.trained()
        } else {
            0
        };
        let state = |optim: &OptimConfig, shapes: &[Vec<usize>]| match machine.is_cpu
            || !optim.keeps_state_on_host()
        {
            true => optim.state_bytes(shapes),
            false => 0,
        };
        let critic_state = critic.zip(self.critic);
        let critic_state =
            critic_state.map_or(0, |(critic, optim)| state(optim, &critic.trainable));
        Resident {
            process: if machine.is_cpu { PROCESS_BYTES } else { 0 },
            data: if machine.is_cpu { self.data_bytes } else { 0 },
            weights: FLOAT * (sizes.weights + of_adapter),
            // An adapter's reference is the model without it.
            reference: match self.has_reference && self.lora.is_none() {
                true => FLOAT * sizes.weights,
                false => 0,
            },
            critic: critic.map_or(0, |critic| FLOAT * critic.weights),
            optimizers: state(self.optim, &sizes.trainable) + critic_state,
        }
    }

    /// The weights come one by one: one of them is there as its file has it and as it is held.
    fn loading(&self, sizes: &Sizes, resident: Resident) -> PhasePlan {
        let before = Resident {
            reference: 0,
            critic: 0,
            optimizers: 0,
            ..resident
        };
        let bytes = self.stored_bytes * sizes.largest;
        before.phase("load", [("mapped file", bytes)])
    }

    fn generating(
        &self,
        name: &'static str,
        sizes: &Sizes,
        rollouts: &Rollouts,
        resident: Resident,
        machine: Machine,
    ) -> PhasePlan {
        let generating = rollouts.in_flight(sizes, machine);
        let parts = [
            ("KV cache", FLOAT * generating.cache),
            ("activations", FLOAT * generating.passing),
        ];
        resident.phase(name, parts)
    }

    fn learning(
        &self,
        name: &'static str,
        sizes: &Sizes,
        resident: Resident,
        machine: Machine,
    ) -> PhasePlan {
        let workers = match machine.is_cpu {
            true => gradient_workers_for(sizes.weights, machine.workers),
            false => 1,
        };
        let worst = self.worst.learning(sizes, self.batching, machine);
        let checkpointing = self.batching.checkpointing;
        let activations = FLOAT * worst.count * sizes.learning(worst.slice, checkpointing);
        let slack = if machine.is_cpu {
            activations / SLACK_DIVISOR
        } else {
            0
        };
        let parts = [
            ("gradients", FLOAT * workers * sizes.trained()),
            ("activations", activations),
            ("allocator", slack),
        ];
        resident.phase(name, parts)
    }

    /// On the CPU weights move in their own memory; elsewhere, as tensors come and go.
    fn stepping(&self, sizes: &Sizes, resident: Resident, machine: Machine) -> PhasePlan {
        let largest = sizes.trainable.iter().map(|shape| numbers(shape)).max();
        let temporaries = if machine.is_cpu { 0 } else { 4 };
        let mixed = match self.mixes_reference {
            true => FLOAT * sizes.weights,
            false => 0,
        };
        let parts = [
            ("gradients", FLOAT * sizes.trained()),
            ("temporaries", FLOAT * temporaries * largest.unwrap_or(0)),
            (
                "mixed reference",
                mixed.saturating_sub(FLOAT * sizes.trained()),
            ),
        ];
        resident.phase("optimiser step", parts)
    }
}

/// The critic's configuration: the same blocks with a score in place of the head.
fn with_score(config: &ModelConfig) -> ModelConfig {
    let mut config = config.clone();
    config.head = Head::Score;
    config
}
