//! Tables laid over tables, key by key.

use toml::{Table, Value};

use crate::recipe::diagnosis::Diagnosis;
use crate::recipe::key_path::{KeyPath, Segment, find_element};

/// What is laid over something.
pub(super) struct Layer {
    /// Where it stands in the recipe as written.
    pub(super) place: KeyPath,
    /// Whether it may name elements of arrays that are not there.
    pub(super) may_miss: bool,
}

impl Layer {
    fn below(&self, key: &str) -> Self {
        Self {
            place: self.place.join(Segment::Key(key.to_owned())),
            may_miss: self.may_miss,
        }
    }

    fn fault(self, problem: &str) -> Diagnosis {
        // Places in a recipe as written have no names to go by.
        let key = self.place.spelled(&Value::Boolean(false));
        Diagnosis {
            place: self.place,
            problem: format!("`{key}`: {problem}"),
        }
    }
}

/// Lays `over` on `under`: tables become one, all else replaces what was there.
///
/// A table with another `kind` than the one below replaces it, too. A table over an array of tables is laid
/// over those of its elements that its keys name, by name, kind or place.
///
/// # Errors
/// When such a key names no element and may not miss.
pub(super) fn lay(over: &Table, under: &mut Table, layer: &Layer) -> Result<(), Diagnosis> {
    for (key, value) in over {
        match under.get_mut(key) {
            Some(below) => lay_value(value, below, &layer.below(key))?,
            None => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn lay_value(over: &Value, under: &mut Value, layer: &Layer) -> Result<(), Diagnosis> {
    match (over, under) {
        (Value::Table(over), Value::Table(under)) if is_same_kind(over, under) => {
            lay(over, under, layer)
        }
        (Value::Table(over), Value::Array(under)) if under.iter().all(Value::is_table) => {
            for (word, value) in over {
                match find_element(under, word) {
                    Ok(index) => lay_value(value, &mut under[index], &layer.below(word))?,
                    Err(_) if layer.may_miss => {}
                    Err(problem) => return Err(layer.below(word).fault(&problem)),
                }
            }
            Ok(())
        }
        (over, under) => {
            *under = over.clone();
            Ok(())
        }
    }
}

fn is_same_kind(over: &Table, under: &Table) -> bool {
    let kind = over.get("kind");
    kind.is_none() || kind == under.get("kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(over: &str, under: &str, may_miss: bool) -> Result<Table, Diagnosis> {
        let place = KeyPath::default();
        let mut under = under.parse().unwrap();
        lay(
            &over.parse().unwrap(),
            &mut under,
            &Layer { place, may_miss },
        )?;
        Ok(under)
    }

    #[test]
    fn tables_become_one_and_arrays_and_other_kinds_replace() {
        let under = "a.x = 1\na.y = 2\nb = [1, 2]\ntask = { kind = 'sums', digits = 2 }";
        let over = "a.x = 3\nb = [4]\ntask = { kind = 'words', level = 1 }\nc = 5";
        let expected = "a.x = 3\na.y = 2\nb = [4]\ntask = { kind = 'words', level = 1 }\nc = 5";
        let expected: Table = expected.parse().unwrap();
        assert_eq!(laid(over, under, false), Ok(expected));
        let kept = laid("task.digits = 9", under, false).unwrap();
        assert_eq!(kept["task"]["kind"].as_str(), Some("sums"));
        assert_eq!(kept["task"]["digits"].as_integer(), Some(9));
    }

    #[test]
    fn a_table_over_an_array_reaches_its_elements_by_name() {
        let under = "r = [{ kind = 'a', w = 1 }, { kind = 'b', name = 'c', w = 1 }]";
        let found = laid("r.c.w = 2\nr.a.w = 3", under, false).unwrap();
        let weights = [0, 1].map(|i| found["r"][i]["w"].as_integer());
        assert_eq!(weights, [Some(3), Some(2)]);
        let missed = laid("r.d.w = 2", under, true).unwrap();
        assert_eq!(missed, under.parse().unwrap());
        let refused = laid("r.d.w = 2", under, false).unwrap_err();
        assert_eq!(refused.problem, "`r.d`: no `d` here, there is `a`, `c`");
    }
}
