//! Names and shapes of a decoder's tensors, in the order of the model's own modules.

use super::{Family, Head, ModelConfig};

/// Name of the weight of a [`Head::Score`].
pub(in crate::model) const SCORE: &str = "score.weight";

impl ModelConfig {
    /// Whether the q, k and v projections have biases.
    pub fn qkv_bias(&self) -> bool {
        self.family == Family::Qwen2 || self.output_bias()
    }

    /// Whether the output projection of the attention has a bias.
    pub fn output_bias(&self) -> bool {
        self.family.reads_attention_bias() && self.attention_bias
    }

    /// Whether queries and keys are normalised per head.
    pub fn qk_norm(&self) -> bool {
        self.family == Family::Qwen3
    }

    /// Every tensor's Hugging Face name and shape; `lm_head.weight` only where the head is untied.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let embedding = vec![self.vocab_size, hidden];
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), embedding.clone())];
        for layer in 0..self.num_hidden_layers {
            self.push_layer(layer, &mut shapes);
        }
        shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
        match self.head {
            Head::Vocabulary if self.tie_word_embeddings => (),
            Head::Vocabulary => shapes.push(("lm_head.weight".to_owned(), embedding)),
            Head::Score => shapes.push((SCORE.to_owned(), vec![1, hidden])),
        }
        shapes
    }

    fn push_layer(&self, layer: usize, shapes: &mut Vec<(String, Vec<usize>)>) {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let (qkv_bias, output_bias) = (self.qkv_bias(), self.output_bias());
        let mlp_bias = self.family.reads_mlp_bias() && self.mlp_bias;
        let linears = [
            ("self_attn.q_proj", queries, hidden, qkv_bias),
            ("self_attn.k_proj", keys, hidden, qkv_bias),
            ("self_attn.v_proj", keys, hidden, qkv_bias),
            ("self_attn.o_proj", hidden, queries, output_bias),
            ("mlp.gate_proj", inner, hidden, mlp_bias),
            ("mlp.up_proj", inner, hidden, mlp_bias),
            ("mlp.down_proj", hidden, inner, mlp_bias),
        ];
        let mut push = |name: &str, shape: Vec<usize>| {
            shapes.push((format!("model.layers.{layer}.{name}"), shape));
        };
        for (module, outputs, inputs, bias) in linears {
            if module == "mlp.gate_proj" && self.qk_norm() {
                push("self_attn.q_norm.weight", vec![self.head_dim]);
                push("self_attn.k_norm.weight", vec![self.head_dim]);
            }
            push(&format!("{module}.weight"), vec![outputs, inputs]);
            if bias {
                push(&format!("{module}.bias"), vec![outputs]);
            }
        }
        push("input_layernorm.weight", vec![hidden]);
        push("post_attention_layernorm.weight", vec![hidden]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(family: Family) -> ModelConfig {
        ModelConfig {
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 1,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            ..ModelConfig::of_family(family)
        }
    }

    fn listed(config: &ModelConfig) -> Vec<String> {
        (config.parameter_shapes().iter())
            .map(|(name, shape)| {
                let name = name
                    .trim_start_matches("model.")
                    .trim_start_matches("layers.0.");
                format!("{name} {shape:?}")
            })
            .collect()
    }

    #[test]
    fn an_untied_llama_has_these_tensors() {
        let expected = [
            "embed_tokens.weight [11, 8]",
            "self_attn.q_proj.weight [24, 8]",
            "self_attn.k_proj.weight [12, 8]",
            "self_attn.v_proj.weight [12, 8]",
            "self_attn.o_proj.weight [8, 24]",
            "mlp.gate_proj.weight [12, 8]",
            "mlp.up_proj.weight [12, 8]",
            "mlp.down_proj.weight [8, 12]",
            "input_layernorm.weight [8]",
            "post_attention_layernorm.weight [8]",
            "norm.weight [8]",
            "lm_head.weight [11, 8]",
        ];
        assert_eq!(listed(&small(Family::Llama)), expected);
        assert_eq!(listed(&small(Family::Mistral)), expected);
    }

    #[test]
    fn a_tied_head_is_not_listed() {
        let mut config = small(Family::Llama);
        config.tie_word_embeddings = true;
        assert_eq!(listed(&config).last().unwrap(), "norm.weight [8]");
    }

    #[test]
    fn qwen2_has_biases_on_q_k_and_v_only() {
        let mut names = listed(&small(Family::Qwen2));
        names.retain(|name| name.contains("bias"));
        let expected = [
            "self_attn.q_proj.bias [24]",
            "self_attn.k_proj.bias [12]",
            "self_attn.v_proj.bias [12]",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn qwen3_has_norms_on_queries_and_keys_after_the_projections() {
        let names = listed(&small(Family::Qwen3));
        let expected = [
            "self_attn.o_proj.weight [8, 24]",
            "self_attn.q_norm.weight [6]",
            "self_attn.k_norm.weight [6]",
        ];
        assert_eq!(names[4..7], expected);
        assert!(!names.iter().any(|name| name.contains("bias")));
    }

    #[test]
    fn llama_biases_reach_the_output_projection_and_the_feed_forward_block() {
        let mut config = small(Family::Llama);
        (config.attention_bias, config.mlp_bias) = (true, true);
        let biases = listed(&config)
            .iter()
            .filter(|name| name.contains("bias"))
            .count();
        assert_eq!(biases, 7);
        config.family = Family::Mistral;
        assert!(!listed(&config).iter().any(|name| name.contains("bias")));
    }
}
