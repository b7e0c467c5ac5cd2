//! Keys and values of the tokens already seen, in buffers allocated once.

use burn::tensor::{DType, Int, Tensor};

use super::Decoder;

/// Keys and values of every layer for a batch of rows that advance together.
///
/// # Shapes
/// Two buffers a layer, `[B, K, capacity, D]`, `K` key-value heads.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    tokens: usize,
    capacity: usize,
}

/// One layer's keys and values.
#[derive(Debug)]
pub(super) struct LayerCache {
    // `None` only while a buffer is being written, so that the write happens in place.
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl KvCache {
    /// An empty cache of `decoder`'s number type for `rows` rows of up to `capacity` tokens.
    pub fn new(decoder: &Decoder, rows: usize, capacity: usize) -> Self {
        let config = decoder.config();
        let shape = [rows, config.num_key_value_heads, capacity, config.head_dim];
        let (device, dtype) = (decoder.device(), DType::from(decoder.dtype()));
        let layers = (0..config.num_hidden_layers)
            .map(|_| LayerCache {
                keys: Some(Tensor::zeros(shape, (&device, dtype))),
                values: Some(Tensor::zeros(shape, (&device, dtype))),
            })
            .collect();
        Self {
            layers,
            tokens: 0,
            capacity,
        }
    }

    /// Tokens held for every row.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps the given rows, in the given order, and drops the others.
    pub fn keep_rows(&mut self, rows: &Tensor<1, Int>) {
        for layer in &mut self.layers {
            for buffer in [&mut layer.keys, &mut layer.values] {
                *buffer = buffer.take().map(|tensor| tensor.select(0, rows.clone()));
            }
        }
    }

    /// The keys and values of each layer: whole buffers, `[B, K, capacity, D]` each.
    pub fn into_layers(self) -> impl Iterator<Item = (Tensor<4>, Tensor<4>)> {
        self.layers.into_iter().map(|layer| {
            let whole =
                |buffer: Option<Tensor<4>>| buffer.expect("a buffer is there between writes");
            (whole(layer.keys), whole(layer.values))
        })
    }

    pub(super) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
        assert!(
            self.tokens <= self.capacity,
            "cache holds what was promised"
        );
    }
}

impl LayerCache {
    /// Writes the keys and values of new tokens after the first `start` and returns views of all.
    ///
    /// # Shapes
    /// `[B, K, T, D]` each, to `[B, K, start + T, D]` each.
    pub(super) fn append(
        &mut self,
        start: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        (
            write(&mut self.keys, start, keys),
            write(&mut self.values, start, values),
        )
    }
}

fn write(buffer: &mut Option<Tensor<4>>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [rows, heads, tokens, width] = new.dims();
    let end = start + tokens;
    let whole = buffer.take().expect("a buffer is there between writes");
    let whole = whole.slice_assign([0..rows, 0..heads, start..end, 0..width], new);
    let view = whole.clone().narrow(2, 0, end);
    *buffer = Some(whole);
    view
}
