//! Gradients of the weights that training changes, summed in place as they come.

use burn::tensor::{Int, Tensor};

use crate::model::Decoder;
use crate::ops::{self, HeadSum};
use crate::workers::Workers;

/// One sum a trainable weight; none until its first summand.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    sums: Vec<Option<Tensor<2>>>,
}

impl Gradients {
    /// No summands yet.
    pub(super) fn none(decoder: &Decoder) -> Self {
        Self {
            sums: vec![None; decoder.trainable().len()],
        }
    }

    /// Sums of ones: what later passes find, whose memory has been touched.
    pub(super) fn ones(decoder: &Decoder) -> Self {
        let ones = decoder.trainable().iter().map(Tensor::ones_like);
        Self::from_sums(ones.collect())
    }

    /// Goes on from sums, in the decoder's order.
    pub(super) fn from_sums(sums: Vec<Tensor<2>>) -> Self {
        Self {
            sums: sums.into_iter().map(Some).collect(),
        }
    }

    /// Adds to the sum at `place`.
    pub(super) fn add(&mut self, place: usize, summand: Tensor<2>) {
        self.sums[place] = Some(match self.sums[place].take() {
            Some(sum) => sum + summand,
            None => summand,
        });
    }

    /// Adds each row of `summands` `[N, E]` to the row of `weight`'s sum that `rows` `[N]` names.
    pub(super) fn add_rows(
        &mut self,
        place: usize,
        weight: &Tensor<2>,
        rows: Tensor<1, Int>,
        summands: Tensor<2>,
    ) {
        let sum = self.sums[place].take();
        let sum = sum.unwrap_or_else(|| weight.zeros_like());
        self.sums[place] = Some(ops::add_rows(sum, rows, summands));
    }

    /// The sum at `place`, out of here, for the head's gradient to be added to.
    pub(super) fn take_for_head(&mut self, place: Option<usize>) -> HeadSum {
        match place.map(|place| self.sums[place].take()) {
            None => HeadSum::Frozen,
            Some(None) => HeadSum::Empty,
            Some(Some(sum)) => HeadSum::Of(sum),
        }
    }

    /// The sums of several workers as one, added in the workers' order.
    pub(super) fn merge(all: Vec<Self>, workers: &Workers) -> Self {
        let mut all = all.into_iter();
        let Some(mut merged) = all.next() else {
            return Self::default();
        };
        let mut summands: Vec<Vec<Tensor<2>>> = vec![Vec::new(); merged.sums.len()];
        for gradients in all {
            for (summands, sum) in summands.iter_mut().zip(gradients.sums) {
                summands.extend(sum);
            }
        }
        let work = merged.sums.drain(..).zip(summands).collect();
        merged.sums = workers.map(
            work,
            |(first, rest): (Option<Tensor<2>>, Vec<Tensor<2>>)| {
                first.into_iter().chain(rest).reduce(|sum, new| sum + new)
            },
        );
        merged
    }

    /// All sums, zeros where nothing came; none if nothing came at all.
    pub(super) fn finish(self, decoder: &Decoder) -> Option<Vec<Tensor<2>>> {
        if self.sums.iter().all(Option::is_none) {
            return None;
        }
        let pairs = self.sums.into_iter().zip(decoder.trainable());
        let sum = |(sum, weight): (Option<Tensor<2>>, &Tensor<2>)| {
            sum.unwrap_or_else(|| weight.zeros_like())
        };
        Some(pairs.map(sum).collect())
    }
}
