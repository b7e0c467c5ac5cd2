//! What lies in `examples/` works.

use std::fs;
use std::path::{Path, PathBuf};

use emberl::recipe::{self, Recipe};
use emberl::tasks::{Split, TaskConfig};

#[test]
fn every_recipe_is_valid_and_resolves_to_itself() {
    let recipes = recipes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"));
    assert!(!recipes.is_empty(), "examples/ holds no recipe");
    for path in recipes {
        let loaded: Recipe = recipe::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        loaded
            .validate()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let resolved = recipe::to_toml(&loaded).expect("a recipe can be written");
        let again: Recipe = recipe::from_text(&resolved, &path, &[]).expect("and read back");
        assert_eq!(again, loaded);
    }
}

#[test]
fn the_r1_recipe_runs_from_all_starts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/r1/recipe.toml");
    let recipe: Recipe = recipe::load(&path, &["start=all".to_owned()]).expect("the recipe");
    recipe.validate().expect("all stages are there");
    let has = |name: &str| recipe.stages.iter().any(|stage| stage.name() == name);
    let last = ["cold", "hybrid", "warm"].map(|start| format!("{start}_all_scenarios"));
    assert!(last.iter().all(|name| has(name)), "{last:?}");
}

#[test]
fn countdown_never_asks_a_held_out_problem_in_training() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/r1_zero/recipe.toml");
    let recipe: Recipe = recipe::load(&path, &[]).expect("the recipe");
    let mut tasks = Vec::new();
    for stage in &recipe.stages {
        match stage {
            recipe::Stage::Pretrain(config) => {
                tasks.push((&config.task, config.steps * config.batch))
            }
            recipe::Stage::Grpo(config) | recipe::Stage::Ppo(config) => {
                tasks.push((&config.task, config.steps * config.prompts_per_step));
            }
            recipe::Stage::Sft(_)
            | recipe::Stage::Dpo(_)
            | recipe::Stage::RewardModel(_)
            | recipe::Stage::Sample(_) => {}
        }
    }
    let (task, _) = tasks.last().expect("a grpo stage");
    // More draws than the evaluation makes: it passes over repeated ones.
    let held_out = problems(task, Split::Test, 20 * recipe.eval.problems);
    for (task, count) in &tasks {
        let trained = problems(task, Split::Train, *count);
        let shared = trained.iter().find(|problem| held_out.contains(problem));
        assert_eq!(shared, None, "a held-out problem is trained on");
    }
}

/// Numbers in order and target: what makes two countdown problems the same.
fn problems(task: &TaskConfig, split: Split, count: usize) -> Vec<(Vec<i64>, i64)> {
    let task = task.build().expect("a task");
    let problem = |index| {
        let answer = task.problem(split, index).answer;
        let mut numbers: Vec<i64> =
            serde_json::from_value(answer["numbers"].clone()).expect("numbers");
        numbers.sort_unstable();
        (numbers, answer["target"].as_i64().expect("a target"))
    };
    (0..count as u64).map(problem).collect()
}

fn recipes(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => recipes(&path),
            false => vec![path],
        })
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect()
}
