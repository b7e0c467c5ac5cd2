//! What the units of a cube hold together.

use burn_cubecl::cubecl::{self, prelude::*};

/// The sum of what the units hold, in the same order always; `units` is a power of two.
#[cube]
pub(in crate::ops) fn sum_of_units(
    own: f32,
    held: &mut Shared<[f32]>,
    #[comptime] units: usize,
) -> f32 {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    held[unit] = own;
    sync_cube();
    let mut reach = comptime!(units / 2).runtime();
    while reach > 0 {
        if unit < reach {
            held[unit] += held[unit + reach];
        }
        sync_cube();
        reach /= 2;
    }
    held[0]
}

/// The sum of the counts that the units hold; `units` is a power of two.
#[cube]
pub(in crate::ops) fn count_of_units(
    own: u32,
    held: &mut Shared<[u32]>,
    #[comptime] units: usize,
) -> u32 {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    held[unit] = own;
    sync_cube();
    let mut reach = comptime!(units / 2).runtime();
    while reach > 0 {
        if unit < reach {
            held[unit] += held[unit + reach];
        }
        sync_cube();
        reach /= 2;
    }
    held[0]
}
