//! Reads a typed recipe from TOML with the command line's `--set` laid over it, and writes it back.
//!
//! Nothing here knows what a recipe holds once it is plain ([`preset`](super::preset) makes it so): any type will
//! do whose structs refuse unknown fields.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::diagnosis::diagnose;
use super::key_path::{KeyPath, line_at};
use super::overrides::{self, Override};
use super::preset::{self, Sources};
use crate::error::{Error, Result};

/// Reads the recipe file `path` and lays `overrides` (`dotted.key=value`) over it.
///
/// # Errors
/// When the file cannot be read, or as [`from_text`].
pub fn load<T: DeserializeOwned>(path: &Path, overrides: &[String]) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|error| Error::Recipe {
        recipe: path.to_path_buf(),
        problem: format!("cannot read: {error}"),
    })?;
    from_text(&text, path, overrides)
}

/// Reads a recipe from `text`; `path` is named in messages.
///
/// A part of an override's key that follows an array of tables selects an element by its `name`,
/// by its `kind` where that is unique, or by its index from 0: `stage.grpo.optim.lr=1e-6`.
///
/// # Errors
/// When the text is not TOML, an override leads nowhere, or a key or value does not fit `T`: the
/// message names line, dotted key and the nearest valid name.
pub fn from_text<T: DeserializeOwned>(text: &str, path: &Path, overrides: &[String]) -> Result<T> {
    let refuse = |problem: String| Error::Recipe {
        recipe: path.to_path_buf(),
        problem,
    };
    let is_short = |text: &&String| preset::is_shorthand(text.split('=').next().unwrap_or(text));
    let (short, long): (Vec<&String>, Vec<&String>) = overrides.iter().partition(is_short);
    let mut written = Value::Table(parse(text).map_err(refuse)?);
    let short = apply_all(&mut written, &short).map_err(refuse)?;
    let Value::Table(written) = written else {
        return Err(refuse("is no table".to_owned()));
    };
    let expanded = preset::expand(written).map_err(|diagnosis| {
        let origin = origin_of(std::slice::from_ref(&diagnosis.place), text, &short);
        refuse(format!(
            "{}{}",
            origin.unwrap_or_default(),
            diagnosis.problem
        ))
    })?;
    let mut root = Value::Table(expanded.root);
    let long = apply_all(&mut root, &long).map_err(refuse)?;
    T::deserialize(root.clone()).map_err(|error| {
        let check = |edited: Value| Some(T::deserialize(edited).err()?.message().to_owned());
        let diagnosis = diagnose(&root, error.message(), check);
        let wrote = Wrote {
            text,
            short: &short,
            long: &long,
            sources: &expanded.sources,
        };
        let origin = wrote.origin(&diagnosis.place, &root);
        refuse(format!("{origin}{}", diagnosis.problem))
    })
}

fn apply_all(root: &mut Value, overrides: &[&String]) -> Result<Vec<Override>, String> {
    let apply = |text: &&String| overrides::apply(root, text);
    overrides.iter().map(apply).collect()
}

/// The recipe as TOML text that [`from_text`] reads back as the same recipe.
///
/// # Errors
/// When the recipe holds something TOML cannot say.
pub fn to_toml<T: Serialize>(recipe: &T) -> Result<String> {
    toml::to_string_pretty(recipe)
        .map_err(|error| Error::setting("recipe", format!("cannot be written as toml: {error}")))
}

fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let message = error.message().replace('\n', ", ");
        match error.span() {
            Some(span) => format!("line {}: {message}", line_at(text, span)),
            None => message,
        }
    })
}

/// All who wrote something of a recipe.
struct Wrote<'a> {
    text: &'a str,
    /// Given before the recipe was expanded.
    short: &'a [Override],
    /// Given after.
    long: &'a [Override],
    sources: &'a Sources,
}

impl Wrote<'_> {
    /// Who brought the faulty key at `place`: a `--set`, a line of the file, or a preset.
    fn origin(&self, place: &KeyPath, root: &Value) -> String {
        let given = |fits: &dyn Fn(&Override) -> bool| {
            let given = self.long.iter().rev().find(|given| fits(given));
            given.map(|given| format!("--set {}: ", given.text))
        };
        let by_preset = || {
            let preset = self.sources.preset_of(place)?;
            Some(format!("preset {preset}: "))
        };
        let places = self.sources.places(place, root);
        given(&|given| place.is_within(&given.path))
            .or_else(|| origin_of(&places, self.text, self.short))
            .or_else(|| given(&|given| given.path.is_within(place) && !place.0.is_empty()))
            .or_else(by_preset)
            .unwrap_or_default()
    }
}

/// Who wrote what stands at the first of `places` that was written at all: a `--set`, or a line of the file.
fn origin_of(places: &[KeyPath], text: &str, overrides: &[Override]) -> Option<String> {
    let origin = |place: &KeyPath| {
        let given = overrides
            .iter()
            .rev()
            .find(|given| place.is_within(&given.path));
        let given = given.map(|given| format!("--set {}: ", given.text));
        given.or_else(|| Some(format!("line {}: ", place.line(text)?)))
    };
    places.iter().find_map(origin)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Recipe {
        #[serde(default)]
        seed: u64,
        stage: Vec<Stage>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Stage {
        Sft(Training),
        Grpo(Training),
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Training {
        name: Option<String>,
        steps: u32,
        #[serde(default)]
        optim: Optim,
        task: Option<Task>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Optim {
        lr: f64,
        beta1: f32,
    }

    impl Default for Optim {
        fn default() -> Self {
            Self {
                lr: 1e-6,
                beta1: 0.9,
            }
        }
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    enum Task {
        Countdown { levels: Vec<u8> },
        Arithmetic { digits: u8 },
    }

    const RECIPE: &str = r#"seed = 7

[[stage]]
kind = "sft"
steps = 10
optim.lr = 1e-3

[[stage]]
steps = 20
kind = "grpo"
task = { kind = "countdown", levels = [1, 2] }
"#;

    fn read(text: &str, overrides: &[&str]) -> Result<Recipe> {
        let overrides: Vec<_> = overrides.iter().map(|&text| text.to_owned()).collect();
        from_text(text, Path::new("r.toml"), &overrides)
    }

    fn problem(text: &str, overrides: &[&str]) -> String {
        let message = read(text, overrides).unwrap_err().to_string();
        let problem = message.strip_prefix("recipe `r.toml`: ").unwrap();
        problem.to_owned()
    }

    #[test]
    fn overrides_win_over_the_file_and_over_defaults() {
        let recipe = read(RECIPE, &["seed=3", "stage.grpo.optim.lr=2e-6"]).unwrap();
        assert_eq!(recipe.seed, 3);
        let Stage::Grpo(training) = &recipe.stage[1] else {
            panic!("the second stage is grpo");
        };
        assert_eq!(training.optim.lr, 2e-6);
        assert_eq!(training.optim.beta1, 0.9);
    }

    #[test]
    fn a_written_recipe_reads_back_as_itself() {
        let recipe = read(RECIPE, &["stage.sft.name=warm"]).unwrap();
        let text = to_toml(&recipe).unwrap();
        assert_eq!(read(&text, &[]).unwrap(), recipe, "{text}");
        assert!(
            text.contains("lr = 0.000001") || text.contains("lr = 1e-6"),
            "{text}"
        );
        assert!(text.contains("beta1 = 0.9\n"), "{text}");
    }

    #[test]
    fn unknown_keys_name_line_path_and_nearest() {
        let text = RECIPE.replace("optim.lr", "optim.lrr");
        assert_eq!(
            problem(&text, &[]),
            "line 6: unknown key `stage.sft.optim.lrr`, did you mean `lr`? \
             (expected one of `lr`, `beta1`)"
        );
        assert_eq!(
            problem(RECIPE, &["sead=3"]),
            "--set sead=3: unknown key `sead`, did you mean `seed`? \
             (expected one of `seed`, `stage`)"
        );
        assert_eq!(
            problem(RECIPE, &["stage.grpo.optm.lr=3"]),
            "--set stage.grpo.optm.lr=3: unknown key `stage.grpo.optm`, did you mean `optim`? \
             (expected one of `name`, `steps`, `optim`, `task`)"
        );
    }

    #[test]
    fn the_first_of_two_equal_faults_is_named() {
        let text = RECIPE.replace("steps", "stepps");
        assert!(problem(&text, &[]).starts_with("line 5: unknown key `stage.sft.stepps`"));
        let text = RECIPE
            .replace("steps = 10\n", "")
            .replace("steps = 20\n", "");
        assert_eq!(problem(&text, &[]), "line 3: missing key `stage.sft.steps`");
    }

    #[test]
    fn missing_keys_name_their_table() {
        let text = RECIPE.replace("steps = 20\n", "");
        assert_eq!(
            problem(&text, &[]),
            "line 8: missing key `stage.grpo.steps`"
        );
        assert_eq!(problem("seed = 1", &[]), "missing key `stage`");
        let text = RECIPE.replace("kind = \"grpo\"", "");
        assert_eq!(problem(&text, &[]), "line 8: missing key `stage.1.kind`");
        let text = RECIPE.replace(", levels = [1, 2]", "");
        assert_eq!(
            problem(&text, &[]),
            "line 11: missing key `stage.grpo.task.levels`"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_name_their_key() {
        let text = RECIPE.replace("1e-3", "\"fast\"");
        assert_eq!(
            problem(&text, &[]),
            "line 6: `stage.sft.optim.lr`: invalid type: string \"fast\", expected f64"
        );
        assert_eq!(
            problem(RECIPE, &["stage.1.steps=-1"]),
            "--set stage.1.steps=-1: `stage.grpo.steps`: \
             invalid value: integer `-1`, expected u32"
        );
        let text = RECIPE.replace("[1, 2]", "[1, \"two\"]");
        assert_eq!(
            problem(&text, &[]),
            "line 11: `stage.grpo.task.levels.1`: invalid type: string \"two\", expected u8"
        );
        let text = RECIPE.replace("1e-3", "{ a = 1 }");
        assert_eq!(
            problem(&text, &[]),
            "line 6: `stage.sft.optim.lr`: invalid type: map, expected f64"
        );
    }

    #[test]
    fn unknown_choices_name_the_nearest() {
        let text = RECIPE.replace("countdown", "countdwn");
        assert_eq!(
            problem(&text, &[]),
            "line 11: `stage.grpo.task.kind`: unknown value `countdwn`, did you mean \
             `countdown`? (expected one of `countdown`, `arithmetic`)"
        );
        let text = RECIPE.replace("\"sft\"", "\"dpo\"");
        assert!(problem(&text, &[]).starts_with("line 4: `stage.dpo.kind`: unknown value `dpo`"));
    }

    #[test]
    fn broken_toml_names_its_line() {
        let text = RECIPE.replace("steps = 20", "steps = = 20");
        let problem = problem(&text, &[]);
        assert!(problem.starts_with("line 9: "), "{problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load::<Recipe>(Path::new("nowhere/r.toml"), &[]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("recipe `nowhere/r.toml`: cannot read: "),
            "{message}"
        );
    }
}
