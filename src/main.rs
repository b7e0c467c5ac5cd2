//! The `emberl` program.

use clap::Parser;

/// Tensors come and go by the thousand; the system's allocator would return and fault in their pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    match emberl::cli::Cli::parse().execute() {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("emberl: {error:#}");
            1.into()
        }
    }
}
