//! The number type of a model's large products.
//!
//! Mixed precision (arXiv:1710.03740) as torch's autocast does it: linear maps and attention compute in
//! half precision with sums in f32; the weights that training changes, the residual stream, norms,
//! softmax, rotary angles, log-probabilities, losses, gradients of weights and the optimiser are f32.

use burn::tensor::{Device, FloatDType};
use serde::{Deserialize, Serialize};

use crate::device;
use crate::error::{Error, Result};

/// What linear maps and attention compute in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// `bf16` where the device computes in it, else `f32`; always `f32` on the CPU, where halves are
    /// slower.
    #[default]
    Auto,
    /// 32-bit floats. CUDA's products of them round their inputs to TF32.
    F32,
    /// 16-bit brain floats: the range of `f32` with 8 significant bits.
    Bf16,
    /// 16-bit IEEE floats: 11 significant bits, but nothing beyond 65504. Gradients are scaled into
    /// its range; a model whose activations leave it cannot be computed so, which is why `auto`
    /// never takes it.
    F16,
}

impl Precision {
    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// What it comes down to on `device`: never `auto`.
    ///
    /// # Errors
    /// When the device does not compute in it.
    pub fn on(self, device: &Device) -> Result<Self> {
        let has = |dtype| device.supports_dtype(dtype);
        match self {
            Self::F32 => Ok(self),
            Self::Auto if !device::is_cpu(device) && has(FloatDType::BF16) => Ok(Self::Bf16),
            Self::Auto => Ok(Self::F32),
            Self::Bf16 | Self::F16 if has(self.dtype()) => Ok(self),
            Self::Bf16 | Self::F16 => {
                let problem = format!(
                    "is `{}`, in which {:?} does not compute; expected `auto` or `f32`",
                    self.name(),
                    device.clone().without_autodiff()
                );
                Err(Error::setting("precision", problem))
            }
        }
    }

    /// The tensors' number type, that of `f32` where the device was not asked yet.
    pub(crate) fn dtype(self) -> FloatDType {
        match self {
            Self::Auto | Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_takes_f32_unless_told() {
        let device = Device::flex();
        for (asked, taken) in [
            (Precision::Auto, Precision::F32),
            (Precision::F32, Precision::F32),
            (Precision::Bf16, Precision::Bf16),
            (Precision::F16, Precision::F16),
        ] {
            assert_eq!(asked.on(&device).unwrap(), taken);
        }
    }
}
