//! What to tell the user when a recipe does not fit: which key, and the nearest valid name.
//!
//! Serde says what is wrong but not where: behind a choice by `kind` it has lost the path. So the
//! place is found by trial. Everything after the faulty key is never looked at, so a change there
//! leaves the message as it is; the last place where a change alters the message is the faulty one.

use toml::{Table, Value};

use super::key_path::{KeyPath, Segment};

/// A fault of a recipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// Where: the key or, if a key is missing, the table that lacks it.
    pub(super) place: KeyPath,
    /// What is wrong and what would be right, with the dotted key.
    pub(super) problem: String,
}

/// Finds the place of serde's `message` about `root` and words it for the user. `check` gives the
/// message about an altered recipe, `None` if that one is fine.
pub(super) fn diagnose(
    root: &Value,
    message: &str,
    check: impl Fn(Value) -> Option<String>,
) -> Diagnosis {
    let alters = |edited: Value| check(edited).as_deref() != Some(message);
    let message_line = message.replace('\n', ", ");
    if let Some(key) = quoted_after(message, "unknown field ") {
        let place = find_unknown(root, key, alters);
        let problem = match place.spelled(root).as_str() {
            "" => format!("unknown key `{key}`{}", suggestion(key, message)),
            spelled => format!("unknown key `{spelled}`{}", suggestion(key, message)),
        };
        return Diagnosis { place, problem };
    }
    if let Some(key) = quoted_after(message, "missing field ") {
        let place = find_missing(root, key, alters);
        let spelled = place.join(Segment::Key(key.to_owned())).spelled(root);
        let problem = format!("missing key `{spelled}`");
        return Diagnosis { place, problem };
    }
    let place = find_value(root, alters);
    let what = match quoted_after(message, "unknown variant ") {
        Some(word) => format!("unknown value `{word}`{}", suggestion(word, message)),
        None => message_line,
    };
    let problem = match place.spelled(root).as_str() {
        "" => what,
        spelled => format!("`{spelled}`: {what}"),
    };
    Diagnosis { place, problem }
}

/// The key called `key` that serde refused: a new name for it alters the message.
fn find_unknown(root: &Value, key: &str, alters: impl Fn(Value) -> bool) -> KeyPath {
    let named = |path: &KeyPath| path.0.last() == Some(&Segment::Key(key.to_owned()));
    let renamed = |path: &KeyPath| {
        edited_parent(root, path, |table| {
            let entries = std::mem::take(table).into_iter();
            let rename = |(name, value)| match name == key {
                true => (PROBE.to_owned(), value),
                false => (name, value),
            };
            *table = entries.map(rename).collect();
        })
    };
    let paths = KeyPath::all(root).into_iter().filter(named);
    last_where(paths, |path| renamed(path).is_some_and(&alters))
}

/// The table that lacks `key`: a strange value given there alters the message.
fn find_missing(root: &Value, key: &str, alters: impl Fn(Value) -> bool) -> KeyPath {
    let paths = std::iter::once(KeyPath::default()).chain(KeyPath::all(root));
    // A table is found incomplete only after all its children were read, so children come first.
    let paths = children_first(paths.collect());
    let insertion = |path: &KeyPath, probe: Value| {
        let mut edited = root.clone();
        let table = path.get_mut(&mut edited)?.as_table_mut()?;
        (!table.contains_key(key)).then(|| table.insert(key.to_owned(), probe))?;
        Some(edited)
    };
    let lacks = |path: &KeyPath| {
        let mut edits = strange_values().into_iter();
        edits.any(|probe| insertion(path, probe).is_some_and(&alters))
    };
    last_where(paths.into_iter(), lacks)
}

/// The value that does not fit: another value there, or none, alters the message.
fn find_value(root: &Value, alters: impl Fn(Value) -> bool) -> KeyPath {
    let replacement = |path: &KeyPath, probe: Value| {
        let mut edited = root.clone();
        *path.get_mut(&mut edited)? = probe;
        Some(edited)
    };
    let removal = |path: &KeyPath| {
        let (_, last) = path.split_last()?;
        let Segment::Key(key) = last else { return None };
        edited_parent(root, path, |table| {
            table.remove(key);
        })
    };
    let misfits = |path: &KeyPath| {
        let mut edits = strange_values().into_iter();
        edits.any(|probe| replacement(path, probe).is_some_and(&alters))
            || removal(path).is_some_and(&alters)
    };
    last_where(KeyPath::all(root).into_iter(), misfits)
}

/// A copy of `root` with `edit` done to the table that holds `path`.
fn edited_parent(root: &Value, path: &KeyPath, edit: impl FnOnce(&mut Table)) -> Option<Value> {
    let mut edited = root.clone();
    let (parent, _) = path.split_last()?;
    edit(parent.get_mut(&mut edited)?.as_table_mut()?);
    Some(edited)
}

/// The last path that `holds`, or the root.
fn last_where(paths: impl Iterator<Item = KeyPath>, holds: impl Fn(&KeyPath) -> bool) -> KeyPath {
    let paths: Vec<_> = paths.collect();
    let found = paths.into_iter().rev().find(holds);
    found.unwrap_or_default()
}

/// Turns an order with parents before their children into one with children before their parents.
fn children_first(paths: Vec<KeyPath>) -> Vec<KeyPath> {
    let mut open: Vec<KeyPath> = Vec::new();
    let mut ordered = Vec::with_capacity(paths.len());
    for path in paths {
        while let Some(last) = open.pop_if(|last| !path.is_within(last)) {
            ordered.push(last);
        }
        open.push(path);
    }
    ordered.extend(open.into_iter().rev());
    ordered
}

/// A word no recipe holds.
const PROBE: &str = "\u{1}";

/// Values that fit no setting, or would be quoted in a new message.
fn strange_values() -> [Value; 2] {
    let date = toml::value::Datetime {
        date: None,
        time: None,
        offset: None,
    };
    [Value::String(PROBE.to_owned()), Value::Datetime(date)]
}

/// The word in backticks that follows `intro` at the start of `message`.
fn quoted_after<'a>(message: &'a str, intro: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(intro)?.strip_prefix('`')?;
    rest.split_once('`').map(|(word, _)| word)
}

/// What would be right instead of `word`, from the list at the end of serde's message.
fn suggestion(word: &str, message: &str) -> String {
    let list = message
        .split_once(", expected ")
        .map_or("", |(_, list)| list);
    let valid: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    if valid.is_empty() {
        return ", nothing is expected here".to_owned();
    }
    let expected = expected_words(&valid);
    match nearest(word, &valid) {
        Some(near) if valid.len() == 1 => format!(", did you mean `{near}`?"),
        Some(near) => format!(", did you mean `{near}`? (expected {expected})"),
        None => format!(", expected {expected}"),
    }
}

/// How many valid names a message lists at most.
const LISTED_NAMES: usize = 16;

pub(super) fn expected_words(valid: &[&str]) -> String {
    let quote = |word: &&str| format!("`{word}`");
    let listed: Vec<_> = valid.iter().take(LISTED_NAMES).map(quote).collect();
    let listed = listed.join(", ");
    match valid.len() {
        1 => listed,
        count if count <= LISTED_NAMES => format!("one of {listed}"),
        count => format!("one of {listed} and {} more", count - LISTED_NAMES),
    }
}

/// Below this likeness (1 is equal) a name is not suggested.
const MIN_LIKENESS: f64 = 0.5;

/// The valid name most like `word`, if any is like it at all.
pub(super) fn nearest<'a>(word: &str, valid: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(word, name);
    let best = valid
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= MIN_LIKENESS).then_some(*best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_name_the_nearest_and_list_the_valid() {
        let message = "unknown field `lrr`, expected one of `warmup`, `lr`";
        assert_eq!(
            suggestion("lrr", message),
            ", did you mean `lr`? (expected one of `warmup`, `lr`)"
        );
        let message = "unknown field `zzz`, expected `a` or `b`";
        assert_eq!(suggestion("zzz", message), ", expected one of `a`, `b`");
        let message = "unknown field `zzz`, there are no fields";
        assert_eq!(suggestion("zzz", message), ", nothing is expected here");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<_> = (0..20).map(|i| format!("`name{i}`")).collect();
        let message = format!("unknown field `q`, expected one of {}", names.join(", "));
        assert!(suggestion("q", &message).ends_with("`name15` and 4 more"));
    }

    #[test]
    fn children_come_before_parents() {
        let root = Value::Table("a.b.c = 1\na.d = 2\ne = 3".parse().unwrap());
        let ordered: Vec<_> = children_first(KeyPath::all(&root))
            .iter()
            .map(|path| path.spelled(&root))
            .collect();
        assert_eq!(ordered, ["a.b.c", "a.b", "a.d", "a", "e"]);
    }
}
