//! What a slice has to report, left on the device until all slices are on their way.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::ops;

/// Loss and logged sums of one slice.
pub(super) struct SliceStats {
    names: Vec<&'static str>,
    /// The loss, then the sums.
    values: Vec<Tensor<1>>,
}

/// The same on the host.
#[derive(Debug, PartialEq)]
pub(super) struct SliceReport {
    pub loss: f64,
    pub sums: Vec<(&'static str, f64)>,
}

impl SliceStats {
    /// A loss and sums, `[1]` each.
    pub(super) fn new(loss: Tensor<1>, sums: Vec<(&'static str, Tensor<1>)>) -> Self {
        let (names, sums): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        Self {
            names,
            values: std::iter::once(loss).chain(sums).collect(),
        }
    }

    /// Reads those of several slices in one transfer, in order.
    ///
    /// # Errors
    /// When the device failed.
    pub(super) fn read(all: Vec<Self>) -> Result<Vec<SliceReport>> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let tensors = all.iter().flat_map(|stats| stats.values.iter().cloned());
        let values = ops::read_floats(Tensor::cat(tensors.collect(), 0))?;
        let mut values = values.into_iter().map(f64::from);
        let mut next = || values.next().expect("one value a tensor");
        let report = |stats: Self| SliceReport {
            loss: next(),
            sums: stats.names.into_iter().map(|name| (name, next())).collect(),
        };
        Ok(all.into_iter().map(report).collect())
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn each_slice_gets_its_own_numbers_back() {
        let number = |value: f32| ops::floats([value].to_vec(), [1], &Device::flex());
        let first = SliceStats::new(number(1.0), vec![("kl", number(2.0))]);
        let second = SliceStats::new(number(3.0), Vec::new());
        let found = SliceStats::read(vec![first, second]).unwrap();
        assert_eq!(found[0].loss, 1.0);
        assert_eq!(found[0].sums, [("kl", 2.0)]);
        assert_eq!(found[1].loss, 3.0);
        assert!(found[1].sums.is_empty());
    }
}
