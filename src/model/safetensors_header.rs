//! Reads and checks the header of a safetensors file.
//!
//! The `safetensors` crate's own check adds up offsets without looking for overflow and does not
//! name the tensor at fault, so only its record types are used here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};

/// Bytes that hold the header's length.
pub(super) const LENGTH_BYTES: usize = 8;
/// The largest header the format allows, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The header's key for remarks about the file.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// A header whose tensors cover the rest of the file without gap or overlap.
#[derive(Debug)]
pub(super) struct Header {
    /// Where the numbers begin: offsets count from here.
    pub data_start: usize,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Reads the header of `file`; `path` is only for error messages.
pub(super) fn read(file: &[u8], path: &Path) -> Result<Header> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        let problem = format!("is {} bytes long, expected a safetensors file", file.len());
        return Err(Error::file(path, problem));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .filter(|_| length <= MAX_HEADER_BYTES)
        .and_then(|length| rest.get(..length))
        .ok_or_else(|| {
            let problem = format!(
                "claims a header of {length} bytes, expected at most {}: \
                 truncated, or not a safetensors file",
                MAX_HEADER_BYTES.min(rest.len() as u64)
            );
            Error::file(path, problem)
        })?;
    let Tensors(tensors) = serde_json::from_slice(header)
        .map_err(|error| Error::file(path, format!("has a broken header: {error}")))?;
    check_coverage(&tensors, rest.len() - header.len(), path)?;
    Ok(Header {
        data_start: LENGTH_BYTES + header.len(),
        tensors,
    })
}

/// Checks that the tensors, one after another, fill exactly `data_bytes`.
fn check_coverage(
    tensors: &BTreeMap<String, TensorInfo>,
    data_bytes: usize,
    path: &Path,
) -> Result<()> {
    let mut in_order: Vec<_> = tensors.iter().collect();
    in_order.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in in_order {
        let (start, stop) = info.data_offsets;
        if start != end || stop < start {
            let problem = format!("claims bytes {start}..{stop}, expected them to begin at {end}");
            return Err(Error::tensor(path, name, problem));
        }
        if byte_size(info) != Some(stop - start) {
            let problem = format!(
                "claims {} bytes, which is not what shape {:?} of {} takes",
                stop - start,
                info.shape,
                info.dtype
            );
            return Err(Error::tensor(path, name, problem));
        }
        if stop > data_bytes {
            let problem = format!("ends at byte {stop} of {data_bytes}: the file is truncated");
            return Err(Error::tensor(path, name, problem));
        }
        end = stop;
    }
    if end != data_bytes {
        let problem = format!("holds {data_bytes} bytes of numbers, expected {end}");
        return Err(Error::file(path, problem));
    }
    Ok(())
}

/// The bytes a tensor takes; `None` if that is no whole or no possible number.
fn byte_size(info: &TensorInfo) -> Option<usize> {
    let numbers =
        (info.shape.iter()).try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let bits = numbers.checked_mul(info.dtype.bitsize())?;
    (bits % 8 == 0).then_some(bits / 8)
}

/// The header's JSON object without its remarks.
struct Tensors(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TensorsVisitor)
    }
}

struct TensorsVisitor;

impl<'de> Visitor<'de> for TensorsVisitor {
    type Value = Tensors;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let info: TensorInfo = map
                .next_value()
                .map_err(|error| A::Error::custom(format!("tensor `{name}`: {error}")))?;
            if tensors.contains_key(&name) {
                return Err(A::Error::custom(format!("tensor `{name}` occurs twice")));
            }
            tensors.insert(name, info);
        }
        Ok(Tensors(tensors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data_bytes: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(vec![0; data_bytes]);
        file
    }

    fn refusal(file: &[u8]) -> String {
        let message = read(file, Path::new("w")).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn a_header_gives_names_shapes_and_where_the_numbers_begin() {
        let text = r#"{"__metadata__": {"format": "pt"},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [2, 10]},
            "a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}}"#;
        let header = read(&file(text, 10), Path::new("w")).unwrap();
        assert_eq!(header.data_start, 8 + text.len());
        assert_eq!(header.tensors.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(header.tensors["b"].shape, [2]);
    }

    #[test]
    fn a_file_too_short_for_its_header_is_refused() {
        assert!(refusal(&[]).contains("w: is 0 bytes long"));
        assert!(refusal(&[1; 7]).contains("w: is 7 bytes long"));
        let mut longer = file("{}", 0);
        longer[0] += 1;
        assert!(refusal(&longer).contains("claims a header of 3 bytes, expected at most 2"));
        let endless = u64::MAX.to_le_bytes();
        assert!(refusal(&endless).contains("claims a header of 18446744073709551615 bytes"));
    }

    #[test]
    fn a_broken_header_is_refused_by_what_is_wrong_in_it() {
        for (header, expected) in [
            ("", "has a broken header: EOF"),
            ("[]", "expected an object of tensors"),
            ("{\"a\": {}}", "tensor `a`: missing field"),
            (
                r#"{"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}"#,
                "tensor `a`: unknown variant `F31`",
            ),
            (
                r#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#,
                "tensor `a`: invalid value: integer `-1`",
            ),
            (
                r#"{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]},
                    "a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}"#,
                "tensor `a` occurs twice",
            ),
        ] {
            let message = refusal(&file(header, 4));
            assert!(message.contains(expected), "{message}");
        }
        assert!(refusal(&file(&"[".repeat(100_000), 0)).contains("broken header"));
    }

    #[test]
    fn offsets_that_lie_are_refused_with_the_tensor() {
        let two = |first: [usize; 2], second: [usize; 2]| {
            format!(
                r#"{{"a": {{"dtype": "F32", "shape": [2], "data_offsets": {first:?}}},
                    "b": {{"dtype": "F32", "shape": [1], "data_offsets": {second:?}}}}}"#
            )
        };
        for (header, expected) in [
            (
                two([0, 8], [4, 8]),
                "tensor `b`: claims bytes 4..8, expected them to begin at 8",
            ),
            (two([0, 8], [9, 13]), "tensor `b`: claims bytes 9..13"),
            (
                two([4, 12], [12, 16]),
                "tensor `a`: claims bytes 4..12, expected them to begin at 0",
            ),
            (two([0, 8], [8, 4]), "tensor `b`: claims bytes 8..4"),
            (
                two([0, 4], [4, 8]),
                "tensor `a`: claims 4 bytes, which is not what shape [2] of F32",
            ),
            (two([0, 8], [8, 16]), "tensor `b`: claims 8 bytes"),
        ] {
            let message = refusal(&file(&header, 12));
            assert!(message.contains(expected), "{message}");
        }
        let right = two([0, 8], [8, 12]);
        assert!(read(&file(&right, 12), Path::new("w")).is_ok());
        let message = refusal(&file(&right, 11));
        assert!(message.contains("tensor `b`: ends at byte 12 of 11: the file is truncated"));
        let message = refusal(&file(&right, 13));
        assert!(
            message.contains("holds 13 bytes of numbers, expected 12"),
            "{message}"
        );
    }

    #[test]
    fn sizes_beyond_the_machine_are_refused() {
        let shape = r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296],
            "data_offsets": [0, 0]}}"#;
        assert!(refusal(&file(shape, 0)).contains("tensor `a`: claims 0 bytes"));
        // Eight tensors of 2^61 - 1 bytes end eight bytes short of 2^64.
        let size = (1_usize << 61) - 1;
        let tensors: Vec<String> = (0..8)
            .map(|i| {
                let offsets = [i * size, (i + 1) * size];
                format!(
                    r#""{i}": {{"dtype": "U8", "shape": [{size}], "data_offsets": {offsets:?}}}"#
                )
            })
            .collect();
        let message = refusal(&file(&format!("{{{}}}", tensors.join(",")), 0));
        assert!(
            message.contains("tensor `0`: ends at byte 2305843009213693951 of 0"),
            "{message}"
        );
    }
}
