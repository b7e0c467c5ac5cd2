//! The numbers of a model that memory depends on.

use crate::error::Result;
use crate::model::{Adapter, Decoder, Head, LoraConfig, ModelConfig};

/// A model's weights, those of them that training changes, and the widths of its blocks.
#[derive(Clone, Debug)]
pub(in crate::train) struct Sizes {
    /// Numbers of all weights, without those of an adapter.
    pub weights: usize,
    /// Numbers of the largest weight.
    pub largest: usize,
    /// Numbers of the weights that are neither embedding nor head.
    pub in_blocks: usize,
    /// Shapes of the weights that training changes.
    pub trainable: Vec<Vec<usize>>,
    /// Blocks.
    pub blocks: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of the feed-forward block.
    pub inner: usize,
    /// Width of all query heads together.
    pub queries: usize,
    /// Width of all key heads together.
    pub keys: usize,
    /// Whether queries and keys are normalised per head.
    pub has_head_norms: bool,
    /// Rows of the output head: 1 of a score.
    pub vocabulary: usize,
    /// What an adapter is on; none where all weights are trained.
    pub adapter: Option<Adapted>,
}

/// Where an adapter's layers keep their inputs for the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::train) struct Adapted {
    /// Of queries, keys or values.
    pub attention_input: bool,
    /// Of the attention's output.
    pub attended: bool,
    /// Of gate or up.
    pub feed_forward_input: bool,
    /// Of down.
    pub product: bool,
    /// Ranks of a block's layers, summed.
    pub ranks: usize,
}

impl Sizes {
    /// The sizes of a model that trains all weights, or an adapter.
    ///
    /// # Errors
    /// When the adapter does not suit the model.
    pub(in crate::train) fn new(config: &ModelConfig, lora: Option<&LoraConfig>) -> Result<Self> {
        let weights = config.parameter_shapes();
        let weights: Vec<Vec<usize>> = weights.into_iter().map(|(_, shape)| shape).collect();
        let Some(lora) = lora else {
            return Ok(Self::with(config, &weights, weights.clone(), None));
        };
        let (names, shapes) = Adapter::names_and_shapes(lora, config)?;
        let adapted = Adapted::new(&names, &shapes, config.num_hidden_layers);
        Ok(Self::with(config, &weights, shapes, Some(adapted)))
    }

    /// The sizes of a model that is there.
    pub(in crate::train) fn of(decoder: &Decoder) -> Self {
        let (names, shapes) = (decoder.trainable_names(), decoder.trainable_shapes());
        let adapted = decoder.adapter().is_some();
        let adapted = adapted.then(|| Adapted::new(names, shapes, decoder.block_count()));
        let weights = decoder.parameter_shapes();
        Self::with(decoder.config(), weights, shapes.to_vec(), adapted)
    }

    fn with(
        config: &ModelConfig,
        weights: &[Vec<usize>],
        trainable: Vec<Vec<usize>>,
        adapter: Option<Adapted>,
    ) -> Self {
        let counts = || weights.iter().map(|shape| numbers(shape));
        Self {
            weights: counts().sum(),
            largest: counts().max().unwrap_or(0),
            in_blocks: (weights.iter())
                .filter(|shape| **shape != [config.vocab_size, config.hidden_size])
                .map(|shape| numbers(shape))
                .sum(),
            trainable,
            blocks: config.num_hidden_layers,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            queries: config.num_attention_heads * config.head_dim,
            keys: config.num_key_value_heads * config.head_dim,
            has_head_norms: config.qk_norm(),
            vocabulary: match config.head {
                Head::Vocabulary => config.vocab_size,
                Head::Score => 1,
            },
            adapter,
        }
    }

    /// Numbers that training changes.
    pub(super) fn trained(&self) -> usize {
        self.trainable.iter().map(|shape| numbers(shape)).sum()
    }
}

impl Adapted {
    fn new(names: &[String], shapes: &[Vec<usize>], blocks: usize) -> Self {
        let any = |layers: &[&str]| {
            let is_on = |layer: &&str| names.iter().any(|name| name.contains(*layer));
            layers.iter().any(is_on)
        };
        // `A` comes before `B` and has a row a rank.
        let ranks: usize = shapes.iter().step_by(2).map(|shape| shape[0]).sum();
        Self {
            attention_input: any(&["q_proj", "k_proj", "v_proj"]),
            attended: any(&["o_proj"]),
            feed_forward_input: any(&["gate_proj", "up_proj"]),
            product: any(&["down_proj"]),
            ranks: ranks.div_ceil(blocks.max(1)),
        }
    }
}

/// Numbers of a tensor.
pub(super) fn numbers(shape: &[usize]) -> usize {
    shape.iter().product()
}
