//! Batches of completions before a stage's first: on a GPU that never made such, so that their
//! kernels are not tuned in the middle of the stage.

use super::plan::Rollouts;
use super::rehearsal::buckets;
use crate::device;
use crate::error::Result;
use crate::generation::{Engine, GenerationRequest, SamplingParams};
use crate::model::Decoder;
use crate::seed::Seed;
use crate::workers::Workers;

/// Tokens of a completion that shows what a batch of its shape needs: the first comes from the
/// prompt, the second from the cache.
const FEW_TOKENS: usize = 2;

/// The completions that a stage asks for.
#[derive(Clone, Copy, Debug)]
pub struct RolloutRehearsal<'a> {
    /// The largest batch.
    pub largest: Rollouts,
    /// Tokens of the shortest prompt.
    pub shortest_prompt: usize,
    /// How they are sampled.
    pub sampling: &'a SamplingParams,
}

impl RolloutRehearsal<'_> {
    /// On a GPU that never did so, makes batches of every shape that the stage may ask for and drops
    /// them; says so when kernels are tuned.
    ///
    /// # Errors
    /// When the device failed.
    pub fn run(&self, decoder: &Decoder, workers: &Workers) -> Result<()> {
        let device = decoder.device();
        if device::is_cpu(&device) {
            return Ok(());
        }
        let (config, precision) = (decoder.config(), decoder.precision());
        let key = format!("{device:?} {precision:?} {config:?} {self:?}");
        device::while_tuning(&device, "rollouts", || {
            device::once_a_machine(&key, || {
                let decoder = decoder.frozen();
                let shapes = shapes(self.largest, self.shortest_prompt);
                let mut shapes = shapes.into_iter();
                shapes.try_for_each(|shape| self.generate(shape, &decoder, workers))
            })
        })
    }

    /// Makes completions of full length of prompts that repeat one id each.
    fn generate(&self, shape: Rollouts, decoder: &Decoder, workers: &Workers) -> Result<()> {
        let config = decoder.config();
        let prompt_tokens = shape.prompt_tokens.min(config.max_position_embeddings - 1);
        let request = |row: usize| GenerationRequest {
            prompt: vec![(row / shape.group % config.vocab_size) as u32; prompt_tokens.max(1)],
            seed: Seed::new(row as u64),
        };
        let requests: Vec<_> = (0..shape.rows).map(request).collect();
        let params = SamplingParams {
            max_completion_tokens: shape.completion_tokens,
            ignore_eos: true,
            stop_ids: Vec::new(),
            ..self.sampling.clone()
        };
        let engine = Engine::new(decoder, Vec::new(), workers);
        engine.generate(&requests, &params, &|_, _| ()).map(drop)
    }
}

/// Shapes that tune what batches up to `largest` need: prompts from `shortest` tokens on, fewer groups,
/// and the largest itself.
fn shapes(largest: Rollouts, shortest: usize) -> Vec<Rollouts> {
    let few = Rollouts {
        completion_tokens: FEW_TOKENS.min(largest.completion_tokens),
        ..largest
    };
    let prompts = buckets(shortest, largest.prompt_tokens).into_iter();
    let prompts = prompts.map(|prompt_tokens| Rollouts {
        prompt_tokens,
        ..few
    });
    let groups = buckets(1, largest.rows.div_ceil(largest.group)).into_iter();
    let groups = groups.map(|groups| Rollouts {
        rows: groups * largest.group,
        ..few
    });
    prompts.chain(groups).chain([largest]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_grow_in_prompts_then_groups_and_end_with_the_largest() {
        let largest = Rollouts {
            rows: 15,
            group: 3,
            prompt_tokens: 20,
            completion_tokens: 100,
        };
        let found: Vec<_> = shapes(largest, 7)
            .into_iter()
            .map(|shape| (shape.rows, shape.prompt_tokens, shape.completion_tokens))
            .collect();
        let expected = [
            (15, 8, 2),
            (15, 16, 2),
            (3, 20, 2),
            (6, 20, 2),
            (12, 20, 2),
            (15, 20, 100),
        ];
        assert_eq!(found, expected);
    }
}
