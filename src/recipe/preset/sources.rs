//! Who wrote what of an expanded recipe, for messages.

use toml::Value;

use super::branches::Planned;
use super::shared::place;
use super::{STAGE, stage_place};
use crate::recipe::key_path::{KeyPath, Segment};

/// Who wrote what.
#[derive(Debug)]
pub(crate) struct Sources {
    preset: Option<&'static str>,
    stages: Vec<StageSource>,
}

/// Who wrote a stage.
#[derive(Debug)]
struct StageSource {
    /// The user's stages, the ones that win first.
    given: Vec<usize>,
    kind: String,
    is_of_preset: bool,
}

impl Sources {
    /// Of a recipe whose `stages` stages are as the user wrote them.
    pub(super) fn plain(stages: usize) -> Self {
        let stage = |index| StageSource {
            given: vec![index],
            kind: String::new(),
            is_of_preset: false,
        };
        Self {
            preset: None,
            stages: (0..stages).map(stage).collect(),
        }
    }

    /// Of a recipe with no stages yet.
    pub(super) fn of(preset: Option<&'static str>) -> Self {
        Self {
            preset,
            stages: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, stage: &Planned, kind: &str) {
        self.stages.push(StageSource {
            given: stage.given.iter().rev().copied().collect(),
            kind: kind.to_owned(),
            is_of_preset: stage.is_of_preset(),
        });
    }

    /// Where in the recipe as written what stands at `path` of the expanded one `root` can be from, what wins
    /// first.
    pub(crate) fn places(&self, path: &KeyPath, root: &Value) -> Vec<KeyPath> {
        let Some((stage, inside)) = self.stage_of(path) else {
            return vec![path.clone()];
        };
        let mut tables: Vec<KeyPath> = stage.given.iter().map(|i| stage_place(*i)).collect();
        if !inside.is_empty() {
            tables.extend([place(&[&stage.kind]), place(&[])]);
        }
        let worded = worded(path, root);
        let below = |table: KeyPath| {
            let ways = [inside, &worded[path.0.len() - inside.len()..]];
            ways.map(|way| KeyPath([&table.0, way].concat()))
        };
        tables.into_iter().flat_map(below).collect()
    }

    /// The preset that what stands at `path` is from, unless the user wrote it.
    pub(crate) fn preset_of(&self, path: &KeyPath) -> Option<&'static str> {
        let is_of_preset = match self.stage_of(path) {
            Some((stage, _)) => stage.is_of_preset,
            None => !path.0.is_empty(),
        };
        self.preset.filter(|_| is_of_preset)
    }

    /// The stage that `path` leads into, and the way from there.
    fn stage_of<'a>(&self, path: &'a KeyPath) -> Option<(&StageSource, &'a [Segment])> {
        match path.0.as_slice() {
            [Segment::Key(key), Segment::Index(index), inside @ ..] if key == STAGE => {
                Some((self.stages.get(*index)?, inside))
            }
            _ => None,
        }
    }
}

/// The path with elements of arrays by their names, as a table over an array names them.
fn worded(path: &KeyPath, root: &Value) -> Vec<Segment> {
    let spelled = path.spelled(root);
    let words: Vec<_> = spelled.split('.').collect();
    match words.len() == path.0.len() {
        true => words
            .into_iter()
            .map(|word| Segment::Key(word.to_owned()))
            .collect(),
        false => path.0.clone(),
    }
}
