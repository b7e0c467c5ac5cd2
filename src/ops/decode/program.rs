//! The sequence of kernels, and its recording.

mod buffers;
mod layer;

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Tensor};
use burn_cubecl::cubecl::bytes::Bytes;
use burn_cubecl::cubecl::client::{Client, Graph};
use burn_cubecl::cubecl::future::reader::read_sync;
use burn_cubecl::cubecl::server::ServerError;
use burn_cubecl::tensor::CubeTensor;

use self::buffers::{Rows, Scratch, angles};
use self::layer::{Layer, Linear};
use super::kernels::{self, Attention, Draw};
use super::{DecodeHost, DecodeRow, DecodeSettings, DecodeWeights, DecodedToken};
use crate::error::{Error, Result};
use crate::ops::cube::{empty, matrix, primitive};
use crate::ops::product::cube::{gated_product_into, product_into};

/// Runs before a step is recorded: the first tunes, the second fills the pools that the recorded one
/// allocates from.
const WARM_UPS: usize = 2;

/// The bytes of the rings.
type Reading = std::result::Result<Vec<Bytes>, ServerError>;

/// A decoding step over weights and buffers of its own, recorded where the device can.
pub struct DecodeProgram {
    settings: DecodeSettings,
    client: Client,
    embedding: CubeTensor,
    layers: Vec<Layer>,
    norm: CubeTensor,
    head: Linear,
    angles: (CubeTensor, CubeTensor),
    rows: Rows,
    scratch: Scratch,
    graph: Option<Graph>,
}

impl DecodeProgram {
    /// Whether programs run on `device`.
    pub fn runs_on(device: &Device) -> bool {
        matches!(device.as_dispatch(), DispatchDevice::Cube(_))
    }

    /// A program over these weights, tuned and recorded.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When the device does not run programs.
    pub fn new(weights: DecodeWeights, settings: DecodeSettings) -> Result<Self> {
        let [_, width] = weights.embedding.dims();
        let inner = weights.layers.first().map_or(0, |layer| {
            let [joined, _] = layer.gate_up.weight.dims();
            joined / 2
        });
        let angles = angles(&settings, &weights.embedding.device());
        let dtype = settings.dtype;
        let embedding = matrix(weights.embedding.cast(dtype));
        let [vocabulary, _] = embedding.meta.shape().dims();
        let head = match weights.head {
            Some(head) => matrix(head.cast(dtype)),
            None => embedding.clone(),
        };
        let layers = weights.layers.into_iter();
        let mut program = Self {
            client: embedding.client.clone(),
            layers: layers
                .map(|layer| Layer::new(layer, &settings, &embedding))
                .collect(),
            norm: primitive(weights.norm.cast(DType::F32)),
            head: Linear::new(head, 1, None),
            rows: Rows::new(&settings, &embedding),
            scratch: Scratch::new(&settings, [width, inner, vocabulary], &embedding),
            embedding,
            angles,
            graph: None,
            settings,
        };
        program.record()?;
        Ok(program)
    }

    /// Copies the keys and values of prompts into rows: each place is a prompt and its row.
    ///
    /// # Shapes
    /// Of each layer, keys and values `[P, K, T, D]`; tokens beyond the capacity are padding.
    pub fn fill(
        &mut self,
        layers: impl Iterator<Item = (Tensor<4>, Tensor<4>)>,
        places: &[(usize, usize)],
    ) {
        let words = places.iter().flat_map(|(prompt, row)| [*prompt, *row]);
        let words: Vec<u32> = words.map(|word| word as u32).collect();
        let places = empty(&self.embedding, [places.len(), 2], DType::U32);
        self.client.write(&places.handle, Bytes::from_elems(words));
        for (layer, (keys, values)) in self.layers.iter().zip(layers) {
            kernels::fill(&primitive(keys), &places, &layer.cache.0);
            kernels::fill(&primitive(values), &places, &layer.cache.1);
        }
    }

    /// Moves the rows on round by round, until `host` wants no more steps.
    ///
    /// A round is on its way before the host sees what the one before it drew, so that the device does not wait.
    ///
    /// # Errors
    /// When the device failed, or what the host fails with.
    ///
    /// # Panics
    /// When there are not as many rows or more steps than the program was made for.
    pub fn rounds(&mut self, rows: &[DecodeRow], host: &mut impl DecodeHost) -> Result<()> {
        assert_eq!(rows.len(), self.settings.rows, "a program's rows are fixed");
        self.put(rows);
        let client = self.client.clone();
        let mut next = self.start(host.steps(0), &client)?;
        while let Some((steps, reading)) = next {
            // The clocks stand at the ring's begin after a whole ring alone.
            let more = match steps == self.settings.ring {
                true => host.steps(steps),
                false => 0,
            };
            let started = self.start(more, &client);
            let kept = read_sync(reading)
                .map_err(|error| self.failed(&error))
                .and_then(|read| host.keep(self.drawn(&read, steps)));
            next = started?;
            if let Err(error) = kept {
                if let Some((_, reading)) = next {
                    // The memory that the device still writes is not given back before.
                    let _ = read_sync(reading);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Launches a round, and the reading of what it draws; none of no steps.
    fn start<'client>(
        &self,
        steps: usize,
        client: &'client Client,
    ) -> Result<Option<(usize, impl Future<Output = Reading> + use<'client>)>> {
        assert!(steps <= self.settings.ring, "the ring holds a round");
        if steps == 0 {
            return Ok(None);
        }
        for _ in 0..steps {
            self.advance()?;
        }
        let handles = [&self.rows.ring_ids, &self.rows.ring_logprobs];
        let handles = handles.map(|tensor| tensor.handle.clone());
        Ok(Some((steps, client.read_async(handles.to_vec()))))
    }

    /// What each row drew in a round, in order.
    fn drawn(&self, read: &[Bytes], steps: usize) -> Vec<Vec<DecodedToken>> {
        let words = |bytes: &Bytes| -> Vec<u32> {
            let words = bytes.chunks_exact(4);
            words
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
                .collect()
        };
        let (ids, logprobs) = (words(&read[0]), words(&read[1]));
        let token = |place: usize| DecodedToken {
            id: ids[place],
            logprob: match f32::from_bits(logprobs[place]) {
                logprob if logprob <= 0.0 => logprob,
                _ => f32::NAN,
            },
        };
        let rows = self.settings.rows;
        let row = |row: usize| (0..steps).map(|step| token(step * rows + row)).collect();
        (0..rows).map(row).collect()
    }

    fn put(&self, rows: &[DecodeRow]) {
        let put = |tensor: &CubeTensor, words: Vec<u32>| {
            self.client.write(&tensor.handle, Bytes::from_elems(words));
        };
        put(&self.rows.ids, rows.iter().map(|row| row.id).collect());
        let lengths = rows.iter().map(|row| row.length as u32);
        put(&self.rows.lengths, lengths.collect());
        let streams = rows.iter().flat_map(|row| {
            let seed = row.seed.value();
            [seed as u32, (seed >> 32) as u32, row.counter]
        });
        put(&self.rows.streams, streams.collect());
        put(&self.rows.clocks, vec![0; rows.len()]);
    }

    /// Tunes, fills the pools and records a step where the device can.
    fn record(&mut self) -> Result<()> {
        let row = DecodeRow {
            id: 0,
            length: 0,
            seed: crate::seed::Seed::new(0),
            counter: 0,
        };
        self.put(&vec![row; self.settings.rows]);
        let can_record = self.client.graph_prepare().is_ok();
        for _ in 0..WARM_UPS {
            self.step()?;
            let synced = burn::tensor::Device::sync(&self.device());
            synced.map_err(|error| Error::Device {
                device: self.client.name().to_string(),
                problem: format!("a decoding step failed: {error:?}"),
            })?;
        }
        if can_record && self.client.start_capture().is_ok() {
            self.step()?;
            self.graph = self.client.stop_capture().ok();
        }
        tracing::debug!(recorded = self.graph.is_some(), "decoding step prepared");
        Ok(())
    }

    fn device(&self) -> Device {
        DispatchDevice::Cube(self.embedding.device.clone()).into()
    }

    fn advance(&self) -> Result<()> {
        match &self.graph {
            Some(graph) => replay(graph).map_err(|error| self.failed(&error)),
            None => self.step(),
        }
    }

    /// Launches a step's kernels.
    fn step(&self) -> Result<()> {
        let (rows, scratch) = (&self.rows, &self.scratch);
        let epsilon = self.settings.epsilon;
        kernels::embed(&self.embedding, &rows.ids, &scratch.states);
        let mut change = None;
        for layer in &self.layers {
            let (states, [split, normed]) = (&scratch.states, &scratch.normed);
            let [attended, fed_forward] = &scratch.changes;
            kernels::add_norm(states, change, &layer.input_norm, split, epsilon);
            self.multiply(split, &layer.attention_in, &scratch.projected)?;
            let attention = Attention {
                projected: &scratch.projected,
                bias: layer.attention_in.bias.as_ref(),
                norms: layer.head_norms.as_ref().map(|(q, k)| (q, k)),
                angles: (&self.angles.0, &self.angles.1),
                lengths: &rows.lengths,
                cache: (&layer.cache.0, &layer.cache.1),
                epsilon,
            };
            kernels::attend(&attention, &scratch.attended);
            self.multiply(&scratch.attended, &layer.attention_out, attended)?;
            let added = Some((attended, layer.attention_out.bias.as_ref()));
            kernels::add_norm(states, added, &layer.output_norm, normed, epsilon);
            self.feed_forward(normed, &layer.gate_up)?;
            self.multiply(&scratch.gated, &layer.down, fed_forward)?;
            change = Some((fed_forward, layer.down.bias.as_ref()));
        }
        let (states, [_, normed]) = (&scratch.states, &scratch.normed);
        kernels::add_norm(states, change, &self.norm, normed, epsilon);
        self.multiply(normed, &self.head, &scratch.logits)?;
        let from = Draw {
            logits: &scratch.logits,
            filters: self.settings.filters,
            capacity: self.settings.capacity,
        };
        kernels::draw(&from, &self.rows.drawn());
        Ok(())
    }

    /// From the normed states to what is gated.
    fn feed_forward(&self, states: &CubeTensor, gate_up: &Linear) -> Result<()> {
        let Scratch { joined, gated, .. } = &self.scratch;
        let bias = gate_up.bias.as_ref();
        if let Some(units) = gate_up.units {
            units.multiply_gated(states, &gate_up.weight, bias, gated);
        } else if !gated_product_into(states, &turned(&gate_up.weight), bias, gated) {
            self.multiply(states, gate_up, joined)?;
            kernels::gate(joined, bias, gated);
        }
        Ok(())
    }

    /// `out_s = states_s · weight_sᵀ` for every chunk `s`.
    fn multiply(&self, states: &CubeTensor, linear: &Linear, out: &CubeTensor) -> Result<()> {
        if let Some(units) = linear.units {
            units.multiply(states, &linear.weight, out);
            return Ok(());
        }
        let done = product_into(states.clone(), turned(&linear.weight), out.clone());
        done.map_err(|error| Error::Device {
            device: self.client.name().to_string(),
            problem: format!("no way to multiply matrices: {error:?}"),
        })
    }

    fn failed(&self, error: &ServerError) -> Error {
        Error::Device {
            device: self.client.name().to_string(),
            problem: format!("decoding failed: {error}"),
        }
    }
}

impl std::fmt::Debug for DecodeProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodeProgram")
            .field("settings", &self.settings)
            .field("recorded", &self.graph.is_some())
            .finish_non_exhaustive()
    }
}

/// `[S, O, I]` as `[S, I, O]`.
fn turned(weight: &CubeTensor) -> CubeTensor {
    let mut weight = weight.clone();
    weight.meta.swap(1, 2);
    weight
}

/// Runs a recorded step again.
#[expect(
    unsafe_code,
    reason = "a recording reads and writes buffers by address"
)]
fn replay(graph: &Graph) -> std::result::Result<(), ServerError> {
    // SAFETY: the program that recorded the graph owns every buffer in it but those of single kernels, whose memory
    // the graph guards; no other thread has them, and it writes and reads them on the stream of the thread that
    // recorded.
    unsafe { graph.replay() }
}
