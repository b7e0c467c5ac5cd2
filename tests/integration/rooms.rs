//! The order of rooms: a room imports only from rooms before its own row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows, leaves first, as the README draws them.
const ROWS: [&[&str]; 17] = [
    &["error"],
    &["seed", "exact", "files", "memory", "progress", "stop"],
    &["device"],
    &["precision", "sandbox", "workers"],
    &["ops"],
    &["tokenizer"],
    &["data"],
    &["tasks"],
    &["rewards"],
    &["model"],
    &["generation"],
    &["rollout"],
    &["train"],
    &["recipe"],
    &["pipeline"],
    &["report"],
    &["cli"],
];

#[test]
fn no_room_imports_from_a_later_row() {
    let rows: BTreeMap<&str, usize> = ROWS
        .iter()
        .enumerate()
        .flat_map(|(row, rooms)| rooms.iter().map(move |room| (*room, row)))
        .collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in rust_files(&source) {
        let inside = path.strip_prefix(&source).expect("a file of src");
        let room = inside.iter().next().expect("a name").to_string_lossy();
        let room = room.trim_end_matches(".rs").to_string();
        if room == "lib" || room == "main" {
            continue;
        }
        let own = rows.get(room.as_str());
        let own = own.unwrap_or_else(|| panic!("room `{room}` has no row"));
        let text = fs::read_to_string(&path).expect("a readable file");
        for imported in text.split("crate::").skip(1) {
            let name: String = imported
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            let Some(row) = rows.get(name.as_str()) else {
                continue;
            };
            checked += 1;
            assert!(row <= own, "{} imports `{name}`", inside.display());
        }
    }
    assert!(checked > 100, "only {checked} imports were found");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
