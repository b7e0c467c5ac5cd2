//! `[shared]`: settings that several stages have, written once.

use toml::{Table, Value};

use super::fault;
use super::layers::{Layer, lay};
use crate::recipe::diagnosis::Diagnosis;
use crate::recipe::key_path::{KeyPath, Segment};

/// The key of the table.
pub(super) const SHARED: &str = "shared";

/// The kinds of stages, each of which can have a table of its own.
const KINDS: [&str; 7] = [
    "pretrain",
    "sft",
    "dpo",
    "reward_model",
    "grpo",
    "ppo",
    "sample",
];

/// Those that train.
const LEARNERS: &[&str] = &["pretrain", "sft", "dpo", "reward_model", "grpo", "ppo"];

/// Those that ask the model.
const ASKERS: &[&str] = &["grpo", "ppo", "sample"];

/// What stages of several kinds have, and which kinds it is shared by. The task of a reward model is not the
/// others': it must have preferences.
const KEYS: [(&str, &[&str]); 8] = [
    ("task", &["pretrain", "grpo", "ppo", "sample"]),
    ("template", ASKERS),
    ("write_as", &["sample"]),
    ("rewards", ASKERS),
    ("sampling", ASKERS),
    ("optim", LEARNERS),
    ("batching", LEARNERS),
    ("lora", &["sft", "dpo", "grpo", "ppo"]),
];

/// What stages share.
#[derive(Default)]
pub(super) struct Shared(Table);

impl Shared {
    /// Reads the table, if there is one.
    ///
    /// # Errors
    /// When it is none, or a key is not shared.
    pub(super) fn read(table: Option<&Value>) -> Result<Self, Diagnosis> {
        let Some(table) = table else {
            return Ok(Self::default());
        };
        let table = table
            .as_table()
            .ok_or_else(|| fault(SHARED, "expected a table"))?;
        for (key, value) in table {
            let is_kind = KINDS.contains(&key.as_str());
            let problem = if is_kind && !value.is_table() {
                format!("`{SHARED}.{key}`: expected a table")
            } else if !is_kind && !KEYS.iter().any(|(known, _)| known == key) {
                let keys: Vec<_> = KEYS.iter().map(|(key, _)| format!("`{key}`")).collect();
                format!(
                    "unknown key `{SHARED}.{key}`, expected one of {}, or a table of the kind of stage \
                     that has it, such as `{SHARED}.grpo.{key}`",
                    keys.join(", ")
                )
            } else {
                continue;
            };
            return Err(Diagnosis {
                place: place(&[key]),
                problem,
            });
        }
        Ok(Self(table.clone()))
    }

    /// Lays over `stage`, of kind `kind`, what it shares with others: first of all kinds, then of its own.
    ///
    /// # Errors
    /// None: what an array lacks is left out.
    pub(super) fn lay_under(&self, kind: &str, stage: &mut Table) -> Result<(), Diagnosis> {
        let has = |key: &String| {
            let mut keys = KEYS.iter();
            keys.any(|(known, kinds)| known == key && kinds.contains(&kind))
        };
        let of_all = self.0.iter().filter(|(key, _)| has(key));
        let of_all: Table = of_all.map(|(k, v)| (k.clone(), v.clone())).collect();
        let of_kind = self.0.get(kind).and_then(Value::as_table);
        let layers = [(Some(&of_all), place(&[])), (of_kind, place(&[kind]))];
        for (table, place) in layers {
            let may_miss = true;
            let layer = Layer { place, may_miss };
            table.map_or(Ok(()), |table| lay(table, stage, &layer))?;
        }
        Ok(())
    }
}

/// A place in the table.
pub(super) fn place(keys: &[&str]) -> KeyPath {
    let keys = std::iter::once(&SHARED).chain(keys);
    KeyPath(keys.map(|key| Segment::Key((*key).to_owned())).collect())
}
