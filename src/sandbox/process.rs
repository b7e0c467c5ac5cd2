//! One process of the sandbox, seen from outside: lines to it, lines from it, and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::child::{ProcessLimits, READY};
use super::failure;
use crate::error::{Error, Result};

/// Bytes that a character can take in JSON, as `\u0000`.
const ESCAPED_BYTES: usize = 6;
/// Bytes of a line beside what the program writes.
const FRAME_BYTES: usize = 65_536;

/// The process said nothing more: it ended, ran out of time or said what is no line of JSON.
#[derive(Debug)]
pub(super) struct Silence;

/// A process that is killed when this is dropped.
///
/// Two threads read from and write to it, so that whatever it does or does not do nobody waits for it
/// longer than until its deadline.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    input: Sender<String>,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Process {
    /// Starts `executable` and waits until it has closed itself.
    ///
    /// # Errors
    /// When it does not start, or does not confine itself.
    pub(super) fn start(
        executable: &Path,
        folder: &Path,
        limits: &ProcessLimits,
        deadline: Instant,
    ) -> Result<Self> {
        let mut command = Command::new(executable);
        apart(&mut command);
        let mut child = command
            .arg("sandbox")
            .args(["--cpu-seconds", &limits.cpu_seconds.to_string()])
            .args(["--memory-mib", &limits.memory_mib.to_string()])
            .args(["--output-bytes", &limits.output_bytes.to_string()])
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io(executable, "run"))?;
        let (input, messages) = mpsc::channel();
        let (found, lines) = mpsc::sync_channel(1);
        let most = limits.output_bytes.saturating_mul(ESCAPED_BYTES) + FRAME_BYTES;
        if let Some(pipe) = child.stdin.take() {
            thread::spawn(move || write(pipe, &messages));
        }
        if let Some(pipe) = child.stdout.take() {
            thread::spawn(move || read(pipe, most as u64, &found));
        }
        let process = Self {
            child,
            input,
            lines,
            deadline,
        };
        match process.line() {
            Ok(line) if line == READY => Ok(process),
            Ok(line) => Err(failure(format!("the sandbox is refused: {line}"))),
            Err(Silence) => Err(failure("the sandbox does not start".into())),
        }
    }

    /// Sends a message; to a process that has ended it is lost.
    pub(super) fn send(&self, message: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(message) {
            self.input.send(line).ok();
        }
    }

    /// The next message.
    pub(super) fn receive(&self) -> Result<Value, Silence> {
        serde_json::from_str(&self.line()?).map_err(|_| Silence)
    }

    fn line(&self) -> Result<String, Silence> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|_| Silence)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Keeps the terminal's Ctrl-C from the process: it is for the run, which would take the end of a
/// program for its failure.
fn apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(command, NEW_GROUP);
}

/// `CREATE_NEW_PROCESS_GROUP` of the Windows API.
#[cfg(windows)]
const NEW_GROUP: u32 = 0x200;

fn write(mut pipe: ChildStdin, messages: &Receiver<String>) {
    for message in messages {
        let written = writeln!(pipe, "{message}").and_then(|()| pipe.flush());
        if written.is_err() {
            return;
        }
    }
}

/// Passes on lines of at most `most` bytes, until there is one that is longer or is no text.
fn read(pipe: ChildStdout, most: u64, found: &SyncSender<String>) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        let read = pipe.by_ref().take(most).read_until(b'\n', &mut line);
        if read.is_err() || line.pop() != Some(b'\n') {
            return;
        }
        let Ok(line) = String::from_utf8(line) else {
            return;
        };
        if found.send(line).is_err() {
            return;
        }
    }
}
