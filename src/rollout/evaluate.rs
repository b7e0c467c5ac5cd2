//! Held-out evaluation: pass@1 as the mean over samples, pass@k, and the majority's answer.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::data::{Problem, PromptTemplate};
use crate::error::{Error, Result};
use crate::generation::{Completion, Engine, SamplingParams};
use crate::rewards::{Accuracy, Format, FormatStyle, Rubric};
use crate::seed::Seed;
use crate::tasks::{Split, Task};
use crate::tokenizer::Tokenizer;

use super::{Estimate, Rollout, RolloutGroup, Rollouter, majority, pass_at_1, pass_at_k};

/// Problems evaluated in one call of the engine.
pub(crate) const PROBLEMS_AT_ONCE: usize = 16;

/// Draws for each held-out problem wanted, after which a generated task is taken to have no more.
const MOST_DRAWS: usize = 50;

/// How a model is evaluated. The default is the paper's: temperature 0.6, top-p 0.95.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Held-out problems.
    pub problems: usize,
    /// Samples of each problem, the `k` of cons@k. The paper takes 64 on AIME, 16 on MATH.
    pub samples: usize,
    /// How completions are sampled.
    pub sampling: SamplingParams,
    /// The shape that counts as well formed.
    pub format: FormatStyle,
    /// Evaluates the language model of every stage of a recipe, beside those that enter and leave
    /// reinforcement learning.
    pub each_stage: bool,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            problems: 100,
            samples: 16,
            sampling: SamplingParams {
                temperature: 0.6,
                top_p: 0.95,
                ..SamplingParams::default()
            },
            format: FormatStyle::default(),
            each_stage: false,
        }
    }
}

impl EvalConfig {
    /// Checks the ranges; `key` names the settings in the message.
    ///
    /// # Errors
    /// Names the first value out of range.
    pub fn validate(&self, key: &str) -> Result<()> {
        for (name, value) in [("problems", self.problems), ("samples", self.samples)] {
            if value == 0 {
                return Err(Error::setting(
                    format!("{key}.{name}"),
                    "must be at least 1",
                ));
            }
        }
        self.sampling.validate(&format!("{key}.sampling"))
    }
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Held-out problems asked.
    pub problems: usize,
    /// Samples of each.
    pub samples: usize,
    /// Share of right samples, averaged over problems, with its 95 % interval.
    #[serde(rename = "pass@1")]
    pub pass_at_1: f64,
    /// Lower and upper end of the interval of `pass@1`.
    #[serde(rename = "pass@1_interval")]
    pub pass_at_1_interval: [f64; 2],
    /// Share of problems with a right answer among all samples, estimated without bias.
    #[serde(rename = "pass@k")]
    pub pass_at_k: f64,
    /// Share of problems whose most frequent answer is right.
    #[serde(rename = "cons@k")]
    pub cons_at_k: f64,
    /// Share of well-formed completions.
    pub format: f64,
    /// Mean length of a completion in tokens.
    pub mean_tokens: f64,
    /// Share of completions that ran out of tokens.
    pub truncated: f64,
    /// `pass@1` of each part of a mixture.
    #[serde(rename = "parts", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pass_at_1_of_parts: BTreeMap<String, f64>,
}

/// What is evaluated on what.
pub struct EvaluationInput<'a> {
    /// The model.
    pub engine: &'a Engine<'a>,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Whose held-out problems are asked.
    pub task: &'a dyn Task,
    /// How prompts are put.
    pub template: PromptTemplate,
    /// Finds the answer in a completion and judges it.
    pub accuracy: &'a Accuracy,
    /// Where the samples' randomness comes from.
    pub seed: Seed,
}

/// Asks the first held-out problems of the task; `on_finished` hears of each completion.
///
/// # Errors
/// When a prompt cannot be encoded, the model fails, or the verifier fails by itself.
pub fn evaluate(
    input: &EvaluationInput<'_>,
    config: &EvalConfig,
    on_finished: &(dyn Fn(&Completion) + Sync),
) -> Result<Evaluation> {
    let rubric = Rubric::default().with(1.0, Format::new(config.format))?;
    let rollouter = Rollouter {
        tokenizer: input.tokenizer,
        template: input.template,
        rubric: &rubric,
        group_size: config.samples,
    };
    let mut tally = Tally::default();
    let problems = held_out(input.task, config.problems);
    for (part, problems) in problems.chunks(PROBLEMS_AT_ONCE).enumerate() {
        let seed = input.seed.child(part as u64);
        let (engine, sampling) = (input.engine, &config.sampling);
        let groups = rollouter.roll_out(engine, sampling, problems, seed, on_finished)?;
        for group in &groups {
            tally.add(group, input.accuracy)?;
        }
    }
    Ok(tally.finish(config.samples))
}

/// The first `count` held-out problems, or fewer if the task has no more; a generated task may draw
/// a problem twice, it is asked once.
fn held_out(task: &dyn Task, count: usize) -> Vec<Problem> {
    let problem = |index| task.problem(Split::Test, index);
    if let Some(size) = task.size(Split::Test) {
        return (0..size.min(count) as u64).map(problem).collect();
    }
    let mut asked = HashSet::new();
    (0..count.saturating_mul(MOST_DRAWS) as u64)
        .map(problem)
        .filter(|problem| asked.insert(serde_json::to_string(&problem.prompt).ok()))
        .take(count)
        .collect()
}

#[derive(Default)]
struct Tally {
    problems: usize,
    /// Of the problems that have a reference; the others say nothing of right and wrong.
    pass_at_1: Vec<f64>,
    of_parts: BTreeMap<String, Vec<f64>>,
    pass_at_k: f64,
    cons_at_k: f64,
    well_formed: f64,
    tokens: usize,
    truncated: usize,
}

impl Tally {
    fn add(&mut self, group: &RolloutGroup, accuracy: &Accuracy) -> Result<()> {
        self.problems += 1;
        let scores = group.rollouts.iter().filter_map(|r| r.graded.total);
        self.well_formed += scores.sum::<f64>();
        self.tokens += group.rollouts.iter().map(Rollout::tokens).sum::<usize>();
        self.truncated += group.rollouts.iter().filter(|r| r.is_truncated()).count();
        match group.problem.answer.is_null() {
            true => Ok(()),
            false => self.judge(group, accuracy),
        }
    }

    /// Notes how many of the answers are right.
    fn judge(&mut self, group: &RolloutGroup, accuracy: &Accuracy) -> Result<()> {
        let texts = group.rollouts.iter().map(|rollout| rollout.text.as_str());
        let answers: Vec<Option<&str>> = texts.map(|text| accuracy.extract(text)).collect();
        let mut right = 0;
        for answer in answers.iter().flatten() {
            right += usize::from(is_right(accuracy, &group.problem, answer)?);
        }
        let samples = group.rollouts.len();
        let share = pass_at_1(samples, right);
        self.pass_at_1.extend(share);
        if let Some(part) = &group.problem.part {
            let of_part = self.of_parts.entry(part.clone()).or_default();
            of_part.extend(share);
        }
        self.pass_at_k += pass_at_k(samples, right, samples).unwrap_or(0.0);
        if let Some(answer) = majority(&answers) {
            self.cons_at_k += f64::from(is_right(accuracy, &group.problem, answer)?);
        }
        Ok(())
    }

    fn finish(self, samples: usize) -> Evaluation {
        let judged = self.pass_at_1.len().max(1) as f64;
        let completions = (self.problems * samples) as f64;
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        let of_parts = self.of_parts.iter();
        let estimate = Estimate::over_problems(&self.pass_at_1);
        Evaluation {
            problems: self.problems,
            samples,
            pass_at_1: estimate.map_or(0.0, |e| e.value),
            pass_at_1_interval: estimate.map_or([0.0; 2], |e| [e.low, e.high]),
            pass_at_k: self.pass_at_k / judged,
            cons_at_k: self.cons_at_k / judged,
            format: self.well_formed / completions,
            mean_tokens: self.tokens as f64 / completions,
            truncated: self.truncated as f64 / completions,
            pass_at_1_of_parts: of_parts
                .map(|(part, shares)| (part.clone(), mean(shares)))
                .collect(),
        }
    }
}

fn is_right(accuracy: &Accuracy, problem: &Problem, answer: &str) -> Result<bool> {
    Ok(accuracy.is_right(problem, answer)?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::data::Prompt;
    use crate::generation::FinishReason;
    use crate::rewards::{AnswerSource, Graded};

    fn group(part: &str, answer: Value, completions: [&str; 2]) -> RolloutGroup {
        let rollout = |text: &str| Rollout {
            completion: Completion {
                ids: vec![1, 2, 3],
                logprobs: vec![0.0; 3],
                finish: FinishReason::Stop,
            },
            text: format!("<answer>{text}</answer>"),
            graded: Graded {
                total: Some(1.0),
                ..Graded::default()
            },
        };
        RolloutGroup {
            problem: Problem {
                prompt: Prompt::Text("?".into()),
                answer,
                level: None,
                language: None,
                part: Some(part.into()),
            },
            prompt: vec![1],
            rollouts: completions.map(rollout).to_vec(),
        }
    }

    #[test]
    fn parts_have_their_own_results_and_problems_without_a_reference_none() {
        let accuracy = Accuracy::new(AnswerSource::Anywhere, None);
        let mut tally = Tally::default();
        for group in [
            group("sums", json!("2"), ["2", "3"]),
            group("sums", json!("4"), ["4", "4"]),
            group("logic", json!("a"), ["b", "b"]),
            group("general", Value::Null, ["hi", "ho"]),
        ] {
            tally.add(&group, &accuracy).unwrap();
        }
        let found = tally.finish(2);
        // One half, 1 and 0 of three problems that can be judged.
        assert_eq!((found.problems, found.pass_at_1), (4, 0.5));
        assert_eq!(found.pass_at_k, 2.0 / 3.0);
        let parts = BTreeMap::from([("logic".to_owned(), 0.0), ("sums".to_owned(), 0.75)]);
        assert_eq!(found.pass_at_1_of_parts, parts);
        assert_eq!((found.format, found.mean_tokens), (1.0, 3.0));
    }
}
