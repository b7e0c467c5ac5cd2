//! Reading recorded values and holding found ones against them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use emberl::device::{self, DeviceSpec};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::de::DeserializeOwned;

/// The tensors of one recorded file.
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Tensors {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.to_path_buf();
        Self { path, bytes }
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let parsed = self.parsed();
        let mut names: Vec<_> = parsed.names().into_iter().map(str::to_string).collect();
        names.sort();
        names
    }

    pub fn has(&self, name: &str) -> bool {
        self.parsed().tensor(name).is_ok()
    }

    pub fn shape<const D: usize>(&self, name: &str) -> [usize; D] {
        let shape = self.view(name, |view| view.shape().to_vec());
        let expected = format!("{name} has {D} dimensions, not {shape:?}");
        shape.try_into().expect(&expected)
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.view(name, |view| {
            assert_eq!(view.dtype(), Dtype::F32, "{name}");
            let words = view.data().chunks_exact(4);
            words
                .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
                .collect()
        })
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.view(name, |view| {
            assert_eq!(view.dtype(), Dtype::I64, "{name}");
            let words = view.data().chunks_exact(8);
            words
                .map(|word| i64::from_le_bytes(word.try_into().unwrap()))
                .collect()
        })
    }

    /// The rows of a matrix of floats.
    pub fn float_rows(&self, name: &str) -> Vec<Vec<f32>> {
        let [_, columns] = self.shape(name);
        let values = self.floats(name);
        values.chunks(columns).map(<[f32]>::to_vec).collect()
    }

    /// The rows of a matrix of integers.
    pub fn integer_rows(&self, name: &str) -> Vec<Vec<i64>> {
        let [_, columns] = self.shape(name);
        let values = self.integers(name);
        values.chunks(columns).map(<[i64]>::to_vec).collect()
    }

    /// The rows of a matrix of ids, without what the matrix `mask` says is padding.
    pub fn unpadded(&self, ids: &str, mask: &str) -> Vec<Vec<u32>> {
        let rows = self.integer_rows(ids).into_iter();
        rows.zip(self.integer_rows(mask))
            .map(|(ids, mask)| {
                let real = ids.into_iter().zip(mask).filter(|(_, mask)| *mask != 0);
                real.map(|(id, _)| id as u32).collect()
            })
            .collect()
    }

    fn view<T>(&self, name: &str, read: impl FnOnce(TensorView<'_>) -> T) -> T {
        let view = self.parsed().tensor(name);
        read(view.unwrap_or_else(|error| panic!("{}: {name}: {error}", self.path.display())))
    }

    fn parsed(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }
}

/// How close a found value must be: `|found − expected| ≤ absolute + relative · |expected|`.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

impl Tolerance {
    /// Panics at the first value that is too far off; returns the largest difference.
    pub fn check(self, place: &str, found: &[f32], expected: &[f32]) -> f64 {
        assert_eq!(found.len(), expected.len(), "{place}: number of values");
        let mut worst = 0.0_f64;
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let difference = (f64::from(*found) - f64::from(*expected)).abs();
            let allowed = self.absolute + self.relative * f64::from(*expected).abs();
            assert!(
                difference <= allowed,
                "{place}: value {index}: {found}, expected {expected}"
            );
            worst = worst.max(difference);
        }
        worst
    }

    /// [`Tolerance::check`] of one number.
    pub fn check_one(self, place: &str, found: f64, expected: f64) -> f64 {
        let difference = (found - expected).abs();
        let allowed = self.absolute + self.relative * expected.abs();
        assert!(
            difference <= allowed,
            "{place}: {found}, expected {expected}"
        );
        difference
    }
}

/// The largest differences met, by what was compared.
#[derive(Default)]
pub struct Worst(Vec<(&'static str, f64)>);

impl Worst {
    pub fn note(&mut self, what: &'static str, difference: f64) {
        match self.0.iter_mut().find(|(name, _)| *name == what) {
            Some((_, worst)) => *worst = worst.max(difference),
            None => self.0.push((what, difference)),
        }
    }

    /// Prints them; `cargo test -- --nocapture` shows it.
    pub fn print(&self, place: &str) {
        for (what, worst) in &self.0 {
            eprintln!("{place}: {what}: largest difference {worst:.1e}");
        }
    }
}

/// Says what a test left out, whether or not the output of tests is shown.
pub fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{line}").expect("stderr takes a line");
}

/// Entries of the folder `path`, sorted; never none.
pub fn entries(path: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut entries: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    assert!(!entries.is_empty(), "{} is empty", path.display());
    entries
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> T {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn cpu() -> Device {
    device::open(&DeviceSpec::Cpu).expect("this build has the CPU backend")
}
