//! Normalisation on the CPU backend: one pass over each row.

use burn::backend::flex::{Flex, FlexTensor};
use burn::tensor::{DType, TensorData};

use super::RmsNormBackend;

impl RmsNormBackend for Flex {
    fn rms_norm(states: FlexTensor, weight: FlexTensor, epsilon: f64, _: DType) -> FlexTensor {
        let (states, weight) = (states.to_contiguous(), weight.to_contiguous());
        let (x, w) = (floats(&states), floats(&weight));
        let mut output = Vec::with_capacity(x.len());
        for row in x.chunks_exact(w.len()) {
            let root = inverse_root(row, epsilon);
            output.extend(row.iter().zip(w).map(|(x, w)| x * root * w));
        }
        like(&states, output)
    }

    fn rms_norm_states_gradient(
        states: FlexTensor,
        weight: FlexTensor,
        gradient: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        let (states, weight) = (states.to_contiguous(), weight.to_contiguous());
        let gradient = gradient.to_contiguous();
        let (x, w, g) = (floats(&states), floats(&weight), floats(&gradient));
        let mut output = Vec::with_capacity(x.len());
        for (x, g) in x.chunks_exact(w.len()).zip(g.chunks_exact(w.len())) {
            let root = inverse_root(x, epsilon);
            let products = x.iter().zip(g).zip(w).map(|((x, g), w)| x * g * w);
            let pull = products.sum::<f32>() * root * root / w.len() as f32;
            let terms = x.iter().zip(g).zip(w);
            output.extend(terms.map(|((x, g), w)| root * (g * w - x * pull)));
        }
        like(&states, output)
    }

    fn rms_norm_weight_gradient(
        states: FlexTensor,
        gradient: FlexTensor,
        epsilon: f64,
        _: DType,
    ) -> FlexTensor {
        let (states, gradient) = (states.to_contiguous(), gradient.to_contiguous());
        let (x, g) = (floats(&states), floats(&gradient));
        let width = states.layout().shape()[1];
        let mut output = vec![0.0; width];
        for (x, g) in x.chunks_exact(width).zip(g.chunks_exact(width)) {
            let root = inverse_root(x, epsilon);
            for ((sum, x), g) in output.iter_mut().zip(x).zip(g) {
                *sum += x * root * g;
            }
        }
        FlexTensor::from_data(TensorData::new(output, [1, width]))
    }
}

fn inverse_root(row: &[f32], epsilon: f64) -> f32 {
    // Eight partial sums: the compiler may add them side by side.
    let mut sums = [0.0_f32; 8];
    let (blocks, rest) = row.as_chunks::<8>();
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x * x;
        }
    }
    let rest: f32 = rest.iter().map(|x| x * x).sum();
    let mean = (sums.iter().sum::<f32>() + rest) / row.len() as f32;
    (mean + epsilon as f32).sqrt().recip()
}

fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor has a slice")
}

fn like(tensor: &FlexTensor, values: Vec<f32>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, tensor.layout().shape().clone()))
}
