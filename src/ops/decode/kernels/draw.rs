//! Drawing each row's next token and moving the row on.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use crate::ops::SampleFilters;
use crate::ops::cube::grid;
use crate::ops::sample::draw::{
    DrawNumbers, DrawNumbersLaunch, FilterKinds, Parts, RowStream, draw_row,
};

/// The rows that draw and what they keep.
pub struct Drawn<'a> {
    /// Ids of each row's last token, `[B]`.
    pub ids: &'a CubeTensor,
    /// Tokens in each row's cache, `[B]`.
    pub lengths: &'a CubeTensor,
    /// Seeds and counters, `[B, 3]`.
    pub streams: &'a CubeTensor,
    /// Each row's next place in the rings, `[B]`.
    pub clocks: &'a CubeTensor,
    /// Ids drawn since the host last looked, `[ring, B]`.
    pub ring_ids: &'a CubeTensor,
    /// Their log-probabilities; above 0 where the logits are not numbers.
    pub ring_logprobs: &'a CubeTensor,
}

/// What is drawn from.
pub struct Draw<'a> {
    /// `[1, B, V]` of `f32`.
    pub logits: &'a CubeTensor,
    /// What may be drawn.
    pub filters: SampleFilters,
    /// Tokens a cache holds.
    pub capacity: usize,
}

/// Draws each row's next token and moves the row one token on.
pub fn draw(from: &Draw<'_>, rows: &Drawn<'_>) {
    let [_, count, vocabulary] = from.logits.meta.shape().dims();
    let [ring, _] = rows.ring_ids.meta.shape().dims();
    let kinds = FilterKinds::new(from.filters, count, vocabulary, &from.logits.client);
    let parts = Parts::run(from.logits, rows.streams, from.filters, kinds);
    let (values, ids) = match &parts {
        Some(parts) => (&parts.values, &parts.ids),
        None => (from.logits, rows.ids),
    };
    draw_kernel::launch(
        &from.logits.client,
        grid(count, 1),
        kinds.last_dim(),
        from.logits.clone().into_tensor_arg(),
        values.clone().into_tensor_arg(),
        ids.clone().into_tensor_arg(),
        rows.ids.clone().into_tensor_arg(),
        rows.lengths.clone().into_tensor_arg(),
        rows.streams.clone().into_tensor_arg(),
        rows.clocks.clone().into_tensor_arg(),
        rows.ring_ids.clone().into_tensor_arg(),
        rows.ring_logprobs.clone().into_tensor_arg(),
        count as u32,
        from.capacity as u32,
        ring as u32,
        DrawNumbersLaunch::of(from.filters, vocabulary),
        kinds,
    );
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
fn draw_kernel(
    logits: &Tensor<f32>,
    values: &Tensor<f32>,
    part_ids: &Tensor<u32>,
    ids: &mut Tensor<u32>,
    lengths: &mut Tensor<u32>,
    streams: &mut Tensor<u32>,
    clocks: &mut Tensor<u32>,
    ring_ids: &mut Tensor<u32>,
    ring_logprobs: &mut Tensor<f32>,
    rows: u32,
    capacity: u32,
    ring: u32,
    numbers: DrawNumbers,
    #[comptime] kinds: FilterKinds,
) {
    let row = CUBE_POS_X as usize;
    let stream = RowStream {
        low: streams[3 * row],
        high: streams[3 * row + 1],
        counter: streams[3 * row + 2],
    };
    let drawn = draw_row(logits, &stream, values, part_ids, &numbers, kinds);
    if UNIT_POS_X == 0 {
        let clock = clocks[row];
        let place = (clock * rows) as usize + row;
        ring_ids[place] = drawn.id;
        ring_logprobs[place] = drawn.logprob;
        ids[row] = drawn.id;
        clocks[row] = (clock + 1) % ring;
        streams[3 * row + 2] = stream.counter + 1;
        if lengths[row] + 1 < capacity {
            lengths[row] += 1;
        }
    }
}
