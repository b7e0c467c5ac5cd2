//! The `emberl` program.

use clap::Parser;

fn main() -> std::process::ExitCode {
    match emberl::cli::Cli::parse().execute() {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("emberl: {error:#}");
            1.into()
        }
    }
}
