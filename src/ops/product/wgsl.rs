//! Products by matrix units that WGSL reaches: the shader's launch.

use burn::tensor::DType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::template::{KernelSource, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;

use super::cooperative::Plan;
use super::cube::{Extents, Strided, operands};
use super::operand::Along;
use super::tile_plan::QUAD;
use crate::device::multiplies_halves;
use crate::ops::shader::{is_wgsl, launch_source};

const SOURCE: &str = include_str!("../../../shaders/product.wgsl");
/// Units of the shader's workgroup.
pub(super) const UNITS: usize = 256;
/// The lines around the plan in the source.
const PLAN: [&str; 2] = ["// A plan,", "// The end of the plan."];

/// Whether the shader runs on the device of this client.
pub(super) fn multiplies(client: &Client) -> bool {
    is_wgsl(client) && multiplies_halves(&client.properties().identity.name)
}

/// The product by the shader.
pub(super) fn multiply(
    left: &CubeTensor,
    right: &CubeTensor,
    output: &CubeTensor,
    count: CubeCount,
    plan: Plan,
) {
    let (of_left, of_right) = operands(left, right);
    let words = |operand: Strided| operand.in_vectors(QUAD).map(|word| word as u32);
    let inner = [Extents::of(left, right).inner as u32, 0];
    let settings = [&words(of_left)[..], &words(of_right), &inner].concat();
    let planned = Planned {
        plan,
        dtype: output.dtype,
    };
    launch_source(planned, count, &[left, right, output], &settings);
}

/// The shader of a plan that writes numbers of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Planned {
    plan: Plan,
    dtype: DType,
}

impl Planned {
    /// The shader with the plan in place of its own.
    fn text(self) -> String {
        let [before, rest] = around(SOURCE, PLAN[0]);
        let [_, after] = around(rest, PLAN[1]);
        let number = match self.dtype {
            DType::F16 => "f16",
            _ => "f32",
        };
        let Plan { tile, along } = self.plan;
        let [left, right] = along.map(|along| along == Along::Inner);
        let step = self.plan.step();
        format!(
            "{before}alias Number = {number};
const STEP: u32 = {step}u;
const TILE: u32 = {tile}u;
const LEFT_LIES_INNER: bool = {left};
const RIGHT_LIES_INNER: bool = {right};
{after}"
        )
    }
}

impl KernelSource for Planned {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.text())
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(*self)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// What is before and after the line that begins so.
fn around<'text>(text: &'text str, line: &str) -> [&'text str; 2] {
    let start = text.find(line).expect("the shader has a plan");
    let (before, rest) = text.split_at(start);
    let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
    [before, &rest[end..]]
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::ops::product::cube::{LARGE, SMALL};

    /// Quads of a step of an operand that a unit of the shader stages.
    const STAGED: usize = 4;

    #[test]
    fn the_shader_is_valid_with_every_plan() {
        for tile in [LARGE, SMALL] {
            for left in [Along::Inner, Along::Outer] {
                for right in [Along::Inner, Along::Outer] {
                    let along = [left, right];
                    let plan = Plan { tile, along };
                    check(Planned {
                        plan,
                        dtype: DType::F16,
                    });
                    check(Planned {
                        plan,
                        dtype: DType::F32,
                    });
                }
            }
        }
    }

    fn check(planned: Planned) {
        let source = planned.text();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{planned:?}: {}", error.emit_to_string(&source)));
        let capabilities = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
        Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{planned:?}: {}", error.emit_to_string(&source)));
        assert_eq!(module.entry_points[0].workgroup_size, [UNITS as u32, 1, 1]);
        let Plan { tile, .. } = planned.plan;
        assert_eq!(tile * planned.plan.step(), STAGED * QUAD * UNITS);
        let step = format!("const STEP: u32 = {}u;", planned.plan.step());
        assert_eq!(source.matches("const STEP").count(), 1);
        assert!(source.contains(&step), "{planned:?}");
    }
}
