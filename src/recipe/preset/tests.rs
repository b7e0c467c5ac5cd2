//! Presets hold the paper's constants and take what the user says; every shorthand ends as plain stages.

use std::path::Path;

use crate::error::Result;
use crate::recipe::{Origin, Recipe, Stage, from_text, to_toml};
use crate::rollout::KlEstimator;
use crate::train::loss::{PolicyLossKind, RewardLossKind};
use crate::train::{RewardModelConfig, RlConfig, SampleConfig, Schedule, SftConfig};

/// The least that each preset wants.
const ZERO: &str = "preset = 'r1_zero'\nmodel = 'base'\n[shared]\ntask = { kind = 'countdown' }\n";
const R1: &str = "\
preset = 'r1'
model = 'base'
[shared]
task = { kind = 'countdown' }
[[stage]]
name = 'helpfulness'
data = 'pairs.jsonl'
[[stage]]
name = 'safety'
data = 'labels.jsonl'
";
const DISTILL: &str = "\
preset = 'distill'
model = 'teacher'
models = { student = 'small' }
[shared]
task = { kind = 'countdown' }
";

fn read(text: &str, sets: &[&str]) -> Result<Recipe> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    let recipe: Recipe = from_text(text, Path::new("r.toml"), &sets)?;
    recipe.validate().map(|()| recipe)
}

fn problem(text: &str, sets: &[&str]) -> String {
    let message = read(text, sets).unwrap_err().to_string();
    message.replace("recipe `r.toml`: ", "")
}

fn names(recipe: &Recipe) -> Vec<&str> {
    recipe.stages.iter().map(Stage::name).collect()
}

fn place(recipe: &Recipe, name: &str) -> usize {
    let mut names = recipe.stages.iter().map(Stage::name);
    names.position(|known| known == name).unwrap()
}

fn rl<'a>(recipe: &'a Recipe, name: &str) -> &'a RlConfig {
    match &recipe.stages[place(recipe, name)] {
        Stage::Grpo(config) => config,
        other => panic!("{name} is {}", other.kind()),
    }
}

fn sft<'a>(recipe: &'a Recipe, name: &str) -> &'a SftConfig {
    match &recipe.stages[place(recipe, name)] {
        Stage::Sft(config) => config,
        other => panic!("{name} is {}", other.kind()),
    }
}

fn sample<'a>(recipe: &'a Recipe, name: &str) -> &'a SampleConfig {
    match &recipe.stages[place(recipe, name)] {
        Stage::Sample(config) => config,
        other => panic!("{name} is {}", other.kind()),
    }
}

fn reward_model<'a>(recipe: &'a Recipe, name: &str) -> &'a RewardModelConfig {
    match &recipe.stages[place(recipe, name)] {
        Stage::RewardModel(config) => config,
        other => panic!("{name} is {}", other.kind()),
    }
}

/// The name of the model that a stage starts from.
fn origin<'a>(recipe: &'a Recipe, name: &str) -> &'a str {
    match recipe.origin(place(recipe, name)).unwrap().unwrap() {
        Origin::Folder { name, .. } => name,
        Origin::Stage(index) => recipe.stages[index].name(),
    }
}

/// What all reinforcement learning of the paper has.
fn check_constants(config: &RlConfig, temperature: f64, tokens: usize) {
    // 32 questions of 16 completions: the batch of 512.
    assert_eq!((config.prompts_per_step, config.group_size), (32, 16));
    assert_eq!((config.mini_batches, config.inner_epochs), (1, 1));
    assert_eq!(
        (config.reference.update_every, config.reference.mix),
        (400, 1.0)
    );
    assert_eq!(
        (config.loss.kl_coef, config.loss.kl_estimator),
        (0.001, KlEstimator::K3)
    );
    assert_eq!(config.loss.kind, PolicyLossKind::Grpo);
    assert!(!config.loss.kl_importance_correction);
    assert_eq!(
        (config.optim.lr, config.optim.schedule),
        (3e-6, Schedule::Constant)
    );
    assert_eq!(config.sampling.temperature, temperature);
    assert_eq!(config.sampling.max_completion_tokens, tokens);
    let weights: Vec<f64> = config
        .rewards
        .iter()
        .map(|reward| reward.weight())
        .collect();
    assert!(weights.iter().all(|weight| *weight == 1.0), "{weights:?}");
}

/// Both ends of the learning rate, and the rest.
fn check_sft(config: &SftConfig, lr: f64, batch: usize) {
    let optim = &config.optim;
    assert_eq!((optim.lr, optim.final_lr_share), (lr, 0.1));
    assert_eq!(optim.schedule, Schedule::Cosine);
    assert_eq!((config.batch, config.max_tokens), (batch, 32_768));
    assert!((2..=3).contains(&config.epochs));
}

#[test]
fn r1_zero_has_the_papers_constants() {
    let recipe = read(ZERO, &[]).unwrap();
    assert_eq!(recipe.name, "r1_zero");
    assert_eq!(names(&recipe), ["zero", "longer"]);
    check_constants(rl(&recipe, "zero"), 1.0, 32_768);
    check_constants(rl(&recipe, "longer"), 1.0, 65_536);
    let steps = ["zero", "longer"].map(|name| rl(&recipe, name).steps);
    assert_eq!(steps, [8_200, 10_400 - 8_200]);
    assert_eq!(origin(&recipe, "longer"), "zero");
    let sampling = &recipe.eval.sampling;
    assert_eq!((sampling.temperature, sampling.top_p), (0.6, 0.95));
    assert_eq!(sampling.max_completion_tokens, 32_768);
}

#[test]
fn r1_has_the_papers_phases_and_constants() {
    let recipe = read(R1, &[]).unwrap();
    let expected = [
        "zero",
        "cold_start_data",
        "cold_start",
        "reasoning",
        "reasoning_data",
        "taught",
        "helpfulness",
        "safety",
        "all_scenarios",
    ];
    assert_eq!(names(&recipe), expected);
    check_constants(rl(&recipe, "zero"), 1.0, 32_768);
    check_constants(rl(&recipe, "reasoning"), 1.0, 32_768);
    check_constants(rl(&recipe, "all_scenarios"), 0.7, 32_768);
    assert_eq!(rl(&recipe, "zero").steps, 10_400);
    let clip = &rl(&recipe, "reasoning").loss;
    assert_eq!((clip.clip_low, clip.clip_high), (1.0, Some(10.0)));
    check_sft(sft(&recipe, "cold_start"), 5e-5, 128);
    check_sft(sft(&recipe, "taught"), 5e-5, 128);
    for (name, loss) in [
        ("helpfulness", RewardLossKind::Pairwise),
        ("safety", RewardLossKind::Pointwise),
    ] {
        let config = reward_model(&recipe, name);
        assert_eq!((config.loss, config.optim.lr), (loss, 6e-6));
        let sizes = (config.batch, config.epochs, config.max_tokens);
        assert_eq!(sizes, (256, 1, 8_192));
    }
    for name in ["cold_start_data", "reasoning_data"] {
        assert_eq!(sample(&recipe, name).sampling.temperature, 1.0);
    }
    let starts = [
        "cold_start",
        "reasoning",
        "taught",
        "safety",
        "all_scenarios",
    ];
    let starts = starts.map(|name| origin(&recipe, name));
    assert_eq!(starts, ["model", "cold_start", "model", "taught", "taught"]);
}

#[test]
fn preferences_count_in_the_last_400_of_1700_steps() {
    let recipe = read(R1, &[]).unwrap();
    let config = rl(&recipe, "all_scenarios");
    let from_steps: Vec<_> = (config.rewards.iter())
        .map(|reward| (reward.name(), reward.from_step))
        .collect();
    let expected = [
        ("accuracy", 0),
        ("format", 0),
        ("language_consistency", 0),
        ("helpfulness", 1301),
        ("safety", 1301),
    ];
    assert_eq!(from_steps, expected);
    assert_eq!(config.steps - 1301 + 1, 400);
}

#[test]
fn distill_has_the_papers_constants_and_leaves_out_what_the_paper_did() {
    let recipe = read(DISTILL, &[]).unwrap();
    assert_eq!(names(&recipe), ["teacher_data", "distilled"]);
    check_sft(sft(&recipe, "distilled"), 1e-4, 64);
    assert_eq!(origin(&recipe, "teacher_data"), "model");
    assert_eq!(origin(&recipe, "distilled"), "student");
    let beyond = read(DISTILL, &["skip=[]"]).unwrap();
    assert_eq!(origin(&beyond, "beyond"), "distilled");
    check_constants(rl(&beyond, "beyond"), 1.0, 32_768);
}

#[test]
fn an_expanded_recipe_is_plain_and_reads_back_as_itself() {
    for text in [ZERO, R1, DISTILL] {
        let recipe = read(text, &[]).unwrap();
        let plain = to_toml(&recipe).unwrap();
        for key in ["preset", "shared", "start", "general"] {
            let begins =
                |line: &str| line.starts_with(&format!("{key} =")) || line == format!("[{key}]");
            assert!(!plain.lines().any(begins), "{key} in {plain}");
        }
        assert_eq!(read(&plain, &[]).unwrap(), recipe);
    }
}

#[test]
fn the_users_keys_lie_over_shared_ones_and_these_over_the_presets() {
    let text = format!(
        "{R1}[[stage]]\nname = 'zero'\nsteps = 7\noptim.lr = 1e-3\nrewards.format.weight = 0.2\n\
         [shared.grpo]\ngroup_size = 4\noptim.lr = 1e-4\n[shared.sampling]\nmax_completion_tokens = 99\n"
    );
    let recipe = read(&text, &["stage.reasoning.steps=3"]).unwrap();
    let (zero, reasoning) = (rl(&recipe, "zero"), rl(&recipe, "reasoning"));
    assert_eq!((zero.steps, zero.optim.lr, zero.group_size), (7, 1e-3, 4));
    let steps = (reasoning.steps, reasoning.optim.lr, reasoning.group_size);
    assert_eq!(steps, (3, 1e-4, 4));
    assert_eq!(
        (zero.rewards[1].weight(), reasoning.rewards[1].weight()),
        (0.2, 1.0)
    );
    // What nobody gave stays the preset's.
    let sampling = &rl(&recipe, "all_scenarios").sampling;
    assert_eq!(
        (sampling.temperature, sampling.max_completion_tokens),
        (0.7, 99)
    );
    assert_eq!(
        sample(&recipe, "reasoning_data")
            .sampling
            .max_completion_tokens,
        99
    );
    assert_eq!(sft(&recipe, "taught").optim.lr, 5e-5);
}

#[test]
fn settings_are_shared_without_a_preset_too() {
    let text = "name = 'r'\nmodel = 'base'\n[shared]\ntask = { kind = 'countdown' }\n\
                sampling.temperature = 0.9\n[shared.grpo]\nsteps = 5\nrewards = [{ kind = 'format' }]\n\
                [[stage]]\nkind = 'grpo'\n[[stage]]\nkind = 'grpo'\nname = 'more'\nsteps = 6\n\
                task = { kind = 'arithmetic', digits = 3 }\n[[stage]]\nkind = 'sft'\ndata = 'a.jsonl'\n";
    let recipe = read(text, &[]).unwrap();
    assert_eq!(names(&recipe), ["grpo", "more", "sft"]);
    let steps = ["grpo", "more"].map(|name| rl(&recipe, name).steps);
    assert_eq!(steps, [5, 6]);
    assert_eq!(rl(&recipe, "more").sampling.temperature, 0.9);
}

#[test]
fn the_starts_differ_in_what_phase_2_starts_from() {
    let reasoning = |start: &str| {
        let recipe = read(R1, &[start]).unwrap();
        let examples = recipe.stages.iter().find_map(|stage| match stage {
            Stage::Sft(config) if stage.name() == "cold_start" => Some(config.examples),
            _ => None,
        });
        (origin(&recipe, "reasoning").to_owned(), examples)
    };
    assert_eq!(reasoning("start=cold"), ("model".to_owned(), None));
    assert_eq!(
        reasoning("start=hybrid"),
        ("cold_start".to_owned(), Some(Some(5_000)))
    );
    assert_eq!(
        reasoning("start=warm"),
        ("cold_start".to_owned(), Some(None))
    );
    // A stage of one start is set by its name among all.
    let text = format!("{R1}[[stage]]\nname = 'hybrid_cold_start'\nexamples = 9\n");
    let examples = ["hybrid", "warm"].map(|start| {
        let recipe = read(&text, &[&format!("start={start}")]).unwrap();
        sft(&recipe, "cold_start").examples
    });
    assert_eq!(examples, [Some(9), None]);
    let cold = read(R1, &["start=cold"]).unwrap();
    assert_eq!(names(&cold)[..3], ["reasoning", "reasoning_data", "taught"]);
}

#[test]
fn all_starts_run_as_branches_whose_stages_mean_their_own() {
    let text = format!(
        "{R1}[[stage]]\nname = 'reasoning'\nsteps = 7\n[[stage]]\nname = 'cold_reasoning'\nsteps = 9\n"
    );
    let skip = "skip=['taught', 'helpfulness', 'safety', 'all_scenarios']";
    let recipe = read(&text, &["start=all", skip]).unwrap();
    let expected = [
        "zero",
        "cold_start_data",
        "cold_reasoning",
        "cold_reasoning_data",
        "hybrid_cold_start",
        "hybrid_reasoning",
        "hybrid_reasoning_data",
        "warm_cold_start",
        "warm_reasoning",
        "warm_reasoning_data",
    ];
    assert_eq!(names(&recipe), expected);
    let origins = ["cold", "hybrid", "warm"].map(|start| {
        let reasoning = format!("{start}_reasoning");
        assert_eq!(origin(&recipe, &format!("{reasoning}_data")), reasoning);
        (
            origin(&recipe, &reasoning).to_owned(),
            rl(&recipe, &reasoning).steps,
        )
    });
    let expected = [
        ("model", 9),
        ("hybrid_cold_start", 7),
        ("warm_cold_start", 7),
    ];
    assert_eq!(
        origins,
        expected.map(|(name, steps)| (name.to_owned(), steps))
    );
    let examples = ["hybrid_cold_start", "warm_cold_start"].map(|name| sft(&recipe, name).examples);
    assert_eq!(examples, [Some(5_000), None]);
    let data = sft(&recipe, "warm_cold_start").data.paths();
    assert_eq!(data, [Path::new("stage:cold_start_data/data.jsonl")]);
    // To the end, each branch has reward models of its own.
    let whole = read(R1, &["start=all"]).unwrap();
    let text = to_toml(&whole).unwrap();
    assert!(text.contains("stage:warm_helpfulness/model"), "{text}");
    assert_eq!(whole.stages.len(), 2 + 6 + 7 + 7);
}

#[test]
fn a_stage_of_the_users_own_after_one_of_a_branch_is_in_every_branch() {
    let text = format!(
        "{R1}[[stage]]\nname = 'taught'\ndata = 'stage:talk/data.jsonl'\n\
         [[stage]]\nname = 'talk'\nkind = 'sample'\nafter = 'reasoning'\nfrom = 'reasoning'\nprompts = 9\n\
         rewards = [{{ kind = 'format' }}]\n"
    );
    let recipe = read(&text, &["start=all"]).unwrap();
    for start in ["cold", "hybrid", "warm"] {
        let name = |base: &str| format!("{start}_{base}");
        let talk = place(&recipe, &name("talk"));
        assert_eq!(talk, place(&recipe, &name("reasoning")) + 1);
        assert_eq!(origin(&recipe, &name("talk")), name("reasoning"));
        let data = sft(&recipe, &name("taught")).data.paths();
        assert_eq!(data, [Path::new(&format!("stage:{start}_talk/data.jsonl"))]);
    }
    let one = read(&text, &[]).unwrap();
    assert_eq!(origin(&one, "talk"), "reasoning");
}

#[test]
fn what_belongs_to_a_stage_that_the_start_leaves_out_is_left_out_with_it() {
    let text = format!(
        "{R1}[[stage]]\nname = 'longer'\nkind = 'grpo'\nafter = 'zero'\nfrom = 'zero'\nsteps = 1\n\
         rewards = [{{ kind = 'accuracy' }}]\n\
         [[stage]]\nname = 'longest'\nkind = 'grpo'\nafter = 'longer'\nfrom = 'longer'\nsteps = 1\n\
         rewards = [{{ kind = 'accuracy' }}]\n\
         [[stage]]\nname = 'taught'\n\
         data = ['stage:cold_start_data/data.jsonl', 'stage:reasoning_data/data.jsonl', 'own.jsonl']\n"
    );
    let data = |start: &str, name: &str| {
        let recipe = read(&text, &[&format!("start={start}")]).unwrap();
        let paths = sft(&recipe, name).data.paths().to_vec();
        let has_longest = names(&recipe).contains(&"longest");
        (paths.len(), has_longest)
    };
    assert_eq!(data("hybrid", "taught"), (3, true));
    assert_eq!(data("cold", "taught"), (2, false));
    assert_eq!(data("all", "cold_taught"), (2, true));
    assert_eq!(data("all", "warm_taught"), (3, true));
}

#[test]
fn paths_into_stages_of_the_users_own_go_with_the_stages() {
    // `extra` is written behind a stage that reads it, and belongs to the starts that have a cold start.
    let text = format!(
        "{R1}[[stage]]\nname = 'taught'\ndata = ['stage:extra/data.jsonl', 'own.jsonl']\n\
         [[stage]]\nname = 'last'\nkind = 'sft'\nafter = 'taught'\nfrom = 'taught'\n\
         data = ['stage:extra/data.jsonl', 'own.jsonl']\n\
         [[stage]]\nname = 'extra'\nkind = 'sample'\nafter = 'cold_start'\nfrom = 'cold_start'\nprompts = 9\n\
         rewards = [{{ kind = 'format' }}]\n"
    );
    let data = |sets: &[&str], name: &str| {
        let recipe = read(&text, sets).unwrap();
        sft(&recipe, name).data.paths().len()
    };
    for stage in ["taught", "last"] {
        assert_eq!(data(&["start=hybrid"], stage), 2);
        assert_eq!(data(&["start=cold"], stage), 1);
        assert_eq!(data(&["start=cold", "skip=['extra']"], stage), 1);
        assert_eq!(data(&["start=all"], &format!("warm_{stage}")), 2);
        assert_eq!(data(&["start=all"], &format!("cold_{stage}")), 1);
    }
    // A list of nothing else is no empty list.
    let only = text.replace(", 'own.jsonl'", "");
    let found = problem(&only, &["start=cold"]);
    assert!(found.contains("extra"), "{found}");
}

#[test]
fn comparisons_of_a_branch_s_stages_are_made_in_every_branch_that_has_them() {
    let text = format!(
        "{R1}[[eval.win_rate]]\nname = 'last'\nstage = 'all_scenarios'\nagainst = 'reasoning'\n\
         rewards = [{{ kind = 'reward_model', model = 'stage:helpfulness/model' }}]\n\
         [[eval.win_rate]]\nstage = 'reasoning'\nagainst = 'cold_start'\n\
         [[eval.win_rate]]\nstage = 'zero'\nagainst = 'model'\n"
    );
    let compared = |set: &str| {
        let recipe = read(&text, &[set]).unwrap();
        let names = recipe.eval.win_rates.iter().map(|it| it.name());
        (names.collect::<Vec<_>>(), to_toml(&recipe).unwrap())
    };
    let (names, written) = compared("start=all");
    let expected = [
        "cold_last",
        "hybrid_last",
        "warm_last",
        "hybrid_reasoning-against-hybrid_cold_start",
        "warm_reasoning-against-warm_cold_start",
        "zero-against-model",
    ];
    assert_eq!(names, expected);
    assert!(
        written.contains("stage:cold_helpfulness/model"),
        "{written}"
    );
    let (names, _) = compared("start=hybrid");
    assert_eq!(
        names,
        ["last", "reasoning-against-cold_start", "zero-against-model"]
    );
}

#[test]
fn general_parts_are_left_out_of_reasoning_and_graded_by_preferences() {
    let mixture = "task = { kind = 'mixture', parts = [\n\
                   { name = 'sums', share = 0.7, task = { kind = 'arithmetic' } },\n\
                   { name = 'talk', share = 0.3, task = { kind = 'jsonl', train = 't.jsonl' } } ] }";
    let text = R1.replace("task = { kind = 'countdown' }", mixture);
    let text = format!("general = ['talk']\n{text}");
    let recipe = read(&text, &[]).unwrap();
    let parts = |stage: &str| {
        let config = rl(&recipe, stage);
        let parts = config.rewards.iter().map(|reward| reward.parts.join(" "));
        (
            config.task.parts().unwrap_or_default().join(" "),
            parts.collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        parts("reasoning"),
        (
            "sums".to_owned(),
            vec!["sums".into(), String::new(), String::new()]
        )
    );
    let (task, rewards) = parts("all_scenarios");
    assert_eq!(task, "sums talk");
    assert_eq!(rewards, ["sums", "", "", "talk", "talk"]);
    let message = problem(&format!("general = ['talk']\n{R1}"), &[]);
    let expected = "line 1: `general`: stage `zero`: a reward is for reasoning problems, of which its task \
                    has no part";
    assert_eq!(message, expected);
}

#[test]
fn stages_of_the_users_own_stand_where_they_belong() {
    let own = "[[stage]]\nkind = 'sft'\nname = 'last'\ndata = 'a.jsonl'\n\
               [[stage]]\nkind = 'sft'\nname = 'second'\nafter = 'zero'\ndata = 'a.jsonl'\n\
               [[stage]]\nkind = 'pretrain'\nname = 'base'\nsteps = 1\nbatch = 1\nmodel = {}\n";
    let text = format!("{}{own}", ZERO.replace("model = 'base'\n", ""));
    let recipe = read(&text, &[]).unwrap();
    assert_eq!(names(&recipe), ["base", "zero", "second", "longer", "last"]);
    assert_eq!(origin(&recipe, "zero"), "base");
    assert_eq!(origin(&recipe, "longer"), "zero");
}

#[test]
fn faults_say_who_wrote_them() {
    let (bare, _) = ZERO.split_once("[shared]").unwrap();
    assert_eq!(
        problem(bare, &[]),
        "preset r1_zero: missing key `stage.zero.task`"
    );
    let (without, _) = R1.split_once("[[stage]]\nname = 'safety'").unwrap();
    let message = problem(without, &[]);
    assert!(message.contains("`stage.safety"), "{message}");
    let lines = |text: &str| text.lines().count();
    let text = format!("{R1}[[stage]]\nname = 'zero'\nstepps = 7\n");
    let line = lines(R1) + 3;
    let message = problem(&text, &[]);
    assert!(
        message.starts_with(&format!("line {line}: unknown key `stage.zero.stepps`")),
        "{message}"
    );
    let text = R1.replace("'countdown'", "'countdwn'");
    let message = problem(&text, &[]);
    assert!(
        message.starts_with("line 4: `stage.zero.task.kind`: unknown value"),
        "{message}"
    );
    let message = problem(R1, &["shared.task.kind=countdwn"]);
    let given = "--set shared.task.kind=countdwn: `stage.zero.task.kind`: unknown value";
    assert!(message.starts_with(given), "{message}");
    let message = problem(R1, &["stage.zero.steps=x"]);
    assert!(
        message.starts_with("--set stage.zero.steps=x: `stage.zero.steps`"),
        "{message}"
    );
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    for (text, set, expected) in [
        (
            ZERO,
            "preset=r2",
            "--set preset=r2: `preset`: there is no `r2`, expected one of `r1_zero`, `r1`, `distill`",
        ),
        (
            ZERO,
            "start=cold",
            "--set start=cold: `start`: preset r1_zero has one start only",
        ),
        (
            R1,
            "start=hot",
            "--set start=hot: `start`: there is no `hot`, expected one of `cold`, `hybrid`, `warm`, `all`",
        ),
        (
            R1,
            "skip=['zro']",
            "--set skip=['zro']: `skip`: there is no stage `zro`",
        ),
        (
            "name = 'r'",
            "start=cold",
            "--set start=cold: `start`: means nothing without a `preset`",
        ),
    ] {
        assert_eq!(problem(text, &[set]), expected);
    }
    let text = format!("{ZERO}[[stage]]\nname = 'zro'\nsteps = 1\n");
    let expected = "line 5: preset r1_zero has no stage `zro`, expected one of `zero`, `longer`, or a `kind` for \
                    a stage of your own";
    assert_eq!(problem(&text, &[]), expected);
    let text = format!("{ZERO}steps = 4\n");
    let message = problem(&text, &[]);
    assert!(
        message.starts_with("line 5: unknown key `shared.steps`, expected one of `task`"),
        "{message}"
    );
    let skipped = problem(R1, &["skip=['safety']"]);
    assert!(
        skipped.contains("`stage:safety/model` names no earlier stage"),
        "{skipped}"
    );
}
