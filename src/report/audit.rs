//! The audit of rewards as tables: what completions that deserve nothing earned, and what reward models prefer
//! to good answers.

use std::path::{Path, PathBuf};

use super::Table;
use crate::error::Result;
use crate::files;
use crate::pipeline::StageAudit;
use crate::rollout::{Audit, ModelAudit, Verdict};

/// Characters of a completion that are shown.
const SHOWN: usize = 120;

/// Writes `audits` as `report/audit.txt` in `run_folder` and returns its path; none where nothing is audited.
///
/// # Errors
/// When the file cannot be written.
pub fn save_audit(run_folder: &Path, audits: &[StageAudit]) -> Result<Option<PathBuf>> {
    if audits.is_empty() {
        return Ok(None);
    }
    let path = run_folder.join("report").join("audit.txt");
    let text: String = audits.iter().map(audit_text).collect();
    files::write_text(&path, &text)?;
    Ok(Some(path))
}

/// The tables of one stage's audit, what is to be mended, and what was left out.
pub fn audit_text(audited: &StageAudit) -> String {
    let audit = &audited.audit;
    let mut text = match audit.rows.is_empty() {
        true => format!("{}\n", audited.stage),
        false => {
            let table = rule_table(&audited.stage, audit);
            format!("{table}\n{} problems\n", audit.problems)
        }
    };
    for row in audit.findings() {
        let why = match row.verdict {
            Verdict::Refused => "a right answer has no reward for being right",
            _ => row.why,
        };
        let start: String = row.completion.chars().take(SHOWN).collect();
        text += &format!("{}: {why}: {start:?}\n", row.attack);
    }
    for model in &audit.models {
        let problems = model.problems;
        text += &format!("\n{}\n{problems} problems\n", model_table(model));
    }
    for (reward, probe) in audit.preferred() {
        let share = 100.0 * probe.preferred;
        let probe = probe.probe;
        text +=
            &format!("{reward} prefers `{probe}` to a good answer in {share:.0} % of problems\n");
    }
    let notes = audit.notes.iter();
    let notes: String = notes.map(|note| format!("({note})\n")).collect();
    text + &notes + "\n"
}

fn rule_table(stage: &str, audit: &Audit) -> Table {
    let names = audit.rewards.iter().map(String::as_str);
    let head = std::iter::once(stage).chain(names);
    let mut table = Table::new(head.chain(["total", "verdict"]));
    for row in &audit.rows {
        let scores = audit.rewards.iter();
        let scores = scores.map(|name| written(row.scores.get(name).copied().flatten()));
        let cells = std::iter::once(row.attack.to_owned()).chain(scores);
        table.row(cells.chain([written(row.total), verdict(row.verdict).to_owned()]));
    }
    table
}

fn model_table(model: &ModelAudit) -> Table {
    let reward = model.reward.as_str();
    let mut table = Table::new([reward, "mean score", "above a good answer", "verdict"]);
    table.row(["good answer", &written(Some(model.answer)), "-", "-"]);
    for probe in &model.probes {
        let verdict = match probe.is_preferred() {
            true => "PREFERRED",
            false => "ok",
        };
        let (score, share) = (written(Some(probe.score)), written(Some(probe.preferred)));
        table.row([probe.probe, &score, &share, verdict]);
    }
    table
}

fn written(score: Option<f64>) -> String {
    score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::FormOnly => "form only",
        Verdict::Refused => "REFUSED",
        Verdict::Scores => "SCORES",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rollout::{AuditRow, ModelProbe};

    fn row(attack: &'static str, verdict: Verdict, score: f64) -> AuditRow {
        AuditRow {
            attack,
            why: "the answer is wrong",
            verdict,
            scores: BTreeMap::from([("accuracy".into(), Some(score)), ("length".into(), None)]),
            total: Some(score),
            right_total: Some(1.0),
            completion: "<answer>\n7</answer>".into(),
        }
    }

    fn audited() -> StageAudit {
        StageAudit {
            stage: "grpo".into(),
            audit: Audit {
                rewards: vec!["accuracy".into(), "length".into()],
                problems: 2,
                rows: vec![
                    row("nothing", Verdict::Ok, 0.0),
                    row("guess", Verdict::Scores, 1.0),
                ],
                models: Vec::new(),
                notes: vec!["reward `j` is left out".into()],
            },
        }
    }

    #[test]
    fn table_has_a_row_an_attack_and_says_why_one_scores() {
        let expected = "\
grpo     accuracy  length  total  verdict
-------  --------  ------  -----  -------
nothing      0.00       -   0.00       ok
guess        1.00       -   1.00   SCORES

2 problems
guess: the answer is wrong: \"<answer>\\n7</answer>\"
(reward `j` is left out)

";
        assert_eq!(audit_text(&audited()), expected);
    }

    #[test]
    fn what_a_model_prefers_is_in_a_table_of_its_own() {
        let probe = |probe, score, preferred| ModelProbe {
            probe,
            score,
            preferred,
        };
        let mut audited = audited();
        audited.audit.models = vec![ModelAudit {
            reward: "helpful".into(),
            problems: 8,
            answer: 0.5,
            probes: vec![probe("padded", 1.25, 0.875), probe("empty", -2.0, 0.0)],
        }];
        let text = audit_text(&audited);
        let expected = "
helpful      mean score  above a good answer    verdict
-----------  ----------  -------------------  ---------
good answer        0.50                    -          -
padded             1.25                 0.88  PREFERRED
empty             -2.00                 0.00         ok

8 problems
helpful prefers `padded` to a good answer in 88 % of problems
(reward `j` is left out)
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_report_of_a_run_has_all_stages_and_is_not_written_without_any() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(save_audit(run.path(), &[]).unwrap(), None);
        let left_out = StageAudit {
            stage: "later".into(),
            audit: Audit::left_out("nothing is there"),
        };
        let path = save_audit(run.path(), &[audited(), left_out.clone()]).unwrap();
        let text = std::fs::read_to_string(path.unwrap()).unwrap();
        assert_eq!(text, audit_text(&audited()) + &audit_text(&left_out));
        assert!(text.ends_with("later\n(left out: nothing is there)\n\n"));
    }
}
