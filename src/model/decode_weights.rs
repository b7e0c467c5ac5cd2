//! A decoder's weights as decoding takes them: a recorded step on a GPU, or one operation after the other on the CPU.

use burn::tensor::{DType, Tensor};

use super::Decoder;
use super::parameters::{Index, LayerLayout, LinearLayout};
use crate::device;
use crate::ops::{DecodeLayer, DecodeWeights, JoinedLinear};

/// Most weights of a model on the CPU that are copied for decoding: 128 MiB of `f32`.
const MOST_COPIED: usize = 1 << 25;

impl Decoder {
    /// The same model for many small steps: on the CPU weights of linear maps lie input by input in memory, if they are
    /// `f32` and not too many to copy. As they come, each product of few rows would bring them into that order first.
    pub(crate) fn for_decoding(&self) -> Self {
        let weights = self.parameters.iter().map(Tensor::dims);
        let weights: usize = weights.map(|[rows, columns]| rows * columns).sum();
        if !device::is_cpu(&self.device()) || weights > MOST_COPIED {
            return self.clone();
        }
        let mut parameters = self.parameters.clone();
        for linear in self.layout.layers.iter().flat_map(LayerLayout::linears) {
            let weight = &mut parameters[linear.weight];
            if weight.dtype() == DType::F32 {
                let turned = weight.clone().transpose();
                *weight = Tensor::from_data(turned.into_data(), &self.device()).transpose();
            }
        }
        self.with_parameters(parameters)
    }

    /// The weights of a decoding step, without any adapter's; neighbouring linear maps are joined into
    /// copies.
    pub fn decode_weights(&self) -> DecodeWeights {
        let layout = &self.layout;
        let layers = layout.layers.iter().map(|layer| DecodeLayer {
            input_norm: self.weight(layer.input_layernorm),
            attention_in: self.joined(&[&layer.q_proj, &layer.k_proj, &layer.v_proj]),
            head_norms: layer
                .q_norm
                .zip(layer.k_norm)
                .map(|(q, k)| (self.weight(q), self.weight(k))),
            attention_out: self.joined(&[&layer.o_proj]),
            output_norm: self.weight(layer.post_attention_layernorm),
            gate_up: self.joined(&[&layer.gate_proj, &layer.up_proj]),
            down: self.joined(&[&layer.down_proj]),
        });
        let is_tied = layout.head == layout.embed_tokens;
        DecodeWeights {
            embedding: self.weight(layout.embed_tokens),
            layers: layers.collect(),
            norm: self.weight(layout.norm),
            head: (!is_tied).then(|| self.weight(layout.head)),
        }
    }

    fn weight(&self, index: Index) -> Tensor<2> {
        self.parameters[index].clone()
    }

    /// Linear maps of one input below each other; either all have a bias or none has.
    fn joined(&self, linears: &[&LinearLayout]) -> JoinedLinear {
        let weights = linears.iter().map(|linear| self.weight(linear.weight));
        let biases = linears.iter().filter_map(|linear| linear.bias);
        let biases: Vec<_> = biases.map(|bias| self.weight(bias)).collect();
        JoinedLinear {
            weight: cat(weights.collect(), 0),
            bias: (!biases.is_empty()).then(|| cat(biases, 1)),
        }
    }
}

fn cat(mut tensors: Vec<Tensor<2>>, dimension: usize) -> Tensor<2> {
    match tensors.len() {
        1 => tensors.remove(0),
        _ => Tensor::cat(tensors, dimension),
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use crate::model::{Decoder, Family, ModelConfig, TokenGrid};
    use crate::ops::read_floats;
    use crate::seed::Seed;

    #[test]
    fn weights_laid_out_for_decoding_compute_the_same() {
        let config = ModelConfig {
            vocab_size: 50,
            hidden_size: 24,
            intermediate_size: 40,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            tie_word_embeddings: true,
            ..ModelConfig::of_family(Family::Qwen2)
        };
        let decoder = Decoder::random(config, 0.5, Seed::new(2), &Device::flex());
        let states = |decoder: &Decoder| {
            let rows: [&[u32]; 2] = [&[1, 2, 3], &[4, 5, 6]];
            let input = decoder.input(&TokenGrid::left_padded(&rows, 3));
            let states = decoder.hidden_states(&input, None);
            read_floats(states.reshape([6, 24])).unwrap()
        };
        let (found, expected) = (states(&decoder.for_decoding()), states(&decoder));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            // Sums may be taken in another order.
            assert!((found - expected).abs() < 2e-5, "{found} {expected}");
        }
    }
}
