//! From a run's metrics to its dashboard: which metric is shown in which panel.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::dashboard::Section;
use super::panel::{Mark, Panel, Series};

/// One line of `metrics.jsonl`: `step`, `stage` and numbers; numbers in a table inside are called
/// `table/number`.
pub type Record = Map<String, Value>;

/// A panel and the metrics it shows.
struct Topic {
    title: &'static str,
    /// Metric names, the chief one first; one that ends in `/` stands for all that begin with it.
    metrics: &'static [&'static str],
    scale: Scale,
}

/// What is known of a panel's numbers.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// Noisy, of any size.
    Free,
    /// Noisy, from 0 to 1, and the whole of it matters.
    Share,
    /// Set, not measured.
    Exact,
}

/// The panels in the order of the dashboard.
const TOPICS: [Topic; 15] = [
    topic("reward", &["reward", "rewards/"], Scale::Free),
    topic(ACCURACY, &["accuracy", "format"], Scale::Share),
    topic(
        "held-out accuracy",
        &["held_out_pass_at_1", "held_out_pass_at_1/"],
        Scale::Share,
    ),
    topic("kept completions", &["kept_share"], Scale::Share),
    topic("completion tokens", &["completion_tokens"], Scale::Free),
    topic(
        "self-checks",
        &["self_checks", "self_check_share"],
        Scale::Free,
    ),
    topic("entropy (nats)", &["entropy"], Scale::Free),
    topic("loss", &["loss", "validation_loss"], Scale::Free),
    topic("KL to the reference", &["kl"], Scale::Free),
    topic(
        "rollout/training log-prob gap",
        &["logprob_gap"],
        Scale::Free,
    ),
    topic("gradient norm", &["grad_norm"], Scale::Free),
    topic("clipped tokens", &["clip_low", "clip_high"], Scale::Free),
    topic("truncated completions", &["truncated"], Scale::Free),
    topic("learning rate", &["learning_rate"], Scale::Exact),
    topic("tokens/s", &["tokens_per_second"], Scale::Free),
];

const fn topic(title: &'static str, metrics: &'static [&'static str], scale: Scale) -> Topic {
    Topic {
        title,
        metrics,
        scale,
    }
}

/// The panel that also shows held-out results.
const ACCURACY: &str = "accuracy";

/// The sections of a run's dashboard, one for each stage in the order of `records`.
pub fn sections(records: &[Record]) -> Vec<Section> {
    records
        .chunk_by(|a, b| stage(a) == stage(b))
        .map(|records| Section {
            title: stage(&records[0]).to_owned(),
            note: match records.len() {
                1 => "1 step".to_owned(),
                count => format!("{count} steps"),
            },
            panels: panels(records),
        })
        .filter(|section| !section.panels.is_empty())
        .collect()
}

/// Marks the held-out results before and after training in the last section that shows accuracy.
pub fn mark_held_out(sections: &mut [Section], before: f64, after: f64) {
    let panels = sections.iter_mut().rev().flat_map(|s| &mut s.panels);
    let Some(panel) = panels.into_iter().find(|panel| panel.title == ACCURACY) else {
        return;
    };
    let steps = || panel.series.iter().flat_map(|series| &series.points);
    let first = steps().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = steps()
        .map(|point| point.0)
        .fold(f64::NEG_INFINITY, f64::max);
    panel.marks = [(first, before), (last, after)]
        .map(|(x, y)| Mark {
            label: "held-out".to_owned(),
            x,
            y,
        })
        .to_vec();
}

/// Notes the held-out result after a stage beside its heading.
pub fn note_held_out(sections: &mut [Section], stage: &str, pass_at_1: f64) {
    let mut sections = sections.iter_mut();
    if let Some(section) = sections.find(|section| section.title == stage) {
        section.note += &format!(" · held-out pass@1 {pass_at_1:.3} after");
    }
}

fn stage(record: &Record) -> &str {
    record
        .get("stage")
        .and_then(Value::as_str)
        .unwrap_or("training")
}

fn panels(records: &[Record]) -> Vec<Panel> {
    let curves = Curves::new(records);
    let panel = |topic: &Topic| Panel {
        title: topic.title.to_owned(),
        series: topic
            .metrics
            .iter()
            .flat_map(|name| curves.named(name))
            .collect(),
        marks: Vec::new(),
        limits: (topic.scale == Scale::Share).then_some([0.0, 1.0]),
        exact: topic.scale == Scale::Exact,
    };
    let panels = TOPICS.iter().map(panel);
    panels.filter(|panel| !panel.series.is_empty()).collect()
}

/// The points of every metric, and the metrics' names in the order of their first appearance.
#[derive(Default)]
struct Curves {
    names: Vec<String>,
    points: HashMap<String, Vec<(f64, f64)>>,
}

impl Curves {
    fn new(records: &[Record]) -> Self {
        let mut curves = Self::default();
        for (index, record) in records.iter().enumerate() {
            let step = record.get("step").and_then(Value::as_f64);
            curves.add(step.unwrap_or(index as f64 + 1.0), "", record);
        }
        curves
    }

    fn add(&mut self, step: f64, prefix: &str, record: &Record) {
        for (key, value) in record {
            let name = format!("{prefix}{key}");
            if let Some(table) = value.as_object() {
                self.add(step, &format!("{name}/"), table);
            } else if let Some(number) = value.as_f64() {
                if !self.points.contains_key(&name) {
                    self.names.push(name.clone());
                }
                self.points.entry(name).or_default().push((step, number));
            }
        }
    }

    /// The series of the metric `name`, or of all that begin with it if it ends in `/`.
    fn named(&self, name: &str) -> Vec<Series> {
        let fits = |candidate: &&String| match name.ends_with('/') {
            true => candidate.starts_with(name),
            false => *candidate == name,
        };
        let series = |full: &String| Series {
            name: full
                .strip_prefix(name)
                .filter(|rest| !rest.is_empty())
                .unwrap_or(full)
                .to_owned(),
            points: self.points[full].clone(),
        };
        self.names.iter().filter(fits).map(series).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn records(lines: &[Value]) -> Vec<Record> {
        let object = |line: &Value| line.as_object().unwrap().clone();
        lines.iter().map(object).collect()
    }

    #[test]
    fn each_stage_has_its_section_and_each_topic_its_panel() {
        let sections = sections(&records(&[
            json!({"stage": "base", "step": 1, "loss": 3.0, "unheard_of": 1}),
            json!({"stage": "base", "step": 2, "loss": 2.5}),
            json!({"stage": "zero", "step": 1, "reward": 0.5, "rewards": {"accuracy": 0.25},
                "accuracy": 0.25, "entropy": null}),
        ]));
        let titles = |section: &Section| {
            let panels = section.panels.iter();
            panels.map(|panel| panel.title.clone()).collect::<Vec<_>>()
        };
        assert_eq!(sections[0].title, "base");
        assert_eq!(sections[0].note, "2 steps");
        assert_eq!(titles(&sections[0]), ["loss"]);
        assert_eq!(
            sections[0].panels[0].series[0].points,
            [(1.0, 3.0), (2.0, 2.5)]
        );
        assert_eq!(titles(&sections[1]), ["reward", "accuracy"]);
        let names: Vec<_> = (sections[1].panels[0].series.iter())
            .map(|series| series.name.as_str())
            .collect();
        assert_eq!(names, ["reward", "accuracy"]);
    }

    #[test]
    fn looks_at_held_out_problems_and_self_checks_have_their_panels() {
        let sections = sections(&records(&[
            json!({"step": 1, "accuracy": 0.5, "self_checks": 1.5, "self_check_share": 0.25,
                "held_out_pass_at_1": 0.5, "held_out_pass_at_1/maths": 0.75}),
            json!({"step": 2, "accuracy": 0.5, "self_checks": 2.0, "self_check_share": 0.5}),
            json!({"step": 3, "accuracy": 0.5, "held_out_pass_at_1": 0.25,
                "held_out_pass_at_1/maths": 0.5}),
        ]));
        let [accuracy, held_out, checks] = sections[0].panels.as_slice() else {
            panic!("three panels");
        };
        assert_eq!(accuracy.series.len(), 1);
        let names = |panel: &Panel| {
            let names = panel.series.iter().map(|series| series.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(held_out.title, "held-out accuracy");
        assert_eq!(names(held_out), ["held_out_pass_at_1", "maths"]);
        assert_eq!(held_out.series[0].points, [(1.0, 0.5), (3.0, 0.25)]);
        assert_eq!(held_out.limits, Some([0.0, 1.0]));
        assert_eq!(names(checks), ["self_checks", "self_check_share"]);
        assert_eq!(checks.series[0].points, [(1.0, 1.5), (2.0, 2.0)]);
    }

    #[test]
    fn held_out_results_are_marked_at_both_ends_of_the_last_accuracy() {
        let mut sections = sections(&records(&[
            json!({"stage": "a", "step": 1, "accuracy": 0.1}),
            json!({"stage": "b", "step": 4, "accuracy": 0.1}),
            json!({"stage": "b", "step": 9, "accuracy": 0.1}),
            json!({"stage": "c", "step": 1, "loss": 0.1}),
        ]));
        mark_held_out(&mut sections, 0.2, 0.8);
        let marks = &sections[1].panels[0].marks;
        assert_eq!((marks[0].x, marks[0].y), (4.0, 0.2));
        assert_eq!((marks[1].x, marks[1].y), (9.0, 0.8));
        assert!(sections[0].panels[0].marks.is_empty());
        note_held_out(&mut sections, "b", 0.75);
        assert_eq!(sections[1].note, "2 steps · held-out pass@1 0.750 after");
        assert_eq!(sections[2].note, "1 step");
    }
}
