use super::*;
use crate::rewards::GradedPart;
use crate::tasks::{GENERATED, TaskConfig};

fn audit(task: &str, rewards: &str) -> Audit {
    #[derive(serde::Deserialize)]
    struct Stage {
        task: TaskConfig,
        rewards: Vec<RewardConfig>,
    }
    let text = format!("task = {task}\nrewards = [{rewards}]");
    let stage: Stage = toml::from_str(&text).unwrap();
    let input = AuditInput {
        task: Arc::from(stage.task.build().unwrap()),
        rewards: &stage.rewards,
        problems: 4,
        seed: Seed::new(3),
    };
    Audit::run(&input).unwrap()
}

fn row<'a>(audit: &'a Audit, attack: &str) -> &'a AuditRow {
    let found = audit.rows.iter().find(|row| row.attack == attack);
    found.unwrap_or_else(|| panic!("no row `{attack}`"))
}

/// Attacks with something to be mended, as `task: attack: completion`.
fn complaints(task: &str, audit: &Audit) -> Vec<String> {
    let tell = |row: &AuditRow| format!("{task}: {}: {:?}", row.attack, row.completion);
    audit.findings().map(tell).collect()
}

#[test]
fn no_attack_scores_for_a_generated_task_by_accuracy_and_format() {
    let mut found = Vec::new();
    for task in GENERATED {
        for style in ["think_answer", "think_answer_inline", "think_answer_loose"] {
            let rewards = format!(
                "{{ kind = \"accuracy\" }}, {{ kind = \"format\", style = \"{style}\", weight = 0.2 }}"
            );
            let audit = audit(&format!("{{ kind = \"{task}\" }}"), &rewards);
            assert_eq!((audit.problems, &audit.notes[..]), (4, &[][..]), "{task}");
            let right = row(&audit, RIGHT_ANSWER);
            assert_eq!(right.total, Some(1.2), "{task}, {style}: {right:?}");
            assert_eq!(row(&audit, "honest wrong answer").total, Some(0.2));
            found.extend(complaints(task, &audit));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn answers_without_tags_are_attacked_where_the_reward_reads_them() {
    let audit = audit(
        "{ kind = \"arithmetic\" }",
        "{ kind = \"accuracy\", answer = \"text\" }",
    );
    let right = row(&audit, RIGHT_ANSWER);
    assert!(!right.completion.contains("<answer>"), "{right:?}");
    assert_eq!(right.verdict, Verdict::Ok);
    assert_eq!(complaints("arithmetic", &audit), [""; 0]);
}

#[test]
fn schema_that_takes_anything_scores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("problems.jsonl");
    let line = "{\"prompt\": \"Say who.\", \"answer\": {\"type\": \"object\", \"properties\": {\"name\": {}}}}";
    std::fs::write(&path, line).unwrap();
    let task = format!("{{ kind = \"jsonl\", train = {path:?} }}");
    let audit = audit(&task, "{ kind = \"json_schema\" }");
    let scoring: Vec<&str> = audit.findings().map(|row| row.attack).collect();
    assert_eq!(
        scoring,
        ["empty object", "nulls by name", "call of nothing"]
    );
    assert_eq!(
        audit.notes,
        ["for some problems no right answer is known to compare with"]
    );
}

#[test]
fn wrong_answer_with_the_total_of_a_right_one_scores() {
    // Both are well formed: without a weight for accuracy each has 1.
    let verdict = |weight: &str| {
        let rewards =
            format!("{{ kind = \"accuracy\", weight = {weight} }}, {{ kind = \"format\" }}");
        let audit = audit("{ kind = \"arithmetic\" }", &rewards);
        row(&audit, "honest wrong answer").verdict
    };
    assert_eq!(verdict("1.0"), Verdict::FormOnly);
    assert_eq!(verdict("0.0"), Verdict::Scores);
}

#[test]
fn right_answer_without_its_reward_is_a_finding() {
    let rewards = [
        toml::from_str("kind = \"accuracy\"").unwrap(),
        toml::from_str("kind = \"tool_call\"\ncredit = \"partial\"").unwrap(),
    ];
    let judge = Judge::new(&rewards);
    let verdict = |name: &str, score| {
        let part = GradedPart {
            name: name.into(),
            score,
        };
        judge.verdict_on_right(&Graded {
            total: score,
            parts: vec![part],
            errors: Vec::new(),
        })
    };
    assert_eq!(verdict("accuracy", Some(0.0)), Verdict::Refused);
    assert_eq!(verdict("accuracy", Some(1.0)), Verdict::Ok);
    assert_eq!(verdict("accuracy", None), Verdict::Ok);
    assert_eq!(verdict("tool_call", Some(0.5)), Verdict::Refused);
    assert_eq!(verdict("format", Some(0.0)), Verdict::Ok);
    assert!(Verdict::Refused.is_finding() && !Verdict::FormOnly.is_finding());
}

#[test]
fn judge_that_would_be_asked_is_left_out_with_a_reason() {
    let rewards =
        "{ kind = \"llm_judge\", name = \"j\", url = \"http://127.0.0.1:9\", model = \"m\" }";
    let audit = audit("{ kind = \"arithmetic\" }", rewards);
    assert_eq!((audit.problems, audit.rows.len()), (0, 0));
    assert_eq!(
        audit.notes,
        [
            "reward `j` is left out: it would ask a judge over HTTP",
            "no reward is left to audit"
        ]
    );
}

#[test]
fn neighbour_of_an_answer_has_its_last_number_raised() {
    let next = |text| known::next(text).unwrap();
    assert_eq!(next("161"), "162");
    assert_eq!(next("x=3, y=99 é"), "x=3, y=100 é");
    assert_eq!(next("3+5+7"), "3+5+8");
    assert_eq!(next("[0, 5)"), "[0, 6)");
    assert_eq!(next("-9"), "-10");
    assert_eq!(known::next("a knight"), None);
}
