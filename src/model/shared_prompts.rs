//! Attention where several continuations share a prompt, whose tokens are computed once.
//!
//! `p` prompts of up to `P` tokens come first, then `b` segments of up to `C`, each of which goes on
//! from one of them: `N = p·P + b·C` tokens in all. A prompt attends to itself, a segment to its
//! prompt and itself, as the whole sequence would.

use burn::tensor::{DType, Device, Int, Tensor};

use super::token_grid::TokenGrid;
use crate::ops::{self, Sight};

/// Which tokens are prompts, and which prompt a segment goes on from.
#[derive(Clone, Debug)]
pub(super) struct SharedPrompts {
    /// `p` and `P`.
    prompts: [usize; 2],
    /// `b` and `C`.
    segments: [usize; 2],
    /// The prompt of each segment, `[b]`.
    prompt_of: Tensor<1, Int>,
    in_prompts: Sight,
    in_segments: Sight,
}

/// Heads of the two kinds of tokens, `[p, P, H, D]` and `[b, C, H, D]`.
struct Parts {
    prompts: Tensor<4>,
    segments: Tensor<4>,
}

impl SharedPrompts {
    /// Left-padded `prompts`, and `segments` of which each goes on from the prompt in `prompt_of`.
    pub(super) fn new(
        prompts: &TokenGrid,
        segments: &TokenGrid,
        prompt_of: &[usize],
        device: &Device,
    ) -> Self {
        let [_, before] = prompts.dims();
        let [_, own] = segments.dims();
        let starts = prompts.starts();
        let of_segments: Vec<usize> = prompt_of.iter().map(|&prompt| starts[prompt]).collect();
        Self {
            prompts: prompts.dims(),
            segments: segments.dims(),
            prompt_of: ops::indices(prompt_of.iter().copied(), device),
            in_prompts: Sight::new(starts, before, before, device),
            in_segments: Sight::new(&of_segments, own, before + own, device),
        }
    }

    /// Attends from every token.
    ///
    /// # Shapes
    /// `queries` `[1, N, H, D]`, `keys` and `values` `[1, N, K, D]`; returns `[1, N, H·D]`.
    pub(super) fn attend(
        &self,
        queries: Tensor<4>,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> Tensor<3> {
        let [_, _, heads, width] = queries.dims();
        let queries = self.parts(queries);
        let (keys, values) = (self.parts(keys), self.parts(values));
        let (all_keys, all_values) = (self.after_prompts(&keys), self.after_prompts(&values));
        let by_head = |heads: Tensor<4>| heads.swap_dims(1, 2);
        let of_prompts = ops::attention(
            by_head(queries.prompts),
            by_head(keys.prompts),
            by_head(values.prompts),
            &self.in_prompts,
        );
        let of_segments = ops::attention(
            by_head(queries.segments),
            by_head(all_keys),
            by_head(all_values),
            &self.in_segments,
        );
        let flat = |attended: Tensor<3>, [rows, columns]: [usize; 2]| {
            attended.reshape([1, rows * columns, heads * width])
        };
        let of_prompts = flat(of_prompts, self.prompts);
        Tensor::cat(vec![of_prompts, flat(of_segments, self.segments)], 1)
    }

    fn parts(&self, heads: Tensor<4>) -> Parts {
        let [_, _, count, width] = heads.dims();
        let part = |from: usize, [rows, columns]: [usize; 2]| {
            let part = heads.clone().narrow(1, from, rows * columns);
            part.reshape([rows, columns, count, width])
        };
        let [p, before] = self.prompts;
        Parts {
            prompts: part(0, self.prompts),
            segments: part(p * before, self.segments),
        }
    }

    /// Each segment's heads after those of its prompt, `[b, P + C, H, D]`.
    fn after_prompts(&self, heads: &Parts) -> Tensor<4> {
        let [p, before, count, width] = heads.prompts.dims();
        let dtype = heads.prompts.dtype();
        // The way back adds up over segments, in `f32`.
        let prompts = heads.prompts.clone().cast(DType::F32);
        let prompts = prompts.reshape([p, before * count * width]);
        let prompts = prompts.select(0, self.prompt_of.clone()).cast(dtype);
        let [rows, _] = self.segments;
        let prompts = prompts.reshape([rows, before, count, width]);
        Tensor::cat(vec![prompts, heads.segments.clone()], 1)
    }
}
