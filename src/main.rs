//! The `emberl` program.

use std::process::ExitCode;

use clap::Parser;

/// Tensors come and go by the thousand; the system's allocator would return and fault in their pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    emberl::cli::Cli::parse().main()
}
