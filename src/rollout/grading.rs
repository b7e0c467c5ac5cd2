//! Grades groups of completions while the engine makes others.
//!
//! A group is graded when its last completion has ended, by the rewards that need no device; what has piled
//! up meanwhile is graded together. Scores are kept by place, so that it does not matter what ends first.

use std::iter;
use std::sync::mpsc::Receiver;

use crate::data::Problem;
use crate::error::Result;
use crate::generation::{Completion, FinishReason};
use crate::rewards::{Attempt, Graded, HostScores};

use super::Rollouter;

/// A completion that ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The number of its request.
    place: usize,
    ids: Vec<u32>,
    finished: bool,
}

impl Ended {
    pub(super) fn new(place: usize, completion: &Completion) -> Self {
        Self {
            place,
            ids: completion.ids.clone(),
            finished: completion.finish == FinishReason::Stop,
        }
    }
}

/// Grades the completions of some problems.
pub(super) struct Grader<'a> {
    rollouter: &'a Rollouter<'a>,
    problems: &'a [Problem],
    /// By place; empty before they end.
    answers: Vec<Answer>,
    /// How many answers of each group have not ended.
    open: Vec<usize>,
    /// Of each group that is graded so far.
    scores: Vec<HostScores>,
}

#[derive(Clone, Default)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    finished: bool,
}

impl<'a> Grader<'a> {
    pub(super) fn new(rollouter: &'a Rollouter<'a>, problems: &'a [Problem]) -> Self {
        let groups = problems.len();
        Self {
            rollouter,
            problems,
            answers: vec![Answer::default(); groups * rollouter.group_size],
            open: vec![rollouter.group_size; groups],
            scores: iter::repeat_with(HostScores::default)
                .take(groups)
                .collect(),
        }
    }

    /// Grades what comes by the rewards that need no device, until nothing more can come.
    ///
    /// # Errors
    /// When a completion cannot be decoded.
    pub(super) fn follow(mut self, ended: &Receiver<Ended>) -> Result<Self> {
        while let Ok(first) = ended.recv() {
            let mut whole = Vec::new();
            for ended in iter::once(first).chain(ended.try_iter()) {
                whole.extend(self.take(ended)?);
            }
            if !whole.is_empty() {
                self.grade(&whole);
            }
        }
        Ok(self)
    }

    /// Asks the rewards that need a device, for all groups at once; returns every completion's text and
    /// what it earned, in order.
    pub(super) fn finish(mut self) -> impl Iterator<Item = (String, Graded)> {
        let scores = std::mem::take(&mut self.scores);
        let attempts: Vec<_> = (0..scores.len())
            .map(|group| self.attempts(group))
            .collect();
        let groups: Vec<&[Attempt<'_>]> = attempts.iter().map(Vec::as_slice).collect();
        let graded = self.rollouter.rubric.grade_with(&groups, scores);
        let texts = self.answers.into_iter().map(|answer| answer.text);
        texts.zip(graded.into_iter().flatten())
    }

    /// Takes a completion in; returns the number of its group if that is whole now.
    fn take(&mut self, ended: Ended) -> Result<Option<usize>> {
        let group = ended.place / self.rollouter.group_size;
        self.answers[ended.place] = Answer {
            text: self.rollouter.tokenizer.decode(&ended.ids, true)?,
            ids: ended.ids,
            finished: ended.finished,
        };
        self.open[group] -= 1;
        Ok((self.open[group] == 0).then_some(group))
    }

    fn grade(&mut self, whole: &[usize]) {
        let attempts: Vec<_> = whole.iter().map(|group| self.attempts(*group)).collect();
        let groups: Vec<&[Attempt<'_>]> = attempts.iter().map(Vec::as_slice).collect();
        let scores = self.rollouter.rubric.host_scores(&groups);
        for (group, scores) in whole.iter().zip(scores) {
            self.scores[*group] = scores;
        }
    }

    fn attempts(&self, group: usize) -> Vec<Attempt<'_>> {
        let size = self.rollouter.group_size;
        let answers = &self.answers[group * size..][..size];
        let attempt = |answer| attempt(&self.problems[group], answer);
        answers.iter().map(attempt).collect()
    }
}

fn attempt<'a>(problem: &'a Problem, answer: &'a Answer) -> Attempt<'a> {
    Attempt {
        problem,
        completion: &answer.text,
        token_ids: &answer.ids,
        finished: answer.finished,
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex, mpsc};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use burn::tensor::Device;
    use serde_json::json;

    use super::*;
    use crate::data::{Prompt, PromptTemplate};
    use crate::error::Error;
    use crate::generation::{Engine, SamplingParams};
    use crate::model::{Decoder, Family, ModelConfig};
    use crate::rewards::{Reward, Rubric};
    use crate::rollout::{GradedRollouts, Rollout};
    use crate::seed::Seed;
    use crate::tokenizer::{BpeConfig, Tokenizer, train_byte_level_bpe};
    use crate::workers::Workers;

    const GROUPS: usize = 6;
    const GROUP_SIZE: usize = 3;

    /// What a reward does besides scoring.
    enum Habit {
        /// Takes 20 ms a group.
        Slow,
        /// Fails for the problem of this answer.
        Fails(usize),
        /// Panics at the problem of this answer.
        Panics(usize),
        /// Says that it needs the device.
        OnDevice,
    }

    /// The completion's ids above the mean of its group, and the threads that asked.
    struct AboveMean(Habit, Mutex<Vec<(ThreadId, usize)>>);

    impl AboveMean {
        fn new(habit: Habit) -> Arc<Self> {
            Arc::new(Self(habit, Mutex::default()))
        }
    }

    impl Reward for AboveMean {
        fn name(&self) -> &str {
            match self.0 {
                Habit::OnDevice => "on_device",
                _ => "on_host",
            }
        }

        fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
            self.score_group(std::slice::from_ref(attempt)).remove(0)
        }

        fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
            let sum = |attempt: &Attempt<'_>| attempt.token_ids.iter().map(|id| *id as f64).sum();
            let sums: Vec<f64> = attempts.iter().map(sum).collect();
            let mean = sums.iter().sum::<f64>() / sums.len() as f64;
            let is = |number: usize| attempts[0].problem.answer == json!(number);
            match self.0 {
                Habit::Slow => thread::sleep(Duration::from_millis(20)),
                Habit::Panics(number) if is(number) => panic!("asked for {number}"),
                _ => (),
            }
            let score = |sum: &f64| match self.0 {
                Habit::Fails(number) if is(number) => Err(Error::setting("timeout", "too short")),
                _ => Ok(Some(sum - mean)),
            };
            sums.iter().map(score).collect()
        }

        fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
            let asked = (thread::current().id(), groups.len());
            self.1.lock().unwrap().push(asked);
            groups.iter().map(|group| self.score_group(group)).collect()
        }

        fn needs_device(&self) -> bool {
            matches!(self.0, Habit::OnDevice)
        }
    }

    fn tokenizer() -> Tokenizer {
        train_byte_level_bpe([""].iter(), &BpeConfig::default()).unwrap()
    }

    fn rubric(rewards: &[&Arc<AboveMean>]) -> Rubric {
        let weights = [0.3, 0.7].into_iter();
        let rewards = weights.zip(rewards);
        rewards.fold(Rubric::default(), |rubric, (weight, reward)| {
            rubric.with(weight, Arc::clone(reward)).unwrap()
        })
    }

    fn problems() -> Vec<Problem> {
        let problem = |number: usize| Problem {
            prompt: Prompt::Text("?".repeat(number + 1)),
            answer: json!(number),
            level: None,
            language: None,
            part: None,
        };
        (0..GROUPS).map(problem).collect()
    }

    fn rollouter<'a>(tokenizer: &'a Tokenizer, rubric: &'a Rubric) -> Rollouter<'a> {
        Rollouter {
            tokenizer,
            template: PromptTemplate::Plain,
            rubric,
            group_size: GROUP_SIZE,
        }
    }

    /// Asks a model of random weights, a third of whose ids end a completion.
    fn ask(rubric: &Rubric) -> Result<GradedRollouts> {
        let tokenizer = tokenizer();
        let config = ModelConfig {
            vocab_size: tokenizer.vocabulary_size(),
            hidden_size: 8,
            intermediate_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 8,
            ..ModelConfig::of_family(Family::Llama)
        };
        let eos_ids = (0..config.vocab_size as u32).step_by(3).collect();
        let decoder = Decoder::random(config, 0.1, Seed::new(1), &Device::flex());
        let workers = Workers::new(2);
        // Two batches a worker: places in a batch are not those of the requests.
        let engine = Engine::new(&decoder, eos_ids, &workers).with_most_rows(5);
        let sampling = SamplingParams {
            max_completion_tokens: 12,
            ..SamplingParams::default()
        };
        let (rollouter, problems) = (rollouter(&tokenizer, rubric), problems());
        let requests = rollouter.requests(&problems, 0, Seed::new(2))?;
        rollouter.ask(&engine, &sampling, &problems, &requests, &|_| ())
    }

    /// What `rubric` gives the same completions when it is asked for all of them afterwards.
    fn graded_at_once(rubric: &Rubric, rollouts: &[Rollout]) -> Vec<Graded> {
        let problems = problems();
        let attempts: Vec<Attempt<'_>> = rollouts
            .iter()
            .enumerate()
            .map(|(place, rollout)| Attempt {
                problem: &problems[place / GROUP_SIZE],
                completion: &rollout.text,
                token_ids: &rollout.completion.ids,
                finished: rollout.completion.finish == FinishReason::Stop,
            })
            .collect();
        let groups: Vec<_> = attempts.chunks(GROUP_SIZE).collect();
        rubric.grade_groups(&groups).concat()
    }

    fn graded(rollouts: &[Rollout]) -> Vec<Graded> {
        let graded = rollouts.iter().map(|rollout| rollout.graded.clone());
        graded.collect()
    }

    #[test]
    fn what_is_graded_meanwhile_earns_what_it_earns_afterwards() {
        let (slow, device) = (AboveMean::new(Habit::Slow), AboveMean::new(Habit::OnDevice));
        // A reward that needs the device stands first: the order of parts is the rubric's.
        let rubric = rubric(&[&device, &slow]);
        let rollouts = ask(&rubric).unwrap().rollouts;
        assert_eq!(rollouts.len(), GROUPS * GROUP_SIZE);
        let tokenizer = tokenizer();
        for rollout in &rollouts {
            let text = tokenizer.decode(&rollout.completion.ids, true).unwrap();
            assert_eq!(rollout.text, text);
        }
        assert_eq!(graded(&rollouts), graded_at_once(&rubric, &rollouts));
        let totals: Vec<_> = rollouts.iter().map(|r| r.graded.total).collect();
        assert!(totals.iter().any(|total| *total != totals[0]), "{totals:?}");
    }

    #[test]
    fn the_device_is_asked_once_by_the_thread_that_generated() {
        let (slow, device) = (AboveMean::new(Habit::Slow), AboveMean::new(Habit::OnDevice));
        ask(&rubric(&[&slow, &device])).unwrap();
        let own = thread::current().id();
        assert_eq!(*device.1.lock().unwrap(), [(own, GROUPS)]);
        let asked = slow.1.lock().unwrap();
        assert!(asked.iter().all(|(thread, _)| *thread != own));
        assert_eq!(
            asked.iter().map(|(_, groups)| groups).sum::<usize>(),
            GROUPS
        );
    }

    #[test]
    fn a_failure_for_one_group_is_counted_there_alone() {
        let rubric = rubric(&[&AboveMean::new(Habit::Fails(4))]);
        let rollouts = ask(&rubric).unwrap().rollouts;
        for (place, rollout) in rollouts.iter().enumerate() {
            let failed = place / GROUP_SIZE == 4;
            assert_eq!(rollout.graded.errors.len(), usize::from(failed), "{place}");
            assert_eq!(rollout.graded.total.is_none(), failed, "{place}");
        }
        let message = "reward `on_host`: `timeout`: too short";
        assert_eq!(rollouts[4 * GROUP_SIZE].graded.errors, [message]);
    }

    #[test]
    fn a_panic_of_a_reward_comes_through() {
        let rubric = rubric(&[&AboveMean::new(Habit::Panics(2))]);
        let panic = catch_unwind(AssertUnwindSafe(|| ask(&rubric).map(drop))).unwrap_err();
        let message = panic.downcast_ref::<String>().map(String::as_str);
        assert_eq!(message, Some("asked for 2"));
    }

    #[test]
    fn places_decide_whatever_ends_first() {
        let (tokenizer, rubric) = (tokenizer(), rubric(&[&AboveMean::new(Habit::Slow)]));
        let (rollouter, problems) = (rollouter(&tokenizer, &rubric), problems());
        let (sender, ended) = mpsc::channel();
        let places = 0..GROUPS * GROUP_SIZE;
        // 7 and 18 have no divisor in common: every place comes once.
        for place in places.clone().map(|n| (n * 7 + 5) % (GROUPS * GROUP_SIZE)) {
            let completion = Completion {
                ids: vec![place as u32; place],
                logprobs: vec![0.0; place],
                finish: FinishReason::Length,
            };
            sender.send(Ended::new(place, &completion)).unwrap();
        }
        drop(sender);
        let grader = Grader::new(&rollouter, &problems).follow(&ended).unwrap();
        let totals: Vec<_> = grader.finish().map(|(_, graded)| graded.total).collect();
        // The ids of place p add up to p²; the mean of p², (p + 1)² and (p + 2)² is p² + 2p + 5/3.
        let expected = places.map(|place| {
            let first = (place - place % GROUP_SIZE) as f64;
            let mean = first * first + 2.0 * first + 5.0 / 3.0;
            (place * place) as f64 - mean
        });
        for (total, expected) in totals.into_iter().zip(expected) {
            assert!((total.unwrap() - 0.3 * expected).abs() < 1e-9);
        }
    }
}
