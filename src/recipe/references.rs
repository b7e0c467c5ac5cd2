//! `stage:` paths in the settings of stages and comparisons: checked before a run, turned into files when
//! the files are there.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::key_path::KeyPath;
use super::{Recipe, Stage};
use crate::data::StagePath;
use crate::error::{Error, Result};
use crate::rollout::WinRateConfig;

impl Recipe {
    /// Checks that every `stage:` path of stage `index` names an earlier stage and stays in its folder.
    ///
    /// # Errors
    /// Names the first key whose path does not.
    pub(super) fn validate_references(&self, index: usize) -> Result<()> {
        self.resolved(index, &|_| PathBuf::new()).map(drop)
    }

    /// Stage `index` with its `stage:` paths as files; `folder` is that of a stage.
    ///
    /// # Errors
    /// As [`Self::validate_references`].
    pub(crate) fn resolved(
        &self,
        index: usize,
        folder: &dyn Fn(usize) -> PathBuf,
    ) -> Result<Stage> {
        let stage = &self.stages[index];
        self.with_files(stage, &format!("stage.{}", stage.name()), index, folder)
    }

    /// The comparison `config` with its `stage:` paths as files; `folder` is that of a stage.
    ///
    /// # Errors
    /// Names the first key whose path names no stage or leaves the stage's folder.
    pub(crate) fn resolved_win_rate(
        &self,
        config: &WinRateConfig,
        folder: &dyn Fn(usize) -> PathBuf,
    ) -> Result<WinRateConfig> {
        let key = format!("eval.win_rate.{}", config.name());
        self.with_files(config, &key, self.stages.len(), folder)
    }

    /// `settings`, which stand at `key`, with their paths to stages before `index` as files.
    fn with_files<T: Clone + Serialize + DeserializeOwned>(
        &self,
        settings: &T,
        key: &str,
        index: usize,
        folder: &dyn Fn(usize) -> PathBuf,
    ) -> Result<T> {
        let unwritable = |error: String| Error::setting(key, error);
        let mut table = Value::try_from(settings).map_err(|error| unwritable(error.to_string()))?;
        let mut found = false;
        for path in KeyPath::all(&table) {
            let inside = path.spelled(&table);
            let Some(Value::String(text)) = path.get_mut(&mut table) else {
                continue;
            };
            let Some(reference) = StagePath::parse(text) else {
                continue;
            };
            let blame = |problem| Error::setting(format!("{key}.{inside}"), problem);
            *text = self.file(index, reference, folder).map_err(blame)?;
            found = true;
        }
        match found {
            false => Ok(settings.clone()),
            true => T::deserialize(table).map_err(|error| unwritable(error.message().to_owned())),
        }
    }

    /// The file that `reference` means to stage `index`.
    fn file(
        &self,
        index: usize,
        reference: StagePath<'_>,
        folder: &dyn Fn(usize) -> PathBuf,
    ) -> Result<String, String> {
        let StagePath { stage, inside } = reference;
        let earlier = &self.stages[..index];
        let Some(place) = earlier.iter().position(|other| other.name() == stage) else {
            let names: Vec<_> = (earlier.iter())
                .map(|other| format!("`stage:{}/..`", other.name()))
                .collect();
            let expected = match names.is_empty() {
                true => "but none comes before this one".to_owned(),
                false => format!("expected one of {}", names.join(", ")),
            };
            return Err(format!(
                "`stage:{stage}/{inside}` names no earlier stage, {expected}"
            ));
        };
        let path = reference
            .below(&folder(place))
            .ok_or_else(|| format!("`stage:{stage}/{inside}` leads out of the stage's folder"))?;
        text(&path)
    }
}

/// A path as TOML can say it.
fn text(path: &Path) -> Result<String, String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("`{}` is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::from_text;

    fn recipe(data: &str) -> Recipe {
        let text = format!(
            "name = \"r\"\nmodel = \"base\"\n\
             [[stage]]\nkind = \"sft\"\nname = \"cold\"\ndata = \"a.jsonl\"\n\
             [[stage]]\nkind = \"sft\"\ndata = {data}\noptim = {{ lr = 1e-3 }}\n\
             [[stage]]\nkind = \"dpo\"\ndata = \"b.jsonl\"\n"
        );
        from_text(&text, Path::new("r.toml"), &[]).unwrap()
    }

    #[test]
    fn paths_of_stages_become_files_of_the_run_and_nothing_else_changes() {
        let recipe = recipe("[\"stage:cold/data.jsonl\", \"b.jsonl\"]");
        recipe.validate().unwrap();
        let folder = |place: usize| PathBuf::from(format!("run/{place}"));
        let Stage::Sft(resolved) = recipe.resolved(1, &folder).unwrap() else {
            panic!("the second stage is sft");
        };
        let paths = [PathBuf::from("run/0/data.jsonl"), PathBuf::from("b.jsonl")];
        assert_eq!(resolved.data.paths(), paths);
        let Stage::Sft(written) = &recipe.stages[1] else {
            panic!("the second stage is sft");
        };
        assert_eq!(written.data.paths()[0], Path::new("stage:cold/data.jsonl"));
        assert_eq!(resolved.optim, written.optim);
    }

    #[test]
    fn a_path_to_no_earlier_stage_or_out_of_its_folder_is_refused_by_its_key() {
        for (data, problem) in [
            (
                "[\"b.jsonl\", \"stage:dpo/data.jsonl\"]",
                "`stage.sft.data.1`: `stage:dpo/data.jsonl` names no earlier stage, expected one of \
                 `stage:cold/..`",
            ),
            (
                "\"stage:cold/../x\"",
                "`stage.sft.data`: `stage:cold/../x` leads out of the stage's folder",
            ),
        ] {
            assert_eq!(recipe(data).validate().unwrap_err().to_string(), problem);
        }
    }
}
