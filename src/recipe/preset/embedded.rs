//! The presets: TOML files in the program.

use toml::{Table, Value};

use super::{STAGE, name};

/// The presets' names and texts.
const PRESETS: [(&str, &str); 3] = [
    ("r1_zero", include_str!("../presets/r1_zero.toml")),
    ("r1", include_str!("../presets/r1.toml")),
    ("distill", include_str!("../presets/distill.toml")),
];

/// Keys of a preset that are not a recipe's.
const OWN_KEYS: [&str; 5] = ["start", "starts", "branches_at", "skip", "reasoning_only"];

/// A preset.
#[derive(Debug)]
pub(super) struct Preset {
    /// As `preset` names it.
    pub(super) name: &'static str,
    table: Table,
}

impl Preset {
    /// The preset of this name.
    ///
    /// # Errors
    /// The problem, when there is none.
    pub(super) fn named(wanted: &str) -> Result<Self, String> {
        let found = PRESETS.iter().find(|(name, _)| *name == wanted);
        let (name, text) = found.ok_or_else(|| {
            let names = PRESETS.map(|(name, _)| format!("`{name}`")).join(", ");
            format!("there is no `{wanted}`, expected one of {names}")
        })?;
        let table = text.parse().expect("a preset is TOML");
        Ok(Self { name, table })
    }

    /// What it sets beside its stages.
    pub(super) fn settings(&self) -> Table {
        let is_setting = |key: &str| key != STAGE && !OWN_KEYS.contains(&key);
        let settings = self.table.iter().filter(|(key, _)| is_setting(key));
        settings
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Its stages, in order.
    pub(super) fn stages(&self) -> impl Iterator<Item = &Table> {
        let stages = self.table.get(STAGE).and_then(Value::as_array);
        stages.into_iter().flatten().filter_map(Value::as_table)
    }

    /// The names of its stages.
    pub(super) fn stage_names(&self) -> Vec<String> {
        self.stages().map(name).collect()
    }

    /// Whether one of its stages, in any branch, has this name.
    pub(super) fn knows(&self, wanted: &str) -> bool {
        let is_branch = |stage: &str| {
            let prefix = wanted.strip_suffix(stage).and_then(|p| p.strip_suffix('_'));
            prefix.is_some_and(|start| self.starts().iter().any(|known| known == start))
        };
        let mut names = self.stage_names().into_iter();
        names.any(|stage| stage == wanted || is_branch(&stage))
    }

    /// The stages that are left out unless `skip` says otherwise.
    pub(super) fn skipped(&self) -> Vec<String> {
        texts(self.table.get("skip"))
    }

    /// Whether the stage is for reasoning problems only.
    pub(super) fn is_reasoning_only(&self, stage: &str) -> bool {
        let stages = texts(self.table.get("reasoning_only"));
        stages.iter().any(|name| name == stage)
    }

    /// The names of its starts.
    pub(super) fn starts(&self) -> Vec<String> {
        let starts = self.table.get("starts").and_then(Value::as_table);
        starts.map_or_else(Vec::new, |starts| starts.keys().cloned().collect())
    }

    /// The start that is taken unless another is named.
    pub(super) fn default_start(&self) -> Option<&str> {
        self.table.get("start").and_then(Value::as_str)
    }

    /// What a start changes, none for a preset without starts.
    pub(super) fn start(&self, name: &str) -> Option<&Table> {
        self.table.get("starts")?.get(name)?.as_table()
    }

    /// The stages that a start leaves out.
    pub(super) fn skipped_by(&self, start: &str) -> Vec<String> {
        texts(self.start(start).and_then(|start| start.get("skip")))
    }

    /// The first stage that each start has for itself.
    pub(super) fn first_of_branch(&self) -> Option<&str> {
        self.table.get("branches_at").and_then(Value::as_str)
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    let texts = items.filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
