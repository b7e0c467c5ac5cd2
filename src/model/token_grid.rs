//! Rows of token ids laid out as one rectangle, with the positions and the sight of attention that
//! belong to the layout.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::rotary::{RotaryTable, Rotation};
use super::shared_prompts::SharedPrompts;
use crate::ops::{self, Sight};

/// Rows of tokens as `[B, T]`, padded to the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGrid {
    ids: Vec<i32>,
    /// First real column of every row.
    starts: Vec<usize>,
    columns: usize,
}

/// What a forward pass needs to know of its tokens.
///
/// # Shapes
/// `ids` `[B, T]`.
#[derive(Clone, Debug)]
pub struct ForwardInput {
    pub(super) ids: Tensor<2, Int>,
    pub(super) rotation: Rotation,
    pub(super) attending: Attending,
}

/// What the tokens attend to.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a pass, and a tensor's handle is that large"
)]
pub(super) enum Attending {
    /// Each to its row.
    Rows(Sight),
    /// Each to its row and the prompt that the row goes on from.
    SharedPrompts(SharedPrompts),
}

impl TokenGrid {
    /// Rows that start in column 0, padded on the right with id 0 to `columns` or the longest row.
    pub fn right_padded<R: AsRef<[u32]>>(rows: &[R], columns: usize) -> Self {
        let columns = longest(rows).max(columns);
        let mut ids = Vec::with_capacity(rows.len() * columns);
        for (index, row) in rows.iter().enumerate() {
            ids.extend(row.as_ref().iter().map(|&id| id as i32));
            ids.resize((index + 1) * columns, 0);
        }
        Self {
            ids,
            starts: vec![0; rows.len()],
            columns,
        }
    }

    /// Rows that end in the last column, padded on the left with id 0 to `columns` or the longest.
    pub fn left_padded<R: AsRef<[u32]>>(rows: &[R], columns: usize) -> Self {
        let columns = longest(rows).max(columns);
        let mut ids = Vec::with_capacity(rows.len() * columns);
        let mut starts = Vec::with_capacity(rows.len());
        for row in rows {
            let padding = columns - row.as_ref().len();
            ids.extend(std::iter::repeat_n(0, padding));
            ids.extend(row.as_ref().iter().map(|&id| id as i32));
            starts.push(padding);
        }
        Self {
            ids,
            starts,
            columns,
        }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.starts.len(), self.columns]
    }

    /// First real column of every row.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The tensors of a forward pass that starts an empty cache, or uses none.
    pub fn forward_input(&self, table: &RotaryTable, device: &Device) -> ForwardInput {
        let [rows, columns] = self.dims();
        let shared = self.starts.iter().all(|&start| start == 0);
        let starts = if shared { &[0][..] } else { &self.starts };
        let positions: Vec<usize> = starts
            .iter()
            .flat_map(|start| (0..columns).map(move |column| column.saturating_sub(*start)))
            .collect();
        let ids = TensorData::new(self.ids.clone(), [rows, columns]);
        ForwardInput {
            ids: Tensor::from_data(ids, device),
            rotation: table.rotation(&positions, starts.len(), device),
            attending: Attending::Rows(Sight::new(starts, columns, columns, device)),
        }
    }
}

impl ForwardInput {
    /// The tokens' ids row by row, `[B·T]`.
    pub(crate) fn flat_ids(&self) -> Tensor<1, Int> {
        let [b, t] = self.ids.dims();
        self.ids.clone().reshape([b * t])
    }

    /// The tensors of a pass through left-padded `prompts` and through right-padded `segments`, of which
    /// each goes on from the prompt in `prompt_of`: one row, the prompts before the segments.
    ///
    /// # Shapes
    /// `[p, P]` and `[b, C]` to `[1, p·P + b·C]` tokens.
    pub fn shared_prompts(
        prompts: &TokenGrid,
        segments: &TokenGrid,
        prompt_of: &[usize],
        table: &RotaryTable,
        device: &Device,
    ) -> Self {
        let [_, before] = prompts.dims();
        let [_, own] = segments.dims();
        let in_prompts = (prompts.starts.iter())
            .flat_map(|start| (0..before).map(move |column| column.saturating_sub(*start)));
        let in_segments = (prompt_of.iter())
            .map(|&prompt| before - prompts.starts[prompt])
            .flat_map(|first| first..first + own);
        let places = ops::indices(in_prompts.chain(in_segments), device);
        let positions: Vec<usize> = (0..before + own).collect();
        let ids = [&prompts.ids[..], &segments.ids[..]].concat();
        let count = ids.len();
        Self {
            ids: Tensor::from_data(TensorData::new(ids, [1, count]), device),
            rotation: table.rotation(&positions, 1, device).at(places),
            attending: Attending::SharedPrompts(SharedPrompts::new(
                prompts, segments, prompt_of, device,
            )),
        }
    }

    /// The tensors of one decoding step: one new token a row, the row's first real column in
    /// `starts`, and `cached` columns before it.
    pub fn next_tokens(
        ids: &[u32],
        starts: &[usize],
        cached: usize,
        table: &RotaryTable,
        device: &Device,
    ) -> Self {
        let rows = ids.len();
        let positions: Vec<usize> = starts.iter().map(|start| cached - start).collect();
        let values: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        Self {
            ids: Tensor::from_data(TensorData::new(values, [rows, 1]), device),
            rotation: table.rotation(&positions, rows, device),
            attending: Attending::Rows(Sight::new(starts, 1, cached + 1, device)),
        }
    }
}

fn longest<R: AsRef<[u32]>>(rows: &[R]) -> usize {
    rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_to_the_named_side() {
        let rows = [vec![1, 2, 3], vec![4]];
        let right = TokenGrid::right_padded(&rows, 0);
        assert_eq!(right.ids, [1, 2, 3, 4, 0, 0]);
        assert_eq!(right.starts(), [0, 0]);
        let left = TokenGrid::left_padded(&rows, 4);
        assert_eq!(left.ids, [0, 1, 2, 3, 0, 0, 0, 4]);
        assert_eq!(left.starts(), [1, 3]);
    }

    #[test]
    fn an_empty_row_keeps_its_place() {
        let rows = [vec![1, 2], vec![], vec![3]];
        let grid = TokenGrid::right_padded(&rows, 0);
        assert_eq!(grid.dims(), [3, 2]);
        assert_eq!(grid.ids, [1, 2, 0, 0, 3, 0]);
    }
}
