//! The starts of a pipeline: one, or all as branches of one run.

use toml::{Table, Value};

use super::embedded::Preset;
use super::layers::{Layer, lay};
use super::name;
use super::shared::place;
use crate::data::StagePath;

/// What `start` calls all starts, one after the other.
const ALL: &str = "all";

/// A stage before the user's settings are laid over it.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// What the preset calls it, or its name.
    pub(super) base: String,
    /// Its name in the run.
    pub(super) name: String,
    /// Its name when all starts are run, by which settings are for one start only.
    name_of_start: Option<String>,
    /// The preset's settings.
    pub(super) table: Table,
    /// The user's stages that are laid over it.
    pub(super) given: Vec<usize>,
    /// The start whose branch it is in and the stages of that branch, where there are several.
    branch: Option<(String, Vec<String>)>,
    is_of_preset: bool,
}

impl Planned {
    /// The user's own stage at place `index`.
    pub(super) fn own(name: &str, index: usize) -> Self {
        Self {
            base: name.to_owned(),
            name: name.to_owned(),
            name_of_start: None,
            table: Table::new(),
            given: vec![index],
            branch: None,
            is_of_preset: false,
        }
    }

    /// Whether a preset brought it.
    pub(super) fn is_of_preset(&self) -> bool {
        self.is_of_preset
    }

    /// Whether the name means this stage, alone or with those of other branches.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let own = [&self.name, &self.base];
        own.into_iter()
            .chain(&self.name_of_start)
            .any(|own| own == name)
    }

    /// Lets `from` and `stage:` paths of a branch's stage mean the stages of that branch.
    pub(super) fn rename_references(&self, table: &mut Table) {
        let Some((start, stages)) = &self.branch else {
            return;
        };
        let is_branched = |name: &str| stages.iter().any(|stage| stage == name);
        if let Some(Value::String(from)) = table.get_mut("from")
            && is_branched(from)
        {
            *from = branch_name(start, from);
        }
        let rename = |text: &mut String| {
            if let Some(StagePath { stage, inside }) = StagePath::parse(text)
                && is_branched(stage)
            {
                *text = format!("stage:{}/{inside}", branch_name(start, stage));
            }
        };
        table
            .iter_mut()
            .for_each(|(_, value)| each_text(value, &rename));
    }
}

fn branch_name(start: &str, stage: &str) -> String {
    format!("{start}_{stage}")
}

fn each_text(value: &mut Value, change: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Table(table) => table
            .iter_mut()
            .for_each(|(_, item)| each_text(item, change)),
        _ => {}
    }
}

impl Preset {
    /// The stages of the run from `start`, or from the preset's own if none is named.
    ///
    /// # Errors
    /// The problem, when there is no such start.
    pub(super) fn plan(&self, start: Option<&str>) -> Result<Vec<Planned>, String> {
        let known = self.starts();
        let Some(start) = start.or_else(|| self.default_start()) else {
            return Ok(self.stages().map(|stage| planned(stage, None)).collect());
        };
        if known.is_empty() {
            return Err(format!("preset {} has one start only", self.name));
        }
        if start == ALL {
            return Ok(self.plan_all(&known));
        }
        if !known.iter().any(|name| name == start) {
            let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            return Err(format!(
                "there is no `{start}`, expected one of {names}, `{ALL}`"
            ));
        }
        let skipped = self.skipped_by(start);
        let first = self.common_stages();
        let stages = self.stages().enumerate();
        let taken = stages.filter(|(_, stage)| !skipped.contains(&name(stage)));
        let changed = taken.map(|(index, stage)| Planned {
            name_of_start: (index >= first).then(|| branch_name(start, &name(stage))),
            ..planned(&self.changed(stage, start), None)
        });
        Ok(changed.collect())
    }

    /// The stages that all starts have in common, then those of each start.
    fn plan_all(&self, starts: &[String]) -> Vec<Planned> {
        let first = self.common_stages();
        let common = self.stages().take(first).map(|stage| planned(stage, None));
        let branches = starts.iter().flat_map(|start| {
            let skipped = self.skipped_by(start);
            let own = self.stages().skip(first);
            let own = own.filter(move |stage| !skipped.contains(&name(stage)));
            let branch = (start.clone(), self.stage_names()[first..].to_vec());
            own.map(move |stage| planned(&self.changed(stage, start), Some(branch.clone())))
        });
        common.chain(branches).collect()
    }

    /// How many stages all starts have in common.
    fn common_stages(&self) -> usize {
        let names = self.stage_names();
        let mut names = names.iter().map(|name| Some(name.as_str()));
        names
            .position(|name| name == self.first_of_branch())
            .unwrap_or_default()
    }

    /// The stage as a start changes it.
    fn changed(&self, stage: &Table, start: &str) -> Table {
        let mut changed = stage.clone();
        let changes = self.start(start).and_then(|start| start.get("stage"));
        let changes = changes.and_then(|stages| stages.get(name(stage)));
        if let Some(changes) = changes.and_then(Value::as_table) {
            let layer = Layer {
                place: place(&[]),
                may_miss: true,
            };
            lay(changes, &mut changed, &layer).expect("a layer that may miss never fails");
        }
        changed
    }
}

fn planned(stage: &Table, branch: Option<(String, Vec<String>)>) -> Planned {
    let base = name(stage);
    Planned {
        name: match &branch {
            Some((start, _)) => branch_name(start, &base),
            None => base.clone(),
        },
        base,
        name_of_start: None,
        table: stage.clone(),
        given: Vec::new(),
        branch,
        is_of_preset: true,
    }
}
