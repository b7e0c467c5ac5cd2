//! The saved states of a stage: folders of which the newest counts.
//!
//! A state holds what cannot be derived from the run's seed and the stage's progress. It is written
//! to a sibling folder and renamed: it is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files;

const PREFIX: &str = "state-";
const PARTIAL: &str = "partial-";
const PROGRESS: &str = "progress.json";

/// Where a stage keeps its states.
#[derive(Clone, Debug)]
pub struct States {
    folder: PathBuf,
}

/// A whole state.
#[derive(Clone, Debug)]
pub struct SavedState {
    folder: PathBuf,
}

impl States {
    /// The states in `folder`, which need not be there yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The newest state; none if nothing was saved.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest(&self) -> Result<Option<SavedState>> {
        let newest = self.numbered()?.into_iter().max();
        Ok(newest.map(|(_, folder)| SavedState { folder }))
    }

    /// Saves a state, whose parts `write` puts into a folder, and removes older ones.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(
        &self,
        progress: &impl Serialize,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let older = self.numbered()?;
        let number = older
            .iter()
            .map(|(number, _)| number + 1)
            .max()
            .unwrap_or(1);
        let partial = self.folder.join(format!("{PARTIAL}{number:06}"));
        remove_folder(&partial)?;
        files::create_folder(&partial)?;
        write(&partial)?;
        files::write_json(&partial.join(PROGRESS), progress)?;
        let whole = self.folder.join(format!("{PREFIX}{number:06}"));
        fs::rename(&partial, &whole).map_err(Error::io(&whole, "create"))?;
        older.iter().try_for_each(|(_, path)| remove_folder(path))
    }

    /// Whole states with their numbers.
    fn numbered(&self) -> Result<Vec<(usize, PathBuf)>> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut states = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::io(&self.folder, "read"))? {
            let path = entry.map_err(Error::io(&self.folder, "read"))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(number) = name.and_then(|n| n.strip_prefix(PREFIX)?.parse().ok()) {
                states.push((number, path));
            }
        }
        Ok(states)
    }
}

impl SavedState {
    /// How far the stage was.
    ///
    /// # Errors
    /// When the file is missing or is not such a record.
    pub fn progress<T: DeserializeOwned>(&self) -> Result<T> {
        let file = self.part(PROGRESS);
        let text = fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        serde_json::from_str(&text).map_err(|error| Error::file(&file, error.to_string()))
    }

    /// A file or folder of the state.
    pub fn part(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(Error::io(path, "remove")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_state_counts_and_older_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let states = States::new(folder.path().join("states"));
        assert!(states.newest().unwrap().is_none());
        for step in 1..=3_usize {
            let write = |path: &Path| files::write_text(&path.join("part"), &step.to_string());
            states.save(&step, write).unwrap();
        }
        let failed = states.save(&4, |_| Err(Error::Interrupted));
        assert!(failed.is_err());
        let newest = states.newest().unwrap().unwrap();
        assert_eq!(newest.progress::<usize>().unwrap(), 3);
        assert_eq!(fs::read_to_string(newest.part("part")).unwrap(), "3");
        assert_eq!(states.numbered().unwrap().len(), 1);
    }
}
