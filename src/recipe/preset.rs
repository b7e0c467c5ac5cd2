//! Recipes written short: a preset's stages, settings that stages share, and the starts of a pipeline.
//!
//! `preset = "r1"` brings named stages; a `[[stage]]` of the same name is laid over the preset's, key by key. Others
//! are the user's own: `pretrain` comes first, the rest last, or `after` a stage. What comes after a stage that the
//! start leaves out is left out with it, and so are paths into such stages in lists of more. `skip` leaves stages
//! out, too. Below a stage's own keys lies `[shared.KIND]`, below that `[shared]`, below that the preset.
//!
//! All this is done to tables, before anything has a type: what comes out are plain stages.

mod branches;
mod embedded;
mod layers;
mod parts;
mod shared;
mod sources;

use toml::{Table, Value};

use self::branches::Planned;
use self::embedded::Preset;
use self::layers::{Layer, lay};
use self::shared::Shared;
pub(super) use self::sources::Sources;
use super::diagnosis::Diagnosis;
use super::key_path::{KeyPath, Segment};

/// The keys that are gone when a recipe is plain.
const SHORTHANDS: [&str; 5] = ["preset", "start", "skip", "general", "shared"];

/// A recipe of plain stages.
#[derive(Debug)]
pub(super) struct Expanded {
    /// The recipe.
    pub(super) root: Table,
    /// Who wrote what of it.
    pub(super) sources: Sources,
}

/// Whether the dotted key of a `--set` is there only before [`expand`].
pub(super) fn is_shorthand(key: &str) -> bool {
    let first = key.trim().split('.').next().unwrap_or_default();
    SHORTHANDS.contains(&first)
}

/// Makes `recipe` plain; one without any shorthand stays as it is.
///
/// # Errors
/// When a shorthand names something that is not there or has no meaning; the place is one of `recipe`.
pub(super) fn expand(recipe: Table) -> Result<Expanded, Diagnosis> {
    let is_plain = !SHORTHANDS.iter().any(|key| recipe.contains_key(*key));
    match stage_tables(&recipe) {
        Some(stages) if !is_plain => Short::read(recipe, stages)?.expand(),
        stages => Ok(Expanded {
            root: recipe,
            sources: Sources::plain(stages.unwrap_or_default().len()),
        }),
    }
}

/// The stages; none when they are not tables, which is said where they are given their types.
fn stage_tables(recipe: &Table) -> Option<Vec<Table>> {
    let Some(stages) = recipe.get(STAGE) else {
        return Some(Vec::new());
    };
    let tables = stages.as_array()?.iter();
    tables.map(|stage| stage.as_table().cloned()).collect()
}

/// The key of a recipe's stages.
const STAGE: &str = "stage";

/// A recipe as the user wrote it.
struct Short {
    preset: Option<Preset>,
    start: Option<String>,
    skip: Option<Vec<String>>,
    general: Vec<String>,
    shared: Shared,
    stages: Vec<Table>,
    /// All other keys.
    rest: Table,
}

impl Short {
    fn read(recipe: Table, stages: Vec<Table>) -> Result<Self, Diagnosis> {
        let preset = text(&recipe, "preset")?.map(|name| Preset::named(&name));
        let preset = preset.transpose().map_err(|p| fault("preset", &p))?;
        let start = text(&recipe, "start")?;
        let general = names(&recipe, "general")?;
        for (key, is_given) in [("start", start.is_some()), ("general", general.is_some())] {
            if is_given && preset.is_none() {
                return Err(fault(key, "means nothing without a `preset`"));
            }
        }
        let skip = names(&recipe, "skip")?;
        let shared = Shared::read(recipe.get("shared"))?;
        let is_other = |key: &String| key != STAGE && !SHORTHANDS.contains(&key.as_str());
        Ok(Self {
            skip: skip.or_else(|| preset.as_ref().map(Preset::skipped)),
            preset,
            start,
            general: general.unwrap_or_default(),
            shared,
            stages,
            rest: recipe
                .into_iter()
                .filter(|(key, _)| is_other(key))
                .collect(),
        })
    }

    fn expand(mut self) -> Result<Expanded, Diagnosis> {
        let planned = self.plan()?;
        let mut root = self
            .preset
            .as_ref()
            .map(Preset::settings)
            .unwrap_or_default();
        let layer = Layer {
            place: KeyPath::default(),
            may_miss: false,
        };
        lay(&self.rest, &mut root, &layer)?;
        if let Some(Value::Table(eval)) = root.get_mut("eval") {
            branches::compare_in_branches(eval, &planned);
        }
        let mut sources = Sources::of(self.preset.as_ref().map(|preset| preset.name));
        let mut stages = Vec::with_capacity(planned.len());
        for stage in planned {
            let table = self.settle(&stage)?;
            sources.push(&stage, kind(&table));
            stages.push(Value::Table(table));
        }
        root.insert(STAGE.to_owned(), Value::Array(stages));
        Ok(Expanded { root, sources })
    }

    /// The stages in order: the preset's, those of the user among them, without those that are skipped.
    fn plan(&mut self) -> Result<Vec<Planned>, Diagnosis> {
        let start = self.start.as_deref();
        let mut planned = match &self.preset {
            Some(preset) => preset.plan(start).map_err(|p| fault("start", &p))?,
            None => Vec::new(),
        };
        let left_out = self.preset.as_ref().map(|it| it.left_out_by(start));
        let mut left_out = left_out.unwrap_or_default();
        let mut first = 0;
        for (index, table) in self.stages.iter_mut().enumerate() {
            let name = name(table);
            let mut is_known = false;
            for stage in planned.iter_mut().filter(|stage| stage.is_called(&name)) {
                stage.given.push(index);
                is_known = true;
            }
            let is_preset = |preset: &Preset| preset.knows(&name);
            if is_known || self.preset.as_ref().is_some_and(is_preset) {
                continue;
            }
            // What follows a stage that the start leaves out goes with it.
            let after = table.get("after").and_then(Value::as_str);
            if let Some(after) = after.filter(|after| left_out.iter().any(|it| it == after)) {
                tracing::info!(stage = name, after, "left out with the stage before it");
                planned.iter_mut().for_each(|stage| stage.miss(&name));
                left_out.push(name);
                continue;
            }
            let own = Planned::own(&name, index, &left_out);
            let placed = match &self.preset {
                None => vec![(planned.len(), own)],
                Some(preset) => placed(preset, &planned, table, (index, own), &mut first)?,
            };
            branches::insert(&mut planned, placed);
        }
        for skipped in self.skip.iter().flatten() {
            let before = planned.len();
            planned.retain(|stage| !stage.is_called(skipped));
            let is_preset = |preset: &Preset| preset.knows(skipped);
            let is_known =
                self.preset.as_ref().is_some_and(is_preset) || left_out.contains(skipped);
            if planned.len() == before && !is_known {
                return Err(fault("skip", &format!("there is no stage `{skipped}`")));
            }
        }
        Ok(planned)
    }

    /// The stage's settings from all who give any.
    fn settle(&self, stage: &Planned) -> Result<Table, Diagnosis> {
        let mut table = stage.table.clone();
        // What names the branch comes after what names all of them.
        let mut given = stage.given.clone();
        given.sort_by_key(|index| name(&self.stages[*index]) != stage.base);
        let own_kind = given.iter().rev().find_map(|i| self.stages[*i].get("kind"));
        let kind = own_kind.or_else(|| table.get("kind"));
        let kind = kind.and_then(Value::as_str).unwrap_or_default().to_owned();
        self.shared.lay_under(&kind, &mut table)?;
        for index in &given {
            let layer = Layer {
                place: stage_place(*index),
                may_miss: false,
            };
            lay(&self.stages[*index], &mut table, &layer)?;
        }
        if stage.is_renamed() {
            table.insert("name".to_owned(), Value::String(stage.name.clone()));
        }
        stage.forget_left_out(&mut table);
        stage.rename_references(&mut table);
        if let Some(preset) = &self.preset {
            let asks_all = given.iter().any(|i| self.stages[*i].contains_key("task"));
            if preset.is_reasoning_only(&stage.base) && !asks_all {
                parts::leave_out(&mut table, &self.general);
            }
            parts::aim_rewards(&mut table, &self.general).map_err(|problem| {
                fault("general", &format!("stage `{}`: {problem}", stage.name))
            })?;
        }
        Ok(table)
    }
}

/// Where the user's own stage goes: after the one that it names, in every branch that has it; `pretrain` first,
/// others last.
fn placed(
    preset: &Preset,
    planned: &[Planned],
    table: &mut Table,
    (index, own): (usize, Planned),
    first: &mut usize,
) -> Result<Vec<(usize, Planned)>, Diagnosis> {
    let diagnosis = |place: KeyPath, problem: String| Diagnosis { place, problem };
    let after = table.remove("after");
    let name = name(table);
    if !table.contains_key("kind") {
        let known = preset.stage_names().join("`, `");
        let problem = format!(
            "preset {} has no stage `{name}`, expected one of `{known}`, or a `kind` for a stage of your own",
            preset.name
        );
        return Err(diagnosis(stage_place(index), problem));
    }
    let Some(after) = after else {
        let is_first = kind(table) == "pretrain";
        *first += usize::from(is_first);
        let place = if is_first { *first - 1 } else { planned.len() };
        return Ok(vec![(place, own)]);
    };
    let placed = branches::behind(planned, after.as_str().unwrap_or_default(), &own);
    if placed.is_empty() {
        let known: Vec<_> = planned.iter().map(|stage| stage.name.as_str()).collect();
        let problem = format!(
            "`stage.{name}.after`: there is no stage {after}, expected one of `{}`",
            known.join("`, `")
        );
        let place = stage_place(index).join(Segment::Key("after".into()));
        return Err(diagnosis(place, problem));
    }
    let earlier = placed.iter().filter(|(place, _)| *place <= *first).count();
    *first += earlier;
    Ok(placed)
}

/// The name of a stage, or else its kind.
fn name(stage: &Table) -> String {
    let name = stage.get("name").and_then(Value::as_str);
    name.unwrap_or_else(|| kind(stage)).to_owned()
}

fn kind(stage: &Table) -> &str {
    let kind = stage.get("kind").and_then(Value::as_str);
    kind.unwrap_or_default()
}

fn stage_place(index: usize) -> KeyPath {
    KeyPath(vec![Segment::Key(STAGE.to_owned()), Segment::Index(index)])
}

/// A fault of the recipe's key `key`.
fn fault(key: &str, problem: &str) -> Diagnosis {
    Diagnosis {
        place: KeyPath(vec![Segment::Key(key.to_owned())]),
        problem: format!("`{key}`: {problem}"),
    }
}

/// The text of a key, if it is there.
fn text(recipe: &Table, key: &str) -> Result<Option<String>, Diagnosis> {
    let text = |value: &Value| {
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| fault(key, "expected a text"))
    };
    recipe.get(key).map(text).transpose()
}

/// The texts of a key, if it is there.
fn names(recipe: &Table, key: &str) -> Result<Option<Vec<String>>, Diagnosis> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let names = |value: &Value| {
        let names = value.as_array().map(|names| names.iter().map(name));
        let names = names.and_then(Iterator::collect);
        names.ok_or_else(|| fault(key, "expected a list of names"))
    };
    recipe.get(key).map(names).transpose()
}

#[cfg(test)]
mod tests;
