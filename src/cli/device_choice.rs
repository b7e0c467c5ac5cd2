//! Which device `auto` is.
//!
//! Graphics drivers run their own code while adapters are listed, and a broken one takes the process
//! down with it. So adapters are listed by a child process, which may crash or hang without harm.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::device::{self, Adapter, DeviceSpec};

/// Option of `emberl devices` that makes it the child: the adapters as JSON.
pub(super) const PROBE_OPTION: &str = "probe-json";

/// Longest that drivers may take to list their adapters.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between looks at the child.
const PAUSE: Duration = Duration::from_millis(10);

/// The device that `spec` means on this machine; drivers that cannot be asked leave the CPU.
pub(super) fn choose(spec: &DeviceSpec) -> DeviceSpec {
    if *spec != DeviceSpec::Auto {
        return spec.clone();
    }
    match adapters() {
        Ok(adapters) => device::choose(&adapters),
        Err(error) => {
            tracing::warn!("taking the CPU, for GPUs cannot be listed: {error:#}");
            DeviceSpec::Cpu
        }
    }
}

/// The adapters that wgpu finds, listed by a child process.
///
/// # Errors
/// When the child crashed, took too long or could not be started.
pub(super) fn adapters() -> Result<Vec<Adapter>> {
    if !device::compiled_backends().contains(&"wgpu") {
        return Ok(Vec::new());
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let child = Command::new(program)
        .args(["devices", &format!("--{PROBE_OPTION}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.context("cannot start a child process")?;
    let status = wait(&mut child, PATIENCE)?;
    if !status.success() {
        bail!("a driver ended the process that asked it ({status})");
    }
    let mut answer = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut answer)?;
    }
    serde_json::from_str(&answer).context("a driver wrote to standard output")
}

/// Waits for `child` to end, at most `patience`; then it is killed.
fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            bail!("drivers took longer than {} s", patience.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn child(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().unwrap()
    }

    #[test]
    fn child_that_hangs_is_killed() {
        let mut child = child("exec sleep 60");
        let error = wait(&mut child, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("took longer"), "{error}");
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn child_that_crashes_has_no_success() {
        let status = wait(&mut child("kill -SEGV $$"), Duration::from_secs(10)).unwrap();
        assert!(!status.success());
    }
}
