//! Runs Python programs that nobody has read, each in a process of its own that can only compute.
//!
//! The interpreter is RustPython without its host features, frozen library included: no other one in Rust knows
//! generators, inheritance and the standard library. It is LGPL and large, so the cargo feature `python` adds it.
//!
//! A run is `emberl sandbox` as a child process with an empty environment, in an empty folder, its standard
//! error discarded. Before it reads the program it gives up what it can ([`child`], per system). What lets
//! nothing out is the interpreter first: it has no files, network, environment, threads, processes, signals
//! or foreign functions; the system's limits stand behind it, and behind those this side's wall clock.
//!
//! The results that tests expect never enter the process of the program. A script's output is compared here.
//! Asserts run in a second process, whose calls of the program's functions are carried over one by one as plain
//! data; of what is no plain data only a number goes over, and it never meets an expected value on the program's
//! side. So a program cannot read its tests, redefine `assert`, `abs` or `__eq__` for them, or end early as if
//! it had passed. What it can do is what its functions can: look at their arguments, and keep state from call
//! to call.
//!
//! Results do not depend on timing as long as a program stays away from its limits: CPU time is counted, not
//! time that passes, waiting takes no time, sets have one order and `random` one seed. A program that asks for
//! the time of day, or that uses just about the CPU time it may, can be judged differently in another run.

mod child;
mod executable;
mod process;
mod slots;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use child::{ProcessLimits, serve};

use crate::error::{Error, Result};
use child::Task;
use process::{Process, Silence};
use slots::Slots;

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Of each process.
    pub process: ProcessLimits,
    /// Time that may pass from start to end of a run.
    pub wall: Duration,
    /// Runs at the same time; more wait.
    pub runs: usize,
}

/// Tests of what a program defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssertTests {
    /// Python that runs before the tests: imports, functions the tests use.
    pub setup: String,
    /// The tests; one passes when it ends without an exception.
    pub asserts: Vec<String>,
    /// The names that tests use of the program, the first also as `candidate`; none means all that hide
    /// no built-in and no module.
    pub entry: Vec<String>,
    /// Whether the tests after one that fails are run.
    pub all: bool,
}

/// Runs programs, a bounded number at once.
#[derive(Debug)]
pub struct Sandbox {
    executable: PathBuf,
    limits: SandboxLimits,
    folder: TempDir,
    slots: Slots,
}

impl Sandbox {
    /// A sandbox whose processes are runs of `executable`, or without one of the program that
    /// `EMBERL_SANDBOX` names, or of this one if it is `emberl`.
    ///
    /// # Errors
    /// When there is no such program, or no folder can be made.
    pub fn new(executable: Option<&Path>, limits: SandboxLimits) -> Result<Self> {
        let folder = std::env::temp_dir();
        Ok(Self {
            executable: executable::find(executable)?,
            limits,
            folder: tempfile::tempdir().map_err(Error::io(folder, "create"))?,
            slots: Slots::new(limits.runs),
        })
    }

    /// Runs `source` as a main program that reads `stdin`; gives what it writes, or `None` when it fails
    /// or uses more than it may.
    ///
    /// # Errors
    /// When the sandbox fails by itself.
    pub fn script(&self, source: &str, stdin: &str) -> Result<Option<String>> {
        let _slot = self.slots.take();
        let process = self.start(Instant::now() + self.limits.wall)?;
        process.send(&Task::Script {
            source: source.into(),
            stdin: stdin.into(),
        });
        let answer = process.receive().ok();
        let text = answer.as_ref().and_then(|answer| answer["stdout"].as_str());
        let most = self.limits.process.output_bytes;
        Ok(text.filter(|text| text.len() <= most).map(str::to_string))
    }

    /// Runs `source`, then `tests` of what it defines; says of each whether it passes. What follows a
    /// test that ends the program, as by running out of time, does not.
    ///
    /// # Errors
    /// When the tests are no Python, or the sandbox fails by itself.
    pub fn asserts(&self, source: &str, tests: &AssertTests) -> Result<Vec<bool>> {
        let _slot = self.slots.take();
        let deadline = Instant::now() + self.limits.wall;
        let mut passed = Vec::with_capacity(tests.asserts.len());
        let program = self.start(deadline)?;
        program.send(&Task::Program {
            source: source.into(),
        });
        if let Some(names) = program.receive().ok().and_then(names) {
            let judge = self.start(deadline)?;
            judge.send(&Task::Tests {
                setup: tests.setup.clone(),
                asserts: tests.asserts.clone(),
                entry: tests.entry.clone(),
                names,
            });
            while passed.len() < tests.asserts.len() {
                let Some(pass) = verdict(&judge, &program)? else {
                    break;
                };
                passed.push(pass);
                if !pass && !tests.all {
                    break;
                }
            }
        }
        passed.resize(tests.asserts.len(), false);
        Ok(passed)
    }

    fn start(&self, deadline: Instant) -> Result<Process> {
        let limits = &self.limits.process;
        Process::start(&self.executable, self.folder.path(), limits, deadline)
    }
}

/// The names that a program says it defines; `None` when it failed.
fn names(mut answer: Value) -> Option<Value> {
    let is_names = answer[0] == "names";
    is_names.then(|| answer[1].take())
}

/// What the tests' process says next of a test, once all that it asks of the program is answered; `None`
/// when one of the two came to its end.
fn verdict(judge: &Process, program: &Process) -> Result<Option<bool>> {
    loop {
        let said = match judge.receive() {
            Ok(said) => said,
            Err(Silence) => return Ok(None),
        };
        match (said[0].as_str(), &said[1]) {
            (Some("passed"), pass) => return Ok(Some(pass == &Value::Bool(true))),
            (Some("broken"), problem) => {
                let problem = format!("the problem's tests: {problem}");
                return Err(failure(problem));
            }
            (Some(_), _) => program.send(&said),
            (None, _) => return Ok(None),
        }
        match program.receive() {
            Ok(answer) => judge.send(&answer),
            Err(Silence) => return Ok(None),
        }
    }
}

/// A failure that is not the program's.
fn failure(problem: String) -> Error {
    Error::Reward {
        reward: "code".into(),
        problem,
    }
}
