//! The correction for the sampler against TRL's.

use emberl::train::{SamplerCorrection, SamplerCorrectionMode};
use serde::Deserialize;

use super::fixture::{self, Tolerance};

#[derive(Deserialize)]
struct File {
    /// None stands for NaN: the sampler could not score the token.
    sampler_logps: Vec<Vec<Option<f32>>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    settings: Settings,
    /// One value a token, right padded, or one a sequence.
    ratio: Vec<Vec<f32>>,
    old_logps: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Settings {
    mode: SamplerCorrectionMode,
    clip_min: Option<f64>,
    clip_max: f64,
}

#[test]
fn sampler_corrections_are_trls() {
    let path = super::folder().join("grpo").join("sampler_ratio.json");
    let File {
        sampler_logps,
        cases,
    } = fixture::read_json(&path);
    assert!(!cases.is_empty(), "{} holds no cases", path.display());
    let close = Tolerance {
        relative: 1e-5,
        absolute: 1e-6,
    };
    for case in cases {
        let correction = SamplerCorrection {
            mode: case.settings.mode,
            max: case.settings.clip_max,
            min: case.settings.clip_min,
        };
        assert_eq!(case.old_logps.len(), sampler_logps.len());
        let rows = case.old_logps.iter().zip(&sampler_logps).zip(&case.ratio);
        for (row, ((old, sampler), ratio)) in rows.enumerate() {
            let sampler: Vec<f32> = sampler.iter().map(|s| s.unwrap_or(f32::NAN)).collect();
            let found = correction.factors(old, &sampler, &vec![true; old.len()]);
            let expected = match ratio[..] {
                [shared] => vec![shared; old.len()],
                _ => ratio[..old.len()].to_vec(),
            };
            close.check(&format!("{correction:?}, row {row}"), &found, &expected);
        }
    }
}
