//! `emberl devices --check`: whether every device computes what the CPU does.
//!
//! Each device is measured by a child process: a crash in a driver ends the child alone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use super::DevicesArgs;
use super::parity::Finding;
use crate::cli::{EXIT_USAGE, Globals, device_choice, print};
use crate::device::{self, AdapterKind, DeviceSpec};
use crate::error::Error;
use crate::model::{Head, ModelConfig};

/// Option of `emberl devices --check` that makes it the child: findings as JSON, one a line.
pub(super) const MEASURE_OPTION: &str = "measure-json";

/// What a child found.
struct Report {
    device: DeviceSpec,
    findings: Vec<Finding>,
    /// How the child ended, if not well.
    crash: Option<ExitStatus>,
}

/// Checks the device that is named, else all; prints a table.
///
/// # Errors
/// When a check failed, the device that is named is not there, or the model is no language model.
pub(super) fn run(args: &DevicesArgs, globals: &Globals) -> Result<()> {
    if let Some(model) = args.checked_model() {
        check_model(model)?;
    }
    let reports = match globals.device()? {
        Some(spec) => {
            let spec = device_choice::choose(&spec);
            let missing = || Error::setting("--device", format!("`{spec}` cannot be checked"));
            vec![measure(&spec, args, globals)?.ok_or_else(missing)?]
        }
        None => all(args, globals)?,
    };
    let checks = || reports.iter().flat_map(Report::verdicts);
    print(&table(&reports))?;
    let failed = checks().filter(|passed| !passed).count();
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} checks failed", checks().count()),
    }
}

/// Whether the folder's model has logits to compare.
fn check_model(folder: &Path) -> Result<()> {
    match ModelConfig::load(folder)?.head {
        Head::Vocabulary => Ok(()),
        Head::Score => {
            let problem = "has a score for a head, expected a language model";
            Err(Error::setting("--check", problem).into())
        }
    }
}

/// Reports of every device of this build and this machine.
fn all(args: &DevicesArgs, globals: &Globals) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for spec in named_devices() {
        reports.extend(measure(&spec, args, globals)?);
    }
    if device::compiled_backends().contains(&"cuda") {
        // CUDA's devices are counted by opening one after the other.
        let devices = (0..).map(DeviceSpec::Cuda);
        for report in devices.map_while(|spec| measure(&spec, args, globals).transpose()) {
            let report = report?;
            let has_crashed = report.crash.is_some();
            reports.push(report);
            if has_crashed {
                break;
            }
        }
    }
    Ok(reports)
}

/// The CPU, wgpu's adapters, and those that SPIR-V reaches.
fn named_devices() -> Vec<DeviceSpec> {
    let adapters = device_choice::adapters().unwrap_or_else(|error| {
        tracing::warn!("GPUs cannot be listed: {error:#}");
        Vec::new()
    });
    let is_gpu = |adapter: &&device::Adapter| {
        adapter.kind == AdapterKind::DiscreteGpu && adapter.api == "vulkan"
    };
    let spirv = match device::compiled_backends().contains(&"vulkan") {
        true => adapters.iter().filter(is_gpu).count(),
        false => 0,
    };
    let wgpu = adapters.iter().map(|adapter| adapter.index);
    std::iter::once(DeviceSpec::Cpu)
        .chain(wgpu.map(DeviceSpec::Wgpu))
        .chain((0..spirv).map(DeviceSpec::Vulkan))
        .collect()
}

/// Measures a device in a child process; none if it is not there.
fn measure(spec: &DeviceSpec, args: &DevicesArgs, globals: &Globals) -> Result<Option<Report>> {
    tracing::info!("checking {spec}");
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(["devices", &format!("--{MEASURE_OPTION}"), "--check"]);
    command.args(args.checked_model());
    command.args(["--device", &spec.to_string(), "--quiet"]);
    if let Some(precision) = globals.precision {
        command.args(["--precision", precision.name()]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.context("cannot start a child process")?;
    let output = child.stdout.take().context("a child has an output")?;
    let mut findings = Vec::new();
    for line in BufReader::new(output).lines() {
        // Drivers may write to standard output too.
        findings.extend(serde_json::from_str::<Finding>(&line?).ok());
    }
    let status = child.wait()?;
    if status.code() == Some(EXIT_USAGE.into()) {
        return Ok(None);
    }
    Ok(Some(Report {
        device: spec.clone(),
        findings,
        crash: (!status.success()).then_some(status),
    }))
}

impl Report {
    /// Whether each check passed; the end of the process is one of them.
    fn verdicts(&self) -> impl Iterator<Item = bool> {
        let findings = self.findings.iter().map(Finding::passes);
        findings.chain(self.crash.map(|_| false))
    }

    fn rows(&self) -> Vec<[String; 6]> {
        let device = self.device.to_string();
        let mut rows: Vec<_> = self
            .findings
            .iter()
            .map(|finding| row(&device, finding))
            .collect();
        if let Some(status) = self.crash {
            let verdict = format!("FAILED: the process ended ({status})");
            let dash = || "-".to_string();
            rows.push(["the rest".into(), device, dash(), dash(), dash(), verdict]);
        }
        rows
    }
}

fn row(device: &str, finding: &Finding) -> [String; 6] {
    let verdict = match (&finding.problem, finding.passes()) {
        (Some(problem), _) => format!("FAILED: {problem}"),
        (None, true) => "ok".into(),
        (None, false) => "FAILED".into(),
    };
    let number = |number: Option<f64>| number.map_or("-".into(), |number| format!("{number:.1e}"));
    [
        finding.check.clone(),
        device.to_string(),
        finding.dtype.clone(),
        number(finding.difference),
        number(Some(finding.tolerance)),
        verdict,
    ]
}

fn table(reports: &[Report]) -> String {
    let head = [
        "check",
        "device",
        "dtype",
        "difference",
        "tolerance",
        "verdict",
    ];
    let mut rows = vec![head.map(String::from)];
    rows.extend(reports.iter().flat_map(Report::rows));
    let about = "Differences are to the CPU, relative to the largest number of each result.";
    format!("{}\n{about}\n", super::aligned(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_and_a_result_that_is_no_number_fail() {
        let finding = |difference| Finding {
            check: "logits".into(),
            dtype: "f32".into(),
            difference,
            tolerance: 1e-4,
            problem: None,
        };
        let mut report = Report {
            device: DeviceSpec::Cpu,
            findings: vec![finding(Some(1e-5)), finding(None), finding(Some(2e-4))],
            crash: None,
        };
        assert!(report.verdicts().eq([true, false, false]));
        report.crash = Some(ExitStatus::default());
        assert!(report.verdicts().eq([true, false, false, false]));
        assert!(table(&[report]).contains("the process ended"));
    }
}
