//! Devices: what a user names (`auto`, `cpu`, `wgpu:0`, `vulkan:0`, `cuda:1`) and what this build
//! and this machine have.
//!
//! The only room that looks at cargo features.

mod adapters;
mod kernels;
mod tuning;

#[cfg(feature = "wgpu")]
pub(crate) use adapters::multiplies_halves;
pub use adapters::{Adapter, AdapterKind, adapters, choose};
pub use kernels::{kept_kernels, kernel_folder, once_a_machine};
pub use tuning::while_tuning;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A device as a user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// A real GPU if wgpu finds one, else the CPU.
    #[default]
    Auto,
    /// The CPU backend.
    Cpu,
    /// Adapter `n` as `emberl devices` lists them, through wgpu.
    Wgpu(usize),
    /// GPU `n` through Vulkan and SPIR-V.
    Vulkan(usize),
    /// NVIDIA GPU `n` through CUDA.
    Cuda(usize),
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::Device {
            device: text.to_string(),
            problem: "unknown, expected `auto`, `cpu`, `wgpu:N`, `vulkan:N` or `cuda:N`".into(),
        };
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, index.parse().map_err(|_| unknown())?),
            None => (text, 0),
        };
        match name {
            "auto" if !text.contains(':') => Ok(Self::Auto),
            "cpu" if !text.contains(':') => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu(index)),
            "vulkan" => Ok(Self::Vulkan(index)),
            "cuda" => Ok(Self::Cuda(index)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Names of the backends in this build: `cpu`, `wgpu`, `vulkan`, `cuda`.
pub fn compiled_backends() -> Vec<&'static str> {
    let mut names = Vec::new();
    if cfg!(feature = "flex") {
        names.push("cpu");
    }
    if cfg!(feature = "wgpu") {
        names.push("wgpu");
    }
    if cfg!(feature = "vulkan") {
        names.push("vulkan");
    }
    if cfg!(feature = "cuda") {
        names.push("cuda");
    }
    names
}

/// Opens the device that `spec` names.
///
/// # Errors
/// When this build lacks the backend or the machine lacks the device.
pub fn open(spec: &DeviceSpec) -> Result<Device> {
    match spec {
        DeviceSpec::Auto => open(&choose(&adapters())),
        DeviceSpec::Cpu => open_cpu(),
        DeviceSpec::Wgpu(index) => open_wgpu(*index),
        DeviceSpec::Vulkan(index) => open_vulkan(*index),
        DeviceSpec::Cuda(index) => open_cuda(*index),
    }
}

/// Whether tensors of this device live in the host's memory and operations run on the calling
/// thread, so that work is spread by worker threads.
pub fn is_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    {
        device.clone().without_autodiff() == Device::flex()
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

#[cfg(feature = "flex")]
fn open_cpu() -> Result<Device> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn open_cpu() -> Result<Device> {
    Err(not_compiled("cpu", "flex"))
}

#[cfg(feature = "wgpu")]
fn open_wgpu(index: usize) -> Result<Device> {
    use burn::tensor::DeviceKind;

    let adapters = adapters();
    let Some(adapter) = adapters.get(index) else {
        return Err(missing(&format!("wgpu:{index}"), adapters.len()));
    };
    // Burn numbers adapters within their kind.
    let position = adapters[..index]
        .iter()
        .filter(|other| other.kind == adapter.kind && other.api == adapter.api)
        .count();
    let kind = match adapter.kind {
        AdapterKind::DiscreteGpu => DeviceKind::DiscreteGpu(position),
        AdapterKind::IntegratedGpu => DeviceKind::IntegratedGpu(position),
        AdapterKind::VirtualGpu => DeviceKind::VirtualGpu(position),
        AdapterKind::Software => DeviceKind::Cpu,
        AdapterKind::Other => DeviceKind::DefaultDevice,
    };
    kernels::keep(&adapter.name);
    Ok(Device::wgpu(kind))
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu(index: usize) -> Result<Device> {
    Err(not_compiled(&format!("wgpu:{index}"), "wgpu"))
}

#[cfg(feature = "vulkan")]
fn open_vulkan(index: usize) -> Result<Device> {
    use burn::tensor::DeviceKind;

    let is_gpu =
        |adapter: &Adapter| adapter.api == "vulkan" && adapter.kind == AdapterKind::DiscreteGpu;
    let gpus: Vec<Adapter> = adapters().into_iter().filter(is_gpu).collect();
    let Some(gpu) = gpus.get(index) else {
        return Err(missing(&format!("vulkan:{index}"), gpus.len()));
    };
    kernels::keep(&gpu.name);
    let device = Device::vulkan(DeviceKind::DiscreteGpu(index));
    set_up(&device, index)?;
    Ok(device)
}

/// Sets a device up, once a process, so that many kernels go to it at a time: between submissions it rests for
/// about as long as two small kernels take.
#[cfg(feature = "vulkan")]
fn set_up(device: &Device, index: usize) -> Result<()> {
    use std::sync::{Mutex, PoisonError};

    use burn::backend::DispatchDevice;
    use burn_cubecl::cubecl::Device as CubeDevice;
    use burn_wgpu::graphics::AutoGraphicsApi;
    use burn_wgpu::{RuntimeOptions, WgpuDevice, try_init_setup};

    /// Kernels of a submission, unless `CUBECL_WGPU_MAX_TASKS` says how many.
    const KERNELS: usize = 128;
    static SET_UP: Mutex<Vec<WgpuDevice>> = Mutex::new(Vec::new());

    let DispatchDevice::Cube(CubeDevice::Wgpu(wgpu)) = device.as_dispatch() else {
        return Ok(());
    };
    let mut known = SET_UP.lock().unwrap_or_else(PoisonError::into_inner);
    if known.contains(wgpu) {
        return Ok(());
    }
    let is_told = std::env::var_os("CUBECL_WGPU_MAX_TASKS").is_some();
    let kernels = if is_told { None } else { Some(KERNELS) };
    RuntimeOptions::with_tasks_max(kernels)
        .and_then(|options| try_init_setup::<AutoGraphicsApi>(wgpu, options))
        .map_err(|error| Error::Device {
            device: format!("vulkan:{index}"),
            problem: format!("it cannot be opened: {error}"),
        })?;
    known.push(wgpu.clone());
    Ok(())
}

#[cfg(not(feature = "vulkan"))]
fn open_vulkan(index: usize) -> Result<Device> {
    Err(not_compiled(&format!("vulkan:{index}"), "vulkan"))
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device> {
    use burn::tensor::DeviceType;

    kernels::keep(&cuda_hardware());
    let found = Device::enumerate(DeviceType::Cuda).into_vec().len();
    match index < found {
        true => Ok(Device::cuda(index)),
        false => Err(missing(&format!("cuda:{index}"), found)),
    }
}

/// The names of this machine's NVIDIA GPUs, as far as the driver's files tell.
#[cfg(feature = "cuda")]
fn cuda_hardware() -> String {
    let folders = std::fs::read_dir("/proc/driver/nvidia/gpus");
    let gpus = folders.into_iter().flatten().flatten();
    let mut names: Vec<String> = gpus
        .filter_map(|gpu| {
            let about = std::fs::read_to_string(gpu.path().join("information")).ok()?;
            let line = about.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(line.trim().to_string())
        })
        .collect();
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => "cuda".into(),
        false => names.join("-"),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device> {
    Err(not_compiled(&format!("cuda:{index}"), "cuda"))
}

#[cfg(not(all(
    feature = "flex",
    feature = "wgpu",
    feature = "vulkan",
    feature = "cuda"
)))]
fn not_compiled(device: &str, feature: &str) -> Error {
    Error::Device {
        device: device.into(),
        problem: format!("not in this build, build with `--features {feature}`"),
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn missing(device: &str, found: usize) -> Error {
    Error::Device {
        device: device.into(),
        problem: format!("not on this machine, {found} found; see `emberl devices`"),
    }
}
