//! TRL's advantages: every recorded scenario, scale and aggregation.

use emberl::rollout::{Advantages, RewardAggregation, RewardScale, group_advantages};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Recording {
    cases: Vec<Case>,
}

/// One recorded scenario under one setting.
#[derive(Deserialize)]
pub struct Case {
    scenario: String,
    pub num_generations: usize,
    pub rewards_per_func: Vec<Vec<Option<f64>>>,
    pub reward_weights: Vec<f64>,
    pub multi_objective_aggregation: RewardAggregation,
    pub scale_rewards: RewardScale,
    pub advantages: Vec<f64>,
    logged: Map<String, Value>,
}

impl Case {
    pub fn name(&self) -> String {
        let (scale, aggregation) = (self.scale_rewards, self.multi_objective_aggregation);
        format!("{} {scale:?} {aggregation:?}", self.scenario)
    }

    fn computed(&self) -> Advantages {
        group_advantages(
            &self.rewards_per_func,
            &self.reward_weights,
            self.num_generations,
            self.scale_rewards,
            self.multi_objective_aggregation,
        )
    }

    /// Rewards that differ by little were recorded in f32, so only their leading digits hold.
    pub fn tolerance(&self, expected: f64) -> f64 {
        if self.scenario.starts_with("tiny_") {
            1e-5 + 1e-3 * expected.abs()
        } else {
            1e-5
        }
    }
}

/// All that was recorded.
pub fn cases() -> Vec<Case> {
    let path = super::folder().join("grpo/advantages.json");
    let text = std::fs::read_to_string(&path).expect("the oracle has advantages");
    let recording: Recording = serde_json::from_str(&text).expect("advantages are well formed");
    assert!(
        !recording.cases.is_empty(),
        "{} holds no cases",
        path.display()
    );
    recording.cases
}

#[test]
fn advantages_are_the_recorded_ones() {
    for case in cases() {
        let computed = case.computed().values;
        assert_eq!(computed.len(), case.advantages.len(), "{}", case.name());
        for (index, (found, expected)) in computed.iter().zip(&case.advantages).enumerate() {
            let difference = (f64::from(*found) - expected).abs();
            assert!(
                difference <= case.tolerance(*expected),
                "{}: completion {index}: {found}, expected {expected}",
                case.name()
            );
        }
    }
}

#[test]
fn reward_statistics_are_the_recorded_ones() {
    for case in cases() {
        let computed = case.computed();
        for (metric, expected) in &case.logged {
            let found = logged(&computed, metric)
                .unwrap_or_else(|| panic!("{}: unknown metric {metric}", case.name()));
            let is_same = match (found, expected.as_f64()) {
                (Some(found), Some(expected)) => {
                    (found - expected).abs() <= 1e-6 * (1.0 + expected.abs())
                }
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(
                is_same,
                "{}: {metric}: {found:?}, expected {expected}",
                case.name()
            );
        }
    }
}

/// The value that TRL logs as `metric`; the outer `None` when it is not one we know.
fn logged(computed: &Advantages, metric: &str) -> Option<Option<f64>> {
    match metric {
        "reward" => Some(computed.total.mean),
        "reward_std" => Some(computed.total.std),
        "frac_reward_zero_std" => Some(Some(computed.zero_std_fraction)),
        _ => {
            let (part, statistic) = metric.strip_prefix("rewards/r")?.split_once('/')?;
            let part = computed.parts.get(part.parse::<usize>().ok()?)?;
            match statistic {
                "mean" => Some(part.mean),
                "std" => Some(part.std),
                _ => None,
            }
        }
    }
}
