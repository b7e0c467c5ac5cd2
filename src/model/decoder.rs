//! The decoder: embedding, blocks of attention and gated MLP, final norm.

use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Tensor};

use super::kv_cache::KvCache;
use super::parameters::{Index, LayerLayout, LinearLayout, ParameterLayout};
use super::rotary::{RotaryTable, Rotation};
use super::token_grid::{Attending, ForwardInput, TokenGrid};
use super::{Adapter, Head, ModelConfig};
use crate::error::Result;
use crate::ops;
use crate::precision::Precision;

/// A decoder-only transformer, driven by its [`ModelConfig`].
///
/// Cloning shares the weights. Linear maps and attention compute in the model's [`Precision`], all
/// else in `f32`.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: Arc<ModelConfig>,
    pub(super) layout: Arc<ParameterLayout>,
    rotary: Arc<RotaryTable>,
    pub(super) parameters: Vec<Tensor<2>>,
    pub(super) adapter: Option<Adapter>,
    precision: Precision,
}

impl Decoder {
    /// A decoder with the given weights, in the order of [`ModelConfig::parameter_shapes`];
    /// vectors are single rows.
    ///
    /// # Panics
    /// When a weight's shape is not the configuration's.
    pub fn from_parameters(config: ModelConfig, parameters: Vec<Tensor<2>>) -> Self {
        let layout = ParameterLayout::new(&config);
        assert_eq!(parameters.len(), layout.names.len(), "one tensor a name");
        for (index, tensor) in parameters.iter().enumerate() {
            let name = &layout.names[index];
            assert_eq!(tensor.dims(), layout.matrix_shape(index), "shape of {name}");
        }
        Self {
            rotary: Arc::new(RotaryTable::new(config.inverse_frequencies())),
            config: Arc::new(config),
            layout: Arc::new(layout),
            parameters,
            adapter: None,
            precision: Precision::F32,
        }
    }

    /// The same model that computes in another precision; as it comes, a model computes in `f32`.
    ///
    /// # Errors
    /// When its device does not compute so.
    pub fn with_precision(&self, precision: Precision) -> Result<Self> {
        Ok(Self {
            precision: precision.on(&self.device())?,
            ..self.clone()
        })
    }

    /// What linear maps and attention compute in; never `auto`.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same model for passes that train nothing: linear maps and the embedding are rounded to its
    /// precision once, not in every pass. It computes what the model does.
    pub fn frozen(&self) -> Self {
        let mut frozen = self.with_frozen_base();
        let dtype = self.dtype();
        if let Some(adapter) = &mut frozen.adapter {
            for tensor in adapter.tensors_mut() {
                *tensor = tensor.clone().cast(dtype);
            }
        }
        frozen
    }

    /// The same model with all but an adapter rounded as by [`Decoder::frozen`].
    pub fn with_frozen_base(&self) -> Self {
        let dtype = self.dtype();
        let weights = self.parameters.iter().enumerate();
        let rounded = weights.map(|(index, weight)| match self.layout.is_linear(index) {
            true => weight.clone().cast(dtype),
            false => weight.clone(),
        });
        self.with_parameters(rounded.collect())
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The weights, in the order of [`ModelConfig::parameter_shapes`]; vectors are single rows.
    pub fn parameters(&self) -> &[Tensor<2>] {
        &self.parameters
    }

    /// Hugging Face names of the weights, in the same order.
    pub fn parameter_names(&self) -> &[String] {
        &self.layout.names
    }

    /// Shapes of the weights as Hugging Face stores them, in the same order.
    pub fn parameter_shapes(&self) -> &[Vec<usize>] {
        &self.layout.shapes
    }

    /// The same blocks with a score of zero in place of what they had for a head, all in `f32`.
    pub fn with_zero_score(&self) -> Self {
        let mut config = ModelConfig::clone(&self.config);
        config.head = Head::Score;
        let weight = |(name, shape): (String, Vec<usize>)| {
            let place = self.layout.names.iter().position(|own| *own == name);
            match place {
                Some(place) => self.parameters[place].clone().cast(DType::F32),
                None => Tensor::zeros([1, shape[1]], &self.device()),
            }
        };
        let parameters = config.parameter_shapes().into_iter().map(weight).collect();
        Self {
            precision: self.precision,
            ..Self::from_parameters(config, parameters)
        }
    }

    /// The same model with another token that fills up shorter rows; one that the model does not have
    /// is none.
    pub fn with_pad_token(&self, id: Option<u32>) -> Self {
        let mut config = ModelConfig::clone(&self.config);
        config.pad_token_id = id.filter(|id| (*id as usize) < config.vocab_size);
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// The output head's weight, `[V, E]`, or `[1, E]` of a score.
    pub fn head(&self) -> Tensor<2> {
        self.parameters[self.layout.head].clone()
    }

    /// The device of the weights, without autodiff.
    pub fn device(&self) -> Device {
        self.parameters[0].device().without_autodiff()
    }

    /// The same model with other weights.
    pub fn with_parameters(&self, parameters: Vec<Tensor<2>>) -> Self {
        assert_eq!(parameters.len(), self.parameters.len(), "one tensor a name");
        Self {
            parameters,
            ..self.clone()
        }
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.layout.layers.len()
    }

    /// Prepares a grid of tokens for [`Decoder::hidden_states`].
    pub fn input(&self, grid: &TokenGrid) -> ForwardInput {
        grid.forward_input(&self.rotary, &self.device())
    }

    /// Prepares prompts and segments that go on from them: see [`ForwardInput::shared_prompts`].
    pub fn shared_input(
        &self,
        prompts: &TokenGrid,
        segments: &TokenGrid,
        prompt_of: &[usize],
    ) -> ForwardInput {
        let (table, device) = (&self.rotary, &self.device());
        ForwardInput::shared_prompts(prompts, segments, prompt_of, table, device)
    }

    /// Prepares one decoding step: see [`ForwardInput::next_tokens`].
    pub fn next_input(&self, ids: &[u32], starts: &[usize], cached: usize) -> ForwardInput {
        ForwardInput::next_tokens(ids, starts, cached, &self.rotary, &self.device())
    }

    /// The last block's output after the final norm.
    ///
    /// With a cache the tokens continue the cached ones, and are added to it.
    ///
    /// # Shapes
    /// `[B, T, E]` for `[B, T]` tokens.
    pub fn hidden_states(&self, input: &ForwardInput, cache: Option<&mut KvCache>) -> Tensor<3> {
        let states = self.blocks(input, cache, |_| ());
        self.final_norm(states)
    }

    /// Every block's input, then the final output: the embedding first, the normed output last.
    ///
    /// # Shapes
    /// `layers + 1` tensors `[B, T, E]`.
    pub fn all_hidden_states(&self, input: &ForwardInput) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        let last = self.blocks(input, None, |state| states.push(state.clone()));
        states.push(self.final_norm(last));
        states
    }

    /// The first block's input: rows of the embedding, rounded to the model's precision, so that a
    /// frozen model has the same.
    ///
    /// # Shapes
    /// `[B, T]` tokens to `[B, T, E]`.
    pub fn embed(&self, input: &ForwardInput) -> Tensor<3> {
        let [b, t] = input.ids.dims();
        let embedding = self.parameters[self.layout.embed_tokens].clone();
        let rows = embedding.select(0, input.flat_ids()).cast(self.dtype());
        rows.cast(DType::F32).reshape([b as i32, t as i32, -1])
    }

    /// One block: attention and gated MLP, each after a norm and added to its input.
    ///
    /// # Shapes
    /// `[B, T, E]` to the same, both `f32`.
    pub fn block(
        &self,
        index: usize,
        states: Tensor<3>,
        input: &ForwardInput,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let layer = &self.layout.layers[index];
        let dtype = self.dtype();
        let normed = self.rms_norm(states.clone(), layer.input_layernorm, dtype);
        let attended = self.attention(index, layer, normed, input, cache);
        let states = states + attended.cast(DType::F32);
        let normed = self.rms_norm(states.clone(), layer.post_attention_layernorm, dtype);
        states + self.gated_mlp(layer, normed).cast(DType::F32)
    }

    /// The norm after the last block.
    ///
    /// # Shapes
    /// `[B, T, E]` to the same.
    pub fn final_norm(&self, states: Tensor<3>) -> Tensor<3> {
        self.rms_norm(states, self.layout.norm, FloatDType::F32)
    }

    /// Scores of every vocabulary entry, `f32`; without autodiff, unless the precision is `f32`.
    ///
    /// # Shapes
    /// `[N, E]` to `[N, V]`.
    pub fn logits(&self, states: Tensor<2>) -> Tensor<2> {
        let head = self.head().cast(self.dtype());
        ops::matmul_f32(states.cast(self.dtype()), head.transpose())
    }

    /// The number type of the precision.
    pub(crate) fn dtype(&self) -> FloatDType {
        self.precision.dtype()
    }

    fn blocks(
        &self,
        input: &ForwardInput,
        mut cache: Option<&mut KvCache>,
        mut visit: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [_, t] = input.ids.dims();
        let mut states = self.embed(input);
        for index in 0..self.block_count() {
            visit(&states);
            states = self.block(index, states, input, cache.as_deref_mut());
        }
        if let Some(cache) = cache {
            cache.advance(t);
        }
        states
    }

    fn attention(
        &self,
        index: usize,
        layer: &LayerLayout,
        states: Tensor<3>,
        input: &ForwardInput,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let rotation: &Rotation = &input.rotation;
        let queries = self.heads(&layer.q_proj, states.clone(), layer.q_norm);
        let keys = self.heads(&layer.k_proj, states.clone(), layer.k_norm);
        let values = self.heads(&layer.v_proj, states, None);
        let rotated = |heads| rotation.apply(heads).cast(self.dtype());
        let (queries, keys) = (rotated(queries), rotated(keys));
        let attended = match &input.attending {
            Attending::SharedPrompts(shared) => {
                assert!(cache.is_none(), "shared prompts are laid out, not cached");
                shared.attend(queries, keys, values)
            }
            Attending::Rows(sight) => {
                let [queries, keys, values] =
                    [queries, keys, values].map(|heads| heads.swap_dims(1, 2));
                let (keys, values) = match cache {
                    Some(cache) => {
                        let (start, capacity) = (cache.tokens(), cache.capacity());
                        cache.layer(index).append(start, capacity, [keys, values])
                    }
                    None => (keys, values),
                };
                ops::attention(queries, keys, values, sight)
            }
        };
        self.linear(&layer.o_proj, attended)
    }

    /// `down(silu(gate(x)) ⊙ up(x))` (SwiGLU, arXiv:2002.05202).
    fn gated_mlp(&self, layer: &LayerLayout, states: Tensor<3>) -> Tensor<3> {
        let gate = self.linear(&layer.gate_proj, states.clone());
        let up = self.linear(&layer.up_proj, states);
        self.linear(&layer.down_proj, ops::swiglu(gate, up))
    }

    /// Projects to heads `[B, T, heads, D]`, each normed, as `f32`, if the model norms them.
    fn heads(&self, linear: &LinearLayout, states: Tensor<3>, norm: Option<Index>) -> Tensor<4> {
        let [b, t, _] = states.dims();
        let width = self.config.head_dim;
        let projected = self.linear(linear, states);
        let count = projected.dims()[2] / width;
        let heads = projected.reshape([b, t, count, width]);
        match norm {
            Some(norm) => self.rms_norm(heads, norm, FloatDType::F32),
            None => heads,
        }
    }

    /// A linear map of states of any type, in the model's precision.
    fn linear(&self, linear: &LinearLayout, states: Tensor<3>) -> Tensor<3> {
        let [b, t, width] = states.dims();
        let dtype = self.dtype();
        let weight = self.parameters[linear.weight].clone();
        let [out, _] = weight.dims();
        let states = states.reshape([b * t, width]).cast(dtype);
        let adapter = self.adapter.as_ref();
        let update = adapter.and_then(|adapter| adapter.update_of(linear.weight));
        let update = update.map(|update| update.apply(states.clone()));
        let rows = ops::linear(states, weight);
        let rows = match linear.bias {
            Some(bias) => ops::add_bias(rows, self.parameters[bias].clone()),
            None => rows,
        };
        let rows = match update {
            Some(update) => rows + update,
            None => rows,
        };
        rows.reshape([b, t, out])
    }

    /// Normalises over the last dimension, in `f32`, and rounds to `dtype`.
    fn rms_norm<const R: usize>(
        &self,
        states: Tensor<R>,
        weight: Index,
        dtype: FloatDType,
    ) -> Tensor<R> {
        let shape = states.shape();
        let weight = self.parameters[weight].clone();
        let [_, width] = weight.dims();
        let rows = states.reshape([-1, width as i32]);
        let epsilon = self.config.rms_norm_eps;
        ops::rms_norm(rows, weight, epsilon, dtype.into()).reshape(shape)
    }
}
