//! `emberl devices`: what this build can use, what this machine has, and what `auto` takes.

mod check;
mod parity;
mod tune;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use anyhow::{Context, Result};

use super::{Globals, device_choice};
use crate::device::{self, Adapter, AdapterKind, DeviceSpec};

/// What `emberl devices` is told.
#[derive(Args, Debug)]
pub struct DevicesArgs {
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Lists the adapters in this process, as JSON.
    #[arg(long = device_choice::PROBE_OPTION, hide = true)]
    probe: bool,
    /// Checks that every device, or that of `--device`, computes what the CPU does: logits, losses,
    /// gradients, an optimiser step, sampling; with MODEL's weights or those of a small random model.
    #[arg(long, value_name = "MODEL", num_args = 0..=1)]
    check: Option<Option<PathBuf>>,
    /// Checks one device in this process and writes findings as JSON.
    #[arg(long = check::MEASURE_OPTION, hide = true, requires = "check")]
    measure: bool,
    /// Tunes a GPU ahead of time for a recipe, or for generation and training with the model of a
    /// folder, which needs no weights.
    #[arg(long, value_name = "MODEL|RECIPE", conflicts_with = "check")]
    tune: Option<PathBuf>,
}

/// What is there.
#[derive(Debug, Serialize)]
struct Devices {
    /// Backends of this build.
    compiled: Vec<&'static str>,
    /// The machine's cores that this process may use.
    cpu_cores: usize,
    /// What wgpu finds.
    adapters: Vec<Adapter>,
    /// Why the adapters are not known, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The device that `auto` takes.
    auto: DeviceSpec,
    /// The folder that keeps tuned kernels.
    kernels: String,
}

pub(super) fn run(args: &DevicesArgs, globals: &Globals) -> Result<()> {
    if args.probe {
        return print_json(&device::adapters());
    }
    if args.measure {
        return measure(args, globals);
    }
    if args.check.is_some() {
        return check::run(args, globals);
    }
    if let Some(target) = &args.tune {
        return tune::run(target, globals);
    }
    let devices = Devices::find();
    match args.json {
        true => print_json(&devices),
        false => super::print(&devices.describe()),
    }
}

impl DevicesArgs {
    /// The model whose weights are checked with, if one is named.
    fn checked_model(&self) -> Option<&Path> {
        self.check.as_ref()?.as_deref()
    }
}

/// Checks the device that the command line names; one finding a line.
fn measure(args: &DevicesArgs, globals: &Globals) -> Result<()> {
    let spec = globals.choose_device(&globals.device()?.unwrap_or_default())?;
    let model = args.checked_model();
    parity::run(&spec, globals.precision, model, &mut |finding| {
        let line = serde_json::to_string(&finding).context("cannot be written as JSON")?;
        // Ends when nobody reads on.
        writeln!(io::stdout(), "{line}").context("cannot write to standard output")
    })
}

impl Devices {
    fn find() -> Self {
        let (adapters, problem) = match device_choice::adapters() {
            Ok(adapters) => (adapters, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        Self {
            compiled: device::compiled_backends(),
            cpu_cores: std::thread::available_parallelism().map_or(1, usize::from),
            auto: device::choose(&adapters),
            kernels: device::kernel_folder()
                .map_or("not kept".into(), |folder| folder.display().to_string()),
            adapters,
            problem,
        }
    }

    fn describe(&self) -> String {
        let cores = format!("{} cores", self.cpu_cores);
        let mut rows = vec![
            ["device", "name", "kind", "api", "driver"].map(String::from),
            ["cpu", &cores, "cpu", "", ""].map(String::from),
        ];
        rows.extend(self.adapters.iter().map(|adapter| {
            [
                DeviceSpec::Wgpu(adapter.index).to_string(),
                adapter.name.clone(),
                kind_name(adapter.kind).to_string(),
                adapter.api.clone(),
                adapter.driver.clone(),
            ]
        }));
        let problem = match &self.problem {
            Some(problem) => format!("\nGPUs cannot be listed: {problem}"),
            None => String::new(),
        };
        format!(
            "{}\ncompiled in: {}\nauto takes: {}\ntuned kernels: {}{problem}\n",
            aligned(&rows),
            self.compiled.join(", "),
            self.auto,
            self.kernels
        )
    }
}

fn kind_name(kind: AdapterKind) -> &'static str {
    match kind {
        AdapterKind::DiscreteGpu => "discrete GPU",
        AdapterKind::IntegratedGpu => "integrated GPU",
        AdapterKind::VirtualGpu => "virtual GPU",
        AdapterKind::Software => "software",
        AdapterKind::Other => "other",
    }
}

/// One line a row, every column as wide as its widest cell.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot be written as JSON")?;
    super::print(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_for_each_device_and_names_what_auto_takes() {
        let gpu = Adapter {
            index: 0,
            name: "Radeon".into(),
            kind: AdapterKind::DiscreteGpu,
            api: "vulkan".into(),
            driver: "radv 25.1".into(),
        };
        let devices = Devices {
            compiled: vec!["cpu", "wgpu"],
            cpu_cores: 4,
            auto: device::choose(std::slice::from_ref(&gpu)),
            adapters: vec![gpu],
            kernels: "/cache".into(),
            problem: None,
        };
        let expected = "\
device  name     kind          api     driver
cpu     4 cores  cpu
wgpu:0  Radeon   discrete GPU  vulkan  radv 25.1

compiled in: cpu, wgpu
auto takes: wgpu:0
tuned kernels: /cache
";
        assert_eq!(devices.describe(), expected);
    }
}
