//! Starting a shader.

use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim, KernelId};
use burn_cubecl::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;

/// Most workgroups along one axis of a dispatch.
const LONGEST_AXIS: usize = 65_535;

/// A WGSL kernel whose entry point is `main`.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Shader {
    /// The file's stem.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
}

impl Shader {
    /// Runs one workgroup an item over contiguous tensors, all on one device.
    ///
    /// Workgroup `(x, y)` has item `y · workgroups.x + x`; those past the last have none. `settings`
    /// are 32-bit words.
    pub fn launch(self, items: usize, tensors: &[&CubeTensor], settings: &[u32]) {
        let width = items.clamp(1, LONGEST_AXIS);
        let height = items.div_ceil(width);
        let count = CubeCount::Static(width as u32, height as u32, 1);
        launch_source(self, count, tensors, settings);
    }
}

/// Runs `count` workgroups of a source over tensors, all on one device. `settings` are 32-bit words.
pub(in crate::ops) fn launch_source(
    source: impl KernelSource,
    count: CubeCount,
    tensors: &[&CubeTensor],
    settings: &[u32],
) {
    let client = &tensors[0].client;
    let bindings = tensors.iter().map(|tensor| tensor.handle.clone().binding());
    let arguments = bindings.fold(KernelArguments::new(), KernelArguments::with_buffer);
    let arguments = arguments.with_info(MetadataBindingInfo::custom(pairs(settings)));
    // The workgroup's size is the source's own.
    let kernel = SourceKernel::new(source, CubeDim::new_single());
    client.launch(Box::new(kernel), count, arguments);
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.source)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.name)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Two words in one, the first below.
fn pairs(words: &[u32]) -> Vec<u64> {
    let pair = |pair: &[u32]| {
        let high = pair.get(1).copied().unwrap_or(0);
        u64::from(pair[0]) | u64::from(high) << 32
    };
    words.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_their_order_and_an_odd_one_is_filled_up() {
        assert_eq!(pairs(&[1, 2, 3]), [0x2_0000_0001, 3]);
    }
}
