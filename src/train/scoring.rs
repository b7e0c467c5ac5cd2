//! What a model says of samples that it is not trained on: references, old policies, critics.

use super::pass::Keep;
use super::slice::Slice;
use super::slicing::{Placed, learning_workers, queues};
use super::{Batching, TrainingSample};
use crate::error::Result;
use crate::model::Decoder;
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
        let mut first = 0;
        for micro_batch in self.split(samples) {
            let queues = queues(micro_batch, 1, workers.count(), &decoder.device());
            let results = workers.map(queues, |queue| score_queue(decoder, queue, temperature));
            for result in results {
                for (place, logprobs) in result? {
                    scores[first + place] = logprobs;
                }
            }
            first += micro_batch.len();
        }
        Ok(scores)
    }
}

/// Scores of a queue's samples, with their places.
fn score_queue(
    decoder: &Decoder,
    queue: Vec<Vec<Placed<'_>>>,
    temperature: f64,
) -> Result<Vec<(usize, Vec<f32>)>> {
    let mut scores = Vec::new();
    for slice in queue {
        let samples = slice.clone();
        let Some(forward) = Slice::forward(decoder, slice, temperature, Keep::Nothing) else {
            continue;
        };
        let mut values = forward.readout().scores()?.into_iter();
        let mut value = |counts: &bool| match counts {
            true => values.next().expect("one value a trained token"),
            false => 0.0,
        };
        for (place, sample) in samples {
            scores.push((place, sample.loss_mask.iter().map(&mut value).collect()));
        }
    }
    Ok(scores)
}
