use super::*;
use crate::rewards::{GradedPart, ModelRewardConfig, Scorer};
use crate::tasks::{GENERATED, TaskConfig};

fn audit(task: &str, rewards: &str) -> Audit {
    audit_with(task, rewards, None)
}

fn audit_with(task: &str, rewards: &str, scorers: Option<&dyn Scorers>) -> Audit {
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
        scorers,
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
fn no_attack_scores_by_the_value_of_an_answer() {
    for task in ["arithmetic", "modular_arithmetic"] {
        let audit = audit(&format!("{{ kind = \"{task}\" }}"), "{ kind = \"math\" }");
        assert_eq!(complaints(task, &audit), [""; 0]);
    }
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

/// A model that scores a completion by its bytes, or by one over them.
struct Bytes {
    likes_few: bool,
}

impl Scorer for Bytes {
    fn score(&self, attempts: &[Attempt<'_>]) -> Vec<Result<f32>> {
        let bytes = attempts
            .iter()
            .map(|attempt| attempt.completion.len() as f32);
        let score = |bytes: f32| match self.likes_few {
            true => 1.0 / bytes,
            false => bytes,
        };
        bytes.map(|bytes| Ok(score(bytes))).collect()
    }
}

impl Scorers for Bytes {
    fn load(&self, config: &ModelRewardConfig) -> Result<Box<dyn Scorer>> {
        let likes_few = config.mean > 0.0;
        Ok(Box::new(Self { likes_few }))
    }
}

#[test]
fn models_that_like_length_are_found_and_are_no_finding_of_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().display().to_string();
    let rewards = format!(
        "{{ kind = \"accuracy\" }}, {{ kind = \"reward_model\", name = \"long\", model = '{model}' }}, \
         {{ kind = \"reward_model\", name = \"short\", model = '{model}', mean = 1.0 }}, \
         {{ kind = \"reward_model\", name = \"later\", model = '{model}/later' }}"
    );
    for task in GENERATED {
        let task = format!("{{ kind = \"{task}\" }}");
        let audit = audit_with(&task, &rewards, Some(&Bytes { likes_few: false }));
        assert_eq!(audit.rewards, ["accuracy"]);
        assert_eq!(audit.findings().count(), 0);
        let note = format!("reward `later` is left out: its model {model}/later is not there yet");
        assert_eq!(audit.notes, [note]);
        let [long, short] = audit.models.as_slice() else {
            panic!("{task}: {:?}", audit.models);
        };
        assert_eq!((long.problems, short.problems), (4, 4));
        for place in [0, 1] {
            assert!(long.probes[place].probe.starts_with("padded with "));
            assert_eq!(long.probes[place].preferred, 1.0, "{task}");
            assert!(long.probes[place].score > long.answer);
            assert_eq!(short.probes[place].preferred, 0.0, "{task}");
        }
        assert_eq!(long.probes[2].probe, "empty answer");
        assert_eq!(long.probes[3].probe, "prompt echo");
        let padded = audit.preferred();
        let padded = padded.filter(|(_, probe)| probe.probe.starts_with("padded with "));
        let found: Vec<&str> = padded.map(|(reward, _)| reward).collect();
        assert_eq!(found, ["long", "long"]);
    }
    let audit = audit_with("{ kind = \"notes\" }", &rewards, None);
    assert_eq!(
        audit.notes[0],
        "reward `long` is left out: it is a model, which is audited with its run"
    );
    assert!(audit.models.is_empty() && !audit.rows.is_empty());
}

#[test]
fn a_model_is_probed_with_the_problems_of_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().display().to_string();
    let task = "{ kind = \"mixture\", parts = [\
        { name = \"notes\", share = 1, task = { kind = \"notes\" } }, \
        { name = \"sums\", share = 1, task = { kind = \"arithmetic\" } }] }";
    let rewards = format!("{{ kind = \"reward_model\", model = '{model}', parts = [\"notes\"] }}");
    let audit = audit_with(task, &rewards, Some(&Bytes { likes_few: false }));
    let found: Vec<usize> = audit.models.iter().map(|model| model.problems).collect();
    assert_eq!(found, [4]);
    assert!(audit.rows.is_empty() && audit.notes.is_empty(), "{audit:?}");
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
