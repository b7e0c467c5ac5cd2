//! The sandbox's side of a run: gives up its rights, then runs one program or the tests of one.
//!
//! The first line that it writes is [`READY`], or why there will be no run; then it reads its task. That
//! and every later line is JSON.

#[cfg(feature = "python")]
mod confine;
#[cfg(feature = "python")]
mod json;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
mod watch;

use serde::{Deserialize, Serialize};

/// The line that says that the sandbox is closed and waits for its task.
pub(super) const READY: &str = "ready";

/// What a process of the sandbox is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// CPU time in seconds.
    pub cpu_seconds: u64,
    /// Memory in MiB, the interpreter's own 20 MiB included.
    pub memory_mib: u64,
    /// Bytes that a program may write.
    pub output_bytes: usize,
}

/// What a process of the sandbox is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub(super) enum Task {
    /// Runs a program to its end and says what it wrote.
    Script {
        /// The program.
        source: String,
        /// What it reads.
        stdin: String,
    },
    /// Runs a program and does what tests ask of it.
    Program {
        /// The program.
        source: String,
    },
    /// Runs tests of a program that runs elsewhere.
    Tests {
        /// Runs before the tests.
        setup: String,
        /// The tests.
        asserts: Vec<String>,
        /// The names that the tests take from the program; none means all.
        entry: Vec<String>,
        /// What the program's process said of its names.
        names: serde_json::Value,
    },
}

/// Confines this process and does the one task that it is given, from standard input to standard output.
#[cfg(feature = "python")]
pub fn serve(limits: ProcessLimits) {
    // What a panic would print is nobody's; the parent sees that no answer came.
    std::panic::set_hook(Box::new(|_| ()));
    let run = move || python::serve(limits);
    let started = confine::limit(limits).and_then(|()| {
        watch::start(limits)?;
        let thread = std::thread::Builder::new().stack_size(python::STACK_BYTES);
        thread.spawn(run)
    });
    match started {
        Ok(thread) => thread.join().unwrap_or_default(),
        Err(error) => refuse(&format!("the system does not limit it: {error}")),
    }
}

/// Says that this build has no interpreter.
#[cfg(not(feature = "python"))]
pub fn serve(_: ProcessLimits) {
    refuse("this build has no Python, build it with `--features python`");
}

/// Writes why there will be no run.
fn refuse(problem: &str) {
    write_line(problem);
}

/// Writes one line to the parent; if it is gone there is nobody to tell.
fn write_line(line: &str) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .ok();
}
