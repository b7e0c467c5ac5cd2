//! What a step reads and writes beside its weights.

use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_cubecl::tensor::CubeTensor;

use super::layer::parts;
use crate::ops::cube::{empty, primitive};
use crate::ops::decode::DecodeSettings;
use crate::ops::decode::kernels::Drawn;

/// Where the rows stand.
pub(super) struct Rows {
    pub ids: CubeTensor,
    pub lengths: CubeTensor,
    pub streams: CubeTensor,
    pub clocks: CubeTensor,
    pub ring_ids: CubeTensor,
    pub ring_logprobs: CubeTensor,
}

/// What a step computes on its way.
pub(super) struct Scratch {
    pub states: CubeTensor,
    /// Split for the attention, and whole.
    pub normed: [CubeTensor; 2],
    pub projected: CubeTensor,
    pub attended: CubeTensor,
    /// What the attention and the MLP add to the states.
    pub changes: [CubeTensor; 2],
    pub joined: CubeTensor,
    pub gated: CubeTensor,
    pub logits: CubeTensor,
}

impl Rows {
    /// Room for the rows, beside `beside`.
    pub fn new(settings: &DecodeSettings, beside: &CubeTensor) -> Self {
        let (rows, ring) = (settings.rows, settings.ring);
        Self {
            ids: empty(beside, [rows], DType::U32),
            lengths: empty(beside, [rows], DType::U32),
            streams: empty(beside, [rows, 3], DType::U32),
            clocks: empty(beside, [rows], DType::U32),
            ring_ids: empty(beside, [ring, rows], DType::U32),
            ring_logprobs: empty(beside, [ring, rows], DType::F32),
        }
    }

    /// The rows as a draw changes them.
    pub fn drawn(&self) -> Drawn<'_> {
        Drawn {
            ids: &self.ids,
            lengths: &self.lengths,
            streams: &self.streams,
            clocks: &self.clocks,
            ring_ids: &self.ring_ids,
            ring_logprobs: &self.ring_logprobs,
        }
    }
}

impl Scratch {
    /// Room for a step, beside `beside`.
    pub fn new(
        settings: &DecodeSettings,
        [width, inner, vocabulary]: [usize; 3],
        beside: &CubeTensor,
    ) -> Self {
        let (rows, dtype) = (settings.rows, settings.dtype);
        let (heads, head) = (settings.query_heads, settings.head_width);
        let projected = (heads + 2 * settings.key_heads) * head;
        let attended = heads * head;
        let (on_input, on_attended) = (parts(projected, width), parts(width, attended));
        let on_gated = parts(width, inner);
        Self {
            states: empty(beside, [rows, width], DType::F32),
            normed: [
                empty(beside, [on_input, rows, width / on_input], dtype),
                empty(beside, [1, rows, width], dtype),
            ],
            projected: empty(beside, [on_input, rows, projected], DType::F32),
            attended: empty(beside, [on_attended, rows, attended / on_attended], dtype),
            changes: [on_attended, on_gated].map(|parts| {
                let shape = [parts, rows, width];
                empty(beside, shape, DType::F32)
            }),
            joined: empty(beside, [1, rows, 2 * inner], dtype),
            gated: empty(beside, [on_gated, rows, inner / on_gated], dtype),
            logits: empty(beside, [1, rows, vocabulary], DType::F32),
        }
    }
}

/// Cosines and sines of every position, `[capacity, D/2]` each.
pub(super) fn angles(settings: &DecodeSettings, device: &Device) -> (CubeTensor, CubeTensor) {
    let frequencies = &settings.inverse_frequencies;
    let shape = [settings.capacity, frequencies.len()];
    let table = |of: fn(f32) -> f32| {
        let angles = (0..settings.capacity)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let values: Vec<f32> = angles.map(of).collect();
        primitive(Tensor::<2>::from_data(
            TensorData::new(values, shape),
            (device, DType::F32),
        ))
    };
    (table(f32::cos), table(f32::sin))
}
