//! How the samples of a slice lie in it: as whole sequences, or each after a prompt that it shares.
//!
//! Whole sequences are rows of one grid. Where prompts are shared, each is laid out once, without its
//! last token, and a row is that token and the completion without its last, whose state predicts
//! nothing: as many cells as the completion has tokens, each of which predicts one.

use super::TrainingSample;
use super::slicing::padded;
use crate::model::{Decoder, ForwardInput, TokenGrid};

/// A sample of a micro-batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    /// Its place in the micro-batch.
    pub place: usize,
    pub sample: &'a TrainingSample,
    /// Its prompt's number, the same for all samples with that prompt.
    pub prompt: usize,
}

/// The grids that the tokens of a slice fill, padding included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::train) struct Extent {
    /// Prompts that are laid out for rows to share; none where rows are whole sequences.
    pub prompts: usize,
    /// Tokens of each.
    pub prompt_columns: usize,
    /// Sequences.
    pub rows: usize,
    /// Tokens of each, without those of a shared prompt.
    pub columns: usize,
}

impl Extent {
    /// Whole sequences.
    pub(in crate::train) fn whole(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            ..Self::default()
        }
    }

    /// Tokens that go through the model.
    pub(in crate::train) fn tokens(self) -> usize {
        self.prompts * self.prompt_columns + self.rows * self.columns
    }

    /// Keys that attention reads: those of a shared prompt once for itself and once a row.
    pub(in crate::train) fn keys(self) -> usize {
        self.tokens() + self.rows * self.prompt_columns
    }
}

/// Samples of a slice with the grids they fill.
#[derive(Clone, Debug)]
pub(super) struct Layout<'a> {
    samples: Vec<Placed<'a>>,
    /// Those that are the first with their prompt.
    firsts: Vec<usize>,
    /// Which of `firsts` each sample shares its prompt with.
    prompt_of: Vec<usize>,
    extent: Extent,
    may_share: bool,
    is_cpu: bool,
}

impl<'a> Layout<'a> {
    /// No samples yet; prompts are shared where that saves tokens, if they may be.
    pub(super) fn empty(may_share: bool, is_cpu: bool) -> Self {
        Self {
            samples: Vec::new(),
            firsts: Vec::new(),
            prompt_of: Vec::new(),
            extent: Extent::default(),
            may_share,
            is_cpu,
        }
    }

    /// The same with more samples.
    pub(super) fn with(&self, unit: &[Placed<'a>]) -> Self {
        let mut grown = self.clone();
        for sample in unit {
            let prompt = |first: &usize| grown.samples[*first].prompt;
            let mut firsts = grown.firsts.iter();
            let known = firsts.position(|first| prompt(first) == sample.prompt);
            let shared = known.unwrap_or(grown.firsts.len());
            if known.is_none() {
                grown.firsts.push(grown.samples.len());
            }
            grown.prompt_of.push(shared);
            grown.samples.push(*sample);
        }
        grown.extent = grown.smallest_extent();
        grown
    }

    fn smallest_extent(&self) -> Extent {
        let most = |tokens: fn(&TrainingSample) -> usize| {
            let tokens = self.samples.iter().map(|placed| tokens(placed.sample));
            padded(tokens.max().unwrap_or(0), self.is_cpu)
        };
        let whole = Extent::whole(self.samples.len(), most(|sample| sample.ids.len()));
        let has_longer = |placed: &Placed<'_>| placed.sample.prompt_tokens > 1;
        let can_share =
            self.firsts.len() < self.samples.len() && self.samples.iter().any(has_longer);
        if !self.may_share || !can_share {
            return whole;
        }
        let shared = Extent {
            prompts: self.firsts.len(),
            prompt_columns: most(|sample| sample.prompt_tokens - 1),
            rows: self.samples.len(),
            columns: most(TrainingSample::completion_tokens),
        };
        match shared.tokens() < whole.tokens() {
            true => shared,
            false => whole,
        }
    }

    /// The samples, in order.
    pub(super) fn samples(&self) -> &[Placed<'a>] {
        &self.samples
    }

    /// The grids they fill.
    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    /// The cell that predicts the first token of each sample's completion; the others follow.
    pub(super) fn first_cells(&self) -> impl Iterator<Item = usize> {
        let extent = self.extent;
        let samples = self.samples.iter().enumerate();
        samples.map(move |(row, placed)| {
            let in_row = match extent.prompts {
                0 => placed.sample.prompt_tokens - 1,
                _ => 0,
            };
            extent.prompts * extent.prompt_columns + row * extent.columns + in_row
        })
    }

    /// The tensors of a pass.
    pub(super) fn input(&self, decoder: &Decoder) -> ForwardInput {
        let Extent {
            prompts,
            prompt_columns,
            columns,
            ..
        } = self.extent;
        let samples = || self.samples.iter().map(|placed| placed.sample);
        if prompts == 0 {
            let rows: Vec<&[u32]> = samples().map(|sample| &sample.ids[..]).collect();
            return decoder.input(&TokenGrid::right_padded(&rows, columns));
        }
        let before = |sample: &'a TrainingSample| sample.ids.split_at(sample.prompt_tokens - 1);
        let firsts = self.firsts.iter().map(|&first| self.samples[first].sample);
        let firsts: Vec<&[u32]> = firsts.map(|sample| before(sample).0).collect();
        let own = |sample: &'a TrainingSample| &before(sample).1[..sample.completion_tokens()];
        let rows: Vec<&[u32]> = samples().map(own).collect();
        let firsts = TokenGrid::left_padded(&firsts, prompt_columns);
        let rows = TokenGrid::right_padded(&rows, columns);
        decoder.shared_input(&firsts, &rows, &self.prompt_of)
    }
}
