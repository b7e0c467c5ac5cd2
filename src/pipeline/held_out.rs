//! Held-out results of a run's models, all by the same task, the same problems and the same draws.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Run, read_json};
use crate::device;
use crate::error::{Error, Result};
use crate::files;
use crate::generation::Engine;
use crate::recipe::Grading;
use crate::rewards::Accuracy;
use crate::rollout::{
    EvalConfig, Evaluated, Evaluation, EvaluationInput, HeldOutCompletion, evaluate,
};
use crate::seed::Seed;
use crate::tasks::{Split, Task};
use crate::workers::Workers;

/// Evaluates the models of a run.
pub(super) struct Examiner<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) workers: &'a Workers,
    pub(super) grading: Grading<'a>,
    /// Results by model folder: a model has the same at every moment.
    known: HashMap<PathBuf, Known>,
}

/// What is known of a model.
#[derive(Clone)]
struct Known {
    evaluation: Evaluation,
    /// The file of its completions, if it is there.
    completions: Option<PathBuf>,
}

impl<'a> Examiner<'a> {
    pub(super) fn new(run: &'a Run<'a>, workers: &'a Workers, grading: Grading<'a>) -> Self {
        Self {
            run,
            workers,
            grading,
            known: HashMap::new(),
        }
    }

    /// Held-out results of the model in `model`, written as `eval-MOMENT.json` or read back if they
    /// are there already. A model that is asked for the first time leaves its completions beside them.
    pub(super) fn examine(&mut self, moment: &str, model: &Path) -> Result<Evaluation> {
        let path = self.run.folder.join(format!("eval-{moment}.json"));
        let known = match (read_json(&path)?, self.known.get(model)) {
            (Some(evaluation), known) => {
                let written = || Some(self.completions_file(moment)).filter(|file| file.exists());
                let before = known.and_then(|known| known.completions.clone());
                Known {
                    evaluation,
                    completions: before.or_else(written),
                }
            }
            (None, Some(known)) => known.clone(),
            (None, None) => self.ask(moment, model)?,
        };
        if !path.exists() {
            files::write_json(&path, &known.evaluation)?;
        }
        let evaluation = known.evaluation.clone();
        self.known.insert(model.to_path_buf(), known);
        Ok(evaluation)
    }

    /// What the model in `model` wrote to each held-out problem, behind the first number of worked
    /// examples, a list a problem. The model is asked at `moment` unless it was before.
    pub(super) fn completions(
        &mut self,
        moment: &str,
        model: &Path,
    ) -> Result<Vec<Vec<HeldOutCompletion>>> {
        self.examine(moment, model)?;
        let known = self.known.get(model);
        let file = match known.and_then(|known| known.completions.clone()) {
            Some(file) => file,
            None => {
                let known = self.ask(moment, model)?;
                self.known.insert(model.to_path_buf(), known);
                self.completions_file(moment)
            }
        };
        let shots = self.run.recipe.eval.shots;
        let mut completions: Vec<HeldOutCompletion> = files::read_jsonl(&file)?;
        completions.retain(|completion| completion.shots == shots);
        let of_problems = completions.chunk_by(|a, b| a.problem == b.problem);
        Ok(of_problems.map(<[_]>::to_vec).collect())
    }

    /// Asks the model and writes its completions.
    fn ask(&self, moment: &str, model: &Path) -> Result<Known> {
        let file = self.completions_file(moment);
        let evaluated = self.evaluate(moment, model)?;
        files::write_jsonl(&file, &evaluated.completions)?;
        Ok(Known {
            evaluation: evaluated.evaluation,
            completions: Some(file),
        })
    }

    fn completions_file(&self, moment: &str) -> PathBuf {
        self.run.folder.join(format!("eval-{moment}.jsonl"))
    }

    fn evaluate(&self, moment: &str, model: &Path) -> Result<Evaluated> {
        let (run, grading) = (self.run, &self.grading);
        let loaded = run.load(model)?;
        let task: Arc<dyn Task> = Arc::from(grading.task.build()?);
        let eval = self.settings(task.as_ref())?;
        let total = eval.completions() as u64;
        let title = format!("held-out {moment}");
        let bar = Mutex::new(run.screen.begin(&title, 0, total));
        let tokens = AtomicU64::new(0);
        device::while_tuning(run.device, &title, || {
            evaluate(
                &EvaluationInput {
                    engine: &Engine::new(&loaded.decoder.frozen(), loaded.eos_ids, self.workers),
                    tokenizer: &loaded.tokenizer,
                    task: task.as_ref(),
                    template: grading.template,
                    accuracy: &Accuracy::new(grading.answer, Some(task.clone())),
                    seed: Seed::new(run.recipe.seed).named("eval"),
                },
                &eval,
                &|completion| {
                    tokens.fetch_add(completion.ids.len() as u64, Ordering::Relaxed);
                    if let Ok(mut bar) = bar.lock() {
                        bar.advance(1, format!("{} tokens", tokens.load(Ordering::Relaxed)));
                    }
                },
            )
        })
    }

    /// The recipe's settings, with no more problems than there are.
    pub(super) fn settings(&self, task: &dyn Task) -> Result<EvalConfig> {
        let mut eval = self.run.recipe.eval.clone();
        if let Some(size) = task.size(Split::Test) {
            eval.problems = eval.problems.min(size);
        }
        match eval.problems {
            0 => {
                let problem = "has no held-out problems, name a file of them as `test`";
                Err(Error::setting("task", problem))
            }
            _ => Ok(eval),
        }
    }
}
