//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// How the learning rate goes over a stage, after a linear warm-up from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    #[default]
    Constant,
    /// Falls in a straight line to the final rate.
    Linear,
    /// Falls along half a cosine to the final rate.
    Cosine,
}

impl Schedule {
    /// Share of the peak rate for step `step`, counted from 0, of `steps`.
    ///
    /// `final_share` is where it ends, as a share of the peak. During warm-up the share is
    /// `step / warmup_steps`, as in transformers' schedulers.
    pub fn share(self, step: usize, steps: usize, warmup_steps: usize, final_share: f64) -> f64 {
        if step < warmup_steps {
            return step as f64 / warmup_steps as f64;
        }
        let span = steps.saturating_sub(warmup_steps).max(1) as f64;
        let progress = ((step - warmup_steps) as f64 / span).min(1.0);
        let fallen = match self {
            Self::Constant => return 1.0,
            Self::Linear => progress,
            Self::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * progress).cos()),
        };
        1.0 - fallen * (1.0 - final_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_from_zero_then_the_schedule_falls() {
        let share = |step| Schedule::Linear.share(step, 10, 2, 0.0);
        assert_eq!([share(0), share(1), share(2)], [0.0, 0.5, 1.0]);
        assert_eq!(share(6), 0.5);
        assert_eq!(share(10), 0.0);
    }

    #[test]
    fn cosine_passes_the_middle_and_ends_at_the_final_share() {
        let share = |step| Schedule::Cosine.share(step, 10, 0, 0.1);
        assert!((share(5) - 0.55).abs() < 1e-12);
        assert!((share(10) - 0.1).abs() < 1e-12);
        assert_eq!(share(0), 1.0);
    }
}
