//! Keys and values of the tokens already seen, in buffers allocated once.

use burn::tensor::{Int, Tensor};

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
#[derive(Clone, Debug, Default)]
pub(super) struct LayerCache {
    // `None` before the first write, and while a buffer is being written, so that the write happens in place.
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl KvCache {
    /// An empty cache of `decoder`'s layers for rows of up to `capacity` tokens.
    pub fn new(decoder: &Decoder, capacity: usize) -> Self {
        Self {
            layers: vec![LayerCache::default(); decoder.config().num_hidden_layers],
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
    ///
    /// # Panics
    /// When no token was written.
    pub fn into_layers(self) -> impl Iterator<Item = (Tensor<4>, Tensor<4>)> {
        self.layers.into_iter().map(|layer| {
            let whole =
                |buffer: Option<Tensor<4>>| buffer.expect("a buffer is there after a write");
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
    /// `[B, K, T, D]` each, to `[B, K, start + T, D]` each, of `capacity` tokens at most.
    pub(super) fn append(
        &mut self,
        start: usize,
        capacity: usize,
        [keys, values]: [Tensor<4>; 2],
    ) -> (Tensor<4>, Tensor<4>) {
        (
            write(&mut self.keys, start, capacity, keys),
            write(&mut self.values, start, capacity, values),
        )
    }
}

fn write(
    buffer: &mut Option<Tensor<4>>,
    start: usize,
    capacity: usize,
    new: Tensor<4>,
) -> Tensor<4> {
    let [rows, heads, tokens, width] = new.dims();
    if tokens == capacity {
        *buffer = Some(new.clone());
        return new;
    }
    let end = start + tokens;
    let empty = || {
        let options = (&new.device(), new.dtype());
        Tensor::zeros([rows, heads, capacity, width], options)
    };
    let whole = buffer.take().unwrap_or_else(empty);
    let whole = whole.slice_assign([0..rows, 0..heads, start..end, 0..width], new);
    let view = whole.clone().narrow(2, 0, end);
    *buffer = Some(whole);
    view
}
