//! Attention on the CPU backend, head by head and block of queries by block.

mod matrix;
mod rows;

use std::ops::Range;

use burn::backend::flex::{Flex, FlexTensor};
use burn::tensor::{Shape, TensorData};
use rayon::prelude::*;

use self::matrix::{Matrix, add_product, multiply};
use self::rows::{NewestQuery, Probabilities, ScoreGradients};
use super::AttentionBackend;
use crate::ops::lanes;

/// Queries taken together: few, since about half a block of keys is taken that a query does not see.
const BLOCK: usize = 64;

impl AttentionBackend for Flex {
    fn causal_attention(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        starts: FlexTensor,
    ) -> FlexTensor {
        let heads = Heads::new(queries, keys, values, &starts);
        match heads.t {
            1 => heads.attend_newest(),
            _ => heads.attend(),
        }
    }

    fn causal_attention_gradients(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        starts: FlexTensor,
        gradient: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let heads = Heads::new(queries, keys, values, &starts);
        let [for_queries, for_keys, for_values] = heads.gradients(gradient);
        (for_queries, for_keys, for_values)
    }
}

/// What attends to what.
#[derive(Clone, Debug)]
struct Heads {
    queries: FlexTensor,
    keys: FlexTensor,
    values: FlexTensor,
    starts: Vec<usize>,
    /// Rows, key-value heads, query heads of each, queries, keys, head width.
    b: usize,
    k: usize,
    g: usize,
    t: usize,
    l: usize,
    d: usize,
    scale: f32,
}

impl Heads {
    fn new(queries: FlexTensor, keys: FlexTensor, values: FlexTensor, starts: &FlexTensor) -> Self {
        let [b, h, t, d] = queries.layout().shape().dims();
        let [_, k, l, _] = keys.layout().shape().dims();
        Self {
            queries,
            keys,
            values,
            starts: host_starts(starts),
            b,
            k,
            g: h / k,
            t,
            l,
            d,
            scale: (d as f32).sqrt().recip(),
        }
    }

    fn start(&self, row: usize) -> usize {
        self.starts[row % self.starts.len()]
    }

    /// Every row with each of its key-value heads.
    fn groups(&self) -> Vec<(usize, usize)> {
        let heads = |row| (0..self.k).map(move |head| (row, head));
        (0..self.b).flat_map(heads).collect()
    }

    /// Queries taken together, in order.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let t = self.t;
        (0..t)
            .step_by(BLOCK)
            .map(move |from| from..t.min(from + BLOCK))
    }

    fn attend(&self) -> FlexTensor {
        let (h, head) = (self.k * self.g, self.t * self.d);
        let mut heads = vec![0.0; self.b * h * head];
        let places = heads.par_chunks_mut(head.max(1)).enumerate();
        let blocks = places.flat_map(|(place, output)| {
            let blocks = output.par_chunks_mut(BLOCK * self.d).enumerate();
            blocks.map(move |(block, output)| (place, block * BLOCK, output))
        });
        blocks.for_each_init(
            || self.room(),
            |scores, (place, first, output)| {
                let block = first..first + output.len() / self.d;
                self.attend_block(place / h, place % h, block, scores, output);
            },
        );
        let heads: Vec<&[f32]> = heads.chunks(head.max(1)).collect();
        let values = side_by_side(&heads, self.b, self.t, self.d);
        tensor(values, &[self.b, self.t, h * self.d])
    }

    /// The output of a block of a query head, `[block, D]`.
    fn attend_block(
        &self,
        row: usize,
        query_head: usize,
        block: Range<usize>,
        scores: &mut [f32],
        output: &mut [f32],
    ) {
        let (head, seen) = (query_head / self.g, 0..self.l - self.t + block.end);
        let scores = &mut scores[..block.len() * seen.len()];
        let queries = Matrix::of_head(&self.queries, row, query_head, block.clone());
        let keys = Matrix::of_head(&self.keys, row, head, seen.clone());
        let values = Matrix::of_head(&self.values, row, head, seen.clone());
        self.probabilities(queries, keys, row, block, scores);
        multiply(Matrix::dense(scores, seen.len()), values, output);
    }

    /// Room for the scores of a block.
    fn room(&self) -> Vec<f32> {
        vec![0.0; BLOCK.min(self.t) * self.l]
    }

    /// The query heads of a key-value head, each with its share of `[G, T, D]`.
    fn queries_of<'a>(
        &self,
        head: usize,
        numbers: &'a mut [f32],
    ) -> impl Iterator<Item = (usize, &'a mut [f32])> {
        (head * self.g..).zip(numbers.chunks_exact_mut((self.t * self.d).max(1)))
    }

    /// How much each of a block's queries takes of each key, `[block, keys]`.
    fn probabilities(
        &self,
        queries: Matrix<'_>,
        keys: Matrix<'_>,
        row: usize,
        block: Range<usize>,
        scores: &mut [f32],
    ) {
        multiply(queries, keys.transposed(), scores);
        lanes::run(Probabilities {
            scores,
            keys: keys.rows(),
            first: self.l - self.t + block.start,
            start: self.start(row),
            scale: self.scale,
        });
    }

    /// The output where each row has one query.
    fn attend_newest(&self) -> FlexTensor {
        let queries = self.queries.to_contiguous();
        let (keys, values) = (dense_rows(&self.keys), dense_rows(&self.values));
        let mut output = vec![0.0; self.b * self.k * self.g * self.d];
        let mut scores = vec![0.0; self.l];
        let group = self.g * self.d;
        let heads = queries.storage::<f32>().chunks_exact(group);
        let places = self.groups().into_iter().zip(heads);
        for (((row, head), queries), output) in places.zip(output.chunks_exact_mut(group)) {
            let seen = self.start(row).min(self.l - 1)..self.l;
            lanes::run(NewestQuery {
                queries,
                keys: slice(&keys, row, head, seen.clone()),
                values: slice(&values, row, head, seen.clone()),
                scores: &mut scores[seen],
                scale: self.scale,
                output,
            });
        }
        tensor(output, &[self.b, 1, self.k * group])
    }

    /// Gradients with respect to queries, keys and values from that of the output.
    fn gradients(self, gradient: FlexTensor) -> [FlexTensor; 3] {
        let (b, t, l, d) = (self.b, self.t, self.l, self.d);
        let h = self.k * self.g;
        let gradient = gradient
            .to_contiguous()
            .reshape(Shape::from(vec![b, t, h, d]));
        let gradient = gradient.transpose(1, 2);
        let back = |&(row, head): &(usize, usize)| self.group_gradients(&gradient, row, head);
        let groups: Vec<[Vec<f32>; 3]> = self.groups().par_iter().map(back).collect();
        let mut queries = Vec::with_capacity(groups.len());
        let mut keys = Vec::with_capacity(groups.len());
        let mut values = Vec::with_capacity(groups.len());
        for [for_queries, for_keys, for_values] in groups {
            queries.push(for_queries);
            keys.push(for_keys);
            values.push(for_values);
        }
        let heads = |groups: &[Vec<f32>], heads, tokens| {
            let values = side_by_side(groups, b, tokens, d);
            tensor(values, &[b, tokens, heads, d]).transpose(1, 2)
        };
        [
            heads(&queries, h, t),
            heads(&keys, self.k, l),
            heads(&values, self.k, l),
        ]
    }

    /// A group's gradients, `[G, T, D]` and twice `[1, L, D]`.
    fn group_gradients(&self, gradient: &FlexTensor, row: usize, head: usize) -> [Vec<f32>; 3] {
        let mut for_queries = vec![0.0; self.g * self.t * self.d];
        let mut for_keys = vec![0.0; self.l * self.d];
        let mut for_values = for_keys.clone();
        let (mut probabilities, mut scores) = (self.room(), self.room());
        for (query_head, for_queries) in self.queries_of(head, &mut for_queries) {
            for (block, for_queries) in self.blocks().zip(for_queries.chunks_mut(BLOCK * self.d)) {
                let seen = 0..self.l - self.t + block.end;
                let (count, keys_seen) = (block.len() * seen.len(), seen.len());
                let (probabilities, scores) = (&mut probabilities[..count], &mut scores[..count]);
                let queries = Matrix::of_head(&self.queries, row, query_head, block.clone());
                let gradient = Matrix::of_head(gradient, row, query_head, block.clone());
                let keys = Matrix::of_head(&self.keys, row, head, seen.clone());
                let values = Matrix::of_head(&self.values, row, head, seen.clone());
                self.probabilities(queries, keys, row, block, probabilities);
                let taken = Matrix::dense(probabilities, keys_seen).transposed();
                add_product(taken, gradient, &mut for_values[..keys_seen * self.d]);
                multiply(gradient, values.transposed(), scores);
                lanes::run(ScoreGradients {
                    keys: keys_seen,
                    probabilities,
                    gradients: scores,
                    scale: self.scale,
                });
                let scores = Matrix::dense(scores, keys_seen);
                add_product(
                    scores.transposed(),
                    queries,
                    &mut for_keys[..keys_seen * self.d],
                );
                multiply(scores, keys, for_queries);
            }
        }
        [for_queries, for_keys, for_values]
    }
}

/// Tokens of one head whose rows lie one after the other.
fn slice(heads: &FlexTensor, row: usize, head: usize, tokens: Range<usize>) -> &[f32] {
    let from = offset(heads, row, head, tokens.start);
    let count = tokens.len() * heads.layout().shape()[3];
    &heads.storage()[from..from + count]
}

fn offset(heads: &FlexTensor, row: usize, head: usize, token: usize) -> usize {
    let layout = heads.layout();
    let places = [row, head, token].into_iter().zip(layout.strides());
    let steps: isize = places.map(|(place, stride)| place as isize * stride).sum();
    layout.start_offset() + steps as usize
}

/// The same heads with every head's tokens one after the other.
fn dense_rows(heads: &FlexTensor) -> FlexTensor {
    let width = heads.layout().shape()[3] as isize;
    match heads.layout().strides()[2..] == [width, 1] {
        true => heads.clone(),
        false => heads.to_contiguous(),
    }
}

/// Groups `[heads, tokens, D]`, those of a row after each other, to `[B, tokens, all heads, D]`.
fn side_by_side<G: AsRef<[f32]>>(
    groups: &[G],
    rows: usize,
    tokens: usize,
    width: usize,
) -> Vec<f32> {
    let size = groups.iter().map(|group| group.as_ref().len()).sum();
    let mut output = Vec::with_capacity(size);
    for groups in groups.chunks((groups.len() / rows.max(1)).max(1)) {
        for token in 0..tokens {
            for group in groups {
                for head in group.as_ref().chunks_exact(tokens * width) {
                    output.extend_from_slice(&head[token * width..(token + 1) * width]);
                }
            }
        }
    }
    output
}

fn host_starts(starts: &FlexTensor) -> Vec<usize> {
    let starts = starts.to_contiguous();
    let starts = starts.storage::<i32>().iter();
    starts.map(|&start| start as usize).collect()
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}
