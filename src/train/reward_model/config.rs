//! Settings of a `reward_model` stage.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::reads_stage;
use crate::error::{Error, Result};
use crate::rewards::{Reading, ScoredPart, TextForm};
use crate::tasks::TaskConfig;
use crate::train::loss::{RewardLoss, RewardLossKind};
use crate::train::{Batching, Objective, OptimConfig, TrainingSample, WorstCase};

/// Settings of a `reward_model` stage. It trains all weights: an adapter would leave the score as it
/// is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardModelConfig {
    /// The stage's name; unset is `reward_model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The stage whose model is trained, or `model` for the run's first; unset is the nearest earlier
    /// stage that makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// JSON Lines: for `pairwise` `{"prompt", "chosen", "rejected"}` and, if it has one, `"margin"`; for
    /// `pointwise` `{"prompt", "completion", "label"}` with a label of true or false.
    /// Either this or `task` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// In place of `data`, a task whose annotators compare (`pairwise`) or label (`pointwise`) traces
    /// for its training problems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskConfig>,
    /// How many pairs or labels the annotators of `task` give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
    /// `pairwise`, as the paper's helpfulness model, or `pointwise`, as its safety model.
    #[serde(default)]
    pub loss: RewardLossKind,
    /// Which part of an answer is scored: `answer`, what is left without the thinking, or `response`, all.
    /// Unset is `answer` for `pairwise` and `response` for `pointwise`, as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoredPart>,
    /// How prompts and answers that are texts are put: `plain`, one after the other, or `chat`, as
    /// messages. Messages always go through the chat template.
    #[serde(default)]
    pub texts: TextForm,
    /// Draws the sum of a pair's scores towards 0 by so much of its square, 0 or more; `pairwise`
    /// only. TRL's `center_rewards_coefficient`; arXiv:2312.09244 takes 0.01, the paper says none.
    #[serde(default)]
    pub center_rewards_coefficient: f64,
    /// Passes over the data. The paper takes 1.
    #[serde(default = "default_epochs")]
    pub epochs: usize,
    /// Pairs or answers a step. The paper takes 256.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Longest prompt with its answer in tokens; what is longer is left out, as in TRL. The paper takes
    /// 8,192; 1,024 here, as in `sft`, is what small machines hold.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Share of the data that is not trained on but judged at the end, in [0, 1): all of a prompt's
    /// answers on one side.
    #[serde(default = "default_held_out")]
    pub held_out: f64,
    /// The optimiser; unset has the paper's learning rate of 6e-6, a table without `lr` that of all stages.
    #[serde(default = "default_optim")]
    pub optim: OptimConfig,
    /// Micro-batches; a pair is two sequences.
    #[serde(default)]
    pub batching: Batching,
}

/// Where the data comes from.
pub(super) enum Origin<'a> {
    /// A file.
    File(&'a Path),
    /// The annotators of a task.
    Task {
        /// The task.
        task: &'a TaskConfig,
        /// How much they give.
        examples: usize,
    },
}

fn default_epochs() -> usize {
    1
}

fn default_batch() -> usize {
    256
}

fn default_max_tokens() -> usize {
    1024
}

fn default_held_out() -> f64 {
    0.1
}

fn default_optim() -> OptimConfig {
    OptimConfig {
        lr: 6e-6,
        ..OptimConfig::default()
    }
}

impl RewardModelConfig {
    /// Checks the ranges; `key` names the stage in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        let fault = |name: &str, problem: &str| Error::setting(format!("{key}.{name}"), problem);
        self.origin()
            .map_err(|error| error.inside(&format!("{key}.")))?;
        let counts = [
            ("epochs", self.epochs, 1),
            ("batch", self.batch, 1),
            ("max_tokens", self.max_tokens, 2),
        ];
        if let Some((name, _, least)) = counts.into_iter().find(|(_, value, least)| value < least) {
            return Err(fault(name, &format!("must be at least {least}")));
        }
        if !(0.0..1.0).contains(&self.held_out) {
            return Err(fault("held_out", "must be in [0, 1)"));
        }
        let center = self.center_rewards_coefficient;
        if !(center.is_finite() && center >= 0.0) {
            return Err(fault("center_rewards_coefficient", "must be 0 or more"));
        }
        let is_pairwise = self.loss == RewardLossKind::Pairwise;
        if center > 0.0 && !is_pairwise {
            let problem = "is of loss `pairwise` only";
            return Err(fault("center_rewards_coefficient", problem));
        }
        if is_pairwise && !self.batching.micro_batch.is_multiple_of(2) {
            let problem = "must be even: the two sequences of a pair stay together";
            return Err(fault("batching.micro_batch", problem));
        }
        self.optim.validate(&format!("{key}.optim"))
    }

    /// Where the data comes from.
    ///
    /// # Errors
    /// When neither or both of `data` and `task` are given, or `examples` does not go with them.
    pub(super) fn origin(&self) -> Result<Origin<'_>> {
        match (&self.data, &self.task, self.examples) {
            (Some(path), None, None) => Ok(Origin::File(path)),
            (None, Some(task), Some(examples @ 1..)) => Ok(Origin::Task { task, examples }),
            (None, Some(_), _) => {
                let problem = "must be at least 1: how many pairs or labels `task` is to give";
                Err(Error::setting("examples", problem))
            }
            (Some(_), None, Some(_)) => {
                let problem = "is of `task`, but `data` is given, which is read whole";
                Err(Error::setting("examples", problem))
            }
            (Some(_), Some(_), _) => {
                let problem = "is given beside `task`, expected one of the two";
                Err(Error::setting("data", problem))
            }
            (None, None, _) => {
                let problem = "is unset, expected a file or, in its place, `task` and `examples`";
                Err(Error::setting("data", problem))
            }
        }
    }

    /// What is wrong with the data.
    pub(super) fn data_error(&self, problem: impl Into<String>) -> Error {
        match &self.data {
            Some(path) => Error::file(path, problem),
            None => Error::setting("task", problem),
        }
    }

    /// Tokens of the longest text, of a model with room for so many positions; one stays free.
    pub(in crate::train) fn longest(&self, positions: usize) -> usize {
        self.max_tokens.min(positions.saturating_sub(1))
    }

    /// What the model reads of an answer.
    pub fn reading(&self) -> Reading {
        let of_loss = match self.loss {
            RewardLossKind::Pairwise => ScoredPart::Answer,
            RewardLossKind::Pointwise => ScoredPart::Response,
        };
        Reading {
            scores: self.scores.unwrap_or(of_loss),
            texts: self.texts,
        }
    }

    /// The objective.
    pub fn objective(&self) -> RewardLoss {
        RewardLoss {
            kind: self.loss,
            center: self.center_rewards_coefficient,
        }
    }

    /// The largest step on these samples.
    pub(in crate::train) fn worst_case(&self, samples: &[TrainingSample]) -> WorstCase {
        let together = self.objective().samples_together();
        let sequences = self.batch.saturating_mul(together).min(samples.len());
        scored_once(WorstCase::of(samples, sequences, together))
    }

    /// The largest step on data that a stage has yet to make, no text longer than `longest`; none when
    /// it is there.
    pub(in crate::train) fn foretold(&self, longest: usize) -> Option<WorstCase> {
        let together = self.objective().samples_together();
        let sequences = self.batch.saturating_mul(together);
        let is_made = self.data.as_ref().is_some_and(reads_stage)
            || self.task.as_ref().is_some_and(reads_stage);
        is_made.then(|| scored_once(WorstCase::unseen(sequences, together, longest)))
    }
}

/// `worst` where only the last state of a text is scored.
fn scored_once(worst: WorstCase) -> WorstCase {
    WorstCase {
        prompt_tokens: worst.longest.saturating_sub(1).max(1),
        ..worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RewardModelConfig {
        toml::from_str(&format!("data = 'd.jsonl'\n{text}")).unwrap()
    }

    #[test]
    fn defaults_are_the_papers() {
        let config = read("");
        assert!(config.validate("stage.reward_model").is_ok());
        assert_eq!(
            (config.batch, config.epochs, config.optim.lr),
            (256, 1, 6e-6)
        );
        assert_eq!(config.reading().scores, ScoredPart::Answer);
        let safety = read("loss = 'pointwise'");
        assert_eq!(safety.reading().scores, ScoredPart::Response);
        let given = read("loss = 'pointwise'\nscores = 'answer'");
        assert_eq!(given.reading().scores, ScoredPart::Answer);
    }

    #[test]
    fn data_is_a_file_or_a_task_but_not_both() {
        let read = |text: &str| -> RewardModelConfig { toml::from_str(text).unwrap() };
        let notes = "task = { kind = 'notes' }";
        let given = read(&format!("{notes}\nexamples = 9"));
        assert!(given.validate("stage.rm").is_ok());
        assert!(given.foretold(8).is_none());
        let written = toml::to_string(&given).unwrap();
        assert_eq!(read(&written), given);
        let file = toml::to_string(&read("data = 'd.jsonl'")).unwrap();
        assert!(
            !file.contains("task") && !file.contains("examples"),
            "{file}"
        );
        for (text, key) in [
            (String::new(), "data"),
            (format!("data = 'd.jsonl'\n{notes}\nexamples = 9"), "data"),
            ("data = 'd.jsonl'\nexamples = 9".into(), "examples"),
            (notes.into(), "examples"),
            (format!("{notes}\nexamples = 0"), "examples"),
        ] {
            let error = read(&text).validate("stage.rm").unwrap_err().to_string();
            assert!(error.starts_with(&format!("`stage.rm.{key}`: ")), "{error}");
        }
        let later = "{ kind = 'jsonl', train = 'stage:sample/data.jsonl' }";
        let later = read(&format!("task = {later}\nexamples = 9"));
        assert!(later.foretold(8).is_some());
    }

    #[test]
    fn faults_are_named() {
        for (line, key) in [
            ("batch = 0", "batch"),
            ("held_out = 1.0", "held_out"),
            (
                "center_rewards_coefficient = -0.1",
                "center_rewards_coefficient",
            ),
            (
                "loss = 'pointwise'\ncenter_rewards_coefficient = 0.1",
                "center_rewards_coefficient",
            ),
            ("batching = { micro_batch = 3 }", "batching.micro_batch"),
            ("optim = { lr = -1.0 }", "optim.lr"),
        ] {
            let error = read(line).validate("stage.rm").unwrap_err().to_string();
            assert!(error.starts_with(&format!("`stage.rm.{key}`: ")), "{error}");
        }
    }
}
