//! Gradient checkpointing changes memory, not gradients.

use std::fs;
use std::path::Path;

use emberl::device::{self, DeviceSpec};
use emberl::model::Decoder;
use emberl::ops;
use emberl::train::loss::SupervisedLoss;
use emberl::train::{Batching, Learner, OptimConfig, StepTotals, TrainingSample};
use emberl::workers::Workers;

#[test]
fn gradients_are_those_of_the_whole_graph_for_every_architecture() {
    let folders = fs::read_dir(crate::oracle::folder().join("models")).expect("recorded models");
    let mut checked = 0;
    for folder in folders {
        let folder = folder.expect("an entry").path();
        let [whole, again] = [false, true].map(|checkpointing| gradients(&folder, checkpointing));
        assert_eq!(whole.len(), again.len());
        for (place, (whole, again)) in whole.iter().zip(&again).enumerate() {
            let largest = whole
                .iter()
                .fold(0.0_f32, |max, value| max.max(value.abs()));
            for (whole, again) in whole.iter().zip(again) {
                let close = (whole - again).abs() <= 1e-5 * largest + 1e-7;
                assert!(
                    close,
                    "{}, weight {place}: {again}, expected {whole}",
                    folder.display()
                );
            }
        }
        checked += 1;
    }
    assert!(checked > 0, "no recorded model");
}

fn gradients(folder: &Path, checkpointing: bool) -> Vec<Vec<f32>> {
    let device = device::open(&DeviceSpec::Cpu).expect("this build has the CPU backend");
    let decoder = Decoder::load(folder, &device).expect("the model loads");
    let batching = Batching {
        checkpointing,
        ..Batching::default()
    };
    let mut learner = Learner::new(decoder, OptimConfig::default(), batching);
    let samples: Vec<TrainingSample> = (2..9_u32)
        .map(|row| {
            let ids: Vec<u32> = (0..row * 3)
                .map(|column| (row * 31 + column * 7) % 90)
                .collect();
            TrainingSample::new(&ids[..2], &ids[2..])
        })
        .collect();
    let objective = SupervisedLoss::default();
    let totals = StepTotals::of(&[&samples]);
    learner
        .accumulate(&samples, &objective, totals, &Workers::new(2))
        .expect("device works");
    let gradients = learner.gradients().expect("tokens count").iter();
    let gradients = gradients.map(|g| ops::read_floats(g.clone()).expect("device works"));
    gradients.collect()
}
