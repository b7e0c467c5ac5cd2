//! Matrix units (tensor cores) that WGSL reaches.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use burn_wgpu::wgpu::{Adapter, Backends, CooperativeScalarType, Features};

use super::list_adapters;

/// Whether a shader on the adapter of this name can multiply `[16, 16]` by `[16, 16]` halves, with sums in
/// `f32`, a subgroup at a time.
///
/// Vulkan alone is asked: it is what a GPU is reached by where it can be, and no other API has such units yet.
pub(crate) fn multiply_halves(adapter: &str) -> bool {
    static ADAPTERS: OnceLock<BTreeMap<String, bool>> = OnceLock::new();
    let adapters = ADAPTERS.get_or_init(|| {
        let mut all = BTreeMap::new();
        for adapter in list_adapters(Backends::VULKAN) {
            let of_its_name = all.entry(adapter.get_info().name).or_insert(true);
            *of_its_name &= multiplies_halves(&adapter);
        }
        all
    });
    adapters.get(adapter).is_some_and(|multiplies| *multiplies)
}

fn multiplies_halves(adapter: &Adapter) -> bool {
    let wanted = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SHADER_F16;
    let sizes = adapter.cooperative_matrix_properties();
    adapter.features().contains(wanted)
        && sizes.iter().any(|size| {
            [size.m_size, size.n_size, size.k_size] == [16; 3]
                && size.ab_type == CooperativeScalarType::F16
                && size.cr_type == CooperativeScalarType::F32
        })
}
