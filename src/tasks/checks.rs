//! What every generated task is held to.

use std::collections::HashSet;

use super::{Split, Task};
use crate::data::{Problem, Prompt};
use crate::seed::Seed;

/// The answer at the end of a trace with tags.
pub(super) fn answer_of(trace: &str) -> &str {
    let (_, answer) = trace.rsplit_once("<answer>").expect("an answer");
    answer.strip_suffix("</answer>").expect("an end")
}

pub(super) fn prompt_of(problem: &Problem) -> &str {
    match &problem.prompt {
        Prompt::Text(text) => text,
        Prompt::Messages(_) => panic!("generated tasks ask in plain text"),
    }
}

/// The first `count` training problems of `task`, whose traces are careful, with the answers of
/// their traces.
pub(super) fn solved(task: &dyn Task, count: u64) -> Vec<(Problem, String)> {
    let mut rng = Seed::new(77).rng();
    let solve = |index| {
        let problem = task.problem(Split::Train, index);
        let trace = task.trace(&problem, &mut rng).expect("a trace");
        let answer = answer_of(&trace).to_string();
        assert!(!trace.contains(" no\n"), "a careful check fails: {trace}");
        (problem, answer)
    };
    (0..count).map(solve).collect()
}

/// Asserts that the recorded answer of each of `count` problems is right, white space around it
/// included, and that hostile texts and all that `wrong` makes of it are refused.
pub(super) fn assert_judged(
    task: &dyn Task,
    count: u64,
    wrong: impl Fn(&Problem, &str) -> Vec<String>,
) {
    let hostile = hostile();
    for (number, (problem, answer)) in solved(task, count).into_iter().enumerate() {
        let judge = |answer: &str| task.verify(&problem, answer).expect("a verdict");
        assert!(judge(&answer), "{answer:?} is refused: {problem:?}");
        assert!(judge(&format!(" \n{answer}\t ")), "{answer:?}: {problem:?}");
        for mutated in wrong(&problem, &answer) {
            assert!(!judge(&mutated), "{mutated:?} is right: {problem:?}");
        }
        for padded in [
            format!("{answer} or {answer}"),
            format!("{answer}\0"),
            format!("!{answer}"),
        ] {
            assert!(!judge(&padded), "{padded:?} is right: {problem:?}");
        }
        if number < 5 {
            for text in &hostile {
                assert!(
                    !judge(text),
                    "{:?}: {problem:?}",
                    &text[..text.len().min(40)]
                );
            }
        }
    }
}

fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "[", "(", "{\"a\":", "9", "-", "U", "RD", "x=", "1/", ", ", "一", "\u{202e}",
    ]
    .iter()
    .map(|part| part.repeat(50_000))
    .collect();
    let short = [
        "",
        " ",
        "null",
        "{}",
        "[]",
        "()",
        "\0",
        "NaN",
        "1/0",
        "x=1/0",
        "１",
        "-",
        "true",
        "\"",
        "```json\n```",
        "```",
        "\u{feff}",
        "é",
        "<answer>",
        "99999999999999999999999999",
        "-9223372036854775808",
        "1e999",
    ];
    texts.extend(short.map(String::from));
    texts
}

/// Asserts that problems depend on seed, split and index alone, and differ between them.
pub(super) fn assert_deterministic(build: impl Fn(u64) -> Box<dyn Task>) {
    let first = build(9).problem(Split::Train, 4);
    let task = build(9);
    task.problem(Split::Train, 5);
    assert_eq!(first, task.problem(Split::Train, 4));
    let several = |seed, split| -> Vec<Problem> {
        let task = build(seed);
        (0..5).map(|index| task.problem(split, index)).collect()
    };
    assert_ne!(several(9, Split::Train), several(10, Split::Train));
    assert_ne!(several(9, Split::Train), several(9, Split::Test));
}

/// Asserts that no problem, told by its `canonical` text, is on both sides, whatever the seeds.
pub(super) fn assert_sides_disjoint(
    build: impl Fn(u64) -> Box<dyn Task>,
    count: u64,
    canonical: impl Fn(&Problem) -> String,
) {
    let side = |split, seed| -> HashSet<String> {
        let task = build(seed);
        (0..count)
            .map(|index| canonical(&task.problem(split, index)))
            .collect()
    };
    let (train, test) = (side(Split::Train, 1), side(Split::Test, 2));
    let shared: Vec<_> = train.intersection(&test).collect();
    assert!(shared.is_empty(), "{shared:?}");
    assert!(train.len() > 1 && test.len() > 1);
}

/// Different prompts among the first 1000 training problems.
pub(super) fn distinct_prompts(task: &dyn Task) -> usize {
    let prompts: HashSet<String> = (0..1000)
        .map(|index| prompt_of(&task.problem(Split::Train, index)).to_string())
        .collect();
    prompts.len()
}

/// Asserts that the mean length of careful traces grows from level to level, and that problems say
/// their level.
pub(super) fn assert_levels_grow(highest: u8, build: impl Fn(u8) -> Box<dyn Task>) {
    let mean = |level: u8| {
        let task = build(level);
        let mut rng = Seed::new(5).rng();
        let length = |index| {
            let problem = task.problem(Split::Train, index);
            assert_eq!(problem.level, Some(level.to_string()));
            task.trace(&problem, &mut rng).expect("a trace").len()
        };
        (0..300).map(length).sum::<usize>() / 300
    };
    let lengths: Vec<usize> = (1..=highest).map(mean).collect();
    assert!(lengths.is_sorted_by(|a, b| a < b), "{lengths:?}");
}

/// Asserts that a problem of another task is the verifier's failure.
pub(super) fn assert_refuses_foreign(task: &dyn Task) {
    use crate::error::Error;
    let problem = Problem {
        answer: serde_json::json!("15"),
        ..task.problem(Split::Train, 0)
    };
    let verdict = task.verify(&problem, "15");
    assert!(matches!(verdict, Err(Error::Reward { .. })), "{verdict:?}");
    let trace = task.trace(&problem, &mut Seed::new(1).rng());
    assert!(matches!(trace, Err(Error::Reward { .. })), "{trace:?}");
}
