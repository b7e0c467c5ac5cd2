//! Attention that holds no scores (FlashAttention-2, arXiv:2307.08691), for matrix units that are given their numbers
//! in registers, as on CUDA.
//!
//! A tile of queries passes along the keys that it sees with a running softmax; `[B, H, T]` logarithms of the
//! normalisers are kept, from which the way back has each probability anew: by a tile of keys that passes along the
//! queries for the gradients of keys and values, by a tile of queries once more for those of queries.

mod kernels;
mod launch;
mod tiles;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension};
use burn::tensor::{DType, Device, Int, Shape, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use self::tiles::TILE;
use crate::ops::cube::multiplies_registers;

/// Fewest queries that are worth a tile.
const LEAST_QUERIES: usize = TILE / 4;

/// Whether the kernels take heads of these shapes `[B, H, T, D]` and `[B, K, L, D]`.
pub(super) fn takes(
    device: &Device,
    dtype: DType,
    of_queries: [usize; 4],
    of_keys: [usize; 4],
) -> bool {
    let device = device.clone().without_autodiff();
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return false;
    };
    let [b, h, t, d] = of_queries;
    let is_counted = |dims: [usize; 4]| {
        let count = dims.into_iter().try_fold(1_u32, |count, extent| {
            count.checked_mul(u32::try_from(extent).ok()?)
        });
        count.is_some_and(|count| count > 0)
    };
    let client = device.client();
    let element = dtype_to_storage_type(dtype);
    let properties = client.properties();
    let (_, most_y, most_z) = properties.hardware.max_cube_count;
    matches!(dtype, DType::F16 | DType::BF16)
        && multiplies_registers(&client, element)
        && properties.features.matmul.ldmatrix.contains(&element)
        && [64, 128].contains(&d)
        && t >= LEAST_QUERIES
        && is_counted(of_queries)
        && is_counted(of_keys)
        && h <= most_y as usize
        && b <= most_z as usize
        && properties.hardware.max_shared_memory_size
            >= tiles::Plan { width: d }.most_shared_bytes()
}

/// As [`attention`](super::attention), of heads that the kernels take.
pub(super) fn attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    starts: Tensor<1, Int>,
) -> Tensor<3> {
    let (queries, keys) = (queries.into_dispatch(), keys.into_dispatch());
    let (values, starts) = (values.into_dispatch(), starts.into_dispatch());
    Tensor::from_dispatch(Dispatch::flash_attention(queries, keys, values, starts))
}

/// Backends with the operation.
#[backend_extension(Cube, Autodiff, Fusion)]
pub trait FlashBackend: Backend {
    /// `[B, H, T, D]`, twice `[B, K, L, D]` and `[B or 1]` to `[B, T, H·D]`.
    #[fusion(default)]
    fn flash_attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::attend(queries, keys, values, starts).0
    }

    /// The same with the logarithms of normalisers, `[B, H, T]` of `f32`.
    #[fusion(meta = attended)]
    fn attend(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients with respect to queries, keys and values from what [`FlashBackend::attend`] gave and the gradient of
    /// its output.
    #[fusion(meta = |queries, keys, values, _starts, _output, _normalizers, _gradient| {
        (queries.clone(), keys.clone(), values.clone())
    })]
    fn flash_gradients(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
        output: FloatTensor<Self>,
        normalizers: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn attended(
    queries: &TensorSpec,
    _: &TensorSpec,
    _: &TensorSpec,
    _: &TensorSpec,
) -> (TensorSpec, TensorSpec) {
    let [b, h, t, d] = queries.shape.dims();
    (
        TensorSpec::new(Shape::new([b, t, h * d]), queries.dtype),
        TensorSpec::new(Shape::new([b, h, t]), DType::F32),
    )
}

impl<B: FlashBackend, C: CheckpointStrategy> FlashBackend for Autodiff<B, C> {
    fn flash_attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        starts: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let prepared = FlashStep
            .prepare::<C>([queries.node(), keys.node(), values.node()])
            .compute_bound()
            .stateful();
        let (queries, keys) = (queries.into_primitive(), keys.into_primitive());
        let values = values.into_primitive();
        match prepared {
            OpsKind::Tracked(step) => {
                let (output, normalizers) = B::attend(
                    queries.clone(),
                    keys.clone(),
                    values.clone(),
                    starts.clone(),
                );
                let held = Held {
                    queries,
                    keys,
                    values,
                    starts,
                    output: output.clone(),
                    normalizers,
                };
                step.finish(held, output)
            }
            OpsKind::UnTracked(step) => {
                step.finish(B::flash_attention(queries, keys, values, starts))
            }
        }
    }

    fn attend(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("the graph has the output alone")
    }

    fn flash_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("gradients are taken below the graph")
    }
}

/// The step of the autodiff graph; parents are queries, keys and values.
#[derive(Debug)]
struct FlashStep;

/// What the way back takes over. The output is held by the projection after it, too.
#[derive(Clone, Debug)]
struct Held<B: Backend> {
    queries: FloatTensor<B>,
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    starts: IntTensor<B>,
    output: FloatTensor<B>,
    normalizers: FloatTensor<B>,
}

impl<B: FlashBackend> Backward<B, 3> for FlashStep {
    type State = Held<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let held = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let (for_queries, for_keys, for_values) = B::flash_gradients(
            held.queries,
            held.keys,
            held.values,
            held.starts,
            held.output,
            held.normalizers,
            gradient,
        );
        let gradients = [for_queries, for_keys, for_values];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Distribution, FloatDType};

    use crate::device::{self, DeviceSpec};
    use crate::ops::{Sight, attention, read_floats};

    use super::*;

    /// Rows, query heads, key heads, queries, keys, head width.
    type Case = [usize; 6];

    /// Numbers of a head in memory: queries and keys by token, values by head, factors of the output.
    fn operands([b, h, k, t, l, d]: Case) -> [Tensor<4>; 4] {
        let cpu = Device::flex();
        cpu.seed(5);
        let normal = Distribution::Normal(0.0, 1.0);
        let shapes = [[b, t, h, d], [b, l, k, d], [b, k, l, d], [b, t, h, d]];
        shapes.map(|shape| Tensor::random(shape, normal, &cpu))
    }

    /// The output and three gradients on a device.
    fn outputs(
        device: &Device,
        operands: &[Tensor<4>; 4],
        dtype: DType,
        starts: &[usize],
    ) -> [Vec<f32>; 4] {
        let on_device = |tensor: &Tensor<4>| {
            let float: FloatDType = dtype.into();
            tensor.clone().to_device(device).cast(float)
        };
        let [queries, keys, values, factors] = operands.each_ref().map(on_device);
        let leaves = [queries, keys, values].map(|leaf| leaf.autodiff().require_grad());
        let [queries, keys, values] = leaves.clone();
        let (queries, keys) = (queries.swap_dims(1, 2), keys.swap_dims(1, 2));
        let [_, _, l, _] = keys.dims();
        let [_, _, t, _] = queries.dims();
        let sight = Sight::new(starts, t, l, device);
        let output = attention(queries, keys, values, &sight);
        let factors: Tensor<3> = factors.reshape(output.dims());
        let found = (output.clone() * factors.autodiff()).sum().backward();
        let gradients = leaves.map(|leaf| leaf.grad(&found).expect("a gradient"));
        let [for_queries, for_keys, for_values] = gradients.map(|it| read_floats(it).unwrap());
        [
            read_floats(output.inner()).unwrap(),
            for_queries,
            for_keys,
            for_values,
        ]
    }

    #[test]
    fn output_and_gradients_are_those_of_the_cpu() {
        let Ok(cuda) = device::open(&DeviceSpec::Cuda(0)) else {
            eprintln!("skipped: no CUDA device");
            return;
        };
        let cpu = Device::flex();
        let cases: [(Case, &[usize]); 5] = [
            // Whole tiles.
            ([2, 4, 2, 128, 128, 64], &[0]),
            // Tiles that are not full, keys before the queries, padding that ends in a tile of queries and before.
            ([3, 6, 2, 80, 176, 64], &[0, 5, 120]),
            ([2, 2, 2, 16, 16, 64], &[0, 9]),
            ([2, 4, 1, 72, 72, 128], &[70, 0]),
            ([1, 2, 2, 40, 300, 128], &[3]),
        ];
        for (case, starts) in cases {
            for (dtype, most) in [(DType::F16, 2e-3), (DType::BF16, 1.5e-2)] {
                let [b, h, k, t, l, d] = case;
                assert!(takes(&cuda, dtype, [b, h, t, d], [b, k, l, d]), "{case:?}");
                let rounded =
                    operands(case).map(|it| it.cast(FloatDType::from(dtype)).cast(DType::F32));
                let found = outputs(&cuda, &rounded, dtype, starts);
                let expected = outputs(&cpu, &rounded, DType::F32, starts);
                for (which, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found.len(), expected.len());
                    let gaps = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
                    let worst = gaps.fold(0.0, f32::max);
                    let largest = expected.iter().fold(0.0_f32, |most, it| most.max(it.abs()));
                    assert!(
                        worst < most * largest,
                        "{case:?} {dtype:?} {which}: {worst} of {largest}"
                    );
                }
            }
        }
    }
}
