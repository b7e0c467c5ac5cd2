//! Choosing one token from a row of logits, on the host.
//!
//! The filters run in the order of transformers' warpers: repetition penalty, temperature, top-k,
//! top-p, min-p.

use std::cmp::Ordering;

use rand::{Rng, RngExt};

use super::SamplingParams;

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token's id.
    pub id: u32,
    /// Its log-probability in nats under the distribution it was drawn from; when greedy, under
    /// the unscaled logits.
    pub logprob: f32,
}

/// Chooses tokens by [`SamplingParams`]; holds buffers that rows share.
#[derive(Debug)]
pub struct Sampler<'a> {
    params: &'a SamplingParams,
    scores: Vec<f32>,
    order: Vec<u32>,
    seen: Vec<u32>,
}

impl<'a> Sampler<'a> {
    /// A sampler for these parameters.
    pub fn new(params: &'a SamplingParams) -> Self {
        Self {
            params,
            scores: Vec::new(),
            order: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Draws a token from `logits`; `context` holds the row's ids so far, read only by the
    /// repetition penalty.
    ///
    /// # Panics
    /// When `logits` is empty.
    pub fn draw(&mut self, logits: &[f32], context: &[u32], rng: &mut impl Rng) -> Draw {
        assert!(!logits.is_empty(), "a vocabulary has entries");
        if self.params.temperature == 0.0 {
            return self.likeliest(logits, context);
        }
        let total = self.weigh(logits, context);
        let mut rest = rng.random::<f64>() * total;
        let mut chosen = None;
        for (id, &weight) in self.scores.iter().enumerate() {
            if weight > 0.0 {
                chosen = Some(id);
                rest -= f64::from(weight);
                if rest < 0.0 {
                    break;
                }
            }
        }
        let id = chosen.expect("the likeliest token always keeps its weight");
        Draw {
            id: id as u32,
            logprob: (f64::from(self.scores[id]) / total).ln() as f32,
        }
    }

    /// Probabilities after all filters; the likeliest token alone has one when greedy.
    pub fn distribution(&mut self, logits: &[f32], context: &[u32]) -> Vec<f32> {
        if self.params.temperature == 0.0 {
            let mut distribution = vec![0.0; logits.len()];
            distribution[self.likeliest(logits, context).id as usize] = 1.0;
            return distribution;
        }
        let total = self.weigh(logits, context);
        let probability = |weight: &f32| (f64::from(*weight) / total) as f32;
        self.scores.iter().map(probability).collect()
    }

    /// Fills `scores` with unnormalised probabilities, 0 where filtered out; returns their sum.
    fn weigh(&mut self, logits: &[f32], context: &[u32]) -> f64 {
        self.penalise(logits, context);
        let temperature = self.params.temperature as f32;
        if temperature != 1.0 {
            self.scores
                .iter_mut()
                .for_each(|score| *score /= temperature);
        }
        self.keep_top_k();
        let highest = self.scores.iter().copied().fold(f32::MIN, f32::max);
        for score in &mut self.scores {
            *score = (*score - highest).exp();
        }
        self.keep_top_p();
        if self.params.min_p > 0.0 {
            // The likeliest token weighs exactly 1.
            let least = self.params.min_p as f32;
            drop_where(&mut self.scores, |weight| weight < least);
        }
        self.scores.iter().map(|&weight| f64::from(weight)).sum()
    }

    fn likeliest(&mut self, logits: &[f32], context: &[u32]) -> Draw {
        self.penalise(logits, context);
        let mut best = 0;
        for (id, score) in self.scores.iter().enumerate() {
            if *score > self.scores[best] {
                best = id;
            }
        }
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = logits.iter().map(|z| f64::from((z - highest).exp())).sum();
        Draw {
            id: best as u32,
            logprob: (f64::from(logits[best] - highest) - sum.ln()) as f32,
        }
    }

    /// Copies the logits, penalising tokens the row already has (CTRL, arXiv:1909.05858).
    fn penalise(&mut self, logits: &[f32], context: &[u32]) {
        self.scores.clear();
        self.scores.extend_from_slice(logits);
        let penalty = self.params.repetition_penalty as f32;
        if penalty == 1.0 {
            return;
        }
        self.seen.clear();
        self.seen.extend_from_slice(context);
        self.seen.sort_unstable();
        self.seen.dedup();
        for &id in &self.seen {
            if let Some(score) = self.scores.get_mut(id as usize) {
                *score = match *score < 0.0 {
                    true => *score * penalty,
                    false => *score / penalty,
                };
            }
        }
    }

    fn keep_top_k(&mut self) {
        let k = self.params.top_k;
        if k == 0 || k >= self.scores.len() {
            return;
        }
        let mut sorted = self.scores.clone();
        let (_, threshold, _) = sorted.select_nth_unstable_by(k - 1, |a, b| descending(*a, *b));
        let threshold = *threshold;
        for score in &mut self.scores {
            if *score < threshold {
                *score = f32::NEG_INFINITY;
            }
        }
    }

    /// Drops the least likely tokens while their probabilities sum to at most `1 − top_p`
    /// (nucleus sampling, arXiv:1904.09751).
    fn keep_top_p(&mut self) {
        if self.params.top_p >= 1.0 {
            return;
        }
        let scores = &mut self.scores;
        self.order.clear();
        self.order
            .extend((0..scores.len() as u32).filter(|&id| scores[id as usize] > 0.0));
        self.order
            .sort_by(|a, b| descending(scores[*b as usize], scores[*a as usize]));
        let total: f64 = scores.iter().map(|&weight| f64::from(weight)).sum();
        let droppable = (1.0 - self.params.top_p) * total;
        let mut sum = 0.0;
        let last = self.order.len() - 1;
        for &id in &self.order[..last] {
            sum += f64::from(scores[id as usize]);
            if sum > droppable {
                break;
            }
            scores[id as usize] = 0.0;
        }
    }
}

fn drop_where(weights: &mut [f32], dropped: impl Fn(f32) -> bool) {
    for weight in weights {
        if dropped(*weight) {
            *weight = 0.0;
        }
    }
}

fn descending(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn params() -> SamplingParams {
        SamplingParams::default()
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.0_f32, 1.0_f32.exp().ln() + 1.0, -1.0];
        let params = params();
        let mut sampler = Sampler::new(&params);
        let expected = sampler.distribution(&logits, &[]);
        let mut rng = Seed::new(1).rng();
        let mut counts = [0_f32; 3];
        for _ in 0..20_000 {
            counts[sampler.draw(&logits, &[], &mut rng).id as usize] += 1.0 / 20_000.0;
        }
        for (count, expected) in counts.iter().zip(&expected) {
            assert!((count - expected).abs() < 0.02, "{counts:?} {expected:?}");
        }
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_sum() {
        // Probabilities 0.5, 0.3, 0.2: 0.6 needs the first two.
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let params = SamplingParams {
            top_p: 0.6,
            ..params()
        };
        let kept = Sampler::new(&params).distribution(&logits, &[]);
        assert!((kept[0] - 0.625).abs() < 1e-6 && (kept[1] - 0.375).abs() < 1e-6);
        assert_eq!(kept[2], 0.0);
    }

    #[test]
    fn a_tiny_top_p_keeps_the_likeliest_token() {
        let params = SamplingParams {
            top_p: 1e-9,
            ..params()
        };
        let kept = Sampler::new(&params).distribution(&[0.0, 2.0, 1.0], &[]);
        assert_eq!(kept, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn greedy_takes_the_first_of_equal_logits() {
        let params = SamplingParams::greedy(1);
        let draw = Sampler::new(&params).draw(&[1.0, 1.0], &[], &mut Seed::new(0).rng());
        assert_eq!(draw.id, 0);
        assert!((draw.logprob - 0.5_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn top_k_keeps_k_tokens() {
        let params = SamplingParams {
            top_k: 2,
            ..params()
        };
        let kept = Sampler::new(&params).distribution(&[0.0, 3.0, 2.0, 1.0], &[]);
        assert_eq!(kept.iter().filter(|p| **p > 0.0).count(), 2);
    }
}
