//! Exact numbers as an answer spells them.

use num_rational::Ratio;

/// Longest number accepted, in bytes.
const MAX_BYTES: usize = 40;
/// Most digits of a numerator, denominator or decimal: products of two fit `i128` easily.
const MAX_DIGITS: usize = 15;

/// Reads `7`, `-7`, `+7`, `3/4`, `-3/4` or `0.75`, with `−` for `-` and blanks around; the value is
/// exact, so `6/8` and `0.75` are the same number. `None` for anything else.
pub(super) fn read_rational(text: &str) -> Option<Ratio<i128>> {
    let text = text.trim();
    if text.len() > MAX_BYTES {
        return None;
    }
    let (negative, text) = match text.strip_prefix(['-', '−']) {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match (text.split_once('/'), text.split_once('.')) {
        (Some((numerator, denominator)), None) => {
            let denominator = digits(denominator.trim_start())?;
            (denominator != 0).then_some(())?;
            Ratio::new(digits(numerator.trim_end())?, denominator)
        }
        (None, Some((whole, decimals))) => decimal(whole, decimals)?,
        (None, None) => Ratio::from_integer(digits(text)?),
        (Some(_), Some(_)) => return None,
    };
    Some(if negative { -value } else { value })
}

/// Reads a whole number: as [`read_rational`], but `3/4` and `0.75` are none.
pub(super) fn read_integer(text: &str) -> Option<i64> {
    if text.contains(['/', '.']) {
        return None;
    }
    i64::try_from(read_rational(text)?.to_integer()).ok()
}

fn decimal(whole: &str, decimals: &str) -> Option<Ratio<i128>> {
    (whole.len() + decimals.len() <= MAX_DIGITS).then_some(())?;
    let scale = 10_i128.pow(u32::try_from(decimals.len()).ok()?);
    Some(Ratio::new(
        digits(whole)? * scale + digits(decimals)?,
        scale,
    ))
}

/// ASCII digits and nothing else.
fn digits(text: &str) -> Option<i128> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (are_digits && text.len() <= MAX_DIGITS).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_number_have_its_value() {
        let three_quarters = Some(Ratio::new(3, 4));
        for text in ["3/4", " 6/8 ", "+3/4", "0.75", "3 / 4", "0.7500"] {
            assert_eq!(read_rational(text), three_quarters, "{text:?}");
        }
        for text in ["-7", "−7", "-7.0", "-14/2"] {
            assert_eq!(
                read_rational(text),
                Some(Ratio::from_integer(-7)),
                "{text:?}"
            );
        }
        assert_eq!(read_integer(" −12 "), Some(-12));
        assert_eq!(read_integer("12.0"), None);
    }

    #[test]
    fn anything_else_is_no_number() {
        let long = "9".repeat(16);
        let endless = "1".repeat(100_000);
        let texts = [
            "", "-", "--7", "+-7", "1/0", "1/-2", "1/2/3", "1.5/2", ".5", "5.", "1e3", "٣", "７",
            "1,000", "7 apples", "0x10", "NaN", "inf", "- 7", "1 2", &long, &endless,
        ];
        for text in texts {
            assert_eq!(read_rational(text), None, "{text:?} was read");
        }
    }
}
