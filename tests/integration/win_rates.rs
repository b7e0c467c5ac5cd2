//! Win rates between the models of a run: by the task's verifier, by a rule and by a reward model that
//! the run trained.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use emberl::device::{self, DeviceSpec};
use emberl::error::Result;
use emberl::pipeline::{Run, Summary};
use emberl::progress::Screen;
use emberl::recipe::{self, Recipe};
use emberl::rollout::{HeldOutCompletion, WinRate};
use emberl::stop::Stop;

use crate::tiny::with_base;

const RECIPE: &str = r#"
name = "win_rates"
seed = 5
workers = 2

[eval]
problems = 8
samples = 3
also_shots = [1]
[eval.sampling]
max_completion_tokens = 16

[[eval.win_rate]]
name = "itself"
stage = "zero"
against = "zero"

[[eval.win_rate]]
name = "itself_by_model"
stage = "zero"
against = "zero"
rewards = [{ kind = "reward_model", name = "helpful", model = "stage:helpful/model" }]

[[eval.win_rate]]
stage = "zero"
against = "model"
rewards = [{ kind = "repetition", ngram = 1, weight = 2.0 }]

[[eval.win_rate]]
stage = "model"
against = "zero"
part = "sums"
rewards = [{ kind = "repetition", ngram = 1 }]

[[stage]]
kind = "reward_model"
name = "helpful"
data = "pairs.jsonl"
epochs = 1
batch = 8
held_out = 0.25
optim = { lr = 3e-3 }

[[stage]]
kind = "grpo"
name = "zero"
steps = 2
prompts_per_step = 2
group_size = 4
rewards = [{ kind = "accuracy" }, { kind = "repetition", ngram = 1 }]
sampling = { max_completion_tokens = 24 }
optim = { lr = 1e-2 }
[[stage.task.parts]]
name = "numbers"
share = 1
task = { kind = "countdown", levels = [1] }
[[stage.task.parts]]
name = "sums"
share = 1
task = { kind = "arithmetic" }
[stage.task]
kind = "mixture"
"#;

#[test]
fn models_of_a_run_are_compared_on_the_same_problems() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pairs = (0..32).map(|number| {
        format!(
            "{{\"prompt\": \"Make {number}.\\n\", \"chosen\": \"{number}!\", \"rejected\": \"{number}?\"}}\n"
        )
    });
    fs::write(folder.path().join("pairs.jsonl"), pairs.collect::<String>()).expect("the pairs");
    let path = folder.path().join("run");
    let summary = run(&path).expect("the run ends");
    let named: BTreeMap<&str, &WinRate> = (summary.win_rates.iter())
        .map(|found| (found.name.as_str(), found))
        .collect();
    for name in ["itself", "itself_by_model"] {
        let found = named[name];
        assert_eq!(found.win_rate, Some(0.5));
        assert_eq!(found.interval, Some([0.5; 2]));
        // 8 problems, 3 samples of each.
        assert_eq!((found.wins, found.ties, found.losses), (0, 24, 0));
        assert_eq!((found.unscored, found.failed), (0, 0));
    }
    assert!(named["itself_by_model"].rewards["helpful"].stage.is_some());
    check_by_hand(
        &path,
        named["zero-against-model"],
        None,
        ["03-zero", "01-pretrain"],
    );
    let sums = named["model-against-zero-sums"];
    check_by_hand(&path, sums, Some("sums"), ["01-pretrain", "03-zero"]);

    // A run that goes on finds everything there: nothing is asked or scored again.
    let file = path.join("win-rate-itself.json");
    let text = fs::read_to_string(&file).expect("a win rate");
    fs::write(&file, text.replace("\"ties\": 24", "\"ties\": 23")).expect("a file");
    fs::remove_file(path.join("eval-03-zero.jsonl")).expect("the completions");
    let again = run(&path).expect("the run ends again");
    assert_eq!(again.win_rates[0].ties, 23);
    let counts = |summary: &Summary| {
        let others = summary.win_rates[1..].iter();
        let counts = others.map(|it| (it.name.clone(), [it.wins, it.ties, it.losses]));
        counts.collect::<Vec<_>>()
    };
    assert_eq!(counts(&again), counts(&summary));
    assert!(!path.join("eval-03-zero.jsonl").exists());
}

/// The win rate is what the run's files say by an independent count.
fn check_by_hand(run: &Path, found: &WinRate, part: Option<&str>, stages: [&str; 2]) {
    let [own, other] = stages.map(|stage| completions(run, stage));
    assert_eq!(own.len(), 24);
    let of_part = |it: &&HeldOutCompletion| part.is_none() || it.part.as_deref() == part;
    let (mut wins, mut ties, mut losses) = (0, 0, 0);
    let mut of_problems: BTreeMap<usize, f64> = BTreeMap::new();
    for (own, other) in own.iter().filter(of_part).zip(other.iter().filter(of_part)) {
        assert_eq!((own.problem, own.sample), (other.problem, other.sample));
        assert_eq!(own.prompt, other.prompt);
        let gap = distinct(own) - distinct(other);
        let worth = if gap.abs() < 1e-9 {
            ties += 1;
            0.5
        } else if gap > 0.0 {
            wins += 1;
            1.0
        } else {
            losses += 1;
            0.0
        };
        *of_problems.entry(own.problem).or_default() += worth / 3.0;
    }
    assert_eq!((found.wins, found.ties, found.losses), (wins, ties, losses));
    assert!(wins + losses > 0, "two models that write the same");
    assert_eq!(found.problems, of_problems.len());
    let expected = of_problems.values().sum::<f64>() / of_problems.len() as f64;
    let rate = found.win_rate.expect("a rate");
    assert!((rate - expected).abs() < 1e-9, "{rate} {expected}");
    let [low, high] = found.interval.expect("an interval");
    assert!((0.0..=rate).contains(&low) && (rate..=1.0).contains(&high));
    let kept = own.iter().filter(of_part);
    let mean = kept.clone().map(distinct).sum::<f64>() / kept.count() as f64;
    // The reward is the share of distinct tokens less 1.
    let reward = found.rewards["repetition"].stage.expect("a mean");
    assert!((reward - (mean - 1.0)).abs() < 1e-9, "{reward} {mean}");
}

/// The share of a completion's tokens that are distinct.
fn distinct(completion: &HeldOutCompletion) -> f64 {
    let unique: BTreeSet<u32> = completion.ids.iter().copied().collect();
    unique.len() as f64 / completion.ids.len() as f64
}

/// What the model wrote without worked examples.
fn completions(run: &Path, stage: &str) -> Vec<HeldOutCompletion> {
    let path = run.join(format!("eval-{stage}.jsonl"));
    // The model that enters reinforcement learning was asked when it was made.
    let text = fs::read_to_string(path).expect("completions");
    let lines = text.lines().map(serde_json::from_str);
    let all: Vec<HeldOutCompletion> = lines.collect::<Result<_, _>>().expect("completions");
    // 8 problems, 3 samples, without examples and with one.
    assert_eq!(all.len(), 48);
    let zero_shot = all.into_iter().filter(|completion| completion.shots == 0);
    zero_shot.collect()
}

fn run(folder: &Path) -> Result<Summary> {
    let data = folder.parent().expect("a folder beside the data");
    let recipe = with_base(RECIPE, "steps = 12\noptim = { lr = 3e-3 }");
    let recipe = recipe.replace("data = \"", &format!("data = \"{}/", data.display()));
    let recipe: Recipe = recipe::from_text(&recipe, Path::new("win_rates.toml"), &[])?;
    recipe.validate()?;
    Run {
        recipe: &recipe,
        folder,
        device: &device::open(&DeviceSpec::Cpu)?,
        screen: &Screen::new(true),
        stop: &Stop::default(),
        rewards: &[],
    }
    .execute()
}
