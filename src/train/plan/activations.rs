//! What a slice holds on its way through the blocks and back, in numbers.
//!
//! Of a block, autodiff keeps what its backward steps read: the inputs of both norms and of every
//! linear map whose weight is trained; queries, keys, values and attended values; gate and up of the
//! gated MLP. Scores, sums, reshapes and rotations keep nothing.

use super::Sizes;
use crate::ops::TILE_VALUES;
use crate::train::layout::Extent;

/// Tensors of a tile of the head that are in memory together on the way back: logarithms,
/// probabilities and the gradient.
const HEAD_TILES: usize = 3;
/// The same where there is no way back: the logits and their exponentials.
const HEAD_TILES_FORWARD: usize = 2;
/// Most numbers of a matrix that its product lays out anew for the caches: 12 MiB.
const PACKED: usize = 3 << 20;
/// Tensors of inner width that stand beside a block's graph while it is left.
const LEAVING_INNER: usize = 2;

/// What a slice is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::train) struct SliceShape {
    /// The grids that its tokens fill.
    pub extent: Extent,
    /// Tokens that are trained on, of all rows.
    pub trained: usize,
}

/// What a slice holds while it learns, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Learning {
    /// Gradients of weights.
    pub gradients: usize,
    /// What the graph keeps, and temporaries.
    pub activations: usize,
}

impl Learning {
    /// All of it.
    pub(super) fn numbers(self) -> usize {
        self.gradients + self.activations
    }
}

impl SliceShape {
    /// Tokens, padding included.
    pub(super) fn tokens(self) -> usize {
        self.extent.tokens()
    }

    /// Keys of prompts that rows have copies of.
    fn copied_keys(self) -> usize {
        self.extent.keys() - self.tokens()
    }
}

impl Sizes {
    /// Numbers that a block's graph keeps.
    pub(super) fn kept_in_block(&self, slice: SliceShape) -> usize {
        let when = |kept: bool, width: usize| if kept { width } else { 0 };
        let is_kept =
            |input: fn(&super::sizes::Adapted) -> bool| self.adapter.as_ref().is_none_or(input);
        let norms = 2 * self.hidden + when(self.has_head_norms, self.queries + self.keys);
        let attention = self.queries + 2 * self.keys;
        let inputs = when(is_kept(|on| on.attention_input), self.hidden)
            + when(is_kept(|on| on.attended), self.queries)
            + when(is_kept(|on| on.feed_forward_input), self.hidden)
            + when(is_kept(|on| on.product), self.inner);
        let ranks = self.adapter.map_or(0, |adapted| adapted.ranks);
        let per_token = norms + attention + inputs + ranks + 2 * self.inner;
        slice.tokens() * per_token + 2 * self.keys * slice.copied_keys()
    }

    /// Numbers that all blocks' graphs keep of so many tokens.
    pub(in crate::train) fn kept(&self, tokens: usize) -> usize {
        let extent = Extent::whole(1, tokens);
        let slice = SliceShape { extent, trained: 0 };
        self.blocks * self.kept_in_block(slice)
    }

    /// Numbers beside what a block's graph keeps, while it is left.
    fn leaving_block(&self, slice: SliceShape) -> usize {
        let copied = 2 * self.keys * slice.copied_keys();
        slice.tokens() * (2 * self.hidden + LEAVING_INNER * self.inner) + copied
    }

    /// Numbers that a block holds where there is no way back.
    pub(super) fn passing_block(&self, slice: SliceShape) -> usize {
        let copied = 2 * self.keys * slice.copied_keys();
        slice.tokens() * (3 * self.hidden + 3 * self.queries.max(self.inner)) + copied
    }

    /// Numbers that the head holds of `tokens` states, their own included.
    pub(super) fn head(&self, tokens: usize, is_trained: bool) -> usize {
        let entries = (TILE_VALUES / tokens.max(1)).clamp(1, self.vocabulary.max(1));
        let tensors = match is_trained {
            true => HEAD_TILES,
            false => HEAD_TILES_FORWARD,
        };
        let weights = match is_trained && self.adapter.is_none() {
            // The tile's gradient, and the sum of it and what was there.
            true => 2 * entries * self.hidden,
            false => 0,
        };
        let states = if is_trained { 3 } else { 1 };
        let packed = (entries * self.hidden).min(PACKED);
        tensors * tokens * entries + weights + packed + states * tokens * self.hidden
    }

    /// What a slice in flight holds at its most, on its way through all blocks and back. `has_sums`
    /// says whether its gradients are added to sums that are there before it.
    ///
    /// That is either where the way turns, at the head, or at the end of the way back, where the
    /// gradients of all weights are there.
    pub(super) fn learning(
        &self,
        slice: SliceShape,
        checkpointing: bool,
        has_sums: bool,
    ) -> Learning {
        let trained = self.trained();
        let in_blocks = match self.adapter {
            Some(_) => trained,
            None => self.in_blocks,
        };
        let block = self.kept_in_block(slice);
        let leaving = self.leaving_block(slice);
        let states = slice.tokens() * self.hidden;
        let (kept, turning) = match checkpointing {
            true => ((self.blocks + 2) * states, block + leaving),
            false => (self.blocks * block + 3 * states, leaving),
        };
        // Autodiff's own gradients: of a block, or of all blocks until the pass is over.
        let found = match checkpointing {
            true => in_blocks / self.blocks.max(1),
            false => in_blocks,
        };
        let head = self.head(slice.trained, true);
        let turn = Learning {
            gradients: if has_sums {
                trained
            } else {
                trained - in_blocks
            },
            activations: kept + head.max(turning),
        };
        let end = Learning {
            gradients: if has_sums { trained + found } else { trained },
            activations: block + leaving + states,
        };
        match end.numbers() > turn.numbers() {
            true => end,
            false => turn,
        }
    }

    /// Numbers of a slice that is only scored.
    pub(super) fn scoring(&self, slice: SliceShape) -> usize {
        let states = slice.tokens() * self.hidden;
        let blocks = self.passing_block(slice);
        states + blocks.max(states + self.head(slice.trained, false))
    }
}
