//! Axes: a range that holds the data, round numbers along it, and how numbers are written.

/// The stretch of numbers an axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    /// The range of the finite ones of `values`; `None` if there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let finite = values.into_iter().filter(|value| value.is_finite());
        finite.fold(None, |range: Option<Self>, value| {
            let range = range.unwrap_or(Self {
                low: value,
                high: value,
            });
            Some(Self {
                low: range.low.min(value),
                high: range.high.max(value),
            })
        })
    }

    /// The range with room at both ends; a single number gets room of its own size around it.
    pub(super) fn padded(self, share: f64) -> Self {
        let room = match self.high - self.low {
            span if span > 1e-9 * self.low.abs().max(self.high.abs()) => share * span,
            _ if self.low == 0.0 => 1.0,
            _ => self.low.abs() / 2.0,
        };
        Self {
            low: self.low - room,
            high: self.high + room,
        }
    }

    /// Where `value` lies, 0 at the low end, 1 at the high.
    pub(super) fn share(self, value: f64) -> f32 {
        ((value - self.low) / (self.high - self.low)) as f32
    }

    /// About `count` round numbers inside the range, a multiple of 1, 2, 2.5 or 5 apart.
    pub(super) fn ticks(self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= 0.999 * rough);
        let Some(step) = step.filter(|step| step.is_normal()) else {
            return Vec::new();
        };
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        let multiples = 0..=(last - first).clamp(-1.0, 100.0) as i64;
        multiples
            .map(|index| (first + index as f64) * step)
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

/// The labels of `ticks`, all with the same unit and number of decimals.
pub(super) fn labels(ticks: &[f64]) -> Vec<String> {
    let largest = ticks
        .iter()
        .fold(0.0, |largest: f64, tick| largest.max(tick.abs()));
    let step = match ticks {
        [first, second, ..] => second - first,
        _ => largest,
    };
    let (unit, suffix) = unit(largest);
    let decimals = decimals(step / unit);
    let label = |tick: &f64| match *tick {
        0.0 => "0".to_owned(),
        tick => format!("{:.decimals$}{suffix}", tick / unit),
    };
    ticks.iter().map(label).collect()
}

/// `value` in three significant digits.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let (unit, suffix) = unit(value.abs());
    let scaled = value / unit;
    let decimals = match scaled.abs() {
        0.0..1.0 if unit == 1.0 => 3,
        0.0..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{suffix}")
}

/// The unit in which numbers up to `largest` are written, and what stands for it.
fn unit(largest: f64) -> (f64, String) {
    match largest {
        0.0 => (1.0, String::new()),
        1e9.. => power_of_ten(largest),
        1e6.. => (1e6, "M".to_owned()),
        1e4.. => (1e3, "k".to_owned()),
        1e-2.. => (1.0, String::new()),
        _ => power_of_ten(largest),
    }
}

fn power_of_ten(number: f64) -> (f64, String) {
    let exponent = number.log10().floor();
    (10f64.powf(exponent), format!("e{exponent}"))
}

/// The decimals that tell apart numbers `step` apart.
fn decimals(step: f64) -> usize {
    (0..6)
        .find(|&decimals| {
            let scaled = step * 10f64.powi(decimals);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs()
        })
        .map_or(6, |decimals| decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(low: f64, high: f64) -> Vec<String> {
        labels(&Range { low, high }.ticks(4))
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labelled(0.0, 1.0), ["0", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(labelled(-0.3, 2.2), ["0", "1", "2"]);
        assert_eq!(labelled(1.0, 400.0), ["100", "200", "300", "400"]);
        assert_eq!(
            labelled(0.0, 1e-6),
            ["0", "0.25e-6", "0.50e-6", "0.75e-6", "1.00e-6"]
        );
        assert_eq!(labelled(11_000.0, 31_000.0), ["15k", "20k", "25k", "30k"]);
    }

    #[test]
    fn odd_ranges_have_no_ticks_and_do_not_panic() {
        assert!(labelled(1.0, 1.0).is_empty());
        assert!(labelled(f64::NAN, 1.0).is_empty());
        assert!(labelled(0.0, f64::INFINITY).is_empty());
    }

    #[test]
    fn a_range_passes_over_what_is_no_number() {
        let range = Range::of([f64::NAN, 2.0, f64::INFINITY, -1.0]);
        assert_eq!(
            range,
            Some(Range {
                low: -1.0,
                high: 2.0
            })
        );
        assert_eq!(Range::of([f64::NAN]), None);
    }

    #[test]
    fn a_single_number_gets_room_around_it() {
        let padded = |value: f64| {
            Range {
                low: value,
                high: value,
            }
            .padded(0.1)
        };
        assert_eq!(
            padded(4.0),
            Range {
                low: 2.0,
                high: 6.0
            }
        );
        assert_eq!(
            padded(0.0),
            Range {
                low: -1.0,
                high: 1.0
            }
        );
    }

    #[test]
    fn short_numbers_have_three_digits() {
        let written = [0.8421, 2.7149, 88.25, 153.4, 1530.0, 12_345.0, 4.2e-7, 0.0];
        let short = written.map(short);
        assert_eq!(
            short,
            [
                "0.842", "2.71", "88.2", "153", "1530", "12.3k", "4.20e-7", "0"
            ]
        );
    }
}
