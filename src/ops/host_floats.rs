//! The numbers of a tensor on the CPU, read and changed in place.
//!
//! A tensor operation gives a new tensor and may leave temporaries as large as its operands; a step of
//! an optimiser over a large embedding cannot afford them.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::workers::Workers;

/// Fewer numbers than this are not worth a thread.
const SMALLEST_SHARE: usize = 1 << 16;
/// Shares are multiples of this many numbers, so that no block of codes is split.
const SHARE_UNIT: usize = 256;
const CHECKED: &str = "the number type was checked when the tensor was taken";

/// The numbers of a tensor: its own memory if no other handle shares it, else a copy.
#[derive(Debug)]
pub(crate) struct HostFloats {
    data: TensorData,
    device: Device,
}

impl HostFloats {
    /// Whether the numbers of `tensor` are `f32` in the host's memory.
    pub(crate) fn fit(tensor: &Tensor<2>) -> bool {
        super::is_on_cpu(tensor)
    }

    /// Takes the numbers, row-major, out of a tensor that fits.
    ///
    /// # Errors
    /// When the tensor is not one of `f32`.
    pub(crate) fn take(tensor: Tensor<2>) -> Result<Self> {
        let device = tensor.device();
        let failed = |problem: String| Error::Device {
            device: format!("{device:?}"),
            problem: format!("numbers could not be taken: {problem}"),
        };
        let data = tensor.try_into_data();
        let mut data = data.map_err(|error| failed(format!("{error:?}")))?;
        let checked = data.as_mut_slice::<f32>().map(|_| ());
        checked.map_err(|error| failed(format!("{error:?}")))?;
        Ok(Self { data, device })
    }

    /// The numbers.
    pub(crate) fn values(&self) -> &[f32] {
        self.data.as_slice().expect(CHECKED)
    }

    /// The numbers, to be changed.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.data.as_mut_slice().expect(CHECKED)
    }

    /// The tensor of the numbers as they are now.
    pub(crate) fn into_tensor(self) -> Tensor<2> {
        Tensor::from_data(self.data, &self.device)
    }
}

/// Numbers a worker takes at a time of a tensor of `numbers`.
pub(crate) fn share_size(numbers: usize, workers: &Workers) -> usize {
    let share = numbers.div_ceil(workers.count()).max(SMALLEST_SHARE);
    share.next_multiple_of(SHARE_UNIT)
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_no_one_shares_keeps_its_memory_and_a_shared_one_its_numbers() {
        let tensor = Tensor::<2>::zeros([3, 5], &Device::flex());
        let mut floats = HostFloats::take(tensor).unwrap();
        let place = floats.values().as_ptr();
        floats.values_mut()[7] = 2.0;
        let floats = HostFloats::take(floats.into_tensor()).unwrap();
        assert_eq!(floats.values().as_ptr(), place);

        let tensor = floats.into_tensor();
        let mut copy = HostFloats::take(tensor.clone()).unwrap();
        copy.values_mut()[7] = 3.0;
        assert_eq!(HostFloats::take(tensor).unwrap().values()[7], 2.0);
        assert_eq!(copy.into_tensor().sum().into_scalar::<f32>(), 3.0);
    }

    #[test]
    fn shares_are_whole_blocks_and_not_too_small() {
        assert_eq!(share_size(10, &Workers::new(4)), 1 << 16);
        // 1,000,001 / 4 = 250,000.25, of which the next multiple of 256 is 977 * 256.
        assert_eq!(share_size(1_000_001, &Workers::new(4)), 250_112);
    }
}
