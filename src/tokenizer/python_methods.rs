//! Methods of Python's `str` that templates call and `minijinja_contrib::pycompat` lacks.

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Calls `method` of `value`.
pub(super) fn call(
    state: &State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, arguments);
    };
    match method {
        "split" => {
            let (separator, limit) = split_arguments(arguments)?;
            let arguments = [Value::from(separator), Value::from(limit)];
            pycompat::unknown_method_callback(state, value, method, &arguments)
        }
        "rsplit" => {
            let (separator, limit) = split_arguments(arguments)?;
            split_from_right(text, separator, limit)
        }
        "partition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            Ok(list(match text.split_once(separator) {
                Some((before, after)) => [before, separator, after],
                None => [text, "", ""],
            }))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            Ok(list(match text.rsplit_once(separator) {
                Some((before, after)) => [before, separator, after],
                None => ["", "", text],
            }))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        _ => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

/// `sep` and `maxsplit`, by place or by name.
fn split_arguments(arguments: &[Value]) -> Result<(Option<String>, Option<i64>), Error> {
    let (separator, limit, named): (Option<String>, Option<i64>, Kwargs) = from_args(arguments)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => named.get("sep")?,
    };
    let limit = match limit {
        Some(limit) => Some(limit),
        None => named.get("maxsplit")?,
    };
    named.assert_all_used()?;
    Ok((separator, limit))
}

fn split_from_right(
    text: &str,
    separator: Option<String>,
    limit: Option<i64>,
) -> Result<Value, Error> {
    let Some(separator) = separator.filter(|separator| !separator.is_empty()) else {
        let detail = "`rsplit` needs a separator that is not empty";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    };
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let mut parts: Vec<_> = match limit {
        Some(limit) => text.rsplitn(limit + 1, &separator).collect(),
        None => text.rsplit(&separator).collect(),
    };
    parts.reverse();
    Ok(list(parts))
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}
