//! The command line: one file a subcommand.

mod run;

use std::io::Write;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::device::{self, DeviceSpec};
use crate::progress::Screen;

pub use run::RunArgs;

/// Exit code after Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Portable trainer for reasoning models.
#[derive(Parser, Debug)]
#[command(version)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args, Debug)]
struct Globals {
    /// The device: auto, cpu, wgpu:N, vulkan:N or cuda:N.
    #[arg(long, global = true)]
    device: Option<DeviceSpec>,
    /// Shows no moving bars.
    #[arg(long, global = true)]
    quiet: bool,
}

impl Globals {
    fn device(&self) -> Result<Option<DeviceSpec>> {
        Ok(self.device.clone())
    }

    fn choose_device(&self, spec: &DeviceSpec) -> Result<DeviceSpec> {
        Ok(match spec {
            DeviceSpec::Auto => device::choose(&device::adapters()),
            spec => spec.clone(),
        })
    }

    fn screen(&self) -> Screen {
        Screen::new(self.quiet)
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs a recipe.
    Run(RunArgs),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// When the command failed.
    pub fn execute(&self) -> Result<()> {
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
        match &self.command {
            Command::Run(args) => run::run(args, &self.globals),
        }
    }
}

/// Writes what the user asked for to standard output.
fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
