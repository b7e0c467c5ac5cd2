//! What a model says of samples that it is not trained on: references, old policies, critics.

use burn::tensor::Tensor;

use super::layout::{Layout, Placed};
use super::pass::Keep;
use super::slice::Slice;
use super::slicing::{Cutting, learning_workers, queues};
use super::{Batching, TrainingSample};
use crate::error::Result;
use crate::model::Decoder;
use crate::ops;
use crate::workers::Workers;

impl Batching {
    /// Log-probabilities of the trained tokens of each sample under `decoder`, or the values before
    /// them if it has a score; 0 where a token is not trained.
    ///
    /// # Errors
    /// When the device failed.
    pub fn score(
        self,
        decoder: &Decoder,
        samples: &[TrainingSample],
        temperature: f64,
        workers: &Workers,
    ) -> Result<Vec<Vec<f32>>> {
        let mut scores: Vec<Vec<f32>> = samples
            .iter()
            .map(|sample| vec![0.0; sample.completion_tokens()])
            .collect();
        // As in training, so that a policy scores as it trains.
        let workers = &learning_workers(decoder, workers);
        let decoder = &decoder.frozen();
        let mut first = 0;
        for micro_batch in self.split(samples) {
            let queues = queues(micro_batch, 1, Cutting::of(decoder, workers));
            let results = workers.map(queues, |queue| score_queue(decoder, queue, temperature));
            let results: Vec<Scored<'_>> = results.into_iter().flatten().collect();
            for (place, values) in spread(results)? {
                scores[first + place] = values;
            }
            first += micro_batch.len();
        }
        Ok(scores)
    }
}

/// A slice's samples and the scores of their trained tokens.
type Scored<'a> = (Vec<Placed<'a>>, Tensor<1>);

/// Scores of a queue's slices, left on the device.
fn score_queue<'a>(decoder: &Decoder, queue: Vec<Layout<'a>>, temperature: f64) -> Vec<Scored<'a>> {
    let mut scored = Vec::new();
    for slice in queue {
        let samples = slice.samples().to_vec();
        if let Some(forward) = Slice::forward(decoder, slice, temperature, Keep::Nothing) {
            scored.push((samples, forward.scores()));
        }
    }
    scored
}

/// Reads all scores in one transfer and gives each sample its own, with its place.
fn spread(scored: Vec<Scored<'_>>) -> Result<Vec<(usize, Vec<f32>)>> {
    if scored.is_empty() {
        return Ok(Vec::new());
    }
    let (samples, tensors): (Vec<_>, Vec<_>) = scored.into_iter().unzip();
    let mut values = ops::read_floats(Tensor::cat(tensors, 0))?.into_iter();
    let mut value = |counts: &bool| match counts {
        true => values.next().expect("one value a trained token"),
        false => 0.0,
    };
    let samples = samples.into_iter().flatten();
    let spread = samples.map(|placed| {
        let scores = placed.sample.loss_mask.iter().map(&mut value);
        (placed.place, scores.collect())
    });
    Ok(spread.collect())
}
