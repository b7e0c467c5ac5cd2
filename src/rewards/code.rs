//! Code: 1 for a Python program that passes the problem's tests, else 0, or the share that it passes.
//!
//! The program is the last closed block of Python in the answer. The problem's `answer` holds the tests, as
//! a JSON object or a text of one: `tests`, a list of `{"stdin": "…", "stdout": "…"}`, each a run of the
//! program from its start; `asserts`, a list of Python statements about what it defines, such as
//! `assert area(2) == 4`; with these, if wanted, `setup`, Python that runs before them, and `entry`, the
//! name or names that they use of the program, the first also known as `candidate`. HumanEval's `check` is
//! a `setup`, `check(candidate)` its assert. What tests import they import in `setup` or themselves.
//!
//! Output is compared line by line without white space at line ends and without empty lines at the end.
//! How programs are run, and what they cannot do, is in [`crate::sandbox`].

mod block;
mod suite;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AnswerSource, Attempt, Reward};
use crate::error::{Error, Result};
use crate::sandbox::{ProcessLimits, Sandbox, SandboxLimits};
use block::last_python_block;
use suite::Suite;

/// Wall time of a run over the CPU time that it may use: runs share cores with training.
const WALL_FACTOR: u64 = 5;
/// The least memory in which the interpreter runs.
const LEAST_MEMORY_MIB: u64 = 64;

/// Settings of [`Code`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodeConfig {
    /// Factor in the sum of rewards.
    pub weight: f64,
    /// Where the answer with the program stands in the completion.
    pub answer: AnswerSource,
    /// Whether a program that passes some tests gets their share; else it gets 0.
    pub partial: bool,
    /// Most tests of a problem that are run, its first ones.
    pub most_tests: usize,
    /// CPU seconds of a test with input and output; of all asserts of a problem together. The time that
    /// passes may be five times as much.
    pub cpu_seconds: u64,
    /// Memory of a run in MiB, at least 64.
    pub memory_mib: u64,
    /// Bytes that a program may write.
    pub output_bytes: usize,
    /// Programs that run at the same time; as it comes, as many as there are cores.
    pub processes: Option<NonZeroUsize>,
    /// A build of emberl with Python, where this program is none.
    pub program: Option<PathBuf>,
}

impl Default for CodeConfig {
    fn default() -> Self {
        Self {
            weight: 1.0,
            answer: AnswerSource::default(),
            partial: false,
            most_tests: 64,
            cpu_seconds: 6,
            memory_mib: 512,
            output_bytes: 1 << 20,
            processes: None,
            program: None,
        }
    }
}

impl CodeConfig {
    fn limits(&self) -> Result<SandboxLimits> {
        let least = [
            ("most_tests", self.most_tests as u64, 1),
            ("cpu_seconds", self.cpu_seconds, 1),
            ("memory_mib", self.memory_mib, LEAST_MEMORY_MIB),
            ("output_bytes", self.output_bytes as u64, 1),
        ];
        for (name, value, least) in least {
            if !(least..=u64::from(u32::MAX)).contains(&value) {
                let problem = format!("is {value}, must be {least} to {}", u32::MAX);
                return Err(Error::setting(format!("rewards.code.{name}"), problem));
            }
        }
        let cores = thread::available_parallelism().ok();
        Ok(SandboxLimits {
            process: ProcessLimits {
                cpu_seconds: self.cpu_seconds,
                memory_mib: self.memory_mib,
                output_bytes: self.output_bytes,
            },
            wall: Duration::from_secs(self.cpu_seconds * WALL_FACTOR),
            runs: self.processes.or(cores).map_or(1, NonZeroUsize::get),
        })
    }
}

/// The code reward, 0 to 1; none for a problem without tests.
#[derive(Debug)]
pub struct Code {
    answer: AnswerSource,
    partial: bool,
    most_tests: usize,
    /// Programs that run at the same time.
    runs: usize,
    sandbox: Sandbox,
}

impl Code {
    /// The reward of these settings.
    ///
    /// # Errors
    /// When a setting is out of range or there is no program to run Python with.
    pub fn new(config: &CodeConfig) -> Result<Self> {
        let limits = config.limits()?;
        Ok(Self {
            answer: config.answer,
            partial: config.partial,
            most_tests: config.most_tests,
            runs: limits.runs,
            sandbox: Sandbox::new(config.program.as_deref(), limits)?,
        })
    }

    /// The share of the tests that `program` passes; without partial credit 0 as soon as one fails.
    fn share(&self, suite: &Suite, program: &str) -> Result<f64> {
        let count = suite.tests.len() + suite.asserts.asserts.len();
        let mut passed = 0;
        for test in &suite.tests {
            let output = self.sandbox.script(program, &test.stdin)?;
            let passes = output.is_some_and(|output| lines(&output).eq(lines(&test.stdout)));
            if !passes && !self.partial {
                return Ok(0.0);
            }
            passed += usize::from(passes);
        }
        if !suite.asserts.asserts.is_empty() {
            let results = self.sandbox.asserts(program, &suite.asserts)?;
            passed += results.into_iter().filter(|passes| *passes).count();
        }
        match self.partial {
            true => Ok(passed as f64 / count as f64),
            false => Ok(f64::from(u8::from(passed == count))),
        }
    }
}

impl Reward for Code {
    fn name(&self) -> &str {
        "code"
    }

    fn score(&self, attempt: &Attempt<'_>) -> Result<Option<f64>> {
        let Some(mut suite) = Suite::read(&attempt.problem.answer)? else {
            return Ok(None);
        };
        suite.keep_first(self.most_tests);
        suite.asserts.all = self.partial;
        let answer = self.answer.extract(attempt.completion);
        match answer.and_then(last_python_block) {
            Some(program) => self.share(&suite, program).map(Some),
            None => Ok(Some(0.0)),
        }
    }

    fn score_group(&self, attempts: &[Attempt<'_>]) -> Vec<Result<Option<f64>>> {
        let mut groups = self.score_groups(&[attempts]);
        groups.pop().unwrap_or_default()
    }

    /// As many at a time as may run.
    fn score_groups(&self, groups: &[&[Attempt<'_>]]) -> Vec<Vec<Result<Option<f64>>>> {
        let attempts: Vec<&Attempt<'_>> = groups.iter().copied().flatten().collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut scores = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(attempt) = attempts.get(index) else {
                    return scores;
                };
                scores.push((index, self.score(attempt)));
            }
        };
        let mut scores: Vec<_> = thread::scope(|scope| {
            let count = self.runs.min(attempts.len());
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let scores = threads.into_iter().flat_map(|thread| match thread.join() {
                Ok(scores) => scores,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            scores.collect()
        });
        scores.sort_by_key(|(index, _)| *index);
        let mut scores = scores.into_iter().map(|(_, score)| score);
        let of_group = |group: &&[Attempt<'_>]| scores.by_ref().take(group.len()).collect();
        groups.iter().map(of_group).collect()
    }
}

/// The lines of an output as they are compared.
fn lines(output: &str) -> impl Iterator<Item = &str> {
    output.trim_end().lines().map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_compared_without_white_space_at_ends() {
        let equal = |one: &str, other: &str| lines(one).eq(lines(other));
        assert!(equal("1 2 \n3\n\n", "1 2\n3"));
        assert!(equal("", "\n \n"));
        assert!(equal("1\r\n2\r\n", "1\n2"));
        assert!(!equal("1\n\n2", "1\n2"));
        assert!(!equal(" 1", "1"));
        assert!(!equal("1 2", "1  2"));
    }

    #[test]
    fn setting_out_of_range_is_named() {
        for (settings, key) in [
            ("most_tests = 0", "most_tests"),
            ("cpu_seconds = 0", "cpu_seconds"),
            ("cpu_seconds = 5000000000", "cpu_seconds"),
            ("memory_mib = 32", "memory_mib"),
            ("output_bytes = 0", "output_bytes"),
        ] {
            let error = Code::new(&toml::from_str(settings).unwrap()).unwrap_err();
            let message = error.to_string();
            assert!(
                message.starts_with(&format!("`rewards.code.{key}`: ")),
                "{message}"
            );
        }
        assert!(toml::from_str::<CodeConfig>("processes = 0").is_err());
        assert!(toml::from_str::<CodeConfig>("timeout = 1").is_err());
    }

    #[test]
    fn program_that_is_not_there_is_an_error_of_the_settings() {
        let config = CodeConfig {
            program: Some("no/such/emberl".into()),
            ..CodeConfig::default()
        };
        let message = Code::new(&config).unwrap_err().to_string();
        assert!(message.starts_with("`rewards.code.program`: "), "{message}");
    }
}
