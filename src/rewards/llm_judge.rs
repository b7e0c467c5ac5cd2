//! The verdict of another language model, asked over HTTP (DeepSeek-R1, arXiv:2501.12948, listing 4:
//! the judge sees question, reference and answer, and gives an analysis and whether it is correct).
//!
//! Any service with OpenAI's chat interface will do. What it said is kept in the stage's folder, and
//! the same request is not made twice, so that a resumed run gives the same rewards. Requests that
//! fail through no fault of the answer are made again, with waits that double; then they are errors,
//! never a score of 0.

mod config;
mod endpoint;
mod prompt;
mod transcript;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

pub use self::config::LlmJudgeConfig;
use self::config::key;
use self::endpoint::{Endpoint, request};
use self::prompt::{DEFAULT_TEMPLATE, Template};
use self::transcript::{RequestHash, Transcript};
use super::{Attempt, Reward, RewardContext};
use crate::error::{Error, Result};

/// A judge's verdict as a reward.
pub struct LlmJudge {
    name: String,
    config: LlmJudgeConfig,
    template: Template,
    /// None where rewards are only checked.
    service: Option<Service>,
}

/// The judge and what it has said.
struct Service {
    endpoint: Endpoint,
    transcript: Mutex<Transcript>,
}

/// Requests by name.
type Requests = BTreeMap<RequestHash, Value>;

/// Why requests have no verdict.
type Failures = HashMap<RequestHash, String>;

impl LlmJudge {
    /// The judge `name` of `config`, which is asked if `context` has a folder for the transcript.
    ///
    /// # Errors
    /// When a setting is out of range, the key's variable is not set, or the transcript is broken.
    pub fn new(name: &str, config: &LlmJudgeConfig, context: &RewardContext<'_>) -> Result<Self> {
        config.validate(name)?;
        let template = config.prompt.as_deref().unwrap_or(DEFAULT_TEMPLATE);
        let service = match context.folder {
            Some(folder) => {
                let path = folder.join(format!("judge-{name}.jsonl"));
                Some(Service {
                    endpoint: Endpoint::open(name, config)?,
                    transcript: Mutex::new(Transcript::open(&path)?),
                })
            }
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            template: Template::new(template, &key(name, "prompt"))?,
            config: config.clone(),
            service,
        })
    }

    /// What the judge is asked about an attempt; none where there is no reference to compare with.
    fn request(&self, attempt: &Attempt<'_>) -> Option<(RequestHash, Value)> {
        let answer = self.config.scores.of(attempt.completion);
        let prompt = self.template.fill(attempt, answer)?;
        let request = request(&self.config, &prompt);
        Some((RequestHash::of(&self.config.url, &request), request))
    }

    fn failure(&self, problem: impl Into<String>) -> Error {
        Error::Reward {
            reward: self.name.clone(),
            problem: problem.into(),
        }
    }
}

impl Reward for LlmJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let mut scores = self.score_group(std::slice::from_ref(attempt));
        scores.pop().unwrap_or(Ok(None))
    }

    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        let asked: Vec<_> = attempts.iter().map(|a| self.request(a)).collect();
        let requests: Requests = asked.iter().flatten().cloned().collect();
        let answered = match &self.service {
            Some(service) => {
                let failures = service.ask_all(requests, self.config.concurrency);
                asked
                    .iter()
                    .map(|asked| match asked {
                        Some((request, _)) => service.verdict(request, &failures).map(Some),
                        None => Ok(None),
                    })
                    .collect()
            }
            None => vec![Err("no judge is asked here".to_owned()); attempts.len()],
        };
        let answered = answered.into_iter();
        answered
            .map(|score| score.map_err(|problem| self.failure(problem)))
            .collect()
    }

    /// All completions at once, so that requests are under way together.
    fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
        let mut scores = self.score_group(&groups.concat()).into_iter();
        groups
            .iter()
            .map(|group| scores.by_ref().take(group.len()).collect())
            .collect()
    }
}

impl Service {
    /// Asks what was not answered before, so many requests at once, and notes the replies.
    fn ask_all(&self, requests: Requests, concurrency: usize) -> Failures {
        let open: Vec<(RequestHash, Value)> = {
            let transcript = self.transcript();
            let is_open =
                |(request, _): &(RequestHash, Value)| transcript.verdict(request).is_none();
            requests.into_iter().filter(is_open).collect()
        };
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Failures::new());
        let work = || {
            while let Some((hash, request)) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(problem) = self.ask(hash, request) {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.insert(hash.clone(), problem);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..concurrency.min(open.len()) {
                scope.spawn(work);
            }
        });
        failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, hash: &RequestHash, request: &Value) -> Result<(), String> {
        let reply = self.endpoint.ask(request)?;
        let noted = self.transcript().note(hash, &reply);
        noted.map_err(|error| error.to_string())
    }

    /// The verdict on a request that was asked.
    fn verdict(&self, request: &RequestHash, failures: &Failures) -> Result<f64, String> {
        if let Some(problem) = failures.get(request) {
            return Err(problem.clone());
        }
        let verdict = self.transcript().verdict(request).flatten();
        verdict.ok_or_else(|| "the judge's reply has no verdict, or several".to_owned())
    }

    /// What is in the transcript stays whole when a thread panics: entries are only added.
    fn transcript(&self) -> std::sync::MutexGuard<'_, Transcript> {
        self.transcript
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
