//! Products of matrices in place, so that a block's scores do not take new memory each time.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use gemm::{Parallelism, gemm};

use super::offset;

/// A matrix in memory that it may share.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    /// From its first number on.
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    /// Numbers from a row, and from a column, to the next.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Rows of so many columns, one after the other.
    pub fn dense(numbers: &'a [f32], columns: usize) -> Self {
        Self {
            numbers,
            rows: numbers.len() / columns,
            columns,
            strides: [columns, 1],
        }
    }

    /// Tokens of one head of `[B, H, T, D]`, `[tokens, D]`.
    pub fn of_head(heads: &'a FlexTensor, row: usize, head: usize, tokens: Range<usize>) -> Self {
        let layout = heads.layout();
        let strides = layout.strides();
        let stride = |axis: usize| usize::try_from(strides[axis]).expect("heads lie forwards");
        Self {
            numbers: &heads.storage()[offset(heads, row, head, tokens.start)..],
            rows: tokens.len(),
            columns: layout.shape()[3],
            strides: [stride(2), stride(3)],
        }
    }

    pub fn rows(self) -> usize {
        self.rows
    }

    pub fn transposed(self) -> Self {
        let [row, column] = self.strides;
        Self {
            rows: self.columns,
            columns: self.rows,
            strides: [column, row],
            ..self
        }
    }

    /// Whether all of it is in memory.
    fn is_inside(self) -> bool {
        let [row, column] = self.strides;
        let last = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        let is_empty = self.rows == 0 || self.columns == 0;
        is_empty || last(self.rows, row) + last(self.columns, column) < self.numbers.len()
    }
}

/// Writes `left · right` to dense rows.
///
/// # Panics
/// When the extents do not match.
pub(super) fn multiply(left: Matrix<'_>, right: Matrix<'_>, product: &mut [f32]) {
    run(left, right, product, false);
}

/// Adds `left · right` to dense rows.
///
/// # Panics
/// When the extents do not match.
pub(super) fn add_product(left: Matrix<'_>, right: Matrix<'_>, sum: &mut [f32]) {
    run(left, right, sum, true);
}

#[expect(unsafe_code, reason = "the library takes pointers")]
fn run(left: Matrix<'_>, right: Matrix<'_>, output: &mut [f32], adds: bool) {
    assert_eq!(left.columns, right.rows, "the inner extents are equal");
    assert_eq!(output.len(), left.rows * right.columns);
    assert!(left.is_inside() && right.is_inside());
    let strides = |matrix: Matrix<'_>| matrix.strides.map(|stride| stride as isize);
    let ([left_row, left_column], [right_row, right_column]) = (strides(left), strides(right));
    // SAFETY: every number of both matrices is inside of its slice, and the output has one for each row and column.
    unsafe {
        gemm(
            left.rows,
            right.columns,
            left.columns,
            output.as_mut_ptr(),
            1,
            right.columns as isize,
            adds,
            left.numbers.as_ptr(),
            left_column,
            left_row,
            right.numbers.as_ptr(),
            right_column,
            right_row,
            if adds { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Shape, TensorData};

    use super::*;

    /// `[2, 3]` times `[3, 2]`.
    const LEFT: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const RIGHT: [f32; 6] = [1.0, 0.0, -1.0, 2.0, 0.5, 1.0];
    const PRODUCT: [f32; 4] = [0.5, 7.0, 2.0, 16.0];

    #[test]
    fn products_are_written_or_added() {
        let (left, right) = (Matrix::dense(&LEFT, 3), Matrix::dense(&RIGHT, 2));
        let mut output = [f32::NAN; 4];
        multiply(left, right, &mut output);
        assert_eq!(output, PRODUCT);
        add_product(left, right, &mut output);
        assert_eq!(output, PRODUCT.map(|number| 2.0 * number));
        let mut turned = [0.0; 4];
        multiply(right.transposed(), left.transposed(), &mut turned);
        assert_eq!(turned, [0.5, 2.0, 7.0, 16.0]);
    }

    #[test]
    fn tokens_of_a_head_are_found_where_they_lie() {
        // `[2, 3, 2, 2]` as attention has it: tokens before heads in memory.
        let numbers: Vec<f32> = (0..24).map(|number| number as f32).collect();
        let heads = FlexTensor::from_data(TensorData::new(numbers, [2, 2, 3, 2]));
        let heads = heads.reshape(Shape::from(vec![2, 2, 3, 2])).transpose(1, 2);
        let one = Matrix::dense(&[1.0, 0.0, 0.0, 1.0], 2);
        let mut found = [0.0; 4];
        multiply(Matrix::of_head(&heads, 1, 2, 0..2), one, &mut found);
        assert_eq!(found, [16.0, 17.0, 22.0, 23.0]);
    }

    #[test]
    #[should_panic(expected = "is_inside")]
    fn what_is_not_in_memory_is_refused() {
        let mut left = Matrix::dense(&LEFT, 3);
        left.rows = 3;
        multiply(left, Matrix::dense(&RIGHT, 2), &mut [0.0; 6]);
    }
}
