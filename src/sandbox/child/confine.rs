//! What a process gives up before it reads a program that nobody has read.
//!
//! Linux: resource limits, then a filter that lets through only the system calls that computing needs.
//! Other Unix systems: resource limits. Windows: nothing; there the interpreter's lack of host functions
//! and the parent's wall clock are all there is.

use std::io;

use super::ProcessLimits;

/// CPU seconds after the watch should have ended the process.
#[cfg(unix)]
const GRACE_SECONDS: u64 = 1;

/// Limits what the system gives to this process: no file it writes grows, none more is opened, no core
/// is dumped. Memory is limited by [`lock`], when it is known how much the interpreter itself takes.
#[cfg(unix)]
pub(super) fn limit(limits: ProcessLimits) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    let cpu = limits.cpu_seconds + GRACE_SECONDS;
    setrlimit(Resource::RLIMIT_CPU, cpu, cpu)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn limit(_: ProcessLimits) -> io::Result<()> {
    Ok(())
}

/// Closes the process: from here on it has the memory, threads and open files it has, and on Linux only
/// the system calls of [`filter`].
#[cfg(unix)]
pub(super) fn lock(limits: ProcessLimits) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    #[cfg(target_os = "linux")]
    if let Some(taken) = address_space()? {
        let most = taken.saturating_add(limits.memory_mib << 20);
        setrlimit(Resource::RLIMIT_AS, most, most)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = limits;
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, 0)?;
    #[cfg(target_os = "linux")]
    filter::install().map_err(io::Error::other)?;
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn lock(_: ProcessLimits) -> io::Result<()> {
    Ok(())
}

/// Bytes of address space that the process has; `None` where the system does not say.
#[cfg(target_os = "linux")]
fn address_space() -> io::Result<Option<u64>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.map(|kib| kib << 10))
}

/// The filter of system calls.
#[cfg(target_os = "linux")]
mod filter {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule,
    };

    /// What computing, the parent's pipes, memory and an orderly end need.
    const CALLS: &[i64] = &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_getrusage,
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_gettimeofday,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    /// Lets every thread of the process make [`CALLS`] only; any other fails as not permitted.
    pub(super) fn install() -> Result<(), Error> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            CALLS.iter().map(|call| (*call, Vec::new())).collect();
        // Signals to itself: how the watch and an abort end it.
        let own = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(std::process::id()),
        )?;
        rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Errno(libc::EPERM as u32),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter_all_threads(&program)
    }
}
