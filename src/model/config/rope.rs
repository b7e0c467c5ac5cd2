//! Rotary position embedding: base, scaling and the inverse frequencies they give.
//!
//! `f_i = theta^(-2i/d)` for `i < d/2` (RoFormer, arXiv:2104.09864, section 3.4.2); `linear` divides
//! every `f_i` by a factor (arXiv:2306.15595); `llama3` divides the low frequencies and blends the
//! middle ones (Llama 3.1). All in `f32`, in the order of operations of `transformers`.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::keys::Keys;
use crate::error::{Error, Result};

/// Rotary position embedding of a decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How the frequencies are stretched for contexts longer than the pretraining's.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: by wavelength, measured against the pretraining context.
    Llama3 {
        /// Divisor of the frequencies whose wavelength is long.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` stay as they are.
        high_freq_factor: f64,
        /// Context length of the pretraining, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl Default for Rope {
    fn default() -> Self {
        Self {
            theta: DEFAULT_THETA,
            scaling: RopeScaling::None,
        }
    }
}

impl Rope {
    /// The inverse frequencies of heads `head_dim` wide, in radians per token: `head_dim / 2` numbers.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = (0..head_dim).step_by(2).map(|i| {
            let exponent = i as f32 / head_dim as f32;
            1.0 / f64::from(self.theta as f32).powf(f64::from(exponent)) as f32
        });
        plain
            .map(|frequency| self.scaling.apply(frequency))
            .collect()
    }

    /// Reads `rope_parameters`, or the older `rope_theta` and `rope_scaling`.
    pub(super) fn read(keys: Keys, max_position_embeddings: usize) -> Result<Self> {
        refuse_partial_rotation(keys)?;
        let theta = keys.or("rope_theta", DEFAULT_THETA, NUMBER)?;
        let parameters = match keys.object("rope_scaling")? {
            Some(scaling) => Some(scaling),
            None => keys.object("rope_parameters")?,
        };
        let rope = match parameters {
            None => Self {
                theta,
                scaling: RopeScaling::None,
            },
            Some(parameters) => {
                refuse_partial_rotation(parameters)?;
                let original = match keys.count(ORIGINAL)? {
                    Some(original) => original,
                    None => parameters.count_or(ORIGINAL, max_position_embeddings)?,
                };
                Self {
                    theta: parameters.or("rope_theta", theta, NUMBER)?,
                    scaling: RopeScaling::read(parameters, original)?,
                }
            }
        };
        rope.validate().map(|()| rope)
    }

    /// The value of `rope_parameters` in `config.json`.
    pub(super) fn to_json(self) -> Value {
        let Self { theta, scaling } = self;
        match scaling {
            RopeScaling::None => json!({"rope_theta": theta, "rope_type": "default"}),
            RopeScaling::Linear { factor } => {
                json!({"factor": factor, "rope_theta": theta, "rope_type": "linear"})
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "factor": factor,
                "high_freq_factor": high_freq_factor,
                "low_freq_factor": low_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
                "rope_theta": theta,
                "rope_type": "llama3",
            }),
        }
    }

    /// Checks that base and factors are positive, finite and in order.
    pub(super) fn validate(&self) -> Result<()> {
        positive("rope_theta", self.theta)?;
        match self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor", factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("factor", factor)?;
                positive("low_freq_factor", low_freq_factor)?;
                positive("high_freq_factor", high_freq_factor)?;
                positive(ORIGINAL, original_max_position_embeddings as f64)?;
                if high_freq_factor <= low_freq_factor {
                    let problem = format!(
                        "is {high_freq_factor}, expected more than low_freq_factor ({low_freq_factor})"
                    );
                    return Err(Error::setting("rope_parameters.high_freq_factor", problem));
                }
                Ok(())
            }
        }
    }
}

const DEFAULT_THETA: f64 = 10_000.0;
const NUMBER: &str = "a number";
const ORIGINAL: &str = "original_max_position_embeddings";

impl RopeScaling {
    fn read(parameters: Keys, original_max_position_embeddings: usize) -> Result<Self> {
        let supported = "one of default, linear, llama3 for all layers alike";
        if let Some(key) = parameters.nested() {
            return Err(parameters.wrong(key, supported));
        }
        let key = ["rope_type", "type"]
            .into_iter()
            .find(|key| matches!(parameters.optional::<Value>(key, ""), Ok(Some(_))));
        let Some(key) = key else {
            return Ok(Self::None);
        };
        match parameters.required::<String>(key, supported)?.as_str() {
            "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear {
                factor: parameters.required("factor", NUMBER)?,
            }),
            "llama3" => Ok(Self::Llama3 {
                factor: parameters.required("factor", NUMBER)?,
                low_freq_factor: parameters.required("low_freq_factor", NUMBER)?,
                high_freq_factor: parameters.required("high_freq_factor", NUMBER)?,
                original_max_position_embeddings,
            }),
            _ => Err(parameters.wrong(key, supported)),
        }
    }

    fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor as f32,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings,
            } => {
                let original = original_max_position_embeddings as f64;
                let wavelength = TAU as f32 * (1.0 / frequency);
                if wavelength > (original / low) as f32 {
                    return frequency / factor as f32;
                }
                if wavelength < (original / high) as f32 {
                    return frequency;
                }
                let turns = original as f32 * (1.0 / wavelength);
                let smooth = (turns - low as f32) / (high - low) as f32;
                (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
            }
        }
    }
}

fn refuse_partial_rotation(keys: Keys) -> Result<()> {
    let key = "partial_rotary_factor";
    match keys.optional::<f64>(key, NUMBER)? {
        Some(part) if part != 1.0 => Err(keys.wrong(key, "1 (heads rotated as a whole)")),
        _ => Ok(()),
    }
}

fn positive(key: &str, value: f64) -> Result<()> {
    if value > 0.0 && (value as f32).is_finite() {
        return Ok(());
    }
    let problem = format!("is {value}, expected a positive number");
    Err(Error::setting(format!("rope_parameters.{key}"), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(ours: &[f32], expected: &[f32]) {
        assert_eq!(ours.len(), expected.len());
        for (ours, expected) in ours.iter().zip(expected) {
            assert!(
                (ours - expected).abs() <= 2e-7 * expected,
                "{ours} {expected}"
            );
        }
    }

    #[test]
    fn plain_frequencies_are_powers_of_the_base() {
        let rope = Rope {
            theta: 1e6,
            scaling: RopeScaling::None,
        };
        // 10^(6 * -2i/8) for i = 0..4.
        assert_close(
            &rope.inverse_frequencies(8),
            &[1.0, 0.031_622_776, 1e-3, 3.162_277_6e-5],
        );
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let rope = Rope {
            theta: 1e4,
            scaling: RopeScaling::Linear { factor: 4.0 },
        };
        assert_close(&rope.inverse_frequencies(4), &[0.25, 0.0025]);
    }

    #[test]
    fn llama3_scaling_keeps_high_blends_middle_and_divides_low_frequencies() {
        let rope = Rope {
            theta: 1e4,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 64,
            },
        };
        // Wavelengths 2π, 62.8, 628, 6283 against 64/4 = 16 and 64/1 = 64. The second lies between:
        // s = (64/62.832 - 1) / 3 = 0.0061973 and (1 - s) 0.1/8 + s 0.1 = 0.0130423.
        let expected = [1.0, 0.013_042_263, 0.001_25, 0.000_125];
        let ours = rope.inverse_frequencies(8);
        // The blend subtracts nearly equal numbers, so f32 leaves six digits.
        assert!((ours[1] - expected[1]).abs() < 1e-7, "{}", ours[1]);
        assert_close(&[ours[0], ours[2], ours[3]], &[1.0, 0.001_25, 0.000_125]);
    }
}
