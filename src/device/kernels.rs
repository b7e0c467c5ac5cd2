//! Where tuned and compiled kernels are kept, so that a GPU is tuned once and not in every run.
//!
//! The folder is `$EMBERL_CACHE`, else `emberl` in the user's cache folder. In it every version of
//! emberl and Burn has a folder of its own, and in that every kind of hardware a database, which
//! processes share. Where nothing can be written, kernels are kept in memory.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::files;
use crate::seed::Seed;

/// The version of Burn whose kernels are kept; a new one tunes anew.
const BURN: &str = "0.22.1";

/// Where this process keeps kernels: set when the first GPU is opened.
static PLACE: OnceLock<Option<Place>> = OnceLock::new();

/// A folder that can be written, and whose kernels are in it.
struct Place {
    folder: PathBuf,
    hardware: String,
}

/// The folder for kernels of this version; none where the system names no cache folder.
pub fn kernel_folder() -> Option<PathBuf> {
    let version = format!("{}-burn-{BURN}", env!("CARGO_PKG_VERSION"));
    let cache = cache_folder(&|name| std::env::var_os(name))?;
    Some(cache.join("kernels").join(version))
}

/// Does `work` unless this machine's hardware has done it before, which a file beside the kernels
/// says; `key` tells one work from another.
///
/// # Errors
/// What `work` fails with; it is then done again next time.
pub fn once_a_machine(key: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(place) = PLACE.get().and_then(Option::as_ref) else {
        return work();
    };
    let key = format!("{}\n{key}\n", place.hardware);
    let name = format!("{:016x}", Seed::new(0).named(&key).value());
    let mark = place.folder.join("tuned").join(name);
    if fs::read_to_string(&mark).is_ok_and(|found| found == key) {
        return Ok(());
    }
    work()?;
    if let Err(error) = write_mark(&mark, &key) {
        tracing::warn!("the next run tunes again: {error}");
    }
    Ok(())
}

fn write_mark(mark: &Path, key: &str) -> Result<()> {
    let folder = mark.parent().expect("a mark is in a folder");
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    files::write_text(mark, key)
}

/// How many tuned and compiled kernels are kept for the hardware whose device was opened first.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub fn kept_kernels() -> u64 {
    if PLACE.get().is_none_or(Option::is_none) {
        return 0;
    }
    let namespaces = burn_cubecl::cubecl::environment::namespaces();
    namespaces.iter().map(|namespace| namespace.entries).sum()
}

/// How many tuned and compiled kernels are kept: none without a GPU back end.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub fn kept_kernels() -> u64 {
    0
}

/// Tells the GPU back ends where to keep kernels, before the first device of the process is opened;
/// later calls change nothing. Kernels of different `hardware` do not mix.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) fn keep(hardware: &str) {
    PLACE.get_or_init(|| {
        let place = usable_folder().map(|folder| Place {
            folder,
            hardware: hardware.to_string(),
        });
        match place {
            Ok(place) => configure(Some(&place)).then_some(place),
            Err(problem) => {
                tracing::warn!("tuned kernels are not kept for the next run: {problem}");
                configure(None);
                None
            }
        }
    });
}

/// Hands the place to the runtime of the GPU back ends; false if it has been configured before.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn configure(place: Option<&Place>) -> bool {
    use burn_cubecl::cubecl::config::cache::CacheConfig;
    use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    use burn_cubecl::cubecl::records::RecordLevel;

    // A `cubecl.toml` in or above the working directory is another program's.
    let mut config = CubeClRuntimeConfig::default().override_from_env();
    config.environment.records.level = RecordLevel::Off;
    match place {
        Some(place) => {
            config.compilation.cache = true;
            config.environment.name = place.hardware.clone();
            config.environment.path = CacheConfig::Directory(place.folder.clone());
        }
        None => {
            config.autotune.disable_cache = true;
            config.throughput.disable_cache = true;
            config.compilation.cache = false;
            // Nothing is written there, but the default would be the working directory's.
            config.environment.path = CacheConfig::Directory(std::env::temp_dir());
        }
    }
    CubeClRuntimeConfig::try_set(config)
}

/// The folder, if a file can be written there.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn usable_folder() -> std::result::Result<PathBuf, String> {
    let folder = kernel_folder().ok_or("no cache folder is known, set EMBERL_CACHE to one")?;
    let unusable = |error| format!("{} cannot be written: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(unusable)?;
    tempfile::NamedTempFile::new_in(&folder).map_err(unusable)?;
    match folder.to_str() {
        Some(_) => Ok(folder),
        None => Err(format!("{} is no UTF-8 text", folder.display())),
    }
}

/// emberl's cache folder, by the environment's variables.
fn cache_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    if let Some(folder) = path("EMBERL_CACHE") {
        return Some(folder);
    }
    // The XDG specification has relative folders ignored.
    let xdg = path("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
    let system = || match std::env::consts::OS {
        "windows" => path("LOCALAPPDATA"),
        "macos" => Some(path("HOME")?.join("Library").join("Caches")),
        _ => Some(path("HOME")?.join(".cache")),
    };
    Some(xdg.or_else(system)?.join("emberl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let found = |name: &str| {
            let variable = variables.iter().find(|(other, _)| *other == name);
            variable.map(|(_, value)| OsString::from(value))
        };
        cache_folder(&found)
    }

    #[test]
    fn the_version_of_burn_is_that_of_the_manifest() {
        let manifest = include_str!("../../Cargo.toml");
        assert!(manifest.contains(&format!("\nburn = {{ version = \"={BURN}\"")));
    }

    #[test]
    fn own_variable_comes_before_the_systems() {
        let all = [
            ("EMBERL_CACHE", "/own"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("HOME", "/home/a"),
        ];
        assert_eq!(folder(&all), Some("/own".into()));
        assert_eq!(folder(&all[1..]), Some("/xdg/emberl".into()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_empty_variable_is_none_and_a_relative_xdg_folder_is_ignored() {
        let home = ("HOME", "/home/a");
        let expected = Some("/home/a/.cache/emberl".into());
        assert_eq!(folder(&[("EMBERL_CACHE", ""), home]), expected);
        assert_eq!(folder(&[("XDG_CACHE_HOME", "here"), home]), expected);
        assert_eq!(folder(&[("HOME", "")]), None);
    }
}
