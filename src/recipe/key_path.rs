//! Places in a recipe: which key of which table, how the user spells it, and on which line it stands.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Into a table.
    Key(String),
    /// Into an array, counted from 0.
    Index(usize),
}

/// The way from the recipe's root to a value; empty means the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(pub(super) Vec<Segment>);

impl KeyPath {
    /// The path one step deeper.
    pub(super) fn join(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// Whether `self` is `ancestor` or lies inside it.
    pub(super) fn is_within(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }

    /// The last key or index and the path before it; `None` at the root.
    pub(super) fn split_last(&self) -> Option<(Self, &Segment)> {
        let (last, parents) = self.0.split_last()?;
        Some((Self(parents.to_vec()), last))
    }

    /// The value at this path.
    pub(super) fn get_mut<'a>(&self, root: &'a mut Value) -> Option<&'a mut Value> {
        self.0
            .iter()
            .try_fold(root, |value, segment| match segment {
                Segment::Key(key) => value.get_mut(key),
                Segment::Index(index) => value.get_mut(index),
            })
    }

    /// Every path below `root`, parents before children, in the order in which serde meets them:
    /// as written, but the tag `kind` of a choice before its siblings.
    pub(super) fn all(root: &Value) -> Vec<Self> {
        let mut paths = Vec::new();
        Self::default().collect_below(root, &mut paths);
        paths
    }

    fn collect_below(&self, value: &Value, paths: &mut Vec<Self>) {
        let mut visit = |segment: Segment, child: &Value| {
            let path = self.join(segment);
            paths.push(path.clone());
            path.collect_below(child, paths);
        };
        match value {
            Value::Table(table) => {
                let (tags, rest): (Vec<_>, Vec<_>) = table.iter().partition(|(key, _)| *key == TAG);
                for (key, child) in tags.into_iter().chain(rest) {
                    visit(Segment::Key(key.clone()), child);
                }
            }
            Value::Array(items) => {
                for (index, child) in items.iter().enumerate() {
                    visit(Segment::Index(index), child);
                }
            }
            _ => {}
        }
    }

    /// The dotted path as `--set` takes it: elements of an array of tables by name, by kind where
    /// that is unique, or by index.
    pub(super) fn spelled(&self, root: &Value) -> String {
        let mut value = Some(root);
        let mut words = Vec::new();
        for segment in &self.0 {
            match segment {
                Segment::Key(key) => {
                    words.push(key.clone());
                    value = value.and_then(|value| value.get(key));
                }
                Segment::Index(index) => {
                    let items = value.and_then(Value::as_array);
                    words
                        .push(items.map_or_else(|| index.to_string(), |i| element_name(i, *index)));
                    value = value.and_then(|value| value.get(index));
                }
            }
        }
        words.join(".")
    }

    /// The line of `text`, from 1, on which this path's key or element begins.
    pub(super) fn line(&self, text: &str) -> Option<usize> {
        let document = DeTable::parse(text).ok()?;
        let mut span = 0..0;
        let mut value = &Spanned::new(0..0, DeValue::Table(document.into_inner()));
        for segment in &self.0 {
            (span, value) = match segment {
                Segment::Key(key) => {
                    let table = value.get_ref().as_table()?;
                    let (key, value) = table.iter().find(|(k, _)| k.get_ref() == key.as_str())?;
                    (key.span(), value)
                }
                Segment::Index(index) => {
                    let value = value.get_ref().as_array()?.get(*index)?;
                    (value.span(), value)
                }
            };
        }
        (!self.0.is_empty()).then(|| line_at(text, span))
    }
}

/// The line of `text`, from 1, on which `span` begins.
pub(super) fn line_at(text: &str, span: Range<usize>) -> usize {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// Which element of an array `word` selects: by `name`, by a `kind` that is unique, or by index.
///
/// # Errors
/// The problem, when no element or more than one fits.
pub(super) fn find_element(items: &[Value], word: &str) -> Result<usize, String> {
    for key in ["name", TAG] {
        match matching(items, key, word).as_slice() {
            [] => {}
            [index] => return Ok(*index),
            many => {
                let indices: Vec<_> = many.iter().map(|index| format!("`{index}`")).collect();
                let indices = indices.join(" and ");
                return Err(format!(
                    "`{word}` fits {} elements, say {indices} instead",
                    many.len()
                ));
            }
        }
    }
    match word.parse::<usize>() {
        Ok(index) if index < items.len() => Ok(index),
        _ => {
            let names: Vec<_> = (0..items.len())
                .map(|index| format!("`{}`", element_name(items, index)))
                .collect();
            Err(format!("no `{word}` here, there is {}", names.join(", ")))
        }
    }
}

/// The key whose value chooses among the variants of a setting.
const TAG: &str = "kind";

/// The shortest word that [`find_element`] takes for element `index`.
fn element_name(items: &[Value], index: usize) -> String {
    ["name", TAG]
        .into_iter()
        .filter_map(|key| items.get(index)?.get(key)?.as_str())
        .find(|word| find_element(items, word) == Ok(index))
        .map_or_else(|| index.to_string(), str::to_owned)
}

fn matching(items: &[Value], key: &str, word: &str) -> Vec<usize> {
    let fits = |item: &Value| item.get(key).and_then(Value::as_str) == Some(word);
    (0..items.len()).filter(|&i| fits(&items[i])).collect()
}

/// What kind of value this is, with its article, for messages.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "seed = 3\n\n[[stage]]\nkind = \"sft\"\nlr = 1\n\n[[stage]]\nkind = \"sft\"\n\
        name = \"second\"\n[stage.optim]\nlr = 2\n";

    fn parsed() -> Value {
        Value::Table(TEXT.parse().unwrap())
    }

    fn path(root: &Value, spelled: &str) -> KeyPath {
        KeyPath::all(root)
            .into_iter()
            .find(|path| path.spelled(root) == spelled)
            .unwrap()
    }

    #[test]
    fn elements_are_spelled_by_name_or_unique_kind_or_index() {
        let root = parsed();
        let spelled: Vec<_> = KeyPath::all(&root)
            .iter()
            .map(|path| path.spelled(&root))
            .collect();
        assert_eq!(spelled[..3], ["seed", "stage", "stage.0"]);
        assert!(spelled.contains(&"stage.second.optim.lr".to_owned()));
    }

    #[test]
    fn lines_are_those_of_the_keys() {
        let root = parsed();
        assert_eq!(path(&root, "seed").line(TEXT), Some(1));
        assert_eq!(path(&root, "stage.0").line(TEXT), Some(3));
        assert_eq!(path(&root, "stage.0.lr").line(TEXT), Some(5));
        assert_eq!(path(&root, "stage.second.optim.lr").line(TEXT), Some(11));
    }

    #[test]
    fn ambiguous_and_unknown_elements_are_told_apart() {
        let root = parsed();
        let items = root.get("stage").and_then(Value::as_array).unwrap();
        assert_eq!(find_element(items, "second"), Ok(1));
        assert_eq!(find_element(items, "1"), Ok(1));
        assert_eq!(
            find_element(items, "sft").unwrap_err(),
            "`sft` fits 2 elements, say `0` and `1` instead"
        );
        assert_eq!(
            find_element(items, "grpo").unwrap_err(),
            "no `grpo` here, there is `0`, `second`"
        );
    }
}
