//! Which layers are meant: by names or by a regular expression.
//!
//! A layer is known by its path in the model, `model.layers.0.self_attn.q_proj`.

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Stands for every linear layer of the blocks.
const ALL_LINEAR: &str = "all-linear";

/// Names of the linear layers of a block.
pub(super) const LINEAR_NAMES: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// A choice of layers, as PEFT reads its `target_modules` and `exclude_modules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of layer names, a regular expression or \"all-linear\""
)]
pub enum ModuleFilter {
    /// Layers whose path is one of these names or ends with one, after a dot.
    Names(Vec<String>),
    /// Layers whose whole path this regular expression matches; `all-linear` stands for every
    /// linear layer of the blocks.
    Pattern(String),
}

impl ModuleFilter {
    /// Every linear layer of the blocks.
    pub fn all_linear() -> Self {
        Self::Pattern(ALL_LINEAR.to_owned())
    }

    /// No layer.
    pub fn none() -> Self {
        Self::Names(Vec::new())
    }

    /// Whether this is `all-linear`, in whatever case.
    pub(super) fn is_all_linear(&self) -> bool {
        matches!(self, Self::Pattern(pattern) if pattern.eq_ignore_ascii_case(ALL_LINEAR))
    }

    /// The same choice with `all-linear` spelled out.
    pub(super) fn explicit(&self) -> Self {
        match self.is_all_linear() {
            true => Self::Names(LINEAR_NAMES.map(str::to_owned).to_vec()),
            false => self.clone(),
        }
    }

    /// The choice, ready to match; `key` is only for error messages.
    ///
    /// # Errors
    /// When the text is no regular expression.
    pub(super) fn matcher(&self, key: &'static str) -> Result<ModuleMatcher> {
        Ok(match self.explicit() {
            Self::Names(names) => ModuleMatcher::Names(names),
            Self::Pattern(pattern) => ModuleMatcher::Pattern(PathPattern::whole(key, &pattern)?),
        })
    }
}

/// A [`ModuleFilter`] ready to match.
#[derive(Debug)]
pub(super) enum ModuleMatcher {
    Names(Vec<String>),
    Pattern(PathPattern),
}

impl ModuleMatcher {
    /// Whether the layer at `path` is meant.
    ///
    /// # Errors
    /// When the regular expression takes too long.
    pub(super) fn matches(&self, path: &str) -> Result<bool> {
        match self {
            Self::Names(names) => Ok(names.iter().any(|name| is_name_of(name, path))),
            Self::Pattern(pattern) => pattern.matches(path),
        }
    }
}

/// Whether `path` is `name` or ends with it after a dot.
pub(super) fn is_name_of(name: &str, path: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A regular expression over paths.
#[derive(Debug)]
pub(super) struct PathPattern {
    key: &'static str,
    regex: Regex,
}

impl PathPattern {
    /// One that has to match whole paths.
    pub(super) fn whole(key: &'static str, pattern: &str) -> Result<Self> {
        Self::compile(key, pattern, r"\A(?:", r")\z")
    }

    /// One that has to match whole paths or what follows one of their dots.
    pub(super) fn ending(key: &'static str, pattern: &str) -> Result<Self> {
        Self::compile(key, pattern, r"\A(?:.*\.)?(?:", r")\z")
    }

    pub(super) fn matches(&self, path: &str) -> Result<bool> {
        let found = self.regex.is_match(path);
        found.map_err(|error| self.failed(&error.to_string()))
    }

    fn compile(key: &'static str, pattern: &str, before: &str, after: &str) -> Result<Self> {
        match Regex::new(&format!("{before}{pattern}{after}")) {
            Ok(regex) => Ok(Self { key, regex }),
            Err(error) => {
                let error = one_line(&error.to_string());
                let problem = format!("`{pattern}` is no regular expression: {error}");
                Err(Error::setting(key, problem))
            }
        }
    }

    fn failed(&self, error: &str) -> Error {
        let problem = format!("`{}` cannot be matched: {}", self.regex, one_line(error));
        Error::setting(self.key, problem)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "model.layers.10.self_attn.q_proj";

    fn matches(filter: ModuleFilter, path: &str) -> bool {
        filter.matcher("targets").unwrap().matches(path).unwrap()
    }

    fn pattern(text: &str) -> ModuleFilter {
        ModuleFilter::Pattern(text.to_owned())
    }

    #[test]
    fn names_match_whole_paths_and_what_follows_a_dot() {
        let name = |name: &str| ModuleFilter::Names(vec!["x".to_owned(), name.to_owned()]);
        assert!(matches(name("q_proj"), QUERY));
        assert!(matches(name("self_attn.q_proj"), QUERY));
        assert!(matches(name(QUERY), QUERY));
        assert!(!matches(name("proj"), QUERY));
        assert!(!matches(name("0.self_attn.q_proj"), QUERY));
        assert!(!matches(name("q_pro."), QUERY));
        assert!(!matches(ModuleFilter::none(), QUERY));
    }

    #[test]
    fn regular_expressions_match_whole_paths_only() {
        assert!(matches(pattern(r".*\.q_proj"), QUERY));
        assert!(matches(pattern(r"model\.layers\.\d+\..*(q|v)_proj"), QUERY));
        assert!(!matches(pattern("q_proj"), QUERY));
        assert!(!matches(pattern(r".*\.q_pro|model"), QUERY));
        // Looking ahead is common in PEFT's configurations.
        assert!(matches(pattern(r"^(?!.*visual).*_proj$"), QUERY));
        assert!(!matches(pattern(r"^(?!.*layers\.10).*_proj$"), QUERY));
    }

    #[test]
    fn all_linear_is_known_in_any_case() {
        assert!(matches(pattern("All-Linear"), QUERY));
        assert!(!matches(ModuleFilter::all_linear(), "lm_head"));
    }

    #[test]
    fn a_broken_regular_expression_is_told_in_one_line() {
        for broken in ["(", "[z-a]", r"\p{Nothing}"] {
            let error = pattern(broken).matcher("targets").unwrap_err().to_string();
            let expected = format!("`targets`: `{broken}` is no regular expression: ");
            assert!(error.starts_with(&expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn filters_are_read_from_lists_and_texts() {
        let read = |text| serde_json::from_str::<ModuleFilter>(text);
        let names = ModuleFilter::Names(vec!["q_proj".to_owned()]);
        assert_eq!(read(r#"["q_proj"]"#).unwrap(), names);
        let all = ModuleFilter::all_linear();
        assert_eq!(read(r#""all-linear""#).unwrap(), all);
        let error = read("3").unwrap_err().to_string();
        assert!(error.contains("a list of layer names"), "{error}");
    }
}
