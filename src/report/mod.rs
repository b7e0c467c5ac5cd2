//! What a run looked like: a picture of its curves, tables of its results and of the audit of its rewards.

mod audit;
mod axis;
mod canvas;
mod curves;
mod dashboard;
mod palette;
mod panel;
mod plot;
mod smoothing;
mod table;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::ImageFormat;
use serde_json::Value;

pub use audit::{audit_text, save_audit};
pub use curves::{Record, mark_held_out, note_held_out, sections};
pub use dashboard::{Dashboard, Section, render};
pub use panel::{Mark, Panel, Series};
pub use table::{Comparison, Measured, ModelResults, Table, held_out_table, stage_table};

use crate::error::{Error, Result};
use crate::files::{read_log, write_atomically};

/// Width of `curves.png`, in pixels.
const PICTURE_WIDTH: u32 = 1600;

/// Draws the metrics in `run_folder` as `report/curves.png` and returns its path.
///
/// The metrics are the lines of `metrics.jsonl`, of the run's folder or of its stages' folders in
/// the order of their names. The held-out results are those in `summary.json`, if it is there.
///
/// # Errors
/// When there are no metrics, they cannot be read, or the picture cannot be written.
pub fn save_curves(run_folder: &Path) -> Result<PathBuf> {
    let mut sections = sections(&read_metrics(run_folder)?);
    if sections.is_empty() {
        let problem = "no metrics to draw, expected a `metrics.jsonl` with a line for each step";
        return Err(Error::file(run_folder, problem));
    }
    let mut note = String::new();
    let summary = read_summary(run_folder)?;
    for (stage, pass_at_1) in stages_pass_at_1(&summary) {
        note_held_out(&mut sections, stage, pass_at_1);
    }
    if let Some((before, after)) = held_out_pass_at_1(&summary) {
        mark_held_out(&mut sections, before, after);
        note = format!("held-out pass@1 {before:.3} before, {after:.3} after");
    }
    let name = run_folder.file_name().unwrap_or(run_folder.as_os_str());
    let dashboard = Dashboard {
        title: name.to_string_lossy().into_owned(),
        note,
        sections,
    };
    let path = run_folder.join("report").join("curves.png");
    let mut png = Cursor::new(Vec::new());
    render(&dashboard, PICTURE_WIDTH)
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Error::file(&path, format!("cannot encode the picture: {error}")))?;
    write_atomically(&path, |writer| {
        std::io::Write::write_all(writer, png.get_ref())
    })?;
    Ok(path)
}

fn read_metrics(run_folder: &Path) -> Result<Vec<Record>> {
    let mut files = vec![run_folder.join(METRICS)];
    let entries = fs::read_dir(run_folder).map_err(Error::io(run_folder, "read"))?;
    for entry in entries {
        let entry = entry.map_err(Error::io(run_folder, "read"))?;
        files.push(entry.path().join(METRICS));
    }
    files.sort();
    let mut records = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        records.extend(read_log::<Record>(file)?);
    }
    Ok(records)
}

const METRICS: &str = "metrics.jsonl";

/// What the run found; null if it has not ended.
fn read_summary(run_folder: &Path) -> Result<Value> {
    let path = run_folder.join("summary.json");
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    serde_json::from_str(&text).map_err(|error| Error::file(&path, format!("not json: {error}")))
}

fn held_out_pass_at_1(summary: &Value) -> Option<(f64, f64)> {
    let score = |model: &str| summary["eval"][model]["pass@1"].as_f64();
    score("before").zip(score("after"))
}

/// The stages whose models were evaluated, with pass@1.
fn stages_pass_at_1(summary: &Value) -> impl Iterator<Item = (&str, f64)> {
    let stages = summary["stages"].as_array().into_iter().flatten();
    stages.filter_map(|stage| {
        let pass_at_1 = stage["eval"]["pass@1"].as_f64()?;
        Some((stage["name"].as_str()?, pass_at_1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_of_a_run_is_a_png_of_the_named_width() {
        let run = tempfile::tempdir().unwrap();
        let stage = run.path().join("1-grpo");
        fs::create_dir(&stage).unwrap();
        let metrics = "{\"step\": 1, \"accuracy\": 0.5}\n{\"step\": 2, \"accuracy\": 0.75}\n{\"st";
        fs::write(stage.join(METRICS), metrics).unwrap();
        let path = save_curves(run.path()).unwrap();
        let plain = fs::read(&path).unwrap();
        let image = image::load_from_memory(&plain).unwrap();
        assert_eq!(image.width(), PICTURE_WIDTH);
        let summary = r#"{"eval": {"before": {"pass@1": 0.1}, "after": {"pass@1": 0.9}}}"#;
        fs::write(run.path().join("summary.json"), summary).unwrap();
        save_curves(run.path()).unwrap();
        assert_ne!(
            fs::read(&path).unwrap(),
            plain,
            "held-out results are marked"
        );
    }

    #[test]
    fn a_run_without_metrics_is_refused() {
        let run = tempfile::tempdir().unwrap();
        let message = save_curves(run.path()).unwrap_err().to_string();
        assert!(message.contains("no metrics to draw"), "{message}");
    }
}
