//! Random numbers of a row's stream.

use burn_cubecl::cubecl::{self, prelude::*};

/// Philox4x32-10 (Salmon et al., SC 2011).
#[cube]
pub(super) fn philox(words: &mut Array<u32>, block: u32, counter: u32, low: u32, high: u32) {
    let mut a = block;
    let mut b = counter;
    let mut c = 0u32;
    let mut d = 0u32;
    let mut key_low = low;
    let mut key_high = high;
    for _round in 0..10u32 {
        let high_a = u32::mul_hi(0xd251_1f53u32, a);
        let low_a = 0xd251_1f53u32 * a;
        let high_c = u32::mul_hi(0xcd9e_8d57u32, c);
        let low_c = 0xcd9e_8d57u32 * c;
        a = high_c ^ b ^ key_low;
        b = low_c;
        c = high_a ^ d ^ key_high;
        d = low_a;
        key_low += 0x9e37_79b9u32;
        key_high += 0xbb67_ae85u32;
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
}

/// An exponentially distributed number, `−log(1 − u)` for the `u` in (0, 1) that the word stands for.
#[cube]
pub(super) fn exponential(word: u32) -> f32 {
    let unit = f32::min(
        (f32::cast_from(word) + 0.5f32) * 2.328_306_4e-10f32,
        0.999_999_94f32,
    );
    let mut number = -f32::ln(1.0f32 - unit);
    if unit < 0.25f32 {
        let t = unit / (2.0f32 - unit);
        let s = t * t;
        number = 2.0f32
            * t
            * (1.0f32
                + s * (0.333_333_34f32
                    + s * (0.2f32 + s * (0.142_857_15f32 + s * 0.111_111_11f32))));
    }
    number
}
