//! Launches of the kernels.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;

use super::FlashBackend;
use super::kernels::{
    HeadsLaunch, PlacesLaunch, attend, gradients_of_keys, gradients_of_queries, pulls,
};
use super::tiles::{Plan, TILE, UNITS};
use crate::ops::cube::{empty, types, units};
use crate::ops::product::cube::{CHUNK, starts_at_a_chunk};

/// Numbers that are written at a time.
const PAIR: usize = 2;

impl FlashBackend for CubeBackend {
    #[expect(unsafe_code, reason = "a check of every place read costs time")]
    fn attend(
        queries: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        starts: CubeTensor,
    ) -> (CubeTensor, CubeTensor) {
        let heads = Heads::new(queries, keys, values, starts);
        let Dims { b, h, t, d, .. } = heads.dims;
        let queries = &heads.queries;
        let output = empty(queries, [b, t, h * d], queries.dtype);
        let normalizers = empty(queries, [b, h, t], DType::F32);
        // SAFETY: tokens read are held back to the last, those written are compared with the count, all operands are
        // of one type, and starts are `i32`.
        unsafe {
            attend::launch_unchecked(
                &queries.client,
                heads.dims.cubes_of_queries(),
                CubeDim::new_1d(UNITS as u32),
                CHUNK,
                PAIR,
                queries.clone().into_buffer_arg(),
                heads.keys.clone().into_buffer_arg(),
                heads.values.clone().into_buffer_arg(),
                heads.starts.clone().into_buffer_arg(),
                output.clone().into_buffer_arg(),
                normalizers.clone().into_buffer_arg(),
                heads.launch(),
                heads.plan(),
                types([queries])[0],
            );
        }
        (output, normalizers)
    }

    #[expect(unsafe_code, reason = "a check of every place read costs time")]
    fn flash_gradients(
        queries: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        starts: CubeTensor,
        output: CubeTensor,
        normalizers: CubeTensor,
        gradient: CubeTensor,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let heads = Heads::new(queries, keys, values, starts);
        let Dims { b, h, k, t, l, d } = heads.dims;
        let queries = &heads.queries;
        let gradient = CubeBackend::float_cast(gradient, queries.dtype.into());
        let (gradient, normalizers) = (into_contiguous(gradient), into_contiguous(normalizers));
        let pulls = pulls_of(&into_contiguous(output), &gradient, heads.dims);
        let for_queries = empty(queries, [b, t, h, d], queries.dtype);
        let for_keys = empty(queries, [b, l, k, d], queries.dtype);
        let for_values = empty(queries, [b, l, k, d], queries.dtype);
        let of_gradient = || {
            let chunks = d / CHUNK;
            PlacesLaunch::new(t * h * chunks, chunks, h * chunks)
        };
        // SAFETY: as above.
        unsafe {
            gradients_of_queries::launch_unchecked(
                &queries.client,
                heads.dims.cubes_of_queries(),
                CubeDim::new_1d(UNITS as u32),
                CHUNK,
                PAIR,
                queries.clone().into_buffer_arg(),
                heads.keys.clone().into_buffer_arg(),
                heads.values.clone().into_buffer_arg(),
                gradient.clone().into_buffer_arg(),
                heads.starts.clone().into_buffer_arg(),
                normalizers.clone().into_buffer_arg(),
                pulls.clone().into_buffer_arg(),
                for_queries.clone().into_buffer_arg(),
                heads.launch(),
                of_gradient(),
                heads.plan(),
                types([queries])[0],
            );
            gradients_of_keys::launch_unchecked(
                &queries.client,
                CubeCount::Static(l.div_ceil(TILE) as u32, k as u32, b as u32),
                CubeDim::new_1d(UNITS as u32),
                CHUNK,
                PAIR,
                queries.clone().into_buffer_arg(),
                heads.keys.clone().into_buffer_arg(),
                heads.values.clone().into_buffer_arg(),
                gradient.into_buffer_arg(),
                heads.starts.clone().into_buffer_arg(),
                normalizers.into_buffer_arg(),
                pulls.into_buffer_arg(),
                for_keys.clone().into_buffer_arg(),
                for_values.clone().into_buffer_arg(),
                heads.launch(),
                of_gradient(),
                heads.plan(),
                types([queries])[0],
            );
        }
        let by_head = |tensor| permute(tensor, &[0, 2, 1, 3]);
        (by_head(for_queries), by_head(for_keys), by_head(for_values))
    }
}

/// `rowsum(G ⊙ O)`, `[B, H, T]`, of two contiguous tensors.
#[expect(unsafe_code, reason = "a check of every place read costs time")]
fn pulls_of(output: &CubeTensor, gradient: &CubeTensor, dims: Dims) -> CubeTensor {
    let Dims { b, h, t, .. } = dims;
    let found = empty(output, [b, h, t], DType::F32);
    let count = b * h * t;
    let (cubes, dim) = units(&output.client, count);
    // SAFETY: places are compared with the count, and both operands are of one type.
    unsafe {
        pulls::launch_unchecked(
            &output.client,
            cubes,
            dim,
            CHUNK,
            output.clone().into_buffer_arg(),
            gradient.clone().into_buffer_arg(),
            found.clone().into_buffer_arg(),
            h,
            t,
            count,
            Plan { width: dims.d },
            types([output])[0],
        );
    }
    found
}

/// Rows, query heads, key-value heads, queries, keys, head width.
#[derive(Clone, Copy, Debug)]
struct Dims {
    b: usize,
    h: usize,
    k: usize,
    t: usize,
    l: usize,
    d: usize,
}

impl Dims {
    fn cubes_of_queries(self) -> CubeCount {
        let tiles = self.t.div_ceil(TILE);
        CubeCount::Static(tiles as u32, self.h as u32, self.b as u32)
    }
}

/// What attends to what.
struct Heads {
    dims: Dims,
    /// `[B, H, T, D]`.
    queries: CubeTensor,
    /// Both `[B, K, L, D]`.
    keys: CubeTensor,
    values: CubeTensor,
    /// `[B or 1]`.
    starts: CubeTensor,
}

impl Heads {
    fn new(queries: CubeTensor, keys: CubeTensor, values: CubeTensor, starts: CubeTensor) -> Self {
        let [b, h, t, d] = queries.meta.shape().dims();
        let [_, k, l, _] = keys.meta.shape().dims();
        assert_eq!(starts.dtype, DType::I32, "starts are read as such");
        let [queries, keys, values] = [queries, keys, values].map(in_chunks);
        Self {
            dims: Dims { b, h, k, t, l, d },
            queries,
            keys,
            values,
            starts: into_contiguous(starts),
        }
    }

    fn plan(&self) -> Plan {
        Plan { width: self.dims.d }
    }

    fn launch(&self) -> HeadsLaunch {
        let Dims { h, k, t, l, d, .. } = self.dims;
        let shares_start = self.starts.meta.shape()[0] == 1;
        HeadsLaunch::new(
            places(&self.queries),
            places(&self.keys),
            places(&self.values),
            t,
            l,
            h,
            h / k,
            if shares_start { 0 } else { 1 },
            (d as f32).sqrt().recip(),
        )
    }
}

/// Heads whose numbers lie in whole chunks: as they are, where they do.
fn in_chunks(heads: CubeTensor) -> CubeTensor {
    let strides = heads.meta.strides();
    let mut outer = strides[..3].iter();
    let is_whole = strides[3] == 1 && outer.all(|stride| stride.is_multiple_of(CHUNK));
    match is_whole && starts_at_a_chunk(&heads) {
        true => heads,
        false => into_contiguous(heads),
    }
}

fn places(heads: &CubeTensor) -> PlacesLaunch {
    let strides = heads.meta.strides();
    let [row, head, token] = [0, 1, 2].map(|axis| strides[axis] / CHUNK);
    PlacesLaunch::new(row, head, token)
}
