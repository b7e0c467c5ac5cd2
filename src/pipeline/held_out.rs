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
use crate::rollout::{EvalConfig, Evaluation, EvaluationInput, evaluate};
use crate::seed::Seed;
use crate::tasks::{Split, Task};
use crate::workers::Workers;

/// Evaluates the models of a run.
pub(super) struct Examiner<'a> {
    run: &'a Run<'a>,
    workers: &'a Workers,
    grading: Grading<'a>,
    /// Results by model folder: a model has the same at every moment.
    known: HashMap<PathBuf, Evaluation>,
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
    /// are there already.
    pub(super) fn examine(&mut self, moment: &str, model: &Path) -> Result<Evaluation> {
        let path = self.run.folder.join(format!("eval-{moment}.json"));
        let found = match read_json(&path)? {
            Some(evaluation) => evaluation,
            None => {
                let evaluation = match self.known.get(model) {
                    Some(evaluation) => evaluation.clone(),
                    None => self.evaluate(moment, model)?,
                };
                files::write_json(&path, &evaluation)?;
                evaluation
            }
        };
        self.known.insert(model.to_path_buf(), found.clone());
        Ok(found)
    }

    fn evaluate(&self, moment: &str, model: &Path) -> Result<Evaluation> {
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
    fn settings(&self, task: &dyn Task) -> Result<EvalConfig> {
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
