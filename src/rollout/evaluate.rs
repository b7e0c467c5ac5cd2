//! Held-out evaluation: pass@1 as the mean over samples, pass@k, and the majority's answer.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::data::{Problem, PromptTemplate};
use crate::error::Result;
use crate::generation::{Completion, Engine};
use crate::rewards::{Accuracy, Format, Rubric};
use crate::seed::Seed;
use crate::tasks::{Split, Task};
use crate::tokenizer::Tokenizer;

use super::{
    Estimate, EvalConfig, HeldOutCompletion, Rollout, RolloutGroup, Rollouter, SelfCheckStats,
    WorkedExamples, majority, pass_at_1, pass_at_k,
};

/// Problems evaluated in one call of the engine.
pub(crate) const PROBLEMS_AT_ONCE: usize = 16;

/// Draws for each held-out problem wanted, after which a generated task is taken to have no more.
const MOST_DRAWS: usize = 50;

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Held-out problems asked.
    pub problems: usize,
    /// Samples of each.
    pub samples: usize,
    /// Worked examples before each question.
    #[serde(default)]
    pub shots: usize,
    /// Share of right samples, averaged over problems.
    #[serde(rename = "pass@1")]
    pub pass_at_1: f64,
    /// Lower and upper end of its 95 % interval.
    #[serde(rename = "pass@1_interval")]
    pub pass_at_1_interval: [f64; 2],
    /// Share of problems with a right answer among all samples, estimated without bias.
    #[serde(rename = "pass@k")]
    pub pass_at_k: f64,
    /// The ends of its 95 % interval, by bootstrap over problems; none in a file written without.
    #[serde(
        rename = "pass@k_interval",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub pass_at_k_interval: Option<[f64; 2]>,
    /// Share of problems whose most frequent answer is right.
    #[serde(rename = "cons@k")]
    pub cons_at_k: f64,
    /// The ends of its 95 % interval, as that of `pass@1`.
    #[serde(
        rename = "cons@k_interval",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub cons_at_k_interval: Option<[f64; 2]>,
    /// Share of well-formed completions.
    pub format: f64,
    /// Mean length of a completion in tokens.
    pub mean_tokens: f64,
    /// Share of completions that ran out of tokens.
    pub truncated: f64,
    /// Self-checks in a completion's reasoning, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_checks: Option<f64>,
    /// Share of completions with any self-check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check_share: Option<f64>,
    /// `pass@1` of each part of a mixture.
    #[serde(rename = "parts", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pass_at_1_of_parts: BTreeMap<String, f64>,
    /// The same problems with other numbers of worked examples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_shots: Vec<Evaluation>,
}

/// What an evaluation found, and in what.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// What was found.
    pub evaluation: Evaluation,
    /// What the model wrote: each number of worked examples as the settings name them, each problem,
    /// each sample.
    pub completions: Vec<HeldOutCompletion>,
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

/// Asks the first held-out problems of the task, once with each number of worked examples;
/// `on_finished` hears of each completion. Neither the draws nor the examples that two of these numbers
/// share differ.
///
/// # Errors
/// When worked examples are asked for and there are too few or a prompt is a conversation, a prompt
/// cannot be encoded, the model fails, or the verifier fails by itself.
pub fn evaluate(
    input: &EvaluationInput<'_>,
    config: &EvalConfig,
    on_finished: &(dyn Fn(&Completion) + Sync),
) -> Result<Evaluated> {
    let problems = held_out(input.task, config.problems);
    let most = config.most_shots();
    let seed = input.seed.named("examples");
    let examples = WorkedExamples::draw(input.task, most, input.accuracy, seed)?;
    // All prompts first: what is wrong with one is said before the model has worked for hours.
    let prompts = config.all_shots().map(|shots| {
        let asked = problems.iter().map(|p| examples.before(p, shots));
        asked.collect::<Result<Vec<_>>>()
    });
    let prompts = prompts.collect::<Result<Vec<_>>>()?;
    let mut completions = Vec::with_capacity(config.completions());
    let mut found = config.all_shots().zip(&prompts).map(|(shots, asked)| {
        let mut found = ask(input, config, &problems, asked, on_finished)?;
        found.evaluation.shots = shots;
        let written = found.completions.into_iter();
        completions.extend(written.map(|it| HeldOutCompletion { shots, ..it }));
        Ok(found.evaluation)
    });
    let first = found.next().expect("there is one number of examples")?;
    let evaluation = Evaluation {
        other_shots: found.collect::<Result<_>>()?,
        ..first
    };
    Ok(Evaluated {
        evaluation,
        completions,
    })
}

/// Puts the problems as `asked` and judges what comes back as answers to `problems`; how many worked
/// examples that was is left at 0.
fn ask(
    input: &EvaluationInput<'_>,
    config: &EvalConfig,
    problems: &[Problem],
    asked: &[Problem],
    on_finished: &(dyn Fn(&Completion) + Sync),
) -> Result<Evaluated> {
    let rubric = Rubric::default().with(1.0, Format::new(config.format))?;
    let rollouter = Rollouter {
        tokenizer: input.tokenizer,
        template: input.template,
        rubric: &rubric,
        group_size: config.samples,
    };
    let mut tally = Tally::default();
    let chunks = asked.chunks(PROBLEMS_AT_ONCE);
    for (part, (asked, problems)) in chunks.zip(problems.chunks(PROBLEMS_AT_ONCE)).enumerate() {
        let seed = input.seed.child(part as u64);
        let (engine, sampling) = (input.engine, &config.sampling);
        let groups = rollouter.roll_out(engine, sampling, asked, seed, on_finished)?;
        for (group, problem) in groups.into_iter().zip(problems) {
            let problem = problem.clone();
            tally.add(RolloutGroup { problem, ..group }, input.accuracy)?;
        }
    }
    Ok(tally.finish(config.samples, input.seed.named("bootstrap")))
}

/// The first `count` held-out problems, or fewer if the task has no more; a generated task may draw
/// a problem twice, it is asked once.
pub(crate) fn held_out(task: &dyn Task, count: usize) -> Vec<Problem> {
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
    pass_at_k: Vec<f64>,
    cons_at_k: Vec<f64>,
    well_formed: f64,
    tokens: usize,
    truncated: usize,
    /// Of each problem's completions.
    self_checks: Vec<SelfCheckStats>,
    completions: Vec<HeldOutCompletion>,
}

impl Tally {
    fn add(&mut self, group: RolloutGroup, accuracy: &Accuracy) -> Result<()> {
        let right = match group.problem.answer.is_null() {
            true => vec![None; group.rollouts.len()],
            false => self.judge(&group, accuracy)?,
        };
        self.problems += 1;
        let scores = group.rollouts.iter().filter_map(|r| r.graded.total);
        self.well_formed += scores.sum::<f64>();
        self.tokens += group.rollouts.iter().map(Rollout::tokens).sum::<usize>();
        self.truncated += group.rollouts.iter().filter(|r| r.is_truncated()).count();
        let texts = group.rollouts.iter().map(|rollout| rollout.text.as_str());
        self.self_checks.push(SelfCheckStats::of(texts));
        let written = HeldOutCompletion::of_group(self.problems - 1, group, right);
        self.completions.extend(written);
        Ok(())
    }

    /// Notes how many of the answers are right, and returns which.
    fn judge(&mut self, group: &RolloutGroup, accuracy: &Accuracy) -> Result<Vec<Option<bool>>> {
        let texts = group.rollouts.iter().map(|rollout| rollout.text.as_str());
        let answers: Vec<Option<&str>> = texts.map(|text| accuracy.extract(text)).collect();
        let judged = answers.iter().map(|answer| match answer {
            Some(answer) => is_right(accuracy, &group.problem, answer),
            None => Ok(false),
        });
        let judged = judged.collect::<Result<Vec<bool>>>()?;
        let right = judged.iter().filter(|right| **right).count();
        let samples = group.rollouts.len();
        let share = pass_at_1(samples, right);
        self.pass_at_1.extend(share);
        if let Some(part) = &group.problem.part {
            let of_part = self.of_parts.entry(part.clone()).or_default();
            of_part.extend(share);
        }
        self.pass_at_k.extend(pass_at_k(samples, right, samples));
        let agreed = match majority(&answers) {
            Some(answer) => is_right(accuracy, &group.problem, answer)?,
            None => false,
        };
        self.cons_at_k.push(f64::from(agreed));
        Ok(judged.into_iter().map(Some).collect())
    }

    /// The bootstrap draws from `seed`.
    fn finish(self, samples: usize, seed: Seed) -> Evaluated {
        let completions = (self.problems * samples) as f64;
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        let of_parts = self.of_parts.iter();
        let estimate = Estimate::over_problems(&self.pass_at_1);
        let pass_at_k = Estimate::bootstrap(&self.pass_at_k, seed);
        let cons_at_k = Estimate::over_problems(&self.cons_at_k);
        let checks = |of: fn(&SelfCheckStats) -> f64| {
            let values: Vec<f64> = self.self_checks.iter().map(of).collect();
            (!values.is_empty()).then(|| mean(&values))
        };
        let evaluation = Evaluation {
            problems: self.problems,
            samples,
            shots: 0,
            pass_at_1: estimate.map_or(0.0, |e| e.value),
            pass_at_1_interval: estimate.map_or([0.0; 2], |e| e.interval()),
            pass_at_k: pass_at_k.map_or(0.0, |e| e.value),
            pass_at_k_interval: pass_at_k.map(|e| e.interval()),
            cons_at_k: cons_at_k.map_or(0.0, |e| e.value),
            cons_at_k_interval: cons_at_k.map(|e| e.interval()),
            format: self.well_formed / completions,
            mean_tokens: self.tokens as f64 / completions,
            truncated: self.truncated as f64 / completions,
            self_checks: checks(|stats| stats.mean),
            self_check_share: checks(|stats| stats.share),
            pass_at_1_of_parts: of_parts
                .map(|(part, shares)| (part.clone(), mean(shares)))
                .collect(),
            other_shots: Vec::new(),
        };
        Evaluated {
            evaluation,
            completions: self.completions,
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
            tally.add(group, &accuracy).unwrap();
        }
        let Evaluated {
            evaluation: found,
            completions,
        } = tally.finish(2, Seed::new(1));
        let right: Vec<_> = completions.iter().map(|it| it.right).collect();
        let [yes, no] = [Some(true), Some(false)];
        assert_eq!(right, [yes, no, yes, yes, no, no, None, None]);
        let last = &completions[7];
        assert_eq!((last.problem, last.sample), (3, 1));
        assert_eq!(last.part.as_deref(), Some("general"));
        // One half, 1 and 0 of three problems that can be judged.
        assert_eq!((found.problems, found.pass_at_1), (4, 0.5));
        assert_eq!(found.pass_at_k, 2.0 / 3.0);
        let parts = BTreeMap::from([("logic".to_owned(), 0.0), ("sums".to_owned(), 0.75)]);
        assert_eq!(found.pass_at_1_of_parts, parts);
        assert_eq!((found.format, found.mean_tokens), (1.0, 3.0));
        // Of three problems the first and the second have a right majority: of tied answers the
        // first given wins. z² = 3.8415: Wilson's ends of 2 in 3 are 0.2077 and 0.9385.
        assert_eq!(found.cons_at_k, 2.0 / 3.0);
        let [low, high] = found.cons_at_k_interval.unwrap();
        assert!((low - 0.2077).abs() < 1e-4 && (high - 0.9385).abs() < 1e-4);
        let [low, high] = found.pass_at_k_interval.unwrap();
        assert!(
            (0.0..2.0 / 3.0).contains(&low) && high == 1.0,
            "{low} {high}"
        );
    }

    #[test]
    fn self_checks_are_of_all_completions_right_or_wrong() {
        let accuracy = Accuracy::new(AnswerSource::Anywhere, None);
        let mut tally = Tally::default();
        for completions in [["wait, hmm", "2"], ["check", "wait"]] {
            let group = group("sums", Value::Null, completions);
            tally.add(group, &accuracy).unwrap();
        }
        let found = tally.finish(2, Seed::new(1)).evaluation;
        // 2, 0, 1 and 1 marks in four completions.
        assert_eq!(
            (found.self_checks, found.self_check_share),
            (Some(1.0), Some(0.75))
        );
    }

    #[test]
    fn results_without_the_newer_figures_are_read() {
        let old = json!({
            "problems": 4, "samples": 2, "pass@1": 0.5, "pass@1_interval": [0.15, 0.85],
            "pass@k": 0.75, "cons@k": 0.5, "format": 1.0, "mean_tokens": 3.0, "truncated": 0.0,
        });
        let read: Evaluation = serde_json::from_value(old.clone()).unwrap();
        assert_eq!((read.shots, read.self_checks), (0, None));
        assert!(read.other_shots.is_empty());
        let both = Evaluation {
            other_shots: vec![Evaluation {
                shots: 2,
                ..read.clone()
            }],
            ..read
        };
        let written = serde_json::to_value(&both).unwrap();
        assert_eq!(written["other_shots"][0]["shots"], 2);
        assert_eq!(serde_json::from_value::<Evaluation>(written).unwrap(), both);
    }
}
