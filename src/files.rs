//! Files that are never half written: whole ones are renamed into place, logs grow by whole lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Writes `path` by `write`: into a temporary sibling, then renamed. A reader sees the old file or
/// the whole new one. The folder is created if it is missing.
///
/// # Errors
/// When the folder, the sibling or the file cannot be written; `path` is then as it was.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<()> {
    let mut sibling = temporary_sibling(path)?;
    let mut writer = BufWriter::new(sibling.as_file_mut());
    write(&mut writer)
        .and_then(|()| writer.flush())
        .and_then(|()| writer.get_ref().sync_all())
        .map_err(Error::io(path, "write"))?;
    drop(writer);
    sibling
        .persist(path)
        .map_err(|error| Error::io(path, "write")(error.error))?;
    Ok(())
}

/// Creates a folder and those it stands in; one that is there already is fine.
///
/// # Errors
/// When it cannot be created.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io(path, "create"))
}

/// Writes `text` to `path` as [`write_atomically`] does.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |writer| writer.write_all(text.as_bytes()))
}

/// Writes `value` to `path` as indented JSON with a final newline, as [`write_atomically`] does.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_atomically(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

/// Writes `records` to `path`, one line of JSON each, as [`write_atomically`] does.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_jsonl(path: &Path, records: &[impl Serialize]) -> Result<()> {
    write_atomically(path, |writer| {
        for record in records {
            serde_json::to_writer(&mut *writer, record)?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Removes what interrupted writes left in `folder` and the folders below; returns how many files.
///
/// # Errors
/// When a folder cannot be read or a file cannot be removed.
pub fn remove_leftovers(folder: &Path) -> Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let entry = entry.map_err(Error::io(folder, "read"))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io(&path, "read"))?;
        if kind.is_dir() {
            removed += remove_leftovers(&path)?;
        } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(SUFFIX) {
            fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Every record of a JSON-lines file; empty lines are passed over.
///
/// # Errors
/// When the file cannot be read or a line is not such a record: the line is named.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut records = Vec::new();
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.map_err(Error::io(path, "read"))?;
        if !line.trim_ascii().is_empty() {
            records.push(parse_line(path, index, &line)?);
        }
    }
    Ok(records)
}

/// Every record of a log that may still be growing: as [`read_jsonl`], but without a last line
/// that has no end yet.
///
/// # Errors
/// As [`read_jsonl`].
pub fn read_log<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    complete_lines(&text)
        .enumerate()
        .map(|(index, line)| parse_line(path, index, line.as_bytes()))
        .collect()
}

/// A log of one JSON record per line, each with its `"step"`.
#[derive(Debug)]
pub struct JsonlAppender {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl JsonlAppender {
    /// Starts a new log at `path`, in place of any that was there.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        write_text(path, "")?;
        Self::open(path)
    }

    /// Goes on with the log at `path` after `step`: later records and a half-written line are
    /// dropped. A log that is not there is started.
    ///
    /// # Errors
    /// When the file cannot be written, or as [`truncate_after`].
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        if !path.exists() {
            return Self::create(path);
        }
        truncate_after(path, step)?;
        Self::open(path)
    }

    /// Goes on with the log at `path`, whose records need no `"step"`: only a half-written line is
    /// dropped. A log that is not there is started.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn extend(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Self::create(path);
        }
        let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = &bytes[..end.map_or(0, |end| end + 1)];
        if whole.len() < bytes.len() {
            write_atomically(path, |writer| writer.write_all(whole))?;
        }
        Self::open(path)
    }

    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            path: path.to_path_buf(),
            writer: BufWriter::new(file.map_err(Error::io(path, "write"))?),
        })
    }

    /// Adds one record; it is on its way to the file after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record)
            .map_err(|error| Error::io(&self.path, "write")(error.into()))?;
        line.push(b'\n');
        self.writer
            .write_all(&line)
            .map_err(Error::io(&self.path, "write"))
    }

    /// Hands all records to the operating system: they outlive this process from here on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(Error::io(&self.path, "write"))
    }
}

impl JsonlAppender {
    /// Hands all records to the disk: they outlive a failure of power from here on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        let file = self.writer.get_ref();
        file.sync_data().map_err(Error::io(&self.path, "write"))
    }
}

/// Rewrites a log so that only complete lines whose `"step"` is at most `step` remain.
///
/// # Errors
/// When the file cannot be read or written, or a complete line is not a record with a `"step"`.
pub fn truncate_after(path: &Path, step: u64) -> Result<()> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    // A cut in the middle of a character is one more way for the last line to be incomplete.
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let text = str::from_utf8(&bytes[..end.map_or(0, |end| end + 1)])
        .map_err(|_| Error::file(path, "not utf-8 text, expected json lines"))?;
    let mut kept = String::with_capacity(text.len());
    for (index, line) in complete_lines(text).enumerate() {
        let record: Stepped = parse_line(path, index, line.as_bytes())?;
        if record.step <= step {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    write_text(path, &kept)
}

/// The part of a record that says where in the run it was written.
#[derive(serde::Deserialize)]
struct Stepped {
    step: u64,
    #[serde(flatten)]
    _rest: IgnoredAny,
}

/// The end of a temporary file's name.
pub(crate) const SUFFIX: &str = ".partial";

fn temporary_sibling(path: &Path) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX);
    // Temporary files are private by default; what replaces `path` must be as readable as any file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
        .tempfile_in(folder)
        .map_err(Error::io(path, "write"))
}

/// The lines that have their newline.
fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

/// Reads line `index`, from 0.
fn parse_line<T: DeserializeOwned>(path: &Path, index: usize, line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| {
        let problem = format!("not the json record expected here: {error}");
        Error::line(path, index + 1, problem)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_text(&path, "old").unwrap();
        let failed = write_atomically(&path, |writer| {
            writer.write_all(b"new")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("cannot write"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn missing_folders_are_made_and_json_ends_with_a_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a.json");
        write_json(&path, &json!({"b": 1, "a": 2})).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\n  \"b\": 1,\n  \"a\": 2\n}\n");
    }

    #[cfg(unix)]
    #[test]
    fn written_files_are_as_readable_as_any_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_text(&ours, "x").unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn leftovers_of_killed_writes_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model/a.txt");
        write_text(&path, "whole").unwrap();
        let leftover = temporary_sibling(&path).unwrap();
        leftover.keep().unwrap();
        assert_eq!(names(path.parent().unwrap()).len(), 2);
        assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
        assert_eq!(names(path.parent().unwrap()), ["a.txt"]);
    }

    #[test]
    fn resuming_drops_later_steps_and_a_half_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = JsonlAppender::create(&path).unwrap();
        for step in 1..=4 {
            log.append(&json!({"step": step, "reward": 0.5})).unwrap();
        }
        log.flush().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice("{\"step\": 2, \"text\": \"ä".as_bytes());
        bytes.pop();
        fs::write(&path, bytes).unwrap();
        let mut log = JsonlAppender::resume(&path, 2).unwrap();
        log.append(&json!({"step": 3, "reward": 0.75})).unwrap();
        log.flush().unwrap();
        let records: Vec<Value> = read_jsonl(&path).unwrap();
        let rewards: Vec<_> = records
            .iter()
            .map(|r| r["reward"].as_f64().unwrap())
            .collect();
        assert_eq!(rewards, [0.5, 0.5, 0.75]);
    }

    #[test]
    fn a_log_that_is_not_there_is_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/metrics.jsonl");
        JsonlAppender::resume(&path, 9).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn bad_lines_are_named_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "{\"step\": 1}\n\n{\"step\": }\n").unwrap();
        let message = read_jsonl::<Value>(&path).unwrap_err().to_string();
        assert!(
            message.contains("a.jsonl:3: not the json record"),
            "{message}"
        );
        fs::write(&path, b"{\"step\": 1}\n{\"text\": \"\xff\"}\n").unwrap();
        let message = read_jsonl::<Value>(&path).unwrap_err().to_string();
        assert!(
            message.contains("a.jsonl:2: not the json record"),
            "{message}"
        );
        fs::write(&path, "{\"step\": 1}\n{\"reward\": 1}\n").unwrap();
        let message = truncate_after(&path, 1).unwrap_err().to_string();
        assert!(message.contains("a.jsonl:2:"), "{message}");
    }

    #[test]
    fn a_growing_log_is_read_up_to_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "{\"step\": 1}\n{\"st").unwrap();
        assert_eq!(read_log::<Value>(&path).unwrap(), [json!({"step": 1})]);
    }
}
