//! The phases of a stage and what is in memory during each.

use super::in_flight::InFlight;
use super::sizes::{Sizes, numbers};
use super::workload::{Rollouts, Workload};
use super::{Machine, PhasePlan, StagePlan};
use crate::error::Result;
use crate::model::{Head, ModelConfig};
use crate::train::OptimConfig;

/// Bytes of a number: weights, gradients and activations are f32.
const FLOAT: usize = 4;

/// What a process has resident before it holds a tensor: program, libraries, thread stacks.
const PROCESS_BYTES: usize = 100 << 20;

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
    reward_models: usize,
    optimizers: usize,
}

impl Resident {
    fn parts(self) -> [(&'static str, usize); 7] {
        [
            ("process", self.process),
            ("data", self.data),
            ("weights", self.weights),
            ("reference", self.reference),
            ("critic", self.critic),
            ("reward models", self.reward_models),
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
                reward_models: 0,
                optimizers: 0,
                ..resident
            };
            phases.push(self.generating("evaluate", &sizes, rollouts, before, machine));
        }
        if let Some(rollouts) = &self.rollouts {
            phases.push(self.generating("rollout", &sizes, rollouts, resident, machine));
        }
        if self.is_scored {
            let kinds = self.worst.scoring(&sizes, self.batching, machine);
            let numbers = kinds
                .into_iter()
                .map(|scored| scored.count * sizes.scoring(scored.slice));
            let bytes = FLOAT * numbers.max().unwrap_or(0);
            phases.push(resident.phase("score", [("activations", bytes)]));
        }
        if self.optim.is_some() {
            phases.extend(self.improving(&sizes, critic.as_ref(), resident, machine));
        }
        Ok(StagePlan {
            notes: self.notes.clone(),
            ..StagePlan::new(name, phases)
        })
    }

    /// The phases of a stage that makes a model.
    fn improving(
        &self,
        sizes: &Sizes,
        critic: Option<&Sizes>,
        resident: Resident,
        machine: Machine,
    ) -> Vec<PhasePlan> {
        let mut phases = vec![self.learning("learn", sizes, resident, machine)];
        if let Some(critic) = critic {
            phases.push(self.learning("learn critic", critic, resident, machine));
        }
        phases.push(self.stepping(sizes, resident, machine));
        let largest = FLOAT * sizes.largest;
        phases.push(resident.phase("save", [("a weight's copies", 2 * largest)]));
        phases
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
        let policy_state = self.optim.map_or(0, |optim| state(optim, &sizes.trainable));
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
            reward_models: FLOAT * self.reward_model_weights,
            optimizers: policy_state + critic_state,
        }
    }

    /// The weights come one by one: one of them is there as its file has it and as it is held.
    fn loading(&self, sizes: &Sizes, resident: Resident) -> PhasePlan {
        let before = Resident {
            reference: 0,
            critic: 0,
            reward_models: 0,
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
        let kinds = self.worst.learning(sizes, self.batching, machine);
        let phases = kinds
            .into_iter()
            .map(|worst| self.learning_in(name, sizes, worst, resident, machine));
        phases
            .max_by_key(|phase| phase.bytes)
            .expect("sequences can always be whole")
    }

    fn learning_in(
        &self,
        name: &'static str,
        sizes: &Sizes,
        worst: InFlight,
        resident: Resident,
        machine: Machine,
    ) -> PhasePlan {
        let slice = |has_sums| sizes.learning(worst.slice, self.batching.checkpointing, has_sums);
        let (first, later) = (slice(false), slice(true));
        let firsts = worst.count - worst.with_sums;
        let all = |first: usize, later: usize| FLOAT * (firsts * first + worst.with_sums * later);
        let activations = all(first.activations, later.activations);
        let slack = match machine.is_cpu {
            true => activations / SLACK_DIVISOR,
            false => 0,
        };
        let parts = [
            ("gradients", all(first.gradients, later.gradients)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, LoraConfig};
    use crate::train::{Batching, PartPlan, WorstCase};

    /// Weights: embedding 11·8 = 88; a block has 8·8+8 for queries, twice 4·8+4 for keys and values,
    /// 8·8 for the output, three times 8·12 and two norms of 8: 512; two blocks and the last norm of
    /// 8 make 1120.
    fn model() -> ModelConfig {
        ModelConfig {
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 2,
            tie_word_embeddings: true,
            ..ModelConfig::of_family(Family::Qwen2)
        }
    }

    fn plan(lora: Option<&LoraConfig>, checkpointing: bool) -> StagePlan {
        let (model, optim) = (model(), OptimConfig::default());
        let batching = Batching {
            micro_batch: 0,
            checkpointing,
        };
        let worst = WorstCase {
            sequences: 2,
            together: 1,
            longest: 3,
            shortest: 3,
            prompt_tokens: 1,
            group: 1,
            longest_prompt: 1,
        };
        let workload = Workload {
            lora,
            ..Workload::of(&model, &optim, batching, worst)
        };
        let machine = Machine {
            is_cpu: true,
            workers: 1,
            gpu_bytes: None,
        };
        workload.plan("sft", machine).unwrap()
    }

    fn learning(plan: &StagePlan) -> Vec<(&'static str, usize)> {
        let learning = plan.phases.iter().find(|phase| phase.name == "learn");
        let parts = &learning.unwrap().parts;
        parts.iter().map(|p: &PartPlan| (p.name, p.bytes)).collect()
    }

    #[test]
    fn learning_holds_what_was_counted_by_hand() {
        // Two rows of three tokens, six tokens. A block keeps of a token: norm inputs 2·8, queries,
        // keys, values 8+4+4, inputs of linear maps 8+8+8+12, the MLP's two 2·12: 92. All in all
        // 6·92 = 552.
        // At the turn: two blocks and three states of 6·8: 1248; the head of four trained tokens:
        // 3 tiles of 4·11, twice 11·8, 11·8 laid out anew, three times 4·8: 492; gradients of the
        // embedding, 88: 1828 in all. The end of the way back has more: all gradients, 1120, a block's
        // 552, its leaving (6·16 + 2·6·12 = 240) and a state of 48: 1960.
        let whole = plan(None, false);
        let activations = 4 * (552 + 240 + 48);
        let expected = [
            ("process", PROCESS_BYTES),
            ("weights", 4 * 1120),
            ("optimiser state", 8 * 1120),
            ("gradients", 4 * 1120),
            ("activations", activations),
            ("allocator", activations / 16),
        ];
        assert_eq!(learning(&whole), expected);
        assert_eq!(whole.peak_phase().unwrap().name, "learn");
        let sum: usize = expected.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(whole.peak_bytes, sum);
    }

    #[test]
    fn checkpointing_leaves_one_block_and_the_blocks_inputs() {
        // End of the way back: all gradients, a block's 552, its leaving (6·16 + 2·6·12 = 240) and
        // a state of 48: 1120 + 840 = 1960. The turn: four states of 48 and the larger of head
        // (492) and block (792), 984, and 88 of gradients: less.
        let parts = learning(&plan(None, true));
        assert_eq!(
            parts[3..5],
            [("gradients", 4 * 1120), ("activations", 4 * 840)]
        );
    }

    #[test]
    fn an_adapter_keeps_inputs_where_it_is_and_shares_the_frozen_weights() {
        let lora: LoraConfig = toml::from_str("rank = 2\ntargets = ['q_proj']").unwrap();
        // A and B of two blocks: 2·(2·8 + 8·2) = 64 numbers. A token keeps 16 + 16 + 8 + 2 + 24 = 66,
        // a block 6·66 = 396; the head has no gradient: 492 - 176 = 316.
        let parts = learning(&plan(Some(&lora), false));
        let activations = 4 * (2 * 396 + 3 * 48 + 316);
        let expected = [
            ("weights", 4 * (1120 + 64)),
            ("optimiser state", 8 * 64),
            ("activations", activations),
            ("allocator", activations / 16),
        ];
        assert_eq!(parts[1..], expected);
    }
}
