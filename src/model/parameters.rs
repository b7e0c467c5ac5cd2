//! Where each weight of a decoder stands in its flat list of parameters.
//!
//! Every parameter is a matrix: a norm weight or a bias is one row. One flat list in Hugging Face's
//! order serves loading, saving, gradients, the optimiser and checkpoints alike.

use std::collections::HashMap;
use std::ops::Range;

use super::ModelConfig;
use super::config::SCORE;

/// Index of a parameter in the decoder's list.
pub(super) type Index = usize;

/// Names, shapes and places of a decoder's parameters.
#[derive(Debug)]
pub(super) struct ParameterLayout {
    pub names: Vec<String>,
    pub shapes: Vec<Vec<usize>>,
    pub embed_tokens: Index,
    pub layers: Vec<LayerLayout>,
    pub norm: Index,
    pub head: Index,
    /// Where each block's parameters stand; they are neighbours.
    pub block_ranges: Vec<Range<Index>>,
}

/// A linear map's weight `[out, in]` and bias.
#[derive(Debug)]
pub(super) struct LinearLayout {
    pub weight: Index,
    pub bias: Option<Index>,
}

/// The parameters of one block.
#[derive(Debug)]
pub(super) struct LayerLayout {
    pub input_layernorm: Index,
    pub q_proj: LinearLayout,
    pub k_proj: LinearLayout,
    pub v_proj: LinearLayout,
    pub o_proj: LinearLayout,
    pub q_norm: Option<Index>,
    pub k_norm: Option<Index>,
    pub post_attention_layernorm: Index,
    pub gate_proj: LinearLayout,
    pub up_proj: LinearLayout,
    pub down_proj: LinearLayout,
}

impl ParameterLayout {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let (names, shapes): (Vec<_>, Vec<_>) = config.parameter_shapes().into_iter().unzip();
        let places: HashMap<&str, Index> = names
            .iter()
            .enumerate()
            .map(|(index, name): (usize, &String)| (name.as_str(), index))
            .collect();
        let find = |name: &str| places.get(name).copied();
        let place = |name: &str| find(name).expect("the configuration lists every tensor");
        let layers = (0..config.num_hidden_layers)
            .map(|layer| LayerLayout::new(layer, &find))
            .collect();
        let embed_tokens = place("model.embed_tokens.weight");
        let norm = place("model.norm.weight");
        let head = find("lm_head.weight").or_else(|| find(SCORE));
        let head = head.unwrap_or(embed_tokens);
        let block_ranges = (0..config.num_hidden_layers)
            .map(|layer| block_range(&names, layer))
            .collect();
        Self {
            block_ranges,
            embed_tokens,
            layers,
            norm,
            head,
            names,
            shapes,
        }
    }

    /// Rows and columns of parameter `index` as a matrix.
    pub(super) fn matrix_shape(&self, index: Index) -> [usize; 2] {
        match self.shapes[index].as_slice() {
            [rows, columns] => [*rows, *columns],
            [columns] => [1, *columns],
            shape => panic!("parameters have one or two dimensions, not {shape:?}"),
        }
    }

    /// Whether parameter `index` is one of a linear map, or the embedding: what is read in the
    /// model's precision. Norms and scores are read in `f32`.
    pub(super) fn is_linear(&self, index: Index) -> bool {
        let name = &self.names[index];
        !name.ends_with("norm.weight") && name != SCORE
    }

    /// Path of the module whose weight is parameter `index`.
    pub(super) fn module_path(&self, index: Index) -> &str {
        let name = &self.names[index];
        name.strip_suffix(".weight").unwrap_or(name)
    }
}

fn block_range(names: &[String], layer: usize) -> Range<Index> {
    let prefix = format!("model.layers.{layer}.");
    let start = names.iter().position(|name| name.starts_with(&prefix));
    let start = start.expect("the configuration lists every tensor");
    let names = names[start..].iter();
    start..start + names.take_while(|name| name.starts_with(&prefix)).count()
}

impl LayerLayout {
    /// The linear maps, in the order of their parameters.
    pub(super) fn linears(&self) -> [&LinearLayout; 7] {
        [
            &self.q_proj,
            &self.k_proj,
            &self.v_proj,
            &self.o_proj,
            &self.gate_proj,
            &self.up_proj,
            &self.down_proj,
        ]
    }

    fn new(layer: usize, find: &impl Fn(&str) -> Option<Index>) -> Self {
        let optional = |part: &str| find(&format!("model.layers.{layer}.{part}"));
        let place = |part: &str| optional(part).expect("the configuration lists every tensor");
        let linear = |part: &str| LinearLayout {
            weight: place(&format!("{part}.weight")),
            bias: optional(&format!("{part}.bias")),
        };
        Self {
            input_layernorm: place("input_layernorm.weight"),
            q_proj: linear("self_attn.q_proj"),
            k_proj: linear("self_attn.k_proj"),
            v_proj: linear("self_attn.v_proj"),
            o_proj: linear("self_attn.o_proj"),
            q_norm: optional("self_attn.q_norm.weight"),
            k_norm: optional("self_attn.k_norm.weight"),
            post_attention_layernorm: place("post_attention_layernorm.weight"),
            gate_proj: linear("mlp.gate_proj"),
            up_proj: linear("mlp.up_proj"),
            down_proj: linear("mlp.down_proj"),
        }
    }
}
