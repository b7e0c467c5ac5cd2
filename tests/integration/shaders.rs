//! The shaders: each is valid, has a twin in `src/ops/`, and says what its reference says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberl::generation::{Sampler, SamplingParams};
use emberl::ops::{
    self, AdvantageDivisor, SampleFilters, SampledTokens, sample_reference, sample_streams,
};
use emberl::rollout::{RewardAggregation, RewardScale, group_advantages};
use emberl::seed::Seed;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rand::RngExt;

use crate::oracle::advantages as recorded;
use crate::oracle::fixture::cpu;
use crate::oracle::gpu::wgpu;
use crate::oracle::model_case::ModelCase;

const SCALES: [(RewardScale, AdvantageDivisor); 3] = [
    (RewardScale::Group, AdvantageDivisor::GroupStd),
    (RewardScale::Batch, AdvantageDivisor::BatchStd),
    (RewardScale::None, AdvantageDivisor::None),
];

#[test]
fn every_shader_is_valid_and_has_a_twin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shaders = stems(&root.join("shaders"), "wgsl");
    assert!(!shaders.is_empty(), "there are shaders");
    for name in &shaders {
        let path = root.join(format!("shaders/{name}.wgsl"));
        let source = fs::read_to_string(&path).expect("a readable shader");
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        assert_eq!(module.entry_points.len(), 1, "{name}");
        assert_eq!(module.entry_points[0].name, "main", "{name}");
        Validator::new(ValidationFlags::all(), enabled(&source))
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
    }
    let twins: BTreeSet<_> = stems(&root.join("src/ops"), "rs")
        .into_iter()
        .filter(|name| binds_a_shader(&root.join("src/ops").join(name)))
        .collect();
    assert_eq!(shaders, twins, "shaders, and operations that bind one");
}

#[test]
fn advantages_are_those_of_the_host() {
    advantages_agree(
        &cpu(),
        &[[1, 1], [1, 7], [5, 3], [4, 64], [2, 65], [3, 200]],
    );
}

#[test]
fn wgpu_advantages_are_those_of_the_host() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    advantages_agree(&device, &[[1, 1], [5, 3], [2, 65], [3, 200]]);
    assert!(advantages(&device, &[], 0, 4, SCALES[0].1).is_empty());
}

#[test]
fn recorded_advantages_hold() {
    recorded_advantages(&cpu());
}

#[test]
fn wgpu_recorded_advantages_hold() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    recorded_advantages(&device);
}

#[test]
fn a_draw_keeps_to_the_support_of_the_host_sampler() {
    supports_agree(&cpu(), 40);
}

#[test]
fn wgpu_ids_and_logprobs_are_those_of_the_reference() {
    let Some((_turn, device)) = wgpu() else {
        return;
    };
    supports_agree(&device, 10);
    // Several cubes draw from a row of the last.
    for vocabulary in [1, 2, 255, 1003, 9001] {
        for filters in all_filters() {
            let logits = random_logits(7, vocabulary, 0.25);
            let seeds: Vec<_> = (0..7).map(|row| Seed::new(3).child(row)).collect();
            let [found, expected] = [&device, &cpu()].map(|device| {
                let streams = sample_streams(&seeds, 5, device);
                drawn(tensor(&logits, vocabulary, device), streams, filters)
            });
            let place = format!("{vocabulary} entries, {filters:?}");
            assert_eq!(found.0, expected.0, "{place}");
            for (found, expected) in found.1.iter().zip(&expected.1) {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{place}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    // 20,000 rows of one distribution over 12 tokens, of which top-k, top-p and min-p keep some.
    let (rows, vocabulary) = (20_000, 12);
    let one = random_logits(1, vocabulary, 1.0);
    let logits = one.repeat(rows);
    let seeds: Vec<_> = (0..rows as u64)
        .map(|row| Seed::new(9).child(row))
        .collect();
    for filters in all_filters()
        .into_iter()
        .filter(|filters| filters.temperature > 0.0)
    {
        let expected = Sampler::new(&params(filters)).distribution(&one, &[]);
        let streams = sample_streams(&seeds, 0, &cpu());
        let (ids, _) = drawn(tensor(&logits, vocabulary, &cpu()), streams, filters);
        let mut counts = vec![0.0; vocabulary];
        ids.iter().for_each(|id| counts[*id as usize] += 1.0);
        let mut chi_square = 0.0;
        for (count, probability) in counts.iter().zip(&expected) {
            let mean = f64::from(*probability) * rows as f64;
            match mean > 0.0 {
                true => chi_square += (count - mean) * (count - mean) / mean,
                false => assert_eq!(*count, 0.0, "{filters:?}"),
            }
        }
        // The 99.9th percentile of chi-square with 11 degrees of freedom, the most there can be.
        assert!(chi_square < 31.3, "{filters:?}: {chi_square}");
    }
}

#[test]
fn a_draw_depends_on_its_own_row_alone() {
    let vocabulary = 50;
    let logits = random_logits(6, vocabulary, 1.0);
    let filters = all_filters()[1];
    let seeds: Vec<_> = (0..6).map(|row| Seed::new(1).child(row)).collect();
    let draw = |logits: &[f32], seeds: &[Seed], counter| {
        let streams = sample_streams(seeds, counter, &cpu());
        drawn(tensor(logits, vocabulary, &cpu()), streams, filters).0
    };
    let together = draw(&logits, &seeds, 2);
    for row in 0..6 {
        let alone = draw(
            &logits[row * vocabulary..][..vocabulary],
            &seeds[row..=row],
            2,
        );
        assert_eq!(alone[0], together[row]);
    }
    assert_ne!(draw(&logits, &seeds, 3), together);
}

#[test]
fn of_equal_tokens_top_p_drops_the_first() {
    // Four equal tokens: 0.25 each, of which 0.3 lets one go.
    let filters = SampleFilters {
        top_p: 0.7,
        ..filters(1.0)
    };
    let devices = [Some(cpu()), wgpu().map(|(_, device)| device)];
    for device in devices.into_iter().flatten() {
        let seeds: Vec<_> = (0..200).map(Seed::new).collect();
        let streams = sample_streams(&seeds, 0, &device);
        let (ids, logprobs) = drawn(Tensor::zeros([200, 4], &device), streams, filters);
        assert_eq!(BTreeSet::from_iter(ids), BTreeSet::from([1, 2, 3]));
        let expected = (1.0_f32 / 3.0).ln();
        assert!(logprobs.iter().all(|found| (found - expected).abs() < 1e-5));
    }
}

#[test]
fn no_rows_give_no_draws() {
    let streams = sample_streams(&[], 0, &cpu());
    let (ids, logprobs) = drawn(Tensor::zeros([0, 4], &cpu()), streams, filters(1.0));
    assert_eq!((ids.len(), logprobs.len()), (0, 0));
}

/// What a shader may use beyond what every device has: what it enables.
fn enabled(source: &str) -> Capabilities {
    let extensions = [
        ("enable f16;", Capabilities::SHADER_FLOAT16),
        (
            "enable wgpu_cooperative_matrix;",
            Capabilities::COOPERATIVE_MATRIX,
        ),
    ];
    let enabled = extensions.iter().filter(|(line, _)| source.contains(line));
    enabled.map(|(_, capability)| *capability).collect()
}

/// Names of the folder's files with this extension, without it.
fn stems(folder: &Path, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Whether the operation of this path has a file that binds a shader of its name.
fn binds_a_shader(operation: &Path) -> bool {
    let name = operation.file_name().expect("a name").to_string_lossy();
    let binding = fs::read_to_string(operation.join("wgsl.rs")).unwrap_or_default();
    binding.contains(&format!("shaders/{name}.wgsl"))
}

fn advantages(
    device: &Device,
    rewards: &[f32],
    groups: usize,
    group_size: usize,
    divisor: AdvantageDivisor,
) -> Vec<f32> {
    let rewards = TensorData::new(rewards.to_vec(), [groups, group_size]);
    let rewards = Tensor::<2>::from_data(rewards, device);
    ops::read_floats(ops::group_advantage(rewards, divisor)).expect("the device works")
}

/// Random rewards, some missing, some groups equal.
fn advantages_agree(device: &Device, shapes: &[[usize; 2]]) {
    let mut rng = Seed::new(11).rng();
    for [groups, group_size] in shapes.iter().copied() {
        let mut rewards: Vec<f32> = (0..groups * group_size)
            .map(|_| match rng.random_range(0..6) {
                0 => f32::NAN,
                number => 0.3 * number as f32 + rng.random::<f32>(),
            })
            .collect();
        rewards[..group_size].fill(0.7);
        let rows = rewards.iter().map(|reward| match reward.is_nan() {
            true => vec![None],
            false => vec![Some(f64::from(*reward))],
        });
        let rows: Vec<_> = rows.collect();
        for (scale, divisor) in SCALES {
            let sum = RewardAggregation::SumThenNormalize;
            let expected = group_advantages(&rows, &[1.0], group_size, scale, sum).values;
            let found = advantages(device, &rewards, groups, group_size, divisor);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
                    "{groups} x {group_size}, {scale:?}, {index}: {found}, expected {expected}"
                );
            }
            assert_eq!(found.len(), expected.len());
        }
    }
}

fn recorded_advantages(device: &Device) {
    let mut checked = 0;
    for case in recorded::cases() {
        if case.multi_objective_aggregation != RewardAggregation::SumThenNormalize {
            continue;
        }
        let rewards = weighted_sums(&case);
        let divisor = SCALES
            .iter()
            .find(|(scale, _)| *scale == case.scale_rewards);
        let divisor = divisor.expect("a scale we know").1;
        let size = case.num_generations;
        let found = advantages(device, &rewards, rewards.len() / size, size, divisor);
        for (found, expected) in found.iter().zip(&case.advantages) {
            let difference = (f64::from(*found) - expected).abs();
            assert!(
                difference <= case.tolerance(*expected),
                "{}: {found}, expected {expected}",
                case.name()
            );
        }
        checked += 1;
    }
    assert!(checked > 0, "no recorded case applies");
}

/// The weighted sum of each completion's rewards, NaN where it has none.
fn weighted_sums(case: &recorded::Case) -> Vec<f32> {
    let sum = |row: &Vec<Option<f64>>| {
        let weighted = row.iter().zip(&case.reward_weights);
        let known: Vec<f64> = weighted
            .filter_map(|(reward, weight)| Some((*reward)? * weight))
            .collect();
        match known.is_empty() {
            true => f32::NAN,
            false => known.iter().sum::<f64>() as f32,
        }
    };
    case.rewards_per_func.iter().map(sum).collect()
}

fn filters(temperature: f32) -> SampleFilters {
    SampleFilters {
        temperature,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
    }
}

fn all_filters() -> Vec<SampleFilters> {
    let plain = filters(0.7);
    vec![
        filters(0.0),
        filters(1.0),
        SampleFilters { top_k: 5, ..plain },
        SampleFilters {
            top_p: 0.83,
            ..plain
        },
        SampleFilters {
            min_p: 0.07,
            ..plain
        },
        SampleFilters {
            top_k: 40,
            top_p: 0.91,
            min_p: 0.02,
            ..plain
        },
    ]
}

fn params(filters: SampleFilters) -> SamplingParams {
    SamplingParams {
        temperature: f64::from(filters.temperature),
        top_k: filters.top_k,
        top_p: filters.top_p,
        min_p: f64::from(filters.min_p),
        ..SamplingParams::default()
    }
}

/// Logits in steps, so that some are equal.
fn random_logits(rows: usize, vocabulary: usize, step: f32) -> Vec<f32> {
    let mut rng = Seed::new(vocabulary as u64).rng();
    let logit = |_| (rng.random::<f32>() * 16.0 - 8.0) * 0.5;
    let logits = (0..rows * vocabulary).map(logit);
    logits.map(|logit| (logit / step).round() * step).collect()
}

fn tensor(values: &[f32], columns: usize, device: &Device) -> Tensor<2> {
    let shape = [values.len() / columns, columns];
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn drawn(
    logits: Tensor<2>,
    streams: Tensor<2, Int>,
    filters: SampleFilters,
) -> (Vec<i32>, Vec<f32>) {
    read(ops::sample(logits, streams, filters).expect("the device works"))
}

/// On the recorded logits, `draws` draws of each row and filter: every id has a probability on the
/// host and its log-probability is that of the host, by the shader and by plain tensor functions.
fn supports_agree(device: &Device, draws: u64) {
    let [case, _] = ModelCase::of("qwen2", &cpu());
    let recorded = &case.expected.sampling_filters_on_last_logits;
    let settings = recorded.iter().map(|case| &case.settings);
    for settings in settings.filter(|settings| settings.repetition_penalty == 1.0) {
        let filters = SampleFilters {
            temperature: settings.temperature as f32,
            top_k: settings.top_k,
            top_p: settings.top_p,
            min_p: settings.min_p as f32,
        };
        for (ids, logits) in case.rows().iter().zip(case.logits()).take(2) {
            let vocabulary = logits.len() / ids.len();
            let last = &logits[logits.len() - vocabulary..];
            let expected = Sampler::new(settings).distribution(last, &[]);
            let seeds: Vec<_> = (0..draws).map(|draw| Seed::new(2).child(draw)).collect();
            let streams = sample_streams(&seeds, 0, device);
            let rows = tensor(&last.repeat(seeds.len()), vocabulary, device);
            let found = drawn(rows.clone(), streams.clone(), filters);
            let plain = sample_reference(rows, streams, filters);
            for (ids, logprobs) in [&found, &read(plain.expect("the device works"))] {
                for (id, logprob) in ids.iter().zip(logprobs) {
                    let difference = (logprob - expected[*id as usize].ln()).abs();
                    assert!(difference < 1e-4, "{settings:?}: {id}: off by {difference}");
                }
                assert_eq!(*ids, found.0, "{settings:?}");
            }
        }
    }
}

fn read(tokens: SampledTokens) -> (Vec<i32>, Vec<f32>) {
    let ids = tokens.ids.try_into_vec_as::<i32>();
    let logprobs = ops::read_floats(tokens.logprobs);
    (
        ids.expect("the device works"),
        logprobs.expect("the device works"),
    )
}
