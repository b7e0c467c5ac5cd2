//! Adafactor (arXiv:1804.04235, algorithm 4) with a given rate and no first moment: transformers'
//! `scale_parameter=False, relative_step=False`.
//!
//! With the clipped gradient `g` and `β = 1 − t^−0.8`, row and column hold running means of
//! `g² + ε₁`; `u = g / √(row / mean(row)) / √column`, and
//! `w ← (1 − η λ) w − η u / max(1, RMS(u))`. A vector has no rows: its column is its full second
//! moment. On the CPU three passes over bands of rows make no array as large as the weight.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::ops::{self, HostFloats};
use crate::workers::Workers;

/// Added to the squared gradient, `ε₁`.
const SQUARE_EPSILON: f64 = 1e-30;
/// Exponent of the step's number in the decay of the means.
const DECAY_EXPONENT: f64 = -0.8;
/// Largest root mean square of an update.
const CLIP_THRESHOLD: f64 = 1.0;
/// Numbers in a band of rows, about; fixed, so that sums do not depend on the number of workers.
const BAND: usize = 1 << 18;

/// Running means of squared gradients.
#[derive(Clone, Debug)]
pub(super) struct AdafactorMoments {
    /// Of every row, `[R, 1]`; none for a vector.
    pub(super) row: Option<Tensor<2>>,
    /// Of every column, `[1, C]`.
    pub(super) column: Tensor<2>,
}

/// The numbers of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdafactorStep {
    /// Factor on the gradient.
    scale: f64,
    /// Factor on the weight.
    decay: f64,
    lr: f64,
    /// Decay of the means.
    beta: f64,
}

/// What a pass over a weight reads.
#[derive(Clone, Copy, Debug)]
struct Factors<'a> {
    scale: f32,
    /// `1 / √(row / mean(row))`; empty for a vector.
    row: &'a [f32],
    /// `1 / √column`.
    column: &'a [f32],
}

/// A band's mean square of each row, and its sum of squares of each column.
#[derive(Debug)]
struct BandSquares {
    rows: Vec<f64>,
    columns: Vec<f64>,
}

impl AdafactorStep {
    /// Step number `number`, counted from 1.
    pub(super) fn new(number: usize, scale: f64, decay: f64, lr: f64) -> Self {
        Self {
            scale,
            decay,
            lr,
            beta: 1.0 - (number as f64).powf(DECAY_EXPONENT),
        }
    }
}

impl AdafactorMoments {
    /// Moves the weight and updates the means.
    ///
    /// # Shapes
    /// `weight` and `gradient` `[R, C]`.
    ///
    /// # Errors
    /// When the tensors' numbers cannot be reached.
    pub(super) fn step(
        &mut self,
        weight: Tensor<2>,
        gradient: Tensor<2>,
        step: AdafactorStep,
        workers: &Workers,
    ) -> Result<Tensor<2>> {
        match HostFloats::fit(&weight) {
            true => self.step_on_host(weight, gradient, step, workers),
            false => Ok(self.step_on_device(weight, gradient, step)),
        }
    }

    /// The step by plain tensor functions.
    fn step_on_device(
        &mut self,
        weight: Tensor<2>,
        gradient: Tensor<2>,
        step: AdafactorStep,
    ) -> Tensor<2> {
        let gradient = gradient * step.scale;
        let squares = gradient.clone().square() + SQUARE_EPSILON;
        let mean = |old: Tensor<2>, new: Tensor<2>| old * step.beta + new * (1.0 - step.beta);
        self.column = mean(self.column.clone(), squares.clone().mean_dim(0));
        let mut update = gradient / self.column.clone().sqrt();
        if let Some(row) = &mut self.row {
            *row = mean(row.clone(), squares.mean_dim(1));
            update = update / (row.clone() / row.clone().mean_dim(0)).sqrt();
        }
        let size = update.clone().square().mean().sqrt() / CLIP_THRESHOLD;
        let update = update / size.clamp_min(1.0).reshape([1, 1]);
        weight * step.decay - update * step.lr
    }

    fn step_on_host(
        &mut self,
        weight: Tensor<2>,
        gradient: Tensor<2>,
        step: AdafactorStep,
        workers: &Workers,
    ) -> Result<Tensor<2>> {
        let [rows, columns] = weight.dims();
        let gradient = HostFloats::take(gradient)?;
        let mut weight = HostFloats::take(weight)?;
        let band = band_size(columns);
        let bands = || gradient.values().chunks(band).collect::<Vec<_>>();
        let scale = step.scale as f32;
        let squares = workers.map(bands(), |band| BandSquares::of(band, columns, scale));
        let column = column_means(&squares, rows);
        let (column, row) = self.update_means(column, squares, step.beta)?;
        let factors = Factors {
            scale,
            row: &row,
            column: &column,
        };
        let band_rows = band / columns.max(1);
        let sums = workers.map(
            bands().into_iter().enumerate().collect(),
            |(index, band)| factors.sum_of_squares(index * band_rows, band),
        );
        let size = (sums.iter().sum::<f64>() / (rows * columns) as f64).sqrt();
        let rate = (step.lr / (size / CLIP_THRESHOLD).max(1.0)) as f32;
        let weights = weight.values_mut().chunks_mut(band).zip(bands());
        workers.map(weights.enumerate().collect(), |(index, (w, g))| {
            factors.apply(index * band_rows, w, g, step.decay as f32, rate);
        });
        Ok(weight.into_tensor())
    }

    /// Takes in a step's means and returns what divides a column and a row.
    fn update_means(
        &mut self,
        columns: Vec<f64>,
        bands: Vec<BandSquares>,
        beta: f64,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let column = merged(&mut self.column, columns, beta)?;
        let inverse = |value: f32| value.sqrt().recip();
        let column_factors = column.into_iter().map(inverse).collect();
        let Some(row) = &mut self.row else {
            return Ok((column_factors, Vec::new()));
        };
        let rows = bands.into_iter().flat_map(|band| band.rows).collect();
        let row = merged(row, rows, beta)?;
        let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / row.len() as f64;
        let row_factors = row.into_iter().map(|value| inverse(value / mean as f32));
        Ok((column_factors, row_factors.collect()))
    }
}

impl BandSquares {
    fn of(band: &[f32], width: usize, scale: f32) -> Self {
        let mut columns = vec![0.0; width];
        let row = |row: &[f32]| {
            let mut sum = 0.0;
            for (column, g) in columns.iter_mut().zip(row) {
                let g = g * scale;
                let square = f64::from(g * g + SQUARE_EPSILON as f32);
                *column += square;
                sum += square;
            }
            sum / width as f64
        };
        let rows = band.chunks_exact(width.max(1)).map(row).collect();
        Self { rows, columns }
    }
}

impl Factors<'_> {
    /// Sum of squares of the update in a band that starts at row `first`.
    fn sum_of_squares(&self, first: usize, band: &[f32]) -> f64 {
        let mut sum = 0.0;
        for (index, row) in band.chunks_exact(self.column.len().max(1)).enumerate() {
            let factor = self.row_factor(first + index);
            let updates = row.iter().zip(self.column);
            let squares = updates.map(|(g, column)| f64::from(factor * column * g).powi(2));
            sum += squares.sum::<f64>();
        }
        sum
    }

    /// Moves a band of the weight that starts at row `first`.
    fn apply(&self, first: usize, weight: &mut [f32], band: &[f32], decay: f32, rate: f32) {
        let width = self.column.len().max(1);
        let rows = weight.chunks_exact_mut(width).zip(band.chunks_exact(width));
        for (index, (weight, row)) in rows.enumerate() {
            let factor = self.row_factor(first + index);
            for ((w, g), column) in weight.iter_mut().zip(row).zip(self.column) {
                *w = *w * decay - factor * column * g * rate;
            }
        }
    }

    /// Factor on the gradients of a row.
    fn row_factor(&self, row: usize) -> f32 {
        self.row.get(row).copied().unwrap_or(1.0) * self.scale
    }
}

/// Numbers in a band: whole rows.
fn band_size(columns: usize) -> usize {
    (BAND / columns.max(1)).max(1) * columns.max(1)
}

/// Mean square of each column over all bands.
fn column_means(bands: &[BandSquares], rows: usize) -> Vec<f64> {
    let mut sums = vec![0.0; bands.first().map_or(0, |band| band.columns.len())];
    for band in bands {
        for (sum, column) in sums.iter_mut().zip(&band.columns) {
            *sum += column;
        }
    }
    sums.into_iter().map(|sum| sum / rows as f64).collect()
}

/// Takes new means into the running ones, which it also returns.
fn merged(running: &mut Tensor<2>, new: Vec<f64>, beta: f64) -> Result<Vec<f32>> {
    let (shape, device) = (running.dims(), running.device());
    let mut values = ops::read_floats(running.clone())?;
    for (value, new) in values.iter_mut().zip(new) {
        *value = *value * beta as f32 + new as f32 * (1.0 - beta) as f32;
    }
    *running = ops::floats(values.clone(), shape, &device);
    Ok(values)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::seed::Seed;

    /// Gradients of three steps on a matrix and on a vector, and the weights after each, as made by
    /// `transformers.optimization.Adafactor` (5.x) with `lr=0.01, scale_parameter=False,
    /// relative_step=False, warmup_init=False`, and `weight_decay=0.1` for the matrix.
    const MATRIX: [([f32; 6], [f32; 6]); 3] = [
        (
            [0.1, -0.2, 0.3, 0.0, 0.4, -0.1],
            [
                0.484_967_98,
                -0.992_501_1,
                1.984_213_7,
                1.498_5,
                0.237_954_65,
                -0.745_079_7,
            ],
        ),
        (
            [0.05, 0.1, -0.2, 0.3, -0.1, 0.2],
            [
                0.481_051_86,
                -0.996_797_14,
                1.993_280_2,
                1.481_222_6,
                0.241_770_12,
                -0.752_804_5,
            ],
        ),
        (
            [-1.0, 0.5, 0.25, 0.75, -0.5, 2.0],
            [
                0.496_170_64,
                -1.008_337_6,
                1.988_843_7,
                1.473_482_4,
                0.248_235_39,
                -0.762_508_04,
            ],
        ),
    ];
    const VECTOR: [([f32; 4], [f32; 4]); 3] = [
        ([0.1, -0.3, 0.0, 0.2], [0.99, -1.99, 0.5, -0.01]),
        (
            [0.2, 0.1, -0.1, 0.05],
            [0.977_88, -1.994_764_4, 0.513_195_1, -0.013_679_864],
        ),
        (
            [-0.5, 0.4, 1.5, -0.02],
            [0.989_431_1, -2.005_295_3, 0.500_811_93, -0.012_152_821],
        ),
    ];

    type Step<'a> =
        &'a dyn Fn(&mut AdafactorMoments, Tensor<2>, Tensor<2>, AdafactorStep) -> Tensor<2>;

    const ON_DEVICE: Step<'static> =
        &|moments, weight, gradient, step| moments.step_on_device(weight, gradient, step);

    fn tensor<const N: usize>(values: [f32; N], columns: usize) -> Tensor<2> {
        ops::floats(values.to_vec(), [N / columns, columns], &Device::flex())
    }

    fn moments(rows: Option<usize>, columns: usize) -> AdafactorMoments {
        let zeros = |shape: [usize; 2]| Tensor::zeros(shape, &Device::flex());
        AdafactorMoments {
            row: rows.map(|rows| zeros([rows, 1])),
            column: zeros([1, columns]),
        }
    }

    fn check(tensor: &Tensor<2>, expected: &[f32]) {
        let found = ops::read_floats(tensor.clone()).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs();
            assert!(
                error <= 3e-7 * expected.abs().max(1.0),
                "{found}, not {expected}"
            );
        }
    }

    fn on_host(
        count: usize,
    ) -> impl Fn(&mut AdafactorMoments, Tensor<2>, Tensor<2>, AdafactorStep) -> Tensor<2> {
        move |moments, weight, gradient, step| {
            let workers = Workers::new(count);
            let stepped = moments.step_on_host(weight, gradient, step, &workers);
            stepped.unwrap()
        }
    }

    #[test]
    fn steps_are_those_of_transformers() {
        for step in [ON_DEVICE, &on_host(2)] {
            let mut state = moments(Some(2), 3);
            let mut weight = tensor([0.5, -1.0, 2.0, 1.5, 0.25, -0.75], 3);
            for (index, (gradient, expected)) in MATRIX.into_iter().enumerate() {
                let numbers = AdafactorStep::new(index + 1, 1.0, 1.0 - 0.1 * 0.01, 0.01);
                weight = step(&mut state, weight, tensor(gradient, 3), numbers);
                check(&weight, &expected);
            }
            check(&state.row.unwrap(), &[0.199_161_98, 0.695_897_64]);
            check(&state.column, &[0.341_186_88, 0.132_059_66, 0.869_342_9]);

            let mut state = moments(None, 4);
            let mut weight = tensor([1.0, -2.0, 0.5, 0.0], 4);
            for (index, (gradient, expected)) in VECTOR.into_iter().enumerate() {
                let numbers = AdafactorStep::new(index + 1, 1.0, 1.0, 0.01);
                weight = step(&mut state, weight, tensor(gradient, 4), numbers);
                check(&weight, &expected);
            }
            let expected = [0.119_734_11, 0.092_198_715, 0.937_656_76, 0.010_961_816];
            check(&state.column, &expected);
        }
    }

    /// A weight of several bands after two clipped steps.
    fn banded(step: Step<'_>) -> Vec<f32> {
        let (device, mut rng) = (Device::flex(), Seed::new(6).rng());
        let mut normal = |spread| ops::normal_floats([900, 700], spread, &mut rng, &device);
        let mut state = moments(Some(900), 700);
        let mut weight = normal(0.01);
        for number in 1..=2 {
            let numbers = AdafactorStep::new(number, 0.3, 0.999, 0.01);
            weight = step(&mut state, weight, normal(2.0), numbers);
        }
        ops::read_floats(weight).unwrap()
    }

    #[test]
    fn bands_give_the_same_for_any_number_of_workers_and_agree_with_tensors() {
        let alone = banded(&on_host(1));
        assert!(alone == banded(&on_host(3)));
        let tensors = banded(ON_DEVICE);
        for (found, expected) in alone.iter().zip(&tensors) {
            // Sums of 700 and 900 numbers in another order.
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
    }
}
