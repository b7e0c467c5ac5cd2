//! Which program is run as the sandbox.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Names the program, for libraries whose own program is not `emberl`.
const VARIABLE: &str = "EMBERL_SANDBOX";

/// The key that names it in a recipe.
const KEY: &str = "rewards.code.program";

/// `named`, or else the program of the environment variable, or else this one if it is `emberl`.
///
/// # Errors
/// When there is none, or none that can run Python.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return existing(path, KEY);
    }
    if let Some(path) = env::var_os(VARIABLE) {
        return existing(Path::new(&path), VARIABLE);
    }
    let own = env::current_exe().ok();
    let Some(own) = own.filter(|path| path.file_stem().is_some_and(|stem| stem == "emberl")) else {
        let problem = format!(
            "this program is not `emberl`: name one by this key or the variable `{VARIABLE}`, built \
             with `--features python`"
        );
        return Err(Error::setting(KEY, problem));
    };
    if cfg!(feature = "python") {
        return Ok(own);
    }
    let problem = format!(
        "this build has no Python: build with `--features python`, or name such a build by this key \
         or the variable `{VARIABLE}`"
    );
    Err(Error::setting(KEY, problem))
}

fn existing(path: &Path, key: &str) -> Result<PathBuf> {
    if path.is_file() {
        // The sandbox runs in a folder of its own.
        return path.canonicalize().map_err(Error::io(path, "read"));
    }
    let problem = format!("{} is no file, expected a build of emberl", path.display());
    Err(Error::setting(key, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_is_not_there_is_named() {
        let error = find(Some(Path::new("no/such/emberl"))).unwrap_err();
        let message =
            "`rewards.code.program`: no/such/emberl is no file, expected a build of emberl";
        assert_eq!(error.to_string(), message);
    }
}
