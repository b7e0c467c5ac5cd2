//! The adapters that wgpu finds on this machine.

use serde::{Deserialize, Serialize};

use super::DeviceSpec;

/// What kind of hardware an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    /// A GPU with its own memory.
    DiscreteGpu,
    /// A GPU that shares the CPU's memory.
    IntegratedGpu,
    /// A GPU seen through a virtual machine.
    VirtualGpu,
    /// A software rasteriser such as Mesa's lavapipe.
    Software,
    /// Something the driver does not name.
    Other,
}

/// One adapter that wgpu finds on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// Its number: `N` of `wgpu:N`.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// What it is.
    pub kind: AdapterKind,
    /// The graphics API, lower case: `vulkan`, `metal`, `dx12`.
    pub api: String,
    /// Driver and version, as the driver says.
    pub driver: String,
}

/// The adapters that wgpu finds, without opening any. They are listed once a process.
///
/// Drivers run code while they are listed: a caller that was not asked for a GPU lists them in a
/// child process.
#[cfg(feature = "wgpu")]
pub fn adapters() -> Vec<Adapter> {
    let listed = wgpu::listed().iter();
    listed.map(|listed| listed.adapter.clone()).collect()
}

/// The adapters that wgpu finds: none, because this build has no wgpu.
#[cfg(not(feature = "wgpu"))]
pub fn adapters() -> Vec<Adapter> {
    Vec::new()
}

/// The device `auto` means on a machine with these adapters: the first discrete GPU, else the
/// first integrated or virtual one, else the CPU. A software adapter is never taken.
pub fn choose(adapters: &[Adapter]) -> DeviceSpec {
    use AdapterKind::{DiscreteGpu, IntegratedGpu, VirtualGpu};
    [DiscreteGpu, IntegratedGpu, VirtualGpu]
        .into_iter()
        .find_map(|kind| adapters.iter().find(|adapter| adapter.kind == kind))
        .map_or(DeviceSpec::Cpu, |adapter| DeviceSpec::Wgpu(adapter.index))
}

/// Whether a WGSL shader on the adapter of this name can multiply `[16, 16]` by `[16, 16]` halves by matrix units
/// (tensor cores), with sums in `f32`, a subgroup at a time.
///
/// Only as it is reached through Vulkan, which is what a GPU is reached by where it can be: no other API has such
/// units yet.
#[cfg(feature = "wgpu")]
pub(crate) fn multiplies_halves(name: &str) -> bool {
    let of_its_name =
        |listed: &&wgpu::Listed| listed.adapter.api == "vulkan" && listed.adapter.name == name;
    let found = wgpu::listed().iter().filter(of_its_name);
    let mut found = found.map(|listed| listed.multiplies_halves);
    found.next() == Some(true) && found.all(|multiplies| multiplies)
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use std::sync::OnceLock;

    use burn_wgpu::wgpu::{
        self, Backends, CooperativeScalarType, DeviceType, Features, Instance, InstanceDescriptor,
    };

    use super::{Adapter, AdapterKind};

    /// An adapter, and what it can do that its API does not promise.
    pub(super) struct Listed {
        pub adapter: Adapter,
        pub multiplies_halves: bool,
    }

    /// All adapters. Once: on an H200 (driver 580.159) processes whose threads listed adapters beside each other ended
    /// with a broken heap.
    pub(super) fn listed() -> &'static [Listed] {
        static LISTED: OnceLock<Vec<Listed>> = OnceLock::new();
        LISTED.get_or_init(|| {
            let backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
            let mut wanted = InstanceDescriptor::new_without_display_handle();
            wanted.backends = backends;
            let instance = Instance::new(wanted);
            let found = pollster::block_on(instance.enumerate_adapters(backends));
            found.iter().enumerate().map(listed_as).collect()
        })
    }

    fn listed_as((index, adapter): (usize, &wgpu::Adapter)) -> Listed {
        let info = adapter.get_info();
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => AdapterKind::DiscreteGpu,
            DeviceType::IntegratedGpu => AdapterKind::IntegratedGpu,
            DeviceType::VirtualGpu => AdapterKind::VirtualGpu,
            DeviceType::Cpu => AdapterKind::Software,
            DeviceType::Other => AdapterKind::Other,
        };
        let driver = format!("{} {}", info.driver, info.driver_info);
        Listed {
            multiplies_halves: multiplies_halves(adapter),
            adapter: Adapter {
                index,
                name: info.name,
                kind,
                api: format!("{:?}", info.backend).to_lowercase(),
                driver: driver.trim().to_string(),
            },
        }
    }

    fn multiplies_halves(adapter: &wgpu::Adapter) -> bool {
        let wanted = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SHADER_F16;
        let sizes = adapter.cooperative_matrix_properties();
        adapter.features().contains(wanted)
            && sizes.iter().any(|size| {
                [size.m_size, size.n_size, size.k_size] == [16; 3]
                    && size.ab_type == CooperativeScalarType::F16
                    && size.cr_type == CooperativeScalarType::F32
            })
    }
}
