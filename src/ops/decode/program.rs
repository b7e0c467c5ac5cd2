//! The sequence of kernels, and its recording.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Shape, Tensor, TensorData};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::bytes::Bytes;
use burn_cubecl::cubecl::client::{Client, Graph};
use burn_cubecl::cubecl::server::ServerError;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use super::kernels::{self, Draw, Drawn, Heads};
use super::launch::primitive;
use super::{DecodeLayer, DecodeRow, DecodeSettings, DecodeWeights, DecodedToken, JoinedLinear};
use crate::error::{Error, Result};

/// Runs before a step is recorded: the first tune, the next fill the pools that the recorded one
/// allocates from.
const WARM_UPS: usize = 3;
/// Columns of a chunk are a multiple of this, for loads of several numbers.
const CHUNK_UNIT: usize = 8;
/// Fewest columns of a chunk.
const LEAST_CHUNK: usize = 192;
/// Most cubes of a product of few rows, 64 columns each.
const MOST_CUBES: usize = 160;

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

/// A block's weights and its cache.
struct Layer {
    input_norm: CubeTensor,
    attention_in: Linear,
    head_norms: Option<(CubeTensor, CubeTensor)>,
    attention_out: Linear,
    output_norm: CubeTensor,
    gate_up: Linear,
    down: Linear,
    /// Keys and values, `[B, K, capacity, D]`.
    cache: (CubeTensor, CubeTensor),
}

/// A linear map whose input's columns are split: the products of the chunks are summed by what reads
/// them, so that a few rows keep a whole GPU busy.
struct Linear {
    /// `[S, out, in/S]`.
    weight: CubeTensor,
    /// `[1, out]`.
    bias: Option<CubeTensor>,
}

/// Where the rows stand.
struct Rows {
    ids: CubeTensor,
    lengths: CubeTensor,
    streams: CubeTensor,
    clocks: CubeTensor,
    ring_ids: CubeTensor,
    ring_logprobs: CubeTensor,
}

/// What a step computes on its way.
struct Scratch {
    states: CubeTensor,
    /// Split for the attention, and whole.
    normed: [CubeTensor; 2],
    projected: CubeTensor,
    queries: CubeTensor,
    attended: CubeTensor,
    /// What the attention and the MLP add to the states.
    changes: [CubeTensor; 2],
    joined: CubeTensor,
    gated: CubeTensor,
    logits: CubeTensor,
}

/// Makes a program's own buffers.
struct Maker {
    client: Client,
    device: CubeDevice,
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
        let embedding = primitive(weights.embedding.cast(dtype));
        let [vocabulary, _] = embedding.meta.shape().dims();
        let maker = Maker {
            client: embedding.client.clone(),
            device: embedding.device.clone(),
        };
        let layers = weights.layers.into_iter();
        let mut program = Self {
            client: maker.client.clone(),
            layers: layers
                .map(|layer| Layer::new(layer, &settings, &maker))
                .collect(),
            norm: primitive(weights.norm.cast(DType::F32)),
            head: Linear {
                weight: whole(match weights.head {
                    Some(head) => primitive(head.cast(dtype)),
                    None => embedding.clone(),
                }),
                bias: None,
            },
            embedding,
            angles,
            rows: Rows::new(&settings, &maker),
            scratch: Scratch::new(&settings, [width, inner, vocabulary], &maker),
            graph: None,
            settings,
        };
        program.record()?;
        Ok(program)
    }

    /// Copies the keys and values of prompts into rows: each place is a prompt and its row.
    ///
    /// # Shapes
    /// `keys` and `values` `[P, K, T, D]`; tokens beyond the capacity are padding.
    pub fn fill(
        &mut self,
        layer: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
        places: &[(usize, usize)],
    ) {
        let words = places.iter().flat_map(|(prompt, row)| [*prompt, *row]);
        let words: Vec<u32> = words.map(|word| word as u32).collect();
        let maker = Maker {
            client: self.client.clone(),
            device: self.embedding.device.clone(),
        };
        let places = maker.buffer([places.len(), 2], DType::U32);
        self.client.write(&places.handle, Bytes::from_elems(words));
        let cache = &self.layers[layer].cache;
        kernels::fill(&primitive(keys), &places, &cache.0);
        kernels::fill(&primitive(values), &places, &cache.1);
    }

    /// Moves every row `steps` tokens on; returns what each drew, in order.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When there are not as many rows or more steps than the program was made for.
    pub fn round(&mut self, rows: &[DecodeRow], steps: usize) -> Result<Vec<Vec<DecodedToken>>> {
        assert_eq!(rows.len(), self.settings.rows, "a program's rows are fixed");
        assert!(steps <= self.settings.ring, "the ring holds a round");
        self.put(rows);
        for _ in 0..steps {
            self.advance()?;
        }
        let handles = [&self.rows.ring_ids, &self.rows.ring_logprobs];
        let handles = handles.map(|tensor| tensor.handle.clone());
        let read = self.client.read(handles.to_vec());
        let read = read.map_err(|error| self.failed(&error))?;
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
        let row = |row: usize| {
            (0..steps)
                .map(|step| token(step * rows.len() + row))
                .collect()
        };
        Ok((0..rows.len()).map(row).collect())
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
            kernels::place_heads(&Heads {
                projected: &scratch.projected,
                bias: layer.attention_in.bias.as_ref(),
                norms: layer.head_norms.as_ref().map(|(q, k)| (q, k)),
                angles: (&self.angles.0, &self.angles.1),
                lengths: &rows.lengths,
                queries: &scratch.queries,
                cache: (&layer.cache.0, &layer.cache.1),
                epsilon,
            });
            let cache = (&layer.cache.0, &layer.cache.1);
            kernels::attend(&scratch.queries, cache, &rows.lengths, &scratch.attended);
            self.multiply(&scratch.attended, &layer.attention_out, attended)?;
            let added = Some((attended, layer.attention_out.bias.as_ref()));
            kernels::add_norm(states, added, &layer.output_norm, normed, epsilon);
            self.multiply(normed, &layer.gate_up, &scratch.joined)?;
            kernels::gate(&scratch.joined, layer.gate_up.bias.as_ref(), &scratch.gated);
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

    /// `out_s = states_s · weight_sᵀ` for every chunk `s`.
    fn multiply(&self, states: &CubeTensor, linear: &Linear, out: &CubeTensor) -> Result<()> {
        let mut weight = linear.weight.clone();
        weight.meta.swap(1, 2);
        let (states, out) = (states.clone(), out.clone());
        let dtype = out.dtype;
        let done = matmul(states, weight, Some(out), MatmulStrategy::default(), dtype);
        done.map(drop).map_err(|error| Error::Device {
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

impl Layer {
    fn new(layer: DecodeLayer, settings: &DecodeSettings, maker: &Maker) -> Self {
        let norm = |weight: Tensor<2>| primitive(weight.cast(DType::F32));
        let linear = |linear: JoinedLinear, is_split: bool| {
            let [out, width] = linear.weight.dims();
            let parts = if is_split { parts(out, width) } else { 1 };
            let weight = linear.weight.cast(settings.dtype);
            let weight: Tensor<3> = weight.reshape([out, parts, width / parts]);
            Linear {
                weight: primitive(weight.swap_dims(0, 1)),
                bias: linear.bias.map(norm),
            }
        };
        let (rows, heads) = (settings.rows, settings.key_heads);
        let shape = [rows, heads, settings.capacity, settings.head_width];
        Self {
            input_norm: norm(layer.input_norm),
            attention_in: linear(layer.attention_in, true),
            head_norms: layer.head_norms.map(|(q, k)| (norm(q), norm(k))),
            attention_out: linear(layer.attention_out, true),
            output_norm: norm(layer.output_norm),
            gate_up: linear(layer.gate_up, false),
            down: linear(layer.down, true),
            cache: (
                maker.buffer(shape, settings.dtype),
                maker.buffer(shape, settings.dtype),
            ),
        }
    }
}

impl Rows {
    fn new(settings: &DecodeSettings, maker: &Maker) -> Self {
        let (rows, ring) = (settings.rows, settings.ring);
        Self {
            ids: maker.buffer([rows], DType::U32),
            lengths: maker.buffer([rows], DType::U32),
            streams: maker.buffer([rows, 3], DType::U32),
            clocks: maker.buffer([rows], DType::U32),
            ring_ids: maker.buffer([ring, rows], DType::U32),
            ring_logprobs: maker.buffer([ring, rows], DType::F32),
        }
    }

    fn drawn(&self) -> Drawn<'_> {
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
    fn new(
        settings: &DecodeSettings,
        [width, inner, vocabulary]: [usize; 3],
        maker: &Maker,
    ) -> Self {
        let (rows, dtype) = (settings.rows, settings.dtype);
        let (heads, head) = (settings.query_heads, settings.head_width);
        let projected = (heads + 2 * settings.key_heads) * head;
        let attended = heads * head;
        let (on_input, on_attended) = (parts(projected, width), parts(width, attended));
        let on_gated = parts(width, inner);
        Self {
            states: maker.buffer([rows, width], DType::F32),
            normed: [
                maker.buffer([on_input, rows, width / on_input], dtype),
                maker.buffer([1, rows, width], dtype),
            ],
            projected: maker.buffer([on_input, rows, projected], DType::F32),
            queries: maker.buffer([rows, heads, head], dtype),
            attended: maker.buffer([on_attended, rows, attended / on_attended], dtype),
            changes: [on_attended, on_gated].map(|parts| {
                let shape = [parts, rows, width];
                maker.buffer(shape, DType::F32)
            }),
            joined: maker.buffer([1, rows, 2 * inner], dtype),
            gated: maker.buffer([on_gated, rows, inner / on_gated], dtype),
            logits: maker.buffer([1, rows, vocabulary], DType::F32),
        }
    }
}

impl Maker {
    fn buffer<const D: usize>(&self, shape: [usize; D], dtype: DType) -> CubeTensor {
        let (client, device) = (self.client.clone(), self.device.clone());
        empty_device_contiguous_dtype(client, device, Shape::new(shape), dtype)
    }
}

/// A matrix as a batch of one.
fn whole(matrix: CubeTensor) -> CubeTensor {
    let [rows, columns] = matrix.meta.shape().dims();
    burn_cubecl::ops::reshape(matrix, Shape::new([1, rows, columns]))
}

/// Chunks of the `width` columns of a linear map to `out` columns: few enough that each is worth a
/// product, and that the products do not crowd a GPU.
fn parts(out: usize, width: usize) -> usize {
    let fits = |parts: &usize| {
        let is_even = width.is_multiple_of(parts * CHUNK_UNIT);
        is_even && width / parts >= LEAST_CHUNK && parts * out.div_ceil(64) <= MOST_CUBES
    };
    [16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// Cosines and sines of every position, `[capacity, D/2]` each.
fn angles(settings: &DecodeSettings, device: &Device) -> (CubeTensor, CubeTensor) {
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

/// Runs a recorded step again.
#[expect(
    unsafe_code,
    reason = "a recording reads and writes buffers by address"
)]
fn replay(graph: &Graph) -> std::result::Result<(), ServerError> {
    // SAFETY: the program that recorded the graph owns every buffer in it, no other thread has them,
    // and it writes and reads them on the stream of the thread that recorded.
    unsafe { graph.replay() }
}
