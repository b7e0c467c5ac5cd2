//! The weights of a decoder that training changes, and the decoder with other values of them.

use std::ops::Range;

use burn::tensor::Tensor;

use super::decoder::Decoder;
use super::parameters::Index;

/// A part of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The token embedding.
    Embedding,
    /// A block, counted from 0.
    Block(usize),
    /// The norm after the last block.
    FinalNorm,
    /// The output head: the embedding where the two are tied.
    Head,
}

impl Decoder {
    /// The weights that training changes: all, or those of the adapter.
    pub fn trainable(&self) -> &[Tensor<2>] {
        match &self.adapter {
            Some(adapter) => adapter.tensors(),
            None => &self.parameters,
        }
    }

    /// The weights that training changes, to be changed in place; shapes must stay.
    pub fn trainable_mut(&mut self) -> &mut [Tensor<2>] {
        match &mut self.adapter {
            Some(adapter) => adapter.tensors_mut(),
            None => &mut self.parameters,
        }
    }

    /// Names of the weights that training changes, in order: Hugging Face's, or PEFT's.
    pub fn trainable_names(&self) -> &[String] {
        match &self.adapter {
            Some(adapter) => adapter.names(),
            None => &self.layout.names,
        }
    }

    /// Shapes of the weights that training changes as their files store them, in order.
    pub fn trainable_shapes(&self) -> &[Vec<usize>] {
        match &self.adapter {
            Some(adapter) => adapter.shapes(),
            None => &self.layout.shapes,
        }
    }

    /// Places of a part's weights among [`Decoder::trainable`]; empty when the part is frozen.
    pub fn trainable_range(&self, part: Part) -> Range<usize> {
        let one = |index: Index| index..index + 1;
        match (&self.adapter, part) {
            (Some(adapter), Part::Block(index)) => adapter.block_range(index),
            (Some(_), _) => 0..0,
            (None, Part::Embedding) => one(self.layout.embed_tokens),
            (None, Part::Block(index)) => self.layout.block_ranges[index].clone(),
            (None, Part::FinalNorm) => one(self.layout.norm),
            (None, Part::Head) => one(self.layout.head),
        }
    }

    /// The same model with other values of the weights that training changes.
    pub fn with_trainable(&self, trainable: Vec<Tensor<2>>) -> Self {
        let Some(adapter) = &self.adapter else {
            return self.with_parameters(trainable);
        };
        let mut changed = self.clone();
        changed.adapter = Some(adapter.with_tensors(trainable));
        changed
    }

    /// The same weights on the autodiff device, those that training changes as fresh leaves.
    pub fn tracked(&self) -> Self {
        self.tracked_in(0..self.trainable().len())
    }

    /// The same weights on the autodiff device, with fresh leaves at these places among
    /// [`Decoder::trainable`].
    pub fn tracked_in(&self, leaves: Range<usize>) -> Self {
        let track = |(place, tensor): (usize, &Tensor<2>)| {
            let tensor = tensor.clone().autodiff();
            match leaves.contains(&place) {
                true => tensor.require_grad(),
                false => tensor,
            }
        };
        let tracked = self.trainable().iter().enumerate().map(track).collect();
        if self.adapter.is_none() {
            return self.with_parameters(tracked);
        }
        let frozen = self
            .parameters
            .iter()
            .map(|weight| weight.clone().autodiff());
        self.with_parameters(frozen.collect())
            .with_trainable(tracked)
    }
}
