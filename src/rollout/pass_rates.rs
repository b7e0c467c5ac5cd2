//! Running pass rates: how much of each bucket of problems the policy solves lately.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The running pass rate of every bucket seen, 0 to 1.
///
/// Rates are written as texts, in the fewest digits that name them: read back they are the same to
/// the last bit, which JSON numbers do not promise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct PassRates {
    rates: BTreeMap<String, f64>,
}

impl PassRates {
    /// The rate of `bucket`; `None` before it is first observed.
    pub fn get(&self, bucket: &str) -> Option<f64> {
        self.rates.get(bucket).copied()
    }

    /// Every bucket's rate, buckets in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.rates.iter().map(|(name, rate)| (name.as_str(), *rate))
    }

    /// Moves the rate of `bucket` towards `solved_share`: `rate ← decay · rate + (1 - decay) · share`;
    /// the first observation is taken as it is.
    pub(super) fn observe(&mut self, bucket: String, solved_share: f64, decay: f64) {
        let rate = self.rates.entry(bucket).or_insert(solved_share);
        *rate = (*rate + (1.0 - decay) * (solved_share - *rate)).clamp(0.0, 1.0);
    }
}

impl From<PassRates> for BTreeMap<String, String> {
    fn from(pass_rates: PassRates) -> Self {
        let rates = pass_rates.rates.into_iter();
        rates.map(|(name, rate)| (name, rate.to_string())).collect()
    }
}

impl TryFrom<BTreeMap<String, String>> for PassRates {
    type Error = String;

    fn try_from(texts: BTreeMap<String, String>) -> Result<Self, String> {
        let rate = |(name, text): (String, String)| match text.parse() {
            Ok(rate) if (0.0..=1.0).contains(&rate) => Ok((name, rate)),
            _ => Err(format!(
                "pass rate of `{name}` is `{text}`, expected a number from 0 to 1"
            )),
        };
        let rates: Result<_, String> = texts.into_iter().map(rate).collect();
        Ok(Self { rates: rates? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_starts_at_the_first_share_and_decays_towards_later_ones() {
        let mut rates = PassRates::default();
        assert_eq!(rates.get("a"), None);
        rates.observe("a".into(), 0.5, 0.75);
        assert_eq!(rates.get("a"), Some(0.5));
        // 0.75 · 0.5 + 0.25 · 1 = 0.625
        rates.observe("a".into(), 1.0, 0.75);
        assert_eq!(rates.get("a"), Some(0.625));
        assert_eq!(rates.get("b"), None);
    }

    #[test]
    fn restored_rates_are_the_same_to_the_last_bit() {
        let mut rates = PassRates::default();
        for step in 0..2000_u32 {
            let share = f64::from(step * 7919 % 17) / 17.0;
            rates.observe(format!("level {}", step % 300), share, 0.9);
        }
        let text = serde_json::to_string(&rates).unwrap();
        let restored: PassRates = serde_json::from_str(&text).unwrap();
        let bits =
            |rates: &PassRates| -> Vec<u64> { rates.iter().map(|r| r.1.to_bits()).collect() };
        assert_eq!(bits(&rates).len(), 300);
        assert_eq!(bits(&rates), bits(&restored));
    }

    #[test]
    fn broken_rate_is_refused_by_name() {
        for text in ["1.5", "NaN", "half"] {
            let json = format!("{{\"level 1\": \"{text}\"}}");
            let message = serde_json::from_str::<PassRates>(&json).unwrap_err();
            let expected = format!("pass rate of `level 1` is `{text}`");
            assert!(message.to_string().contains(&expected), "{message}");
        }
    }
}
