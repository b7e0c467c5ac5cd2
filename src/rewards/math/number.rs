//! Numbers as they are written: thousands separators, decimal points, powers of ten.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::One;

use super::limits::MAX_DECIMAL_EXPONENT;
use super::token::{Kind, Style};

/// Whether all commas of `text` group the thousands of one number: `1,234,567` but not `1,234,5`,
/// and not in brackets, where they separate.
pub(super) fn commas_group(text: &str) -> bool {
    let bytes = text.replace("{,}", "'").into_bytes();
    let commas: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] == b',').collect();
    let Some(&first) = commas.first() else {
        return false;
    };
    let head = bytes[..first]
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_digit())
        .count();
    let in_brackets = || {
        let open = bytes[..first].iter().filter(|b| b"([".contains(b)).count();
        let closed = bytes[..first].iter().filter(|b| b")]".contains(b)).count();
        open > closed || bytes[..first].windows(2).any(|pair| pair == b"\\{")
    };
    (1..=3).contains(&head)
        && commas.windows(2).all(|pair| pair[1] - pair[0] == 4)
        && commas.iter().all(|&comma| is_group(&bytes[comma + 1..]))
        && !in_brackets()
}

/// The number at the start of `text` and its length in bytes, if there is one.
pub(super) fn scan(text: &str, style: Style, commas_group: bool) -> Option<(Kind, usize)> {
    let (mut digits, mut length) = integer(text, commas_group);
    let mut exponent = 0_i64;
    let fraction = text[length..].strip_prefix('.').map(leading_digits);
    let mut decimal = fraction.is_some_and(|digits| !digits.is_empty());
    if let Some(fraction) = fraction.filter(|_| decimal) {
        digits.push_str(fraction);
        exponent -= fraction.len() as i64;
        length += 1 + fraction.len();
    }
    if digits.is_empty() {
        return None;
    }
    let mut value = BigRational::from_integer(digits.parse::<BigInt>().ok()?);
    if let Some((power, used)) = scientific(&text[length..], style) {
        exponent += power;
        length += used;
        decimal |= power < 0;
    }
    value *= power_of_ten(exponent)?;
    if let Some((repeated, used)) =
        repeating(&text[length..], decimal || text[length..].starts_with('.'))
    {
        value += repeated * power_of_ten(exponent)?;
        length += used;
        decimal = false;
    }
    Some((Kind::Number { value, decimal }, length))
}

/// The digits of the integer part without their separators, and its length in bytes.
fn integer(text: &str, commas_group: bool) -> (String, usize) {
    let mut digits = leading_digits(text).to_string();
    let mut length = digits.len();
    if digits.is_empty() || digits.len() > 3 {
        return (digits, length);
    }
    while let Some(separator) = separator(&text[length..], commas_group) {
        let group = &text[length + separator..];
        if !is_group(group.as_bytes()) {
            break;
        }
        digits.push_str(&group[..3]);
        length += separator + 3;
    }
    (digits, length)
}

/// Length in bytes of the thousands separator at the start of `text`, if there is one.
fn separator(text: &str, commas_group: bool) -> Option<usize> {
    const SEPARATORS: [&str; 6] = [",\\!", "{,}", "{\\,}", "\\,", "\u{202f}", "\u{2009}"];
    let found = SEPARATORS
        .iter()
        .find(|separator| text.starts_with(**separator));
    let comma = || (commas_group && text.starts_with(',')).then_some(1);
    found.map(|separator| separator.len()).or_else(comma)
}

/// Whether `bytes` begin with exactly three digits.
fn is_group(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .take(4)
        .count()
        == 3
}

fn leading_digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit());
    &text[..end.unwrap_or(text.len())]
}

/// The power of ten in `e-5` and its length in bytes.
fn scientific(text: &str, style: Style) -> Option<(i64, usize)> {
    let rest = match style {
        Style::Latex => text.strip_prefix('E')?,
        Style::Plain => text.strip_prefix(['e', 'E'])?,
    };
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let digits = leading_digits(unsigned);
    let power: i64 = digits.parse().ok()?;
    if power.unsigned_abs() > MAX_DECIMAL_EXPONENT {
        return None;
    }
    let power = if rest.starts_with('-') { -power } else { power };
    Some((power, text.len() - unsigned.len() + digits.len()))
}

/// What the digits under the bar in `\overline{3}` add, before the power of ten of the digits that
/// stand in front, and the length in bytes.
fn repeating(text: &str, after_point: bool) -> Option<(BigRational, usize)> {
    let body = text.strip_prefix('.').unwrap_or(text);
    let inner = body.strip_prefix("\\overline{")?;
    let digits = leading_digits(inner);
    if !after_point || digits.is_empty() || !inner[digits.len()..].starts_with('}') {
        return None;
    }
    let period = power_of_ten(i64::try_from(digits.len()).ok()?)? - BigRational::one();
    let value = BigRational::from_integer(digits.parse::<BigInt>().ok()?) / period;
    let used = text.len() - inner.len() + digits.len() + 1;
    Some((value, used))
}

fn power_of_ten(exponent: i64) -> Option<BigRational> {
    let size = u32::try_from(exponent.unsigned_abs()).ok()?;
    let power = BigRational::from_integer(BigInt::from(10).pow(size));
    Some(if exponent < 0 { power.recip() } else { power })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, style: Style) -> Option<(String, usize)> {
        let (kind, length) = scan(text, style, commas_group(text))?;
        match kind {
            Kind::Number { value, .. } => Some((value.to_string(), length)),
            _ => None,
        }
    }

    fn plain(text: &str) -> String {
        let (value, length) = read(text, Style::Plain).unwrap();
        assert_eq!(length, text.len(), "{text}");
        value
    }

    #[test]
    fn separators_of_thousands_belong_to_the_number() {
        for text in [
            "1234567",
            "1,234,567",
            "1{,}234{,}567",
            r"1\,234\,567",
            r"1,\!234,\!567",
        ] {
            assert_eq!(plain(text), "1234567");
        }
    }

    #[test]
    fn comma_separates_where_it_does_not_group() {
        for text in [
            "1,2",
            "1, 234",
            "1,234,5",
            "1234,567",
            "(1,234)",
            r"\{1,234\}",
            "1,2345",
        ] {
            assert!(!commas_group(text), "{text}");
        }
        assert!(commas_group("x = -12,345.5"));
    }

    #[test]
    fn decimals_and_powers_of_ten_are_exact() {
        assert_eq!(plain("0.1"), "1/10");
        assert_eq!(plain(".5"), "1/2");
        assert_eq!(plain("2.50e-1"), "1/4");
        assert_eq!(plain("1E3"), "1000");
        assert_eq!(read("1e2", Style::Latex), Some(("1".into(), 1)));
        assert_eq!(read("7.", Style::Plain), Some(("7".into(), 1)));
    }

    #[test]
    fn digits_under_a_bar_repeat() {
        // 0.1 + 0.0333… = 2/15
        assert_eq!(plain(r"0.1\overline{3}"), "2/15");
        assert_eq!(plain(r"0.\overline{27}"), "3/11");
        assert_eq!(read(r"3\overline{AB}", Style::Latex), Some(("3".into(), 1)));
    }

    #[test]
    fn power_of_ten_beyond_the_bound_is_not_read() {
        assert_eq!(read("1e513", Style::Plain), Some(("1".into(), 1)));
        assert_eq!(
            read("1e99999999999999999999", Style::Plain),
            Some(("1".into(), 1))
        );
    }
}
