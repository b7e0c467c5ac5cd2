//! Smoothing of a noisy curve for the eye.

/// The share of a curve's points on each side of a point that its smoothed value looks at.
const REACH: f64 = 0.05;

/// Fits a straight line around each of `values`, nearer ones counting more, and takes its middle:
/// unlike an average this neither lags at a slope nor bends at the ends
/// (Cleveland, 1979, without the robust steps).
pub(super) fn smoothed(values: &[f64]) -> Vec<f64> {
    let reach = (values.len() as f64 * REACH).round() as usize;
    (0..values.len())
        .map(|at| line_around(values, at, reach))
        .collect()
}

/// The value at `at` of the line with the least weighted squares; weights fall from `reach + 1` at
/// the centre to 1 at the rim.
fn line_around(values: &[f64], at: usize, reach: usize) -> f64 {
    let first = at.saturating_sub(reach);
    let last = (at + reach).min(values.len() - 1);
    let [mut weights, mut x_sum, mut y_sum, mut xx_sum, mut xy_sum] = [0.0; 5];
    for (index, y) in values.iter().enumerate().take(last + 1).skip(first) {
        let weight = (reach + 1 - index.abs_diff(at)) as f64;
        let x = index as f64 - at as f64;
        weights += weight;
        x_sum += weight * x;
        y_sum += weight * y;
        xx_sum += weight * x * x;
        xy_sum += weight * x * y;
    }
    let determinant = weights * xx_sum - x_sum * x_sum;
    match determinant > 0.0 {
        true => (xx_sum * y_sum - x_sum * xy_sum) / determinant,
        false => values[at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_lines_stay_straight() {
        let line: Vec<_> = (0..100).map(f64::from).collect();
        for (before, after) in line.iter().zip(smoothed(&line)) {
            assert!((before - after).abs() < 1e-9);
        }
    }

    #[test]
    fn short_curves_are_left_alone() {
        assert_eq!(smoothed(&[1.0, 9.0, 2.0]), [1.0, 9.0, 2.0]);
        assert!(smoothed(&[]).is_empty());
    }

    #[test]
    fn near_values_count_more() {
        // Reach 1, weights 1 2 1 around the spike: 2/4 of it at the spike, 1/4 beside it.
        let mut values = vec![0.0; 21];
        values[10] = 4.0;
        assert_eq!(smoothed(&values)[9..12], [1.0, 2.0, 1.0]);
    }
}
