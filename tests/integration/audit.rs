//! `emberl audit`: no shipped recipe pays for completions that deserve nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

#[test]
fn every_shipped_recipe_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let (mut audited, mut by_accuracy) = (0, 0);
    for path in entries(&folder).iter().flat_map(|path| entries(path)) {
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let output = audit(&path, &["--json"]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", path.display());
        let rows = rows(&output);
        assert!(rows.len() > 40, "{}: {} rows", path.display(), rows.len());
        assert_eq!(rows[0]["attack"], "right answer");
        // Reward models, of which nothing is known before a run, may be all that tells right from wrong.
        if let Some(accuracy) = rows[0]["scores"].get("accuracy") {
            assert_eq!(*accuracy, 1.0, "{}", path.display());
            by_accuracy += 1;
        }
        audited += 1;
    }
    assert!(audited >= 7, "only {audited} recipes were found");
    assert!(by_accuracy >= 6, "only {by_accuracy} pay for accuracy");
}

#[test]
fn reward_for_form_alone_fails_with_the_attacks_named() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/addition/grpo.toml");
    let output = audit(&recipe, &["--set", "stage.grpo.rewards.accuracy.weight=0"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("honest wrong"));
    assert!(line.is_some_and(|line| line.ends_with("SCORES")), "{text}");
}

fn audit(recipe: &Path, options: &[&str]) -> Output {
    let mut emberl = Command::new(env!("CARGO_BIN_EXE_emberl"));
    emberl.current_dir(env!("CARGO_MANIFEST_DIR"));
    emberl.arg("audit").arg(recipe).args(options);
    emberl.env_remove("RUST_LOG");
    emberl.output().expect("the program starts")
}

fn rows(output: &Output) -> Vec<Value> {
    let text = str::from_utf8(&output.stdout).expect("UTF-8");
    let parse = |line| serde_json::from_str(line).expect("one JSON value a line");
    text.lines().map(parse).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.expect("an entry").path())
            .collect(),
        Err(_) => Vec::new(),
    }
}
