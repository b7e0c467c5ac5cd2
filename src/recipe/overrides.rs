//! Settings given on the command line: `--set stage.grpo.optim.lr=1e-6` laid over a recipe.

use toml::{Table, Value};

use super::key_path::{KeyPath, Segment, describe, find_element};

/// One `--set`, laid over the recipe.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// As the user wrote it.
    pub(super) text: String,
    /// Where its value went.
    pub(super) path: KeyPath,
}

/// Lays `text`, `dotted.key=value`, over `root`. The value is read as TOML, or else as a string.
///
/// # Errors
/// The problem, when the key leads nowhere or to more than one place.
pub(super) fn apply(root: &mut Value, text: &str) -> Result<Override, String> {
    let blame = |problem: String| format!("--set {text}: {problem}");
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| blame("expected key=value".to_owned()))?;
    let value = value.trim();
    let value = value
        .parse()
        .unwrap_or_else(|_| Value::String(value.to_owned()));
    let mut path = KeyPath::default();
    let mut place = root;
    for word in key.trim().split('.') {
        if word.is_empty() {
            return Err(blame("a part of the key is empty".to_owned()));
        }
        let segment;
        (segment, place) = step_into(place, word).map_err(blame)?;
        path = path.join(segment);
    }
    *place = value;
    Ok(Override {
        text: text.to_owned(),
        path,
    })
}

/// Goes from `place` to what `word` names in it; a key that is not there yet is made an empty table.
fn step_into<'a>(place: &'a mut Value, word: &str) -> Result<(Segment, &'a mut Value), String> {
    match place {
        Value::Table(table) => {
            let empty = || Value::Table(Table::new());
            let child = table.entry(word).or_insert_with(empty);
            Ok((Segment::Key(word.to_owned()), child))
        }
        Value::Array(items) => {
            let index = find_element(items, word)?;
            Ok((Segment::Index(index), &mut items[index]))
        }
        other => Err(format!(
            "there is no `{word}` in {}, which is no table",
            describe(other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaid(recipe: &str, text: &str) -> Result<Value, String> {
        let mut root = Value::Table(recipe.parse().unwrap());
        apply(&mut root, text).map(|_| root)
    }

    #[test]
    fn values_are_toml_or_else_strings() {
        let value = |text: &str| overlaid("", text).unwrap()["a"].clone();
        assert_eq!(value("a=1e-6"), Value::Float(1e-6));
        assert_eq!(value("a=true"), Value::Boolean(true));
        assert_eq!(value("a=[1, 2]"), Value::Array(vec![1.into(), 2.into()]));
        assert_eq!(
            value("a=runs/b=c d"),
            Value::String("runs/b=c d".to_owned())
        );
        assert_eq!(value("a=\"3\""), Value::String("3".to_owned()));
    }

    #[test]
    fn stages_are_found_by_kind_and_tables_are_made() {
        let root = overlaid("[[stage]]\nkind = \"grpo\"", "stage.grpo.optim.lr=2").unwrap();
        assert_eq!(root["stage"][0]["optim"]["lr"], Value::Integer(2));
    }

    #[test]
    fn keys_that_lead_nowhere_are_refused() {
        let problem =
            |text: &str| overlaid("seed = 1\n[[stage]]\nkind = \"sft\"", text).unwrap_err();
        assert_eq!(problem("seed"), "--set seed: expected key=value");
        assert_eq!(
            problem("a..b=1"),
            "--set a..b=1: a part of the key is empty"
        );
        assert_eq!(
            problem("seed.x=1"),
            "--set seed.x=1: there is no `x` in a number, which is no table"
        );
        assert_eq!(
            problem("stage.grpo.lr=1"),
            "--set stage.grpo.lr=1: no `grpo` here, there is `sft`"
        );
    }
}
