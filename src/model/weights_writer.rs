//! Writes a model folder's weights, one tensor at a time: `model.safetensors`, or shards and their
//! index where the model is larger than a shard may be.
//!
//! Shapes fix every offset, so headers are written first and the numbers follow in one stream. All
//! files are temporary until [`WeightsWriter::finish`] renames them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::mem;
use std::path::{Path, PathBuf};

use serde_json::{Map, json};
use tempfile::{NamedTempFile, TempPath};

use super::safetensors_header::METADATA_KEY;
use super::weight_dtype::WeightDtype;
use super::weights_file::{INDEX_FILE, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::files;

/// The largest shard that `transformers` writes by default, in bytes of numbers.
const DEFAULT_SHARD_BYTES: usize = 5_000_000_000;

/// Numbers converted at a time.
const CHUNK: usize = 1 << 16;

/// Writes the tensors of a model, in the order they were announced.
///
/// A writer dropped before [`Self::finish`] leaves the folder as it was.
#[derive(Debug)]
pub struct WeightsWriter {
    dir: PathBuf,
    /// The one file to write; without it the files of a model folder.
    file: Option<String>,
    dtype: WeightDtype,
    /// The tensors of each shard.
    plan: Vec<Vec<Tensor>>,
    /// Shards written so far.
    complete: Vec<TempPath>,
    /// The shard being written and how many of its tensors are.
    current: Option<(BufWriter<NamedTempFile>, usize)>,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

impl Tensor {
    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

impl WeightsWriter {
    /// Starts the weights of the model folder `dir`, which is created if need be: `tensors` are the
    /// names and shapes of all that will be written, in order, as numbers of type `dtype`.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be created, or a name occurs twice.
    pub fn create(
        dir: &Path,
        tensors: &[(String, Vec<usize>)],
        dtype: WeightDtype,
    ) -> Result<Self> {
        Self::create_sharded(dir, tensors, dtype, DEFAULT_SHARD_BYTES)
    }

    /// As [`Self::create`], with shards of at most `shard_bytes` (or one tensor).
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_sharded(
        dir: &Path,
        tensors: &[(String, Vec<usize>)],
        dtype: WeightDtype,
        shard_bytes: usize,
    ) -> Result<Self> {
        Self::start(dir, None, tensors, dtype, shard_bytes)
    }

    /// Starts one safetensors file, whatever its size; others in its folder stay as they are.
    ///
    /// # Errors
    /// As [`Self::create`], and when `path` does not end with a file's name.
    pub fn create_file(
        path: &Path,
        tensors: &[(String, Vec<usize>)],
        dtype: WeightDtype,
    ) -> Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::file(path, "is no file's name"));
        };
        let name = name.to_string_lossy().into_owned();
        Self::start(dir, Some(name), tensors, dtype, usize::MAX)
    }

    fn start(
        dir: &Path,
        file: Option<String>,
        tensors: &[(String, Vec<usize>)],
        dtype: WeightDtype,
        shard_bytes: usize,
    ) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(dir, "create"))?;
        let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::tensor(dir, pair[0], "is to be written twice"));
        }
        let mut writer = Self {
            dir: dir.to_owned(),
            file,
            dtype,
            plan: plan_shards(tensors, dtype, shard_bytes),
            complete: Vec::new(),
            current: None,
        };
        writer.start_shard()?;
        Ok(writer)
    }

    /// Writes the next tensor's numbers, row-major.
    ///
    /// # Errors
    /// When their count is not the shape's, a finite number is too large for the number type, all
    /// tensors are written already, or the file cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        let shard = self.complete.len();
        let Some((file, written)) = &mut self.current else {
            let problem = "has all its tensors, expected no more";
            return Err(Error::file(&self.dir, problem));
        };
        let tensor = &self.plan[shard][*written];
        let fail = |problem| Err(Error::tensor(&self.dir, &tensor.name, problem));
        if values.len() != tensor.numbers() {
            let (count, shape) = (values.len(), &tensor.shape);
            return fail(format!("got {count} numbers, expected shape {shape:?}"));
        }
        if let Some(value) = values.iter().find(|&&value| !self.dtype.holds(value)) {
            return fail(format!(
                "holds {value}, too large for {}, expected float32 or bfloat16",
                self.dtype.name()
            ));
        }
        let mut bytes = Vec::new();
        for chunk in values.chunks(CHUNK) {
            bytes.clear();
            self.dtype.encode(chunk, &mut bytes);
            file.write_all(&bytes)
                .map_err(Error::io(&self.dir, "write"))?;
        }
        *written += 1;
        if *written == self.plan[shard].len() {
            self.end_shard()?;
        }
        Ok(())
    }

    /// Renames the files to their final names and removes those of an earlier model.
    ///
    /// One file is replaced at once; several shards are not, so write those to a fresh folder.
    ///
    /// # Errors
    /// When not all tensors were written, or a file cannot be renamed or removed.
    pub fn finish(mut self) -> Result<()> {
        let shards = self.plan.len();
        if let Some(missing) = self.next_tensor() {
            return Err(Error::tensor(&self.dir, missing, "was not written"));
        }
        if let Some(file) = &self.file {
            let temporary = self.complete.pop().expect("one shard was completed");
            return persist(temporary, &self.dir.join(file));
        }
        let earlier = self.weight_files()?;
        let mut names: Vec<String> = (0..shards).map(|shard| shard_name(shard, shards)).collect();
        for (temporary, name) in mem::take(&mut self.complete).into_iter().zip(&names) {
            persist(temporary, &self.dir.join(name))?;
        }
        if shards > 1 {
            self.write_index()?;
            names.push(INDEX_FILE.to_owned());
        }
        for name in earlier.iter().filter(|name| !names.contains(name)) {
            let path = self.dir.join(name);
            fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
        Ok(())
    }

    fn next_tensor(&self) -> Option<&str> {
        let (_, written) = self.current.as_ref()?;
        let tensor = &self.plan[self.complete.len()][*written];
        Some(&tensor.name)
    }

    /// Opens the next shard, if one is left, and writes its header; a shard of nothing ends at once.
    fn start_shard(&mut self) -> Result<()> {
        let Some(tensors) = self.plan.get(self.complete.len()) else {
            return Ok(());
        };
        let header = header(tensors, self.dtype);
        let mut file = BufWriter::new(temporary_in(&self.dir)?);
        file.write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| file.write_all(header.as_bytes()))
            .map_err(Error::io(&self.dir, "write"))?;
        let empty = tensors.is_empty();
        self.current = Some((file, 0));
        if empty { self.end_shard() } else { Ok(()) }
    }

    fn end_shard(&mut self) -> Result<()> {
        let Some((file, _)) = self.current.take() else {
            return Ok(());
        };
        let file = file
            .into_inner()
            .map_err(|error| Error::io(&self.dir, "write")(error.into()))?;
        (file.as_file().sync_all()).map_err(Error::io(&self.dir, "write"))?;
        self.complete.push(file.into_temp_path());
        self.start_shard()
    }

    /// Names of the weight files that are in the folder.
    fn weight_files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::io(&self.dir, "read"))? {
            let entry = entry.map_err(Error::io(&self.dir, "read"))?;
            names.extend(
                entry
                    .file_name()
                    .into_string()
                    .ok()
                    .filter(|name| is_weight_file(name)),
            );
        }
        Ok(names)
    }

    fn write_index(&self) -> Result<()> {
        let shards = self.plan.len();
        let tensors = self.plan.iter().flatten();
        let numbers: usize = tensors.clone().map(Tensor::numbers).sum();
        let weight_map: BTreeMap<&str, String> = (self.plan.iter().enumerate())
            .flat_map(|(shard, tensors)| tensors.iter().map(move |tensor| (shard, tensor)))
            .map(|(shard, tensor)| (tensor.name.as_str(), shard_name(shard, shards)))
            .collect();
        let index = json!({
            "metadata": {
                "total_parameters": numbers,
                "total_size": numbers * self.dtype.bytes(),
            },
            "weight_map": weight_map,
        });
        let mut file = temporary_in(&self.dir)?;
        writeln!(file, "{index:#}")
            .and_then(|()| file.as_file().sync_all())
            .map_err(Error::io(&self.dir, "write"))?;
        persist(file.into_temp_path(), &self.dir.join(INDEX_FILE))
    }
}

/// Fills shards in order; a tensor that would make one too large starts the next.
fn plan_shards(
    tensors: &[(String, Vec<usize>)],
    dtype: WeightDtype,
    shard_bytes: usize,
) -> Vec<Vec<Tensor>> {
    let mut shards = vec![Vec::new()];
    let mut filled = 0;
    for (name, shape) in tensors {
        let tensor = Tensor {
            name: name.clone(),
            shape: shape.clone(),
        };
        let bytes = tensor.numbers() * dtype.bytes();
        if filled > 0 && filled + bytes > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        shards
            .last_mut()
            .expect("there is always a first shard")
            .push(tensor);
    }
    shards
}

/// The header of a shard, padded so that the numbers begin at a multiple of eight bytes.
fn header(tensors: &[Tensor], dtype: WeightDtype) -> String {
    let mut entries = Map::new();
    entries.insert(METADATA_KEY.to_owned(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in tensors {
        let stop = start + tensor.numbers() * dtype.bytes();
        let entry = json!({
            "dtype": dtype.to_safetensors().to_string(),
            "shape": tensor.shape,
            "data_offsets": [start, stop],
        });
        entries.insert(tensor.name.clone(), entry);
        start = stop;
    }
    let mut header = serde_json::Value::Object(entries).to_string();
    let padding = header.len().next_multiple_of(8) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));
    header
}

fn shard_name(shard: usize, shards: usize) -> String {
    match shards {
        1 => WEIGHTS_FILE.to_owned(),
        _ => format!("model-{:05}-of-{shards:05}.safetensors", shard + 1),
    }
}

/// Whether `name` is one that [`shard_name`] gives, or the index's.
fn is_weight_file(name: &str) -> bool {
    let numbers = (name.strip_prefix("model-"))
        .and_then(|name| name.strip_suffix(".safetensors"))
        .and_then(|name| name.split_once("-of-"));
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    name == WEIGHTS_FILE
        || name == INDEX_FILE
        || numbers.is_some_and(|(shard, shards)| is_number(shard) && is_number(shards))
}

/// A temporary file in `dir` with the permissions an ordinary new file has.
fn temporary_in(dir: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.suffix(files::SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
        .tempfile_in(dir)
        .map_err(Error::io(dir, "create a file in"))
}

fn persist(temporary: TempPath, path: &Path) -> Result<()> {
    (temporary.persist(path)).map_err(|error| Error::io(path, "rename to")(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights_file::Checkpoint;

    fn tensors(count: usize) -> Vec<(String, Vec<usize>)> {
        (0..count).map(|i| (format!("t{i}"), vec![2, 2])).collect()
    }

    fn write_all(dir: &Path, count: usize, shard_bytes: usize) {
        let tensors = tensors(count);
        let mut writer =
            WeightsWriter::create_sharded(dir, &tensors, WeightDtype::F32, shard_bytes).unwrap();
        for i in 0..count {
            writer.write(&[i as f32; 4]).unwrap();
        }
        writer.finish().unwrap();
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn every_bit_of_an_f32_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let bits = [
            0,
            1,
            0x8000_0000,
            0x3f80_0001,
            0x7f7f_ffff,
            0xff80_0000,
            0x7fc0_1234,
        ];
        let values = bits.map(f32::from_bits);
        let tensors = [("a".to_owned(), vec![7])];
        let mut writer = WeightsWriter::create(dir.path(), &tensors, WeightDtype::F32).unwrap();
        writer.write(&values).unwrap();
        writer.finish().unwrap();
        let back = Checkpoint::open(dir.path()).unwrap();
        let back = back.tensor("a", &[7]).unwrap().to_f32();
        assert!(back.iter().map(|value| value.to_bits()).eq(bits));
    }

    #[test]
    fn a_tensor_larger_than_a_chunk_comes_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..2 * CHUNK + 3).map(|i| i as f32).collect();
        let tensors = [("a".to_owned(), vec![values.len()])];
        let mut writer = WeightsWriter::create(dir.path(), &tensors, WeightDtype::F32).unwrap();
        writer.write(&values).unwrap();
        writer.finish().unwrap();
        let back = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(back.tensor("a", &[values.len()]).unwrap().to_f32(), values);
    }

    #[test]
    fn numbers_begin_at_a_multiple_of_eight_bytes() {
        let header = header(
            &plan_shards(&tensors(3), WeightDtype::F16, 1000)[0],
            WeightDtype::F16,
        );
        assert_eq!(header.len() % 8, 0);
        assert!(header.starts_with(r#"{"__metadata__":{"format":"pt"},"t0":{"dtype":"F16""#));
    }

    #[test]
    fn shards_hold_as_many_tensors_as_fit() {
        let dir = tempfile::tempdir().unwrap();
        // Five tensors of 16 bytes, two to a shard.
        write_all(dir.path(), 5, 33);
        let expected = [
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors",
            "model.safetensors.index.json",
        ];
        assert_eq!(files(dir.path()), expected);
        let index = fs::read_to_string(dir.path().join(INDEX_FILE)).unwrap();
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        assert_eq!(index["metadata"]["total_size"], 80);
        assert_eq!(
            index["weight_map"]["t3"],
            "model-00002-of-00003.safetensors"
        );
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.tensor("t4", &[2, 2]).unwrap().to_f32(), [4.0; 4]);
    }

    #[test]
    fn files_of_an_earlier_model_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let adapter = dir.path().join("adapter_model.safetensors");
        fs::write(&adapter, "").unwrap();
        write_all(dir.path(), 4, 16);
        assert_eq!(files(dir.path()).len(), 6);
        write_all(dir.path(), 3, 1000);
        assert_eq!(
            files(dir.path()),
            ["adapter_model.safetensors", WEIGHTS_FILE]
        );
        write_all(dir.path(), 2, 16);
        assert_eq!(files(dir.path()).len(), 4);
        assert!(!dir.path().join(WEIGHTS_FILE).exists());
        assert_eq!(Checkpoint::open(dir.path()).unwrap().names().count(), 2);
    }

    #[test]
    fn one_file_is_written_beside_those_of_a_model() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), 4, 16);
        let (path, tensors) = (dir.path().join("adapter_model.safetensors"), tensors(1));
        let mut writer = WeightsWriter::create_file(&path, &tensors, WeightDtype::F32).unwrap();
        writer.write(&[2.0; 4]).unwrap();
        writer.finish().unwrap();
        assert_eq!(files(dir.path()).len(), 6);
        let checkpoint = Checkpoint::open_file(&path).unwrap();
        assert_eq!(checkpoint.tensor("t0", &[2, 2]).unwrap().to_f32(), [2.0; 4]);
    }

    #[test]
    fn an_unfinished_writer_leaves_the_folder_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), 1, 1000);
        let before = fs::read(dir.path().join(WEIGHTS_FILE)).unwrap();
        let mut writer =
            WeightsWriter::create_sharded(dir.path(), &tensors(3), WeightDtype::F32, 16).unwrap();
        writer.write(&[9.0; 4]).unwrap();
        writer.write(&[9.0; 4]).unwrap();
        let message = writer.finish().unwrap_err().to_string();
        assert!(
            message.ends_with("tensor `t2`: was not written"),
            "{message}"
        );
        assert_eq!(files(dir.path()), [WEIGHTS_FILE]);
        assert_eq!(fs::read(dir.path().join(WEIGHTS_FILE)).unwrap(), before);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_with_their_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = WeightsWriter::create(dir.path(), &tensors(1), WeightDtype::F16).unwrap();
        let message = writer.write(&[1.0; 3]).unwrap_err().to_string();
        assert!(message.ends_with("tensor `t0`: got 3 numbers, expected shape [2, 2]"));
        let message = writer.write(&[1.0, 7e4, 1.0, 1.0]).unwrap_err().to_string();
        assert!(
            message.contains("tensor `t0`: holds 70000, too large for float16"),
            "{message}"
        );
        writer.write(&[1.0; 4]).unwrap();
        let message = writer.write(&[1.0; 4]).unwrap_err().to_string();
        assert!(
            message.ends_with("has all its tensors, expected no more"),
            "{message}"
        );
        writer.finish().unwrap();
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let twice = [tensors(1), tensors(1)].concat();
        let error = WeightsWriter::create(dir.path(), &twice, WeightDtype::F32).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("tensor `t0`: is to be written twice")
        );
        assert!(files(dir.path()).is_empty());
    }

    #[test]
    fn a_model_without_tensors_is_a_file_without_tensors() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), 0, 1000);
        assert_eq!(Checkpoint::open(dir.path()).unwrap().names().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn weights_have_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), 1, 1000);
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&dir.path().join(WEIGHTS_FILE)), mode(&plain));
    }
}
