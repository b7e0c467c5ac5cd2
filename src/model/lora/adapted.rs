//! A decoder with an adapter, without it, and with it merged into the weights.

use burn::tensor::{DType, Tensor};

use super::Adapter;
use crate::error::Result;
use crate::model::decoder::Decoder;

impl Decoder {
    /// The same model with an adapter, in place of the one it may have: training changes the
    /// adapter's tensors, the weights are frozen and shared.
    ///
    /// # Errors
    /// When the adapter was made for a model of another shape.
    pub fn with_adapter(&self, adapter: Adapter) -> Result<Self> {
        adapter.check_fits(self)?;
        let mut adapted = self.clone();
        adapted.adapter = Some(adapter);
        Ok(adapted)
    }

    /// The model before its adapter, which shares the weights: the reference of a policy that
    /// trains one.
    pub fn without_adapter(&self) -> Self {
        let mut plain = self.clone();
        plain.adapter = None;
        plain
    }

    /// The adapter, if the model has one.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The same function without an adapter: each update is added to its weight, `W + s B A`.
    pub fn merged(&self) -> Self {
        let places = 0..self.parameters.len();
        let merged = places.map(|index| self.merged_weight(index)).collect();
        self.without_adapter().with_parameters(merged)
    }

    /// The weight at place `index` with its update, if it has one, in `f32`.
    pub(in crate::model) fn merged_weight(&self, index: usize) -> Tensor<2> {
        let weight = self.parameters[index].clone().cast(DType::F32);
        let adapter = self.adapter.as_ref();
        match adapter.and_then(|adapter| adapter.update_of(index)) {
            Some(update) => weight + update.matrix(),
            None => weight,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::{Family, LoraConfig, ModelConfig, Part, TokenGrid};
    use crate::ops;
    use crate::seed::Seed;

    /// A model of two blocks with an adapter on all linear layers but those of the first MLP.
    fn adapted() -> Decoder {
        let config = ModelConfig {
            vocab_size: 11,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 2,
            ..ModelConfig::of_family(Family::Qwen2)
        };
        let base = Decoder::random(config, 0.3, Seed::new(1), &Device::flex());
        let settings = LoraConfig {
            excludes: crate::model::ModuleFilter::Pattern(".*0.mlp.*".to_owned()),
            ..LoraConfig::default()
        };
        let adapter = Adapter::fresh(&settings, &base, Seed::new(2)).unwrap();
        base.with_adapter(adapter).unwrap()
    }

    fn outputs(decoder: &Decoder) -> Tensor<3> {
        let grid = TokenGrid::right_padded(&[[1_u32, 2, 3]], 0);
        decoder.hidden_states(&decoder.input(&grid), None)
    }

    #[test]
    fn parts_hold_the_adapter_and_nothing_of_the_frozen_weights() {
        let decoder = adapted();
        assert_eq!(decoder.trainable().len(), 22);
        assert_eq!(decoder.trainable_range(Part::Block(0)), 0..8);
        assert_eq!(decoder.trainable_range(Part::Block(1)), 8..22);
        for part in [Part::Embedding, Part::FinalNorm, Part::Head] {
            assert!(decoder.trainable_range(part).is_empty());
        }
        let plain = decoder.without_adapter();
        assert_eq!(plain.trainable_names(), plain.parameter_names());
    }

    #[test]
    fn gradients_reach_the_tracked_tensors_of_the_adapter_only() {
        let decoder = adapted();
        for leaves in [0..22, 8..22, 3..4] {
            let tracked = decoder.tracked_in(leaves.clone());
            let gradients = outputs(&tracked).square().sum().backward();
            for (place, tensor) in tracked.trainable().iter().enumerate() {
                assert_eq!(tensor.grad(&gradients).is_some(), leaves.contains(&place));
            }
            let weights = tracked.parameters().iter();
            assert!(weights.map(|w| w.grad(&gradients)).all(|g| g.is_none()));
        }
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_a_trained_one_does_as_when_merged() {
        let decoder = adapted();
        let values = |decoder: &Decoder| ops::read_floats(outputs(decoder)).unwrap();
        let plain = values(&decoder.without_adapter());
        assert_eq!(values(&decoder), plain);
        let moved = decoder
            .trainable()
            .iter()
            .map(|tensor| tensor.clone() + 0.1);
        let decoder = decoder.with_trainable(moved.collect());
        assert_eq!(values(&decoder.without_adapter()), plain);
        let (trained, merged) = (values(&decoder), values(&decoder.merged()));
        let farthest = |a: &[f32], b: &[f32]| {
            let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
            differences.fold(0.0_f32, f32::max)
        };
        assert!(farthest(&trained, &plain) > 0.1);
        assert!(farthest(&trained, &merged) < 1e-4);
    }
}
