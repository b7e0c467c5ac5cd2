//! Reads a model folder's weights: `model.safetensors`, or the shards its index lists.
//!
//! The files are memory-mapped and checked once, from their headers; after that a tensor is a slice
//! of the map, so no second copy of the weights is held. Nothing a file says is trusted: every
//! length, range and name is checked before it is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use safetensors::tensor::TensorInfo;
use serde::Deserialize;

use super::config::ModelConfig;
use super::safetensors_header;
use super::weight_dtype::WeightDtype;
use crate::error::{Error, Result};

/// File of an unsharded model.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";
/// File that says which shard holds which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// The weights of a model folder, mapped into memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// The weights file, or the index of the shards.
    path: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, StoredTensor>,
}

/// One tensor as it lies in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorBytes<'a> {
    /// Number type.
    pub dtype: WeightDtype,
    /// Shape, outermost dimension first.
    pub shape: &'a [usize],
    /// The numbers, little-endian, row-major; may be unaligned.
    pub bytes: &'a [u8],
}

impl TensorBytes<'_> {
    /// The numbers as `f32`, row-major.
    pub fn to_f32(self) -> Vec<f32> {
        self.dtype.decode(self.bytes)
    }
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
}

#[derive(Debug)]
struct StoredTensor {
    /// Index of the shard.
    shard: usize,
    info: TensorInfo,
    /// Where in the shard's file the numbers lie.
    range: Range<usize>,
}

/// `model.safetensors.index.json`; its other keys do not matter.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weights of the model folder `dir`: `model.safetensors` if it is there, else the
    /// shards of `model.safetensors.index.json`.
    ///
    /// # Errors
    /// When neither file is there, a file cannot be read or is not what it should be, or the index
    /// does not fit its shards.
    pub fn open(dir: &Path) -> Result<Self> {
        let (single, index) = (dir.join(WEIGHTS_FILE), dir.join(INDEX_FILE));
        if single.exists() {
            Self::open_file(&single)
        } else if index.exists() {
            Self::open_index(&index)
        } else {
            let problem = format!("has neither `{WEIGHTS_FILE}` nor `{INDEX_FILE}`");
            Err(Error::file(dir, problem))
        }
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// When the file cannot be read or is not what it should be.
    pub fn open_file(path: &Path) -> Result<Self> {
        let mut checkpoint = Self::empty(path);
        checkpoint.tensors = checkpoint.add_shard(path)?;
        Ok(checkpoint)
    }

    /// Names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor called `name`, which has to have the shape `expected`.
    ///
    /// # Errors
    /// When there is no such tensor, its shape differs, or its number type is not a supported one.
    pub fn tensor(&self, name: &str, expected: &[usize]) -> Result<TensorBytes<'_>> {
        let stored = (self.tensors.get(name))
            .ok_or_else(|| Error::tensor(&self.path, name, "is missing"))?;
        let shard = &self.shards[stored.shard];
        let info = &stored.info;
        if info.shape != expected {
            let problem = format!("has shape {:?}, expected {expected:?}", info.shape);
            return Err(Error::tensor(&shard.path, name, problem));
        }
        let dtype = WeightDtype::from_safetensors(info.dtype).ok_or_else(|| {
            let problem = format!(
                "has number type {}, supported are F32, F16, BF16",
                info.dtype
            );
            Error::tensor(&shard.path, name, problem)
        })?;
        Ok(TensorBytes {
            dtype,
            shape: &info.shape,
            bytes: &shard.map[stored.range.clone()],
        })
    }

    /// Checks that every tensor of `config`'s decoder is there with its shape, and that a tied
    /// head, where the file holds one all the same, equals the embedding.
    ///
    /// # Errors
    /// Names the first tensor at fault.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        for (name, shape) in config.parameter_shapes() {
            self.tensor(&name, &shape)?;
        }
        let (head, embedding) = ("lm_head.weight", "model.embed_tokens.weight");
        if !config.tie_word_embeddings || !self.tensors.contains_key(head) {
            return Ok(());
        }
        let shape = [config.vocab_size, config.hidden_size];
        if self.tensor(head, &shape)? == self.tensor(embedding, &shape)? {
            return Ok(());
        }
        let problem = format!(
            "differs from `{embedding}`, expected the same weights or \
             `tie_word_embeddings` false in config.json"
        );
        Err(Error::tensor(&self.path, head, problem))
    }

    /// Lets go of the memory that a tensor's part of the map takes, once it has been copied; it is
    /// read from the file again if it is asked for again.
    pub(super) fn release(&self, name: &str) {
        if let Some(stored) = self.tensors.get(name) {
            release(&self.shards[stored.shard].map, stored.range.clone());
        }
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
        }
    }

    fn open_index(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        let index: Index = serde_json::from_str(&text)
            .map_err(|error| Error::file(path, format!("expected an index of shards: {error}")))?;
        let mut names_by_shard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            names_by_shard.entry(file).or_default().push(tensor);
        }
        let mut checkpoint = Self::empty(path);
        for (file, names) in names_by_shard {
            checkpoint.add_indexed_shard(file, &names)?;
        }
        Ok(checkpoint)
    }

    /// Adds the tensors `names` from the shard that the index calls `file`.
    fn add_indexed_shard(&mut self, file: &str, names: &[&str]) -> Result<()> {
        let mut components = Path::new(file).components();
        let plain = matches!(components.next(), Some(Component::Normal(_)));
        if !plain || components.next().is_some() || file.contains('\\') {
            let problem = format!("names shard `{file}`, expected a file in the same folder");
            return Err(Error::file(&self.path, problem));
        }
        let shard = self.path.with_file_name(file);
        if !shard.exists() {
            let problem = format!("names shard `{file}`, which is not there");
            return Err(Error::file(&self.path, problem));
        }
        let mut tensors = self.add_shard(&shard)?;
        for &name in names {
            let stored = tensors.remove(name).ok_or_else(|| {
                let problem = format!("is missing from shard `{file}`, where the index puts it");
                Error::tensor(&self.path, name, problem)
            })?;
            self.tensors.insert(name.to_owned(), stored);
        }
        Ok(())
    }

    /// Maps the file at `path` as the next shard and gives the tensors it holds.
    fn add_shard(&mut self, path: &Path) -> Result<BTreeMap<String, StoredTensor>> {
        let map = map_file(path)?;
        let header = safetensors_header::read(&map, path)?;
        let shard = self.shards.len();
        let stored = |info: TensorInfo| StoredTensor {
            shard,
            range: header.data_start + info.data_offsets.0..header.data_start + info.data_offsets.1,
            info,
        };
        self.shards.push(Shard {
            path: path.to_owned(),
            map,
        });
        let tensors = header.tensors.into_iter();
        Ok(tensors.map(|(name, info)| (name, stored(info))).collect())
    }
}

#[expect(
    unsafe_code,
    reason = "mapping avoids a second copy of the weights; like every reader of safetensors this \
              relies on no one changing the file meanwhile, and emberl replaces files by renaming"
)]
fn map_file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    // SAFETY: the map is only read, and the file is not written to while it is mapped (see above).
    unsafe { Mmap::map(&file) }.map_err(Error::io(path, "map"))
}

#[cfg(unix)]
#[expect(
    unsafe_code,
    reason = "memory that is not given back would count twice while a model is loaded"
)]
fn release(map: &Mmap, range: Range<usize>) {
    // SAFETY: the map is of a file and never written to: a page that is dropped is read again.
    let released =
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    if let Err(error) = released {
        tracing::debug!("a part of a mapped file could not be released: {error}");
    }
}

#[cfg(not(unix))]
fn release(_: &Mmap, _: Range<usize>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Family;
    use crate::model::weights_writer::WeightsWriter;

    fn shapes() -> Vec<(String, Vec<usize>)> {
        vec![("a".into(), vec![2, 3]), ("b".into(), vec![1])]
    }

    /// A folder with tensor `a` of numbers 0 to 5 and `b` of 6, in shards of `shard_bytes`.
    fn folder(dtype: WeightDtype, shard_bytes: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut writer =
            WeightsWriter::create_sharded(dir.path(), &shapes(), dtype, shard_bytes).unwrap();
        writer.write(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        writer.write(&[6.0]).unwrap();
        writer.finish().unwrap();
        dir
    }

    fn refusal<T>(result: Result<T>) -> String {
        let message = result.err().expect("this is refused").to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn tensors_come_back_in_every_number_type_whole_or_in_shards() {
        for dtype in [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16] {
            for shard_bytes in [1000, 1] {
                let dir = folder(dtype, shard_bytes);
                let checkpoint = Checkpoint::open(dir.path()).unwrap();
                assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
                let tensor = checkpoint.tensor("a", &[2, 3]).unwrap();
                assert_eq!((tensor.dtype, tensor.shape), (dtype, [2, 3].as_slice()));
                assert_eq!(tensor.to_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
                assert_eq!(checkpoint.tensor("b", &[1]).unwrap().to_f32(), [6.0]);
            }
        }
    }

    #[test]
    fn a_tensor_missing_or_of_another_shape_is_named_with_its_file() {
        let dir = folder(WeightDtype::F32, 1000);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let message = refusal(checkpoint.tensor("c", &[1]));
        assert!(
            message.ends_with("model.safetensors: tensor `c`: is missing"),
            "{message}"
        );
        let message = refusal(checkpoint.tensor("a", &[3, 2]));
        assert!(
            message.ends_with("model.safetensors: tensor `a`: has shape [2, 3], expected [3, 2]"),
            "{message}"
        );
    }

    #[test]
    fn a_tensor_of_integers_is_refused_only_when_asked_for() {
        let header = r#"{"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 8]);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(WEIGHTS_FILE), file).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let message = refusal(checkpoint.tensor("a", &[1]));
        assert!(message.ends_with("`a`: has number type I64, supported are F32, F16, BF16"));
    }

    #[test]
    fn a_folder_without_weights_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = refusal(Checkpoint::open(dir.path()));
        assert!(
            message.contains("has neither `model.safetensors` nor"),
            "{message}"
        );
        let missing = dir.path().join("adapter.safetensors");
        assert!(
            refusal(Checkpoint::open_file(&missing)).ends_with("adapter.safetensors: cannot open")
        );
        assert!(refusal(Checkpoint::open_file(dir.path())).contains(": cannot "));
    }

    #[test]
    fn an_index_that_does_not_fit_its_shards_is_refused() {
        let dir = folder(WeightDtype::F32, 1);
        let shard = "model-00001-of-00002.safetensors";
        for (index, expected) in [
            ("{", "expected an index of shards: EOF"),
            ("[]", "expected an index of shards"),
            (
                "{\"weight_map\": {\"a\": 1}}",
                "expected an index of shards",
            ),
            (
                "{\"weight_map\": {\"a\": \"gone\"}}",
                "names shard `gone`, which is not there",
            ),
            (
                "{\"weight_map\": {\"a\": \"../x\"}}",
                "names shard `../x`, expected a file in the same",
            ),
            (
                "{\"weight_map\": {\"a\": \"/etc/x\"}}",
                "names shard `/etc/x`, expected a file in",
            ),
            (
                "{\"weight_map\": {\"a\": \"..\"}}",
                "names shard `..`, expected a file in",
            ),
            (
                "{\"weight_map\": {\"a\": \"\"}}",
                "names shard ``, expected a file in",
            ),
            (
                "{\"weight_map\": {\"a\": \"b\\\\c\"}}",
                "names shard `b\\c`, expected a file in",
            ),
            (
                &format!("{{\"weight_map\": {{\"b\": \"{shard}\"}}}}"),
                "tensor `b`: is missing from shard `model-00001",
            ),
        ] {
            fs::write(dir.path().join(INDEX_FILE), index).unwrap();
            let message = refusal(Checkpoint::open(dir.path()));
            assert!(
                message.contains("model.safetensors.index.json: "),
                "{message}"
            );
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_tied_head_may_be_there_if_it_equals_the_embedding() {
        let config = ModelConfig {
            vocab_size: 4,
            hidden_size: 4,
            intermediate_size: 2,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 2,
            tie_word_embeddings: true,
            ..ModelConfig::of_family(Family::Llama)
        };
        let check = |head: Option<f32>, config: &ModelConfig| {
            let dir = tempfile::tempdir().unwrap();
            let mut tensors = config.parameter_shapes();
            tensors.retain(|(name, _)| name != "lm_head.weight");
            tensors.extend(head.map(|_| ("lm_head.weight".to_owned(), vec![4, 4])));
            let mut writer = WeightsWriter::create(dir.path(), &tensors, WeightDtype::F32).unwrap();
            for (name, shape) in &tensors {
                let value = head.filter(|_| name == "lm_head.weight").unwrap_or(1.0);
                writer.write(&vec![value; shape.iter().product()]).unwrap();
            }
            writer.finish().unwrap();
            Checkpoint::open(dir.path()).unwrap().check(config)
        };
        check(None, &config).unwrap();
        check(Some(1.0), &config).unwrap();
        let message = refusal(check(Some(2.0), &config));
        assert!(
            message.contains("tensor `lm_head.weight`: differs from"),
            "{message}"
        );
        let untied = ModelConfig {
            tie_word_embeddings: false,
            ..config
        };
        check(Some(2.0), &untied).unwrap();
        let message = refusal(check(None, &untied));
        assert!(
            message.contains("tensor `lm_head.weight`: is missing"),
            "{message}"
        );
    }

    /// Opens and reads what there is to read; all that matters is that nothing panics.
    fn survives(file: &[u8], path: &Path) -> bool {
        fs::write(path, file).unwrap();
        let Ok(checkpoint) = Checkpoint::open_file(path) else {
            return false;
        };
        for (name, stored) in &checkpoint.tensors {
            if let Ok(tensor) = checkpoint.tensor(name, &stored.info.shape) {
                let numbers: usize = tensor.shape.iter().product();
                assert_eq!(tensor.to_f32().len(), numbers);
            }
        }
        true
    }

    #[test]
    fn no_flipped_bit_and_no_changed_byte_makes_reading_panic() {
        let dir = folder(WeightDtype::F32, 1000);
        let whole = fs::read(dir.path().join(WEIGHTS_FILE)).unwrap();
        let path = dir.path().join("changed.safetensors");
        let header_bytes = whole.len() - 7 * 4;
        let mut accepted = 0;
        for at in 0..header_bytes {
            let flips = (0..8).map(|bit| whole[at] ^ (1 << bit));
            for byte in flips.chain(*b"0917\"{}[],:- e") {
                let mut changed = whole.clone();
                changed[at] = byte;
                accepted += usize::from(survives(&changed, &path));
            }
        }
        // Some changes are harmless: a letter of a name, a space of the padding.
        assert!(accepted > 0);
    }

    #[test]
    fn no_truncated_or_lengthened_file_is_accepted() {
        let dir = folder(WeightDtype::F16, 1000);
        let mut file = fs::read(dir.path().join(WEIGHTS_FILE)).unwrap();
        let path = dir.path().join("cut.safetensors");
        for length in 0..file.len() {
            assert!(
                !survives(&file[..length], &path),
                "{length} bytes were enough"
            );
        }
        assert!(survives(&file, &path));
        file.push(0);
        assert!(!survives(&file, &path));
    }
}
