//! From the joined projection to rotated queries and the newest key and value, in a cube's shared memory.

use burn_cubecl::cubecl::{self, prelude::*};

/// What a cube takes of a row, `[G + 2, D]`: the query heads of a group, then its key, then its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HeadLayout {
    /// Query heads of a key head.
    pub group: usize,
    /// Vectors of a head's width.
    pub vectors: usize,
    /// Units of the cube.
    pub units: usize,
    /// Summands of what is projected.
    pub parts: usize,
    pub has_bias: bool,
    pub has_norms: bool,
}

impl HeadLayout {
    /// Vectors of a cube's heads.
    pub fn all(&self) -> usize {
        (self.group + 2) * self.vectors
    }
}

/// The sum of the summands at vector `place` of the cube's heads.
///
/// # Shapes
/// `projected` `[S, B, (H + 2K)·D]`, `bias` `[1, (H + 2K)·D]`.
#[cube]
fn added<N: Size>(
    projected: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    place: usize,
    #[comptime] layout: HeadLayout,
) -> Vector<f32, N> {
    let vectors = comptime!(layout.vectors);
    let group = comptime!(layout.group);
    let (key_head, key_heads) = (CUBE_POS_X as usize, CUBE_COUNT_X as usize);
    let (row, rows) = (CUBE_POS_Y as usize, CUBE_COUNT_Y as usize);
    let member = place / vectors;
    let mut head = key_head * group + member;
    if member >= group {
        head = key_heads * member + key_head;
    }
    let columns = key_heads * comptime!(layout.all());
    let column = head * vectors + place % vectors;
    let mut sum = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for part in 0..comptime!(layout.parts) {
        sum += projected[(part * rows + row) * columns + column];
    }
    if comptime!(layout.has_bias) {
        sum += bias[column];
    }
    sum
}

/// One over the root mean square of each of the cube's queries and of its key (RMSNorm, arXiv:1910.07467); puts all
/// heads in shared memory.
#[cube]
pub(super) fn measure_heads<N: Size>(
    projected: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    heads: &mut Shared<[Vector<f32, N>]>,
    roots: &mut Shared<[f32]>,
    epsilon: f32,
    #[comptime] layout: HeadLayout,
) {
    let vectors = comptime!(layout.vectors);
    let unit = UNIT_POS_X as usize;
    let mut place = unit;
    while place < comptime!(layout.all()) {
        heads[place] = added(projected, bias, place, layout);
        place += comptime!(layout.units);
    }
    sync_cube();
    if unit <= comptime!(layout.group) {
        let mut squares = Vector::<f32, N>::new(0.0f32);
        for at in 0..vectors {
            let value = heads[unit * vectors + at];
            squares += value * value;
        }
        let width = comptime!(layout.vectors) * N::value();
        let mean = Vector::vector_sum(squares) / f32::cast_from(width as u32);
        roots[unit] = f32::recip(f32::sqrt(mean + epsilon));
    }
    sync_cube();
}

/// What is at vector `place` of the cube's heads: in shared memory already if they were measured.
#[cube]
fn shared_or_added<N: Size>(
    projected: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    heads: &Shared<[Vector<f32, N>]>,
    place: usize,
    #[comptime] layout: HeadLayout,
) -> Vector<f32, N> {
    if comptime!(layout.has_norms) {
        heads[place]
    } else {
        added(projected, bias, place, layout)
    }
}

/// Rotates queries and key to `position` (RoFormer, arXiv:2104.09864), scales queries by `1/√D`, and puts
/// key and value at vector `newest` of their caches, as which they are rounded.
///
/// # Shapes
/// `cosines` and `sines` `[capacity, D/2]`, the caches `[B, K, capacity, D]`; norm weights `[1, D]`.
#[cube]
#[expect(clippy::too_many_arguments, reason = "a kernel's bindings")]
pub(super) fn place_heads<F: Float, N: Size>(
    projected: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    query_norm: &[Vector<f32, N>],
    key_norm: &[Vector<f32, N>],
    cosines: &[Vector<f32, N>],
    sines: &[Vector<f32, N>],
    keys: &mut [Vector<F, N>],
    values: &mut [Vector<F, N>],
    heads: &mut Shared<[Vector<f32, N>]>,
    roots: &Shared<[f32]>,
    position: usize,
    newest: usize,
    #[comptime] layout: HeadLayout,
) {
    let half = comptime!(layout.vectors / 2);
    let group = comptime!(layout.group);
    let mut pair = UNIT_POS_X as usize;
    while pair < comptime!(layout.all() / 2) {
        let (member, at) = (pair / half, pair % half);
        let place = member * comptime!(layout.vectors) + at;
        let cosine = cosines[position * half + at];
        let sine = sines[position * half + at];
        let mut low = shared_or_added(projected, bias, &*heads, place, layout);
        let mut high = shared_or_added(projected, bias, &*heads, place + half, layout);
        if comptime!(layout.has_norms) {
            if member < group {
                let root = Vector::new(roots[member]);
                low = low * root * query_norm[at];
                high = high * root * query_norm[at + half];
            } else if member == group {
                let root = Vector::new(roots[member]);
                low = low * root * key_norm[at];
                high = high * root * key_norm[at + half];
            }
        }
        if member <= group {
            let turned = low * cosine - high * sine;
            high = high * cosine + low * sine;
            low = turned;
        }
        if member < group {
            let width = comptime!(layout.vectors) * N::value();
            let scale = Vector::new(f32::recip(f32::sqrt(f32::cast_from(width as u32))));
            heads[place] = low * scale;
            heads[place + half] = high * scale;
        } else {
            let low = Vector::<F, N>::cast_from(low);
            let high = Vector::<F, N>::cast_from(high);
            if member == group {
                keys[newest + at] = low;
                keys[newest + half + at] = high;
            } else {
                values[newest + at] = low;
                values[newest + half + at] = high;
            }
            heads[place] = Vector::cast_from(low);
            heads[place + half] = Vector::cast_from(high);
        }
        pair += comptime!(layout.units);
    }
}
