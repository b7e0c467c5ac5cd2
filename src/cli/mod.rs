//! The command line: one file a subcommand.
//!
//! Standard output carries what the user asked for and nothing else; progress, log lines and errors
//! go to standard error.

mod audit;
mod device_choice;
mod devices;
mod eval;
mod generate;
mod lines;
mod loaded_model;
mod plan;
mod run;
mod sandbox;
mod score;

use std::fs;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};
use tracing_subscriber::EnvFilter;

use crate::device::{self, DeviceSpec};
use crate::error::Error;
use crate::model::Decoder;
use crate::precision::Precision;
use crate::progress::Screen;

pub use audit::AuditArgs;
pub use devices::DevicesArgs;
pub use eval::EvalArgs;
pub use generate::GenerateArgs;
pub use plan::PlanArgs;
pub use run::RunArgs;
pub use sandbox::SandboxArgs;
pub use score::ScoreArgs;

/// Exit code of a command that failed.
const EXIT_FAILED: u8 = 1;
/// Exit code of a command that was asked for something impossible.
const EXIT_USAGE: u8 = 2;
/// Exit code after Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Portable trainer for reasoning models: the DeepSeek-R1 method as one program.
#[derive(Debug, Parser)]
#[command(name = "emberl", version)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand is told.
#[derive(Args, Debug)]
struct Globals {
    /// Where to compute: `auto`, `cpu`, `wgpu:N`, `vulkan:N` or `cuda:N`.
    #[arg(
        long,
        global = true,
        value_name = "DEVICE",
        help_heading = "Everywhere"
    )]
    device: Option<DeviceSpec>,
    /// What to compute in: `auto`, `f32`, `bf16` or `f16`.
    #[arg(
        long,
        global = true,
        value_name = "TYPE",
        value_parser = named::<Precision>,
        help_heading = "Everywhere"
    )]
    precision: Option<Precision>,
    /// Shows no progress and logs warnings only.
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    quiet: bool,
    #[arg(skip)]
    screen: OnceLock<Screen>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a recipe: a list of stages, each from model folder to model folder.
    Run(RunArgs),
    /// Says what a recipe needs of memory before anything starts, and whether it fits.
    Plan(PlanArgs),
    /// Shows what a recipe's rewards give to completions that deserve nothing.
    Audit(AuditArgs),
    /// Measures how often a model solves a task's held-out problems.
    Eval(EvalArgs),
    /// Continues prompts.
    Generate(GenerateArgs),
    /// Gives the log-probability of every token of given texts.
    Score(ScoreArgs),
    /// Lists the devices of this build and this machine.
    Devices(DevicesArgs),
    /// Runs a program that nobody has read; what a reward starts, and nobody else.
    #[command(hide = true)]
    Sandbox(SandboxArgs),
}

impl Cli {
    /// Does what the command line says; an error is told on standard error.
    pub fn main(&self) -> ExitCode {
        match self.execute() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // A closed standard error leaves nobody to tell.
                writeln!(io::stderr(), "emberl: {error:#}").ok();
                exit_code(&error).into()
            }
        }
    }

    fn execute(&self) -> Result<()> {
        if let Command::Sandbox(args) = &self.command {
            // Alone in its process: neither log nor progress.
            sandbox::run(args);
            return Ok(());
        }
        self.globals.start_logging()?;
        let globals = &self.globals;
        match &self.command {
            Command::Run(args) => run::run(args, globals),
            Command::Plan(args) => plan::run(args, globals),
            Command::Audit(args) => audit::run(args, globals),
            Command::Eval(args) => eval::run(args, globals),
            Command::Generate(args) => generate::run(args, globals),
            Command::Score(args) => score::run(args, globals),
            Command::Devices(args) => devices::run(args, globals),
            Command::Sandbox(_) => Ok(()),
        }
    }
}

impl Globals {
    /// The device named on the command line.
    fn device(&self) -> Result<Option<DeviceSpec>> {
        Ok(self.device.clone())
    }

    /// The device that `spec` comes down to on this machine.
    fn choose_device(&self, spec: &DeviceSpec) -> Result<DeviceSpec> {
        let chosen = device_choice::choose(spec);
        // A device that is not there is a wrong option, one that fails later is not.
        device::open(&chosen).map_err(|error| Error::setting("--device", error.to_string()))?;
        Ok(chosen)
    }

    /// Opens the device named on the command line, else the one that suits best.
    fn open_device(&self) -> Result<Device> {
        let spec = self.choose_device(&self.device.clone().unwrap_or_default())?;
        tracing::info!("computing on {spec}");
        Ok(device::open(&spec)?)
    }

    /// What `decoder` computes in by the command line, else what suits its device best.
    fn in_precision(&self, decoder: &Decoder) -> Result<Decoder> {
        let precision = self.precision.unwrap_or_default();
        Ok(decoder.with_precision(precision).map_err(of_option)?)
    }

    /// Where progress is shown.
    fn screen(&self) -> Screen {
        let screen = self.screen.get_or_init(|| Screen::new(self.quiet));
        screen.clone()
    }

    /// Sends log lines to standard error; `RUST_LOG` chooses which.
    fn start_logging(&self) -> Result<()> {
        let filter = match (std::env::var("RUST_LOG"), self.quiet) {
            (Ok(text), _) => EnvFilter::try_new(text)
                .map_err(|error| Error::setting("RUST_LOG", error.to_string()))?,
            (Err(_), true) => EnvFilter::new("error,emberl=warn"),
            (Err(_), false) => EnvFilter::new("error,emberl=info"),
        };
        let writer = self.screen().log_writer();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .without_time()
            .init();
        Ok(())
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Error::Interrupted) => EXIT_INTERRUPTED,
        Some(Error::Recipe { .. } | Error::Setting { .. }) => EXIT_USAGE,
        _ => EXIT_FAILED,
    }
}

/// Writes what the user asked for to standard output; a reader that has seen enough is no error.
fn print(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes());
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Checks that `path`, which `option` names, may be replaced by a file: a folder, a pipe or a device
/// must not be.
fn check_output(option: &str, path: &Path) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let problem = format!("{} is there and is no file", path.display());
            Err(Error::setting(option, problem))
        }
        _ => Ok(()),
    }
}

/// An error about a setting as one about the option that stands for it.
fn of_option(error: Error) -> Error {
    match error {
        Error::Setting { key, problem } => {
            let name = key.rsplit('.').next().unwrap_or(&key);
            Error::setting(format!("--{}", name.replace('_', "-")), problem)
        }
        other => other,
    }
}

/// Reads the name of a choice as recipes spell it.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, ValueError> {
    T::deserialize(StrDeserializer::new(name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::data::PromptTemplate;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_tell_usage_from_failure() {
        let code = |error: Error| exit_code(&anyhow::Error::from(error).context("somewhere"));
        assert_eq!(code(Error::setting("--n", "must be at least 1")), 2);
        assert_eq!(code(Error::line("a.jsonl", 3, "no JSON")), 1);
        assert_eq!(code(Error::Interrupted), 130);
        assert_eq!(exit_code(&anyhow::anyhow!("other")), 1);
    }

    #[test]
    fn choices_are_named_as_in_recipes() {
        assert_eq!(named("r1_zero"), Ok(PromptTemplate::R1Zero));
        let error = named::<PromptTemplate>("r1").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown variant `r1`, expected one of `plain`, `chat`, `r1_zero`"
        );
    }
}
