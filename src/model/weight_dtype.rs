//! Number types of stored weights and their conversion from and to `f32`.

use half::{bf16, f16};
use safetensors::Dtype;

/// Number type of stored weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32-bit IEEE floats.
    #[default]
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// 16-bit brain floats.
    Bf16,
}

impl WeightDtype {
    /// The name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The type that `config.json` calls `name`, if it is one of these.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bf16]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    /// Size of one number in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The type a safetensors header calls `dtype`, if it is one of these.
    pub(super) fn from_safetensors(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The type as a safetensors header spells it.
    pub(super) fn to_safetensors(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// Reads little-endian numbers of this type; `bytes` need not be aligned.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => (bytes.as_chunks().0.iter())
                .map(|&number| f32::from_le_bytes(number))
                .collect(),
            Self::F16 => (bytes.as_chunks().0.iter())
                .map(|&number| f16::from_le_bytes(number).to_f32())
                .collect(),
            Self::Bf16 => (bytes.as_chunks().0.iter())
                .map(|&number| bf16::from_le_bytes(number).to_f32())
                .collect(),
        }
    }

    /// Appends `values` to `bytes` as little-endian numbers of this type, rounded to nearest even.
    pub(super) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => {
                bytes.extend((values.iter()).flat_map(|&value| f16::from_f32(value).to_le_bytes()));
            }
            Self::Bf16 => {
                bytes
                    .extend((values.iter()).flat_map(|&value| bf16::from_f32(value).to_le_bytes()));
            }
        }
    }

    /// Whether a finite `value` stays finite in this type.
    pub(super) fn holds(self, value: f32) -> bool {
        match self {
            Self::F32 => true,
            Self::F16 => !value.is_finite() || f16::from_f32(value).is_finite(),
            Self::Bf16 => !value.is_finite() || bf16::from_f32(value).is_finite(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaligned_bytes_decode_to_the_numbers_encoded() {
        // All three are exact in every type.
        let values = [1.5, -0.25, 1024.0];
        for dtype in [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16] {
            let mut bytes = vec![0xff];
            dtype.encode(&values, &mut bytes);
            assert_eq!(bytes.len(), 1 + 3 * dtype.bytes());
            assert_eq!(dtype.decode(&bytes[1..]), values);
        }
    }

    #[test]
    fn halves_round_to_the_nearest_even_number() {
        // bf16 keeps 8 significant bits: 1 + 2^-8 lies halfway between 1 and 1 + 2^-7.
        let mut bytes = Vec::new();
        WeightDtype::Bf16.encode(&[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0], &mut bytes);
        let back = WeightDtype::Bf16.decode(&bytes);
        assert_eq!(back, [1.0, 1.0 + 4.0 / 256.0]);
    }

    #[test]
    fn a_number_beyond_the_range_of_f16_does_not_fit() {
        assert!(WeightDtype::F16.holds(65504.0));
        assert!(!WeightDtype::F16.holds(70000.0));
        assert!(WeightDtype::F16.holds(f32::INFINITY));
        assert!(WeightDtype::Bf16.holds(70000.0));
    }
}
