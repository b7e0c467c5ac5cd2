//! Ends the process when it has used its CPU time or its memory.
//!
//! The kernel counts CPU time in whole seconds and, but for Linux, does not limit memory; so a thread of
//! the process looks at both. The kernel's limits stay behind it.

use std::io;

use super::ProcessLimits;

/// Looks from now on; a process that exceeds its limits is killed.
#[cfg(unix)]
pub(super) fn start(limits: ProcessLimits) -> io::Result<()> {
    use nix::sys::signal::{Signal, raise};

    let look = move || {
        while let Some(used) = used() {
            if used.cpu_seconds > limits.cpu_seconds as f64 {
                raise(Signal::SIGXCPU).ok();
            }
            if used.bytes > limits.memory_mib << 20 {
                raise(Signal::SIGKILL).ok();
            }
            std::thread::sleep(INTERVAL);
        }
    };
    let thread = std::thread::Builder::new().stack_size(WATCH_STACK_BYTES);
    thread.spawn(look).map(|_| ())
}

/// There is no such clock: only the parent's wall clock bounds the process.
#[cfg(not(unix))]
pub(super) fn start(_: ProcessLimits) -> io::Result<()> {
    Ok(())
}

/// Time between two looks.
#[cfg(unix)]
const INTERVAL: std::time::Duration = std::time::Duration::from_millis(2);

#[cfg(unix)]
const WATCH_STACK_BYTES: usize = 256 << 10;

/// What a process has used.
#[cfg(unix)]
struct Used {
    cpu_seconds: f64,
    /// The most memory it ever had.
    bytes: u64,
}

#[cfg(unix)]
fn used() -> Option<Used> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeVal;

    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6;
    // macOS counts bytes, the others KiB.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Some(Used {
        cpu_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
        bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * unit,
    })
}
