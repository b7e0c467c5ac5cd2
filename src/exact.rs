//! Floats in saved states, bit by bit: decimal digits in JSON may come back one bit off.
//!
//! For `#[serde(with = "crate::exact")]` on a field that holds floats.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Serializes the bits of all floats in `value`.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<T: Exact, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_bits().serialize(serializer)
}

/// The value whose bits were serialized.
///
/// # Errors
/// When the deserializer fails.
pub fn deserialize<'de, T: Exact, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::Bits::deserialize(deserializer).map(T::from_bits)
}

/// A value made of floats.
pub trait Exact {
    /// The same with whole numbers in place of floats.
    type Bits: Serialize + DeserializeOwned;

    /// The bits of every float.
    fn to_bits(&self) -> Self::Bits;

    /// The value of these bits.
    fn from_bits(bits: Self::Bits) -> Self;
}

impl Exact for f32 {
    type Bits = u32;

    fn to_bits(&self) -> u32 {
        f32::to_bits(*self)
    }

    fn from_bits(bits: u32) -> Self {
        f32::from_bits(bits)
    }
}

impl Exact for f64 {
    type Bits = u64;

    fn to_bits(&self) -> u64 {
        f64::to_bits(*self)
    }

    fn from_bits(bits: u64) -> Self {
        f64::from_bits(bits)
    }
}

impl<T: Exact> Exact for Vec<T> {
    type Bits = Vec<T::Bits>;

    fn to_bits(&self) -> Self::Bits {
        self.iter().map(T::to_bits).collect()
    }

    fn from_bits(bits: Self::Bits) -> Self {
        bits.into_iter().map(T::from_bits).collect()
    }
}

impl<T: Exact> Exact for Option<T> {
    type Bits = Option<T::Bits>;

    fn to_bits(&self) -> Self::Bits {
        self.as_ref().map(T::to_bits)
    }

    fn from_bits(bits: Self::Bits) -> Self {
        bits.map(T::from_bits)
    }
}

impl<T: Exact> Exact for BTreeMap<String, T> {
    type Bits = BTreeMap<String, T::Bits>;

    fn to_bits(&self) -> Self::Bits {
        let pairs = self.iter();
        pairs.map(|(name, v)| (name.clone(), v.to_bits())).collect()
    }

    fn from_bits(bits: Self::Bits) -> Self {
        let pairs = bits.into_iter();
        pairs.map(|(name, b)| (name, T::from_bits(b))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Record {
        #[serde(with = "super")]
        values: Vec<f64>,
        #[serde(with = "super")]
        named: BTreeMap<String, f32>,
    }

    #[test]
    fn every_bit_comes_back() {
        let values = vec![0.1, 1.0 / 3.0, f64::NAN, f64::NEG_INFINITY, 5e-324, -0.0];
        let record = Record {
            named: BTreeMap::from([("a".into(), 0.1_f32)]),
            values: values.clone(),
        };
        let text = serde_json::to_string(&record).unwrap();
        let back: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(back.values.to_bits(), values.to_bits());
        assert_eq!(back.named, record.named);
    }
}
