//! Win rates of a run: the held-out completions of two models, scored by the same rewards.

use std::sync::Arc;

use super::held_out::Examiner;
use super::read_json;
use crate::data::Problem;
use crate::device;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;
use crate::recipe::Origin;
use crate::rewards::{Accuracy, Attempt, Graded, RewardContext, Rubric};
use crate::rollout::{HeldOutCompletion, PROBLEMS_AT_ONCE, WinRate, WinRateConfig, held_out};
use crate::seed::Seed;
use crate::tasks::Task;
use crate::train::RewardModels;

impl Examiner<'_> {
    /// The recipe's win rates, each written as `win-rate-NAME.json` or read back if it is there already.
    pub(super) fn win_rates(&mut self) -> Result<Vec<WinRate>> {
        let run = self.run;
        let mut found = Vec::with_capacity(run.recipe.eval.win_rates.len());
        for config in &run.recipe.eval.win_rates {
            let path = run.folder.join(format!("win-rate-{}.json", config.name()));
            let win_rate = match read_json(&path)? {
                Some(win_rate) => win_rate,
                None => {
                    let win_rate = self.win_rate(config)?;
                    files::write_json(&path, &win_rate)?;
                    win_rate
                }
            };
            found.push(win_rate);
        }
        Ok(found)
    }

    fn win_rate(&mut self, config: &WinRateConfig) -> Result<WinRate> {
        let run = self.run;
        let config = run
            .recipe
            .resolved_win_rate(config, &|place| run.stage_folder(place))?;
        let [own, other] = [
            self.completions_of(&config.stage)?,
            self.completions_of(&config.against)?,
        ];
        let task: Arc<dyn Task> = Arc::from(self.grading.task.build()?);
        let problems = held_out(task.as_ref(), self.settings(task.as_ref())?.problems);
        let title = format!("win rate {}", config.name());
        let [own, other] = device::while_tuning(run.device, &title, || {
            let rubric = self.rubric(&config, &task)?;
            let counted = |problem: &Problem| config.part.is_none() || problem.part == config.part;
            let asked = [
                Asked::new(&problems, &own, &counted)?,
                Asked::new(&problems, &other, &counted)?,
            ];
            let total = asked.iter().map(|asked| asked.groups.len() as u64).sum();
            let mut bar = run.screen.begin(&title, 0, total);
            let [own, other] = asked.map(|asked| asked.grade(&rubric, &mut bar));
            Ok::<_, Error>([own, other])
        })?;
        let seed = Seed::new(run.recipe.seed).named("win_rate");
        let found = WinRate::count(&config, &own, &other, seed.named(&config.name()));
        if found.failed > 0 {
            let mut graded = own.iter().chain(&other).flatten();
            let first = graded.find_map(|graded| graded.errors.first());
            let first = first.map_or("", String::as_str).escape_debug();
            let count = found.failed;
            tracing::warn!("{title}: rewards failed on {count} completions: {first}");
        }
        Ok(found)
    }

    /// What the model that `name` names wrote.
    fn completions_of(&mut self, name: &str) -> Result<Vec<Vec<HeldOutCompletion>>> {
        let run = self.run;
        let origin = run.recipe.model_named(name);
        let (Some(origin), Some(model)) = (origin, run.model(origin)) else {
            let problem = format!("no stage `{name}` makes a language model");
            return Err(Error::setting("eval.win_rate", problem));
        };
        let moment = match origin {
            Origin::Folder { name, .. } => format!("from-{name}"),
            Origin::Stage(index) => run.stage_name(index),
        };
        self.completions(&moment, &model)
    }

    /// What scores the completions.
    fn rubric(&self, config: &WinRateConfig, task: &Arc<dyn Task>) -> Result<Rubric> {
        if config.rewards.is_empty() {
            let verifier = Accuracy::new(self.grading.answer, Some(task.clone()));
            return Rubric::default().with(1.0, verifier);
        }
        let scorers = RewardModels {
            device: self.run.device,
            precision: self.run.recipe.precision,
            workers: *self.workers,
        };
        let context = RewardContext {
            verifier: Some(task.clone()),
            scorers: Some(&scorers),
            folder: Some(self.run.folder),
        };
        Rubric::build(&config.rewards, &context)
    }
}

/// One model's answers to the problems that are counted.
struct Asked<'a> {
    groups: Vec<Vec<Attempt<'a>>>,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// When `completions` answer other problems, as after a change of the task's files.
    fn new(
        problems: &'a [Problem],
        completions: &'a [Vec<HeldOutCompletion>],
        counted: &dyn Fn(&Problem) -> bool,
    ) -> Result<Self> {
        let pairs = || problems.iter().zip(completions);
        let is_same = |(problem, group): (&Problem, &Vec<HeldOutCompletion>)| {
            group.iter().all(|it| it.prompt == problem.prompt)
        };
        if problems.len() != completions.len() || !pairs().all(is_same) {
            let problem = "has other held-out problems than when the run's models were asked, \
                           expected the same files of problems throughout a run";
            return Err(Error::setting("task", problem));
        }
        let groups = pairs().filter(|(problem, _)| counted(problem));
        let groups = groups.map(|(problem, group)| {
            let attempts = group.iter().map(|it| it.attempt(problem));
            attempts.collect()
        });
        Ok(Self {
            groups: groups.collect(),
        })
    }

    /// What each completion scored.
    fn grade(&self, rubric: &Rubric, bar: &mut Progress) -> Vec<Vec<Graded>> {
        let mut graded = Vec::with_capacity(self.groups.len());
        for groups in self.groups.chunks(PROBLEMS_AT_ONCE) {
            let slices: Vec<&[Attempt<'_>]> = groups.iter().map(Vec::as_slice).collect();
            graded.extend(rubric.grade_groups(&slices));
            bar.advance(groups.len() as u64, String::new());
        }
        graded
    }
}
