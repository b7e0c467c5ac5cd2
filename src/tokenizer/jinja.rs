//! The Jinja dialect of Hugging Face chat templates, on `minijinja`.
//!
//! transformers runs templates in jinja2 with blocks trimmed, loop controls, a `generation` block,
//! and `tojson`, `raise_exception` and `strftime_now` of its own. Known differences: Python's
//! spelling of lists, mappings and floats is kept where they are printed, not where they are joined
//! to a text with `~`; tuples print as lists; texts have no `%` operator. The number of
//! instructions is bounded; the memory they take and how deep values nest are not.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use time::OffsetDateTime;
use time::format_description::parse_strftime_owned;

use super::python_json::{self, JsonStyle, python_text};
use super::python_methods;
use super::template_source::GENERATION;

/// Template instructions one rendering may take; a long conversation takes some ten thousand.
const INSTRUCTION_LIMIT: u64 = 10_000_000;

/// An environment that knows what chat templates use.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(INSTRUCTION_LIMIT));
    environment.set_formatter(write_as_python);
    environment.set_unknown_method_callback(python_methods::call);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", python_text);
    environment.add_filter("upper", |value: &Value| python_text(value).to_uppercase());
    environment.add_filter("lower", |value: &Value| python_text(value).to_lowercase());
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_iterable);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter(GENERATION, |text: String| text);
    environment
}

/// `environment`, but what a `{% generation %}` block writes stands between the two `marks`.
pub(super) fn marking_environment(
    environment: &Environment<'static>,
    [start, end]: [char; 2],
) -> Environment<'static> {
    let mut environment = environment.clone();
    let marked = move |text: String| format!("{start}{text}{end}");
    environment.add_filter(GENERATION, marked);
    environment
}

fn write_as_python(output: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Undefined => {
            minijinja::escape_formatter(output, state, value)
        }
        _ => Ok(output.write_str(&python_text(value))?),
    }
}

/// The length; an undefined value has none, as in jinja2.
fn length(value: &Value) -> Result<usize, Error> {
    match value.is_undefined() {
        true => Ok(0),
        false => minijinja::filters::length(value),
    }
}

/// Whether Python can iterate over `value`: also over texts, keys and what is undefined, but not
/// over `none`.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`: Python's
/// `json.dumps`, without the HTML escaping of jinja2's own filter.
fn to_json(value: &Value, ensure_ascii: Option<bool>, options: Kwargs) -> Result<String, Error> {
    let style = JsonStyle {
        ensure_ascii: match ensure_ascii {
            Some(ensure_ascii) => ensure_ascii,
            None => options
                .get::<Option<bool>>("ensure_ascii")?
                .unwrap_or(false),
        },
        indent: options.get("indent")?,
        separators: match options.get::<Option<Vec<String>>>("separators")? {
            None => None,
            Some(pair) => Some(pair.try_into().map_err(|_| {
                let detail = "`separators` takes two texts, between items and after a key";
                Error::new(ErrorKind::InvalidOperation, detail)
            })?),
        },
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    if value.is_undefined() {
        let detail = "an undefined value cannot be written as JSON";
        return Err(Error::new(ErrorKind::UndefinedError, detail));
    }
    python_json::to_json(value, style)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The present local time; in UTC where the system does not tell the local offset.
fn strftime_now(format: &str) -> Result<String, Error> {
    let failed = |error: String| Error::new(ErrorKind::InvalidOperation, error);
    let format = parse_strftime_owned(format).map_err(|error| failed(error.to_string()))?;
    let now = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
    now.format(&format)
        .map_err(|error| failed(error.to_string()))
}
