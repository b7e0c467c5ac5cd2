//! Paths that begin with `stage:`: what an earlier stage of a recipe makes.
//!
//! `stage:cold_start/data.jsonl` is `data.jsonl` in the folder of the stage `cold_start`, wherever the
//! run is. Until that stage has run there is nothing to read.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use toml::Value;

/// What such a path begins with.
const PREFIX: &str = "stage:";

/// A path below the folder of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagePath<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The path in its folder; empty is the folder itself.
    pub inside: &'a str,
}

impl<'a> StagePath<'a> {
    /// Reads `stage:NAME/PATH`; none when `text` does not begin so.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (stage, inside) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { stage, inside })
    }

    /// The path when the stage's folder is `folder`; none when it leads out of it.
    pub fn below(self, folder: &Path) -> Option<PathBuf> {
        let inside = Path::new(self.inside);
        let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        let stays = inside.components().all(stays);
        stays.then(|| match self.inside {
            "" => folder.to_path_buf(),
            _ => folder.join(inside),
        })
    }
}

/// Whether a text in `settings` is a path to what a stage makes.
pub fn reads_stage(settings: &impl Serialize) -> bool {
    // Settings that TOML cannot say are refused where they are written.
    Value::try_from(settings).is_ok_and(|settings| holds_path(&settings))
}

fn holds_path(value: &Value) -> bool {
    match value {
        Value::String(text) => StagePath::parse(text).is_some(),
        Value::Array(items) => items.iter().any(holds_path),
        Value::Table(table) => table.iter().any(|(_, value)| holds_path(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_path_names_its_stage_and_stays_in_its_folder() {
        let below =
            |text| StagePath::parse(text).and_then(|path| path.below(Path::new("run/02-b")));
        assert_eq!(
            below("stage:b/data.jsonl"),
            Some(PathBuf::from("run/02-b/data.jsonl"))
        );
        assert_eq!(below("stage:b"), Some(PathBuf::from("run/02-b")));
        assert_eq!(below("stage:b/../01-a/x"), None);
        assert_eq!(below("stage:b//etc/passwd"), None);
        assert_eq!(StagePath::parse("stages/b"), None);
    }

    #[test]
    fn a_path_is_found_however_deep_it_lies() {
        let deep = ["stage:x/model", "x/stage:model"]
            .map(|text| BTreeMap::from([("a", vec![BTreeMap::from([("b", text)])])]));
        assert!(reads_stage(&deep[0]));
        assert!(!reads_stage(&deep[1]));
    }
}
