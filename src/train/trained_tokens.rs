//! Where the trained tokens of a slice stand, and what stands where.

use super::layout::Layout;

/// The trained tokens of some samples, in order.
#[derive(Debug)]
pub(super) struct TrainedTokens {
    /// Cell of the laid out tokens that predicts each.
    pub rows: Vec<usize>,
    /// Cell of the flat grid of completions that each stands in; past the last cell for padding.
    pub cells: Vec<usize>,
    /// Their ids.
    pub targets: Vec<usize>,
    /// The token that each cell of the laid out tokens predicts; past the last for none.
    pub at_rows: Vec<usize>,
    /// The token in each cell of the grid of completions; past the last for none.
    pub at_cells: Vec<usize>,
    /// Width of the grid of completions.
    pub columns: usize,
}

impl TrainedTokens {
    /// The trained tokens of a slice.
    pub(super) fn of(layout: &Layout<'_>) -> Self {
        let samples = || layout.samples().iter().map(|placed| placed.sample);
        let columns = samples().map(|sample| sample.completion_tokens());
        let columns = columns.max().unwrap_or(0);
        let (mut rows, mut cells, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (sample, first)) in samples().zip(layout.first_cells()).enumerate() {
            let trained = sample.loss_mask.iter().enumerate().filter(|(_, m)| **m);
            for (column, _) in trained {
                rows.push(first + column);
                cells.push(index * columns + column);
                targets.push(sample.ids[sample.prompt_tokens + column] as usize);
            }
        }
        Self {
            at_rows: inverse(&rows, layout.extent().tokens()),
            at_cells: inverse(&cells, layout.samples().len() * columns),
            rows,
            cells,
            targets,
            columns,
        }
    }

    /// How many there are, padding included.
    pub(super) fn count(&self) -> usize {
        self.targets.len()
    }

    /// The same with padding up to `count`: tokens that are read off the first state, stand in no
    /// cell and send nothing back.
    pub(super) fn pad(mut self, count: usize) -> Self {
        let before = self.count();
        self.rows.resize(count, 0);
        self.cells.resize(count, self.at_cells.len());
        self.targets.resize(count, 0);
        for token in self.at_rows.iter_mut().chain(&mut self.at_cells) {
            if *token == before {
                *token = count;
            }
        }
        self
    }
}

/// Which of `places` is each of `count` cells; past the last for none.
fn inverse(places: &[usize], count: usize) -> Vec<usize> {
    let mut inverse = vec![places.len(); count];
    for (index, &place) in places.iter().enumerate() {
        inverse[place] = index;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::TrainingSample;
    use crate::train::layout::Placed;

    fn layout(samples: &[TrainingSample]) -> Layout<'_> {
        let placed = samples.iter().enumerate().map(|(place, sample)| Placed {
            place,
            sample,
            prompt: sample.ids[0] as usize,
        });
        Layout::empty(true, true).with(&placed.collect::<Vec<_>>())
    }

    #[test]
    fn where_a_prompt_is_shared_each_cell_after_it_predicts_a_token() {
        let samples = [
            TrainingSample::new(&[1, 2, 3], &[7, 8]),
            TrainingSample {
                loss_mask: vec![false, true],
                ..TrainingSample::new(&[1, 2, 3], &[9, 10])
            },
            TrainingSample::new(&[5], &[6]),
        ];
        // Prompts of two and no tokens, as 1 2 and two of padding; rows of 3 7, 3 9 and 5.
        let tokens = TrainedTokens::of(&layout(&samples));
        assert_eq!(tokens.rows, [4, 5, 7, 8]);
        assert_eq!(tokens.targets, [7, 8, 10, 6]);
        assert_eq!(tokens.at_rows, [4, 4, 4, 4, 0, 1, 4, 2, 3, 4]);
        assert_eq!(tokens.cells, [0, 1, 3, 4]);
    }

    #[test]
    fn tokens_and_cells_point_at_each_other_and_padding_at_nothing() {
        let long = TrainingSample::new(&[5, 6], &[7, 8]);
        let short = TrainingSample {
            loss_mask: vec![true],
            ..TrainingSample::new(&[1, 2], &[9])
        };
        // Rows of four: the second and third state of the first predict 7 and 8, the second of the
        // second predicts 9.
        let tokens = TrainedTokens::of(&layout(&[long, short]));
        assert_eq!(tokens.rows, [1, 2, 5]);
        assert_eq!(tokens.targets, [7, 8, 9]);
        assert_eq!(tokens.at_rows, [3, 0, 1, 3, 3, 2, 3, 3]);
        assert_eq!(tokens.cells, [0, 1, 2]);
        assert_eq!(tokens.at_cells, [0, 1, 2, 3]);
        let padded = tokens.pad(4);
        assert_eq!(padded.rows, [1, 2, 5, 0]);
        assert_eq!(padded.cells, [0, 1, 2, 4]);
        assert_eq!(padded.at_rows, [4, 0, 1, 4, 4, 2, 4, 4]);
        assert_eq!(padded.at_cells, [0, 1, 2, 4]);
    }
}
