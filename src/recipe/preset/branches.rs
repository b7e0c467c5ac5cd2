//! The starts of a pipeline: one, or all as branches of one run.

use toml::{Table, Value};

use super::embedded::Preset;
use super::layers::{Layer, lay};
use super::name;
use super::shared::place;
use crate::data::StagePath;

/// What `start` calls all starts, one after the other.
const ALL: &str = "all";

/// The keys of a comparison that name models.
const SIDES: [&str; 2] = ["stage", "against"];

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
    /// The branch that it is in, where there are several.
    branch: Option<Branch>,
    /// Stages that its start leaves out.
    left_out: Vec<String>,
    is_of_preset: bool,
}

/// One of several starts in a run.
#[derive(Clone, Debug, PartialEq)]
struct Branch {
    start: String,
    /// What the preset calls its stages.
    stages: Vec<String>,
}

impl Planned {
    /// The user's own stage at place `index`, in a run whose start leaves out the stages `left_out`.
    pub(super) fn own(name: &str, index: usize, left_out: &[String]) -> Self {
        Self {
            base: name.to_owned(),
            name: name.to_owned(),
            name_of_start: None,
            table: Table::new(),
            given: vec![index],
            branch: None,
            left_out: left_out.to_vec(),
            is_of_preset: false,
        }
    }

    /// Counts the stage `name` among those that are left out.
    pub(super) fn miss(&mut self, name: &str) {
        self.left_out.push(name.to_owned());
    }

    /// Whether a preset brought it.
    pub(super) fn is_of_preset(&self) -> bool {
        self.is_of_preset
    }

    /// Whether its name is another than the user's stage has that is laid over it, if any is.
    pub(super) fn is_renamed(&self) -> bool {
        self.is_of_preset || self.branch.is_some()
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
        if let Some(branch) = &self.branch {
            branch.rename(table, &["from"]);
        }
    }

    /// Takes paths into stages that the start leaves out off all lists that hold more than these.
    pub(super) fn forget_left_out(&self, table: &mut Table) {
        table
            .iter_mut()
            .for_each(|(_, value)| self.forget_in(value));
    }

    fn forget_in(&self, value: &mut Value) {
        match value {
            Value::Array(items) => {
                let is_left_out = |path: StagePath| self.left_out.iter().any(|it| it == path.stage);
                let goes = |item: &Value| {
                    let path = item.as_str().and_then(StagePath::parse);
                    path.is_some_and(is_left_out)
                };
                let (gone, kept): (Vec<_>, Vec<_>) = items.drain(..).partition(goes);
                *items = match kept.is_empty() {
                    // Whatever reads nothing but these says what it misses.
                    true => gone,
                    false => {
                        for path in gone {
                            tracing::info!(stage = self.name, %path, "left out with its stage");
                        }
                        kept
                    }
                };
                items.iter_mut().for_each(|item| self.forget_in(item));
            }
            Value::Table(table) => self.forget_left_out(table),
            _ => {}
        }
    }
}

impl Branch {
    fn has(&self, name: &str) -> bool {
        self.stages.iter().any(|stage| stage == name)
    }

    /// Lets the names at `keys` and `stage:` paths mean the stages of this branch.
    fn rename(&self, table: &mut Table, keys: &[&str]) {
        for key in keys {
            if let Some(Value::String(name)) = table.get_mut(*key)
                && self.has(name)
            {
                *name = branch_name(&self.start, name);
            }
        }
        let rename = |text: &mut String| {
            if let Some(StagePath { stage, inside }) = StagePath::parse(text)
                && self.has(stage)
            {
                *text = format!("stage:{}/{inside}", branch_name(&self.start, stage));
            }
        };
        table
            .iter_mut()
            .for_each(|(_, value)| each_text(value, &rename));
    }

    /// The comparison `written`, of this branch's stages and named after its start; none if it is of no
    /// such stage, or of one that is not among `planned`.
    fn compared(&self, written: &Value, planned: &[Planned]) -> Option<Value> {
        let written = written.as_table()?;
        let mut table = written.clone();
        self.rename(&mut table, &SIDES);
        let is_planned = |side: &Value| planned.iter().any(|it| side.as_str() == Some(&it.name));
        let renamed = |key: &&str| table.get(*key) != written.get(*key);
        let renamed: Vec<&str> = SIDES.into_iter().filter(renamed).collect();
        if renamed.is_empty() || !renamed.iter().all(|key| is_planned(&table[*key])) {
            return None;
        }
        if let Some(Value::String(name)) = table.get_mut("name") {
            *name = branch_name(&self.start, name);
        }
        Some(Value::Table(table))
    }
}

/// The user's stage `own` behind the stage called `after`, with its place in `planned`: one in every branch that has
/// a stage of this name.
pub(super) fn behind(planned: &[Planned], after: &str, own: &Planned) -> Vec<(usize, Planned)> {
    let behind = |(place, stage): (usize, &Planned)| {
        let own = match &stage.branch {
            _ if stage.name == after => own.clone(),
            Some(branch) if stage.base == after => Planned {
                name: branch_name(&branch.start, &own.base),
                branch: Some(branch.clone()),
                left_out: stage.left_out.clone(),
                ..own.clone()
            },
            _ => return None,
        };
        Some((place + 1, own))
    };
    planned.iter().enumerate().filter_map(behind).collect()
}

/// Inserts the user's stage, `placed` in the order of its places. Where it is in branches, they know it and the
/// others miss it.
pub(super) fn insert(planned: &mut Vec<Planned>, placed: Vec<(usize, Planned)>) {
    let starts: Vec<String> = placed
        .iter()
        .filter_map(|(_, own)| own.branch.as_ref().map(|branch| branch.start.clone()))
        .collect();
    let base = placed.first().map(|(_, own)| own.base.clone());
    for (place, own) in placed.into_iter().rev() {
        planned.insert(place, own);
    }
    let Some(base) = base.filter(|_| !starts.is_empty()) else {
        return;
    };
    for stage in planned {
        match &mut stage.branch {
            Some(branch) if starts.contains(&branch.start) => branch.stages.push(base.clone()),
            Some(_) => stage.miss(&base),
            None => {}
        }
    }
}

/// Makes each comparison in `eval` whose stages are in branches one of every branch that has them.
pub(super) fn compare_in_branches(eval: &mut Table, planned: &[Planned]) {
    let Some(Value::Array(win_rates)) = eval.get_mut("win_rate") else {
        return;
    };
    let mut branches: Vec<&Branch> = planned.iter().filter_map(|it| it.branch.as_ref()).collect();
    branches.dedup();
    let in_branches = |written: Value| {
        let compared = |branch: &&Branch| branch.compared(&written, planned);
        let compared: Vec<_> = branches.iter().filter_map(compared).collect();
        match compared.is_empty() {
            true => vec![written],
            false => compared,
        }
    };
    *win_rates = std::mem::take(win_rates)
        .into_iter()
        .flat_map(in_branches)
        .collect();
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
            left_out: skipped.clone(),
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
            let branch = Branch {
                start: start.clone(),
                stages: self.stage_names()[first..].to_vec(),
            };
            own.map(move |stage| Planned {
                left_out: self.skipped_by(start),
                ..planned(&self.changed(stage, start), Some(branch.clone()))
            })
        });
        common.chain(branches).collect()
    }

    /// The stages that no branch of a run from `start` has, `None` being the preset's own start.
    pub(super) fn left_out_by(&self, start: Option<&str>) -> Vec<String> {
        let start = start.or_else(|| self.default_start());
        start.map_or_else(Vec::new, |start| self.skipped_by(start))
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

fn planned(stage: &Table, branch: Option<Branch>) -> Planned {
    let base = name(stage);
    Planned {
        name: match &branch {
            Some(branch) => branch_name(&branch.start, &base),
            None => base.clone(),
        },
        base,
        name_of_start: None,
        table: stage.clone(),
        given: Vec::new(),
        branch,
        left_out: Vec::new(),
        is_of_preset: true,
    }
}
