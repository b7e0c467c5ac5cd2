//! `emberl sandbox`: the process in which the reward `code` runs a program.

use clap::Args;

use crate::sandbox::{ProcessLimits, serve};

/// What `emberl sandbox` is told; its task comes by standard input.
#[derive(Args, Debug)]
pub struct SandboxArgs {
    /// CPU time in seconds.
    #[arg(long, value_name = "N")]
    cpu_seconds: u64,
    /// Memory in MiB.
    #[arg(long, value_name = "N")]
    memory_mib: u64,
    /// Bytes that the program may write.
    #[arg(long, value_name = "N")]
    output_bytes: usize,
}

pub(super) fn run(args: &SandboxArgs) {
    serve(ProcessLimits {
        cpu_seconds: args.cpu_seconds,
        memory_mib: args.memory_mib,
        output_bytes: args.output_bytes,
    });
}
